"""Cepstral mean and variance normalization, as Kaldi computes and applies it."""

import numpy as np

from flowlid.kaldi.arks import read_matrix
from flowlid.kaldi.datadir import DataDir


def cmvn_stats(feats: np.ndarray) -> np.ndarray:
    """Sufficient statistics of features in Kaldi's layout: (T, F) -> (2, F + 1) float64.

    Row 0 holds the sums and the number of frames, row 1 the sums of squares and 0, as
    `compute-cmvn-stats` writes them; statistics of several utterances add up.
    """
    feats = feats.astype(np.float64)
    stats = np.zeros((2, feats.shape[1] + 1))
    stats[0, :-1], stats[0, -1] = feats.sum(0), len(feats)
    stats[1, :-1] = np.square(feats).sum(0)
    return stats


def apply_cmvn(feats: np.ndarray, stats: np.ndarray, norm_vars: bool) -> np.ndarray:
    """Subtract the mean, and divide by the standard deviation if `norm_vars`: (T, F) -> (T, F) float32.

    Source: Kaldi's `apply-cmvn` (its floor of 1e-20 on the variance included).
    """
    mean = stats[0, :-1] / stats[0, -1]
    scale = 1.0
    if norm_vars:
        scale = 1.0 / np.sqrt(np.maximum(stats[1, :-1] / stats[0, -1] - mean**2, 1e-20))
    return ((feats - mean) * scale).astype(np.float32)


def global_cmvn(data: DataDir, allow_pipes: bool = False) -> np.ndarray:
    """Statistics of all frames of a data directory: (2, F + 1); ValueError: utterances of different dimensions."""
    total = 0
    for number, utt in enumerate(sorted(data.table("feats.scp"))):
        x = data.feats(utt, allow_pipes)
        if number:
            check_dim(data, utt, x, total.shape[1] - 1, "where those before it have")
        total = total + cmvn_stats(x)
    return total


def speaker_cmvn(data: DataDir, allow_pipes: bool = False) -> dict[str, np.ndarray]:
    """The statistics in cmvn.scp: speaker -> (2, F + 1) float64; ValueError: no statistics."""
    stats = {}
    for speaker, specifier in data.table("cmvn.scp").items():
        name = f"{data.path}/cmvn.scp: speaker {speaker}"
        stats[speaker] = read_matrix(specifier, name, allow_pipes).astype(np.float64)
        if stats[speaker].shape[0] != 2 or stats[speaker][0, -1] < 1:
            raise ValueError(f"{name}: no statistics of shape (2, F + 1) with a count; run stage 2 again")
    return stats


def check_dim(data: DataDir, utt: str, x: np.ndarray, wanted: int, whose: str) -> None:
    """Raise ValueError unless features (T, F) have `wanted` dimensions, as `whose` words say of others."""
    if x.shape[1] != wanted:
        raise ValueError(
            f"{data.path}/feats.scp: utterance {utt}: {x.shape[1]} dimensions {whose} {wanted}; "
            "extract the features of all directories with one configuration (stage 2)"
        )
