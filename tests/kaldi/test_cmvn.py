"""CMVN statistics and what they make of features, by hand."""

import numpy as np

from flowlid.kaldi.cmvn import apply_cmvn, cmvn_stats, shift_and_scale


def test_cmvn_stats_have_kaldis_layout() -> None:
    stats = cmvn_stats(np.array([[1, 2], [3, 5]], np.float32))
    assert stats.dtype == np.float64 and stats.tolist() == [[4, 7, 2], [10, 29, 0]]


def test_a_constant_dimension_stays_finite() -> None:
    x = np.ones((5, 1), np.float32)
    assert apply_cmvn(x, *shift_and_scale(cmvn_stats(x), norm_vars=True)).tolist() == [[0.0]] * 5
