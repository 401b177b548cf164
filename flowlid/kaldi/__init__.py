"""Kaldi's files: tables, archives, data directories, normalization statistics, option files.

- `tables`: wav.scp, utt2spk, segments, ...: read with every bad line named, written sorted and whole.
- `arks`: matrices and vectors in archives (`read_matrix`, `ArkWriter`).
- `datadir`: a data directory, opened lazily and validated as a whole (`DataDir`).
- `copies`: copies of the tables of a user's own directories, which a run can work on (`copy_directories`).
- `cmvn`: cepstral mean and variance normalization.
- `options`: configuration files such as conf/fbank.conf (`read_options`).
"""
