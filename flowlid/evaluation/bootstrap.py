"""How sure a share is: intervals from a bootstrap over speakers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FEWEST_SPEAKERS = 5  # with fewer, utterances are drawn instead
RESAMPLES = 2000
_AT_ONCE = 2_000_000  # numbers drawn in one batch of resamples: bounds the memory
_MANY = 10_000  # units, above which those that are alike are drawn together: bounds the time
_LACKS_A_CLASS = -1.0  # a recall is never below 0


@dataclass(frozen=True)
class Estimate:
    """A share with its 95% interval.

    Attributes:
        share: of all trials; over several classes the mean of their shares.
        low, high: the interval; None where there are fewer than two units, or where most resamples lack a class.
        unit: what was drawn with replacement, "speakers" or "utterances".
        units: how many there are.
    """

    share: float
    low: float | None
    high: float | None
    unit: str
    units: int

    def to_dict(self) -> dict[str, float | int | str | None]:
        return asdict(self)


def estimate_recall(
    right: ArrayLike,
    speakers: Sequence[str],
    utts: Sequence[str],
    classes: Sequence[object] | None = None,
    seed: int = 1,
) -> Estimate:
    """Share of the trials that are right, averaged over the classes, with its interval.

    The trials of a speaker are alike, so the bootstrap (Efron and Tibshirani 1993, percentiles 2.5 and
    97.5) draws whole speakers: each resample's share is the sum of what its speakers have right by the sum of
    their trials. With fewer than `FEWEST_SPEAKERS` speakers it draws utterances, which makes the interval too
    narrow for other speakers. A resample that lacks one of the classes is left out. Where all units are alike,
    so are all resamples: low = high = share. Of more than 10,000 units, a resample is how often each kind of them
    (as many right, as many trials) was drawn: the same distribution, in a time that does not grow with the units.

    Args:
        right: whether each trial is right, shape (n,).
        speakers, utts: of each trial, shape (n,).
        classes: true class of each trial; by default all are of one.
        seed: of the resamples.

    Raises:
        ValueError: no trial, or lists of different lengths.
    """
    right = np.asarray(right, dtype=float)
    classes = np.zeros(len(right), int) if classes is None else np.asarray(classes)
    if not len(right) == len(speakers) == len(utts) == len(classes) or len(right) == 0:
        raise ValueError(
            f"{len(right)} trials, {len(speakers)} speakers, {len(utts)} utterances and {len(classes)} classes: need "
            "as many of each, and at least one"
        )
    unit = "speakers" if len(set(speakers)) >= FEWEST_SPEAKERS else "utterances"
    found = _counts(right, speakers if unit == "speakers" else utts, classes)
    share = float(_mean_recall(*found, axis=-1))
    low, high = _interval(found, seed)
    return Estimate(share, low, high, unit, units=len(found[0]))


def _counts(right: NDArray[np.float64], units: Sequence[str], classes: np.ndarray) -> list[NDArray[np.float64]]:
    """Per class the right trials of each unit, then per class all trials of each unit: 2 K arrays (units,)."""
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    present, column = np.unique(classes, return_inverse=True)
    table = np.zeros((2, len(present), len(names)))
    np.add.at(table[0], (column, unit), right)
    np.add.at(table[1], (column, unit), 1)
    return [*table[0], *table[1]]


def _mean_recall(*counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    sums = np.stack([count.sum(axis=axis) for count in counts])
    right, trials = sums[: len(sums) // 2], sums[len(sums) // 2 :]
    recall = (right / np.maximum(trials, 1)).mean(axis=0)
    return np.where((trials > 0).all(axis=0), recall, _LACKS_A_CLASS)


def _interval(counts: list[NDArray[np.float64]], seed: int) -> tuple[float | None, float | None]:
    units = len(counts[0])
    if units < 2:
        return None, None
    generator = np.random.default_rng(seed)
    drawn = _one_by_one(counts, generator) if units <= _MANY else _by_kind(counts, generator)
    drawn = drawn[drawn != _LACKS_A_CLASS]
    if len(drawn) < RESAMPLES / 2:
        return None, None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _one_by_one(counts: list[NDArray[np.float64]], generator: np.random.Generator) -> NDArray[np.float64]:
    """The mean recall of each resample: (R,)."""
    result = stats.bootstrap(
        counts,
        _mean_recall,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // (len(counts[0]) * len(counts))),
        method="percentile",
        random_state=generator,
    )
    return result.bootstrap_distribution


def _by_kind(counts: list[NDArray[np.float64]], generator: np.random.Generator) -> NDArray[np.float64]:
    """The same, by drawing how many units of each kind a resample has: multinomial, as of units drawn one by one."""
    kinds, units = np.unique(np.stack(counts), axis=1, return_counts=True)
    recalls, left = [], RESAMPLES
    while left:
        some = min(left, max(1, _AT_ONCE // kinds.size))
        drawn = generator.multinomial(units.sum(), units / units.sum(), size=some)
        recalls.append(_mean_recall(*(drawn * kind for kind in kinds), axis=-1))
        left -= some
    return np.concatenate(recalls)
