"""Filterbanks and voice activity, as Kaldi computes them.

- `fbank`: log-mel filterbanks (`FeatureExtractor`).
- `vad`: voice activity by energy (`energy_vad`).
- `extract`: both for a data directory, in jobs (`Job`), gathered, and given to other directories (`copy_features`).
"""
