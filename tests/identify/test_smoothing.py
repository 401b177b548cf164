"""The most probable path, against all paths and against a matrix exponential."""

import itertools

import numpy as np
import pytest
from scipy.linalg import expm

from flowlid.identify.smoothing import best_path


def generator_matrix(priors: np.ndarray, duration: float) -> np.ndarray:
    """Rates of a chain whose class is drawn by the priors once in `duration` seconds."""
    return (np.tile(priors, (len(priors), 1)) - np.eye(len(priors))) / duration


def log_probability(path: tuple[int, ...], evidence: np.ndarray, moves: list[np.ndarray], priors: np.ndarray) -> float:
    found = np.log(priors[path[0]]) + evidence[0, path[0]]
    for t, (before, after) in enumerate(itertools.pairwise(path)):
        found += np.log(moves[t][before, after]) + evidence[t + 1, after]
    return float(found)


@pytest.mark.parametrize("seed", range(12))
def test_no_path_is_more_probable(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count, classes = int(generator.integers(1, 7)), int(generator.integers(2, 4))
    priors, duration = generator.dirichlet(np.ones(classes)), float(generator.uniform(0.1, 3))
    evidence = 2 * generator.normal(size=(count, classes))
    times = np.cumsum(generator.uniform(0.05, 2, count))
    moves = [expm(generator_matrix(priors, duration) * step) for step in np.diff(times)]
    found = best_path(evidence, times, np.log(priors), duration)
    paths = list(itertools.product(range(classes), repeat=count))
    best = max(paths, key=lambda path: log_probability(path, evidence, moves, priors))
    assert tuple(found) == best


def test_one_block_against_many_is_overruled_until_its_evidence_is_strong() -> None:
    times, priors = 0.1 * np.arange(11), np.log([0.5, 0.5])
    for strength, expected in ((2.0, 0), (10.0, 1)):
        evidence = np.tile([1.0, 0.0], (11, 1))
        evidence[5] = [0.0, strength]
        assert best_path(evidence, times, priors, 5.0)[5] == expected
    assert best_path(evidence, times, priors, 5.0).tolist() == [0] * 5 + [1] + [0] * 5


def test_what_all_classes_share_changes_nothing_and_silence_is_evidence_of_none() -> None:
    generator = np.random.default_rng(1)
    evidence, times = generator.normal(size=(50, 3)), np.cumsum(generator.uniform(0.1, 1, 50))
    priors = np.log([0.2, 0.3, 0.5])
    found = best_path(evidence, times, priors, 1.0)
    assert np.array_equal(found, best_path(evidence - 1e5 * generator.random((50, 1)), times, priors, 1.0))
    assert len(set(found)) == 3
    # long after a block, only the priors tell what comes next
    assert best_path([[3.0, 0, 0], [0.0, 0, 0]], [0.0, 1e6], priors, 1.0).tolist() == [0, 2]
