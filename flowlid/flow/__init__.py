"""The mathematics: normalizing flows in plain torch, which know neither files of speech nor experiments' directories.

- `transforms`: bijections with their log-determinants (`AffineCoupling`, `ActNorm`, ...). A new transform goes here.
- `bases`: densities of the latents (`ClassGaussians`).
- `flow`: both joined; `Flow.log_terms` computes a frame's log-likelihood, `build_flow` reads a configuration.
- `cpu_coupling`, `precision`: the same couplings in few passes on a CPU, and the type of their products.
- `checkpoint`: models and training states on disk (`load_model`, `save_model`).
"""
