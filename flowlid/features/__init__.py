"""Filterbanks and voice activity, as Kaldi computes them.

- `fbank`: log-mel filterbanks (`FeatureExtractor`).
- `vad`: voice activity by energy (`energy_vad`).
- `extract`: both for a data directory, or the part of one that is a job (`Job`).
- `marks`: what they were made from, told beside them, so that finished jobs are not repeated (`inputs_digest`).
- `pool`: what the jobs wrote, gathered and given to other data directories (`copy_features`).
"""
