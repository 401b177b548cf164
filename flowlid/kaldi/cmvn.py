"""Cepstral mean and variance normalization, as Kaldi computes and applies it."""

import numpy as np

from flowlid.kaldi.arks import AGAIN, read_matrix
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


def shift_and_scale(stats: np.ndarray, norm_vars: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Means, and 1 / standard deviations if `norm_vars`: statistics (..., 2, F + 1) -> (..., F) each, float64.

    Source: Kaldi's `apply-cmvn` (its floor of 1e-20 on the variance included).
    """
    count = stats[..., 0, -1:]
    mean = stats[..., 0, :-1] / count
    if not norm_vars:
        return mean, None
    return mean, 1.0 / np.sqrt(np.maximum(stats[..., 1, :-1] / count - mean**2, 1e-20))


def apply_cmvn(feats: np.ndarray, shift: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """(feats - shift) * scale: (T, F), with a `shift` and a `scale` of (F,) or, by frame, (T, F) -> (T, F) float32."""
    normalized = feats - shift
    if scale is not None:
        normalized *= scale
    return normalized.astype(np.float32)


def speaker_cmvn(data: DataDir, allow_pipes: bool = False) -> dict[str, np.ndarray]:
    """The statistics in cmvn.scp: speaker -> (2, F + 1) float64; ValueError: no statistics."""
    stats = {}
    for speaker, specifier in data.table("cmvn.scp").items():
        name = f"{data.path}/cmvn.scp: speaker {speaker}"
        stats[speaker] = read_matrix(specifier, name, allow_pipes).astype(np.float64)
        if stats[speaker].shape[0] != 2 or stats[speaker][0, -1] < 1:
            raise ValueError(f"{name}: no statistics of shape (2, F + 1) with a count; {AGAIN}")
    return stats


def check_dim(data: DataDir, utt: str, dim: int, wanted: int, whose: str) -> None:
    """Raise ValueError unless features have `wanted` dimensions, as `whose` words say of others."""
    if dim != wanted:
        raise ValueError(
            f"{data.path}/feats.scp: utterance {utt}: {dim} dimensions {whose} {wanted}; "
            "extract the features of all directories with one configuration (stage 2)"
        )
