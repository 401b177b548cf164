"""The mathematics: normalizing flows in plain torch, which know neither files of speech nor experiments' directories.

- `transforms`: bijections with their log-determinants (`AffineCoupling`, `ActNorm`, ...). Add a transform here.
- `whitening`: the frames' covariance taken away before the first coupling (`Whitening`).
- `mixing`: the trained matrix that mixes all dims between pairs of couplings (`LUMixing`).
- `bases`: densities of the latents (`ClassGaussians`).
- `baselines`: what takes their place in a baseline, on standardized frames: mixtures, shared Gaussians, posteriors.
- `flow`: both joined; `Flow.log_terms` computes a frame's log-likelihood, `build_flow` and `real_nvp` build the chain.
- `cpu_coupling`, `precision`: the same couplings in fewer passes on a CPU, and the type of their products.
- `checkpoint`: models and training states on disk (`load_model`, `save_model`).
"""
