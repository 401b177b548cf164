"""Confidence intervals from a bootstrap over speakers, or over utterances where there are few speakers."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_SPEAKERS = 5  # with fewer, utterances are drawn instead
RESAMPLES = 2000
_AT_ONCE = 1_000_000  # numbers held for one batch of resamples: bounds the memory
_PERCENTILES = (2.5, 97.5)

Array = NDArray[np.float64]


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


def drawn_units(speakers: Sequence[str], utts: Sequence[object]) -> tuple[str, Sequence[object]]:
    """What a bootstrap draws, and that of each trial: "speakers", or "utterances" if there are few speakers.

    The trials of a speaker are alike, so whole speakers are drawn. With fewer than `FEWEST_SPEAKERS` of them
    utterances are drawn, which makes an interval too narrow for other speakers.
    """
    if len(set(speakers)) >= FEWEST_SPEAKERS:
        return "speakers", speakers
    return "utterances", utts


def resample(
    units: ArrayLike, statistics: Callable[[Array], Array], seed: int, numbers: int | None = None
) -> NDArray[np.float64]:
    """Statistics of `RESAMPLES` bootstrap resamples (Efron and Tibshirani 1993): (R, S).

    A resample draws as many units as there are, with replacement. Of units that are alike only their number
    matters, and how often each kind was drawn is multinomial: nothing is copied or sorted again, and the time does
    not grow with the number of units of a kind.

    Args:
        units: how many units there are of each of G kinds, (G,).
        statistics: gives the statistics (r, S) of r resamples from the number of units of each kind in them, (r, G).
        seed: of the resamples.
        numbers: how many numbers `statistics` holds for a resample; by default G.
    """
    units = np.asarray(units)
    generator, found, left = np.random.default_rng(seed), [], RESAMPLES
    while left:
        some = min(left, max(1, _AT_ONCE // (numbers or len(units))))
        found.append(statistics(generator.multinomial(units.sum(), units / units.sum(), size=some).astype(float)))
        left -= some
    return np.concatenate(found)


def percentile_interval(drawn: Array) -> tuple[float | None, float | None]:
    """Percentiles 2.5 and 97.5 of a statistic's resamples (R,), without those that are NaN.

    None and None if more than half of them are: a statistic that most resamples do not have has no interval.
    """
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2:
        return None, None
    low, high = np.percentile(known, _PERCENTILES)
    return float(low), float(high)


def estimate_recall(
    right: ArrayLike,
    speakers: Sequence[str],
    utts: Sequence[str],
    classes: Sequence[object] | None = None,
    seed: int = 1,
) -> Estimate:
    """Share of the trials that are right, averaged over the classes, with its interval.

    The bootstrap draws `drawn_units`: a resample's share of a class is what its units have right by all of their
    trials. A resample that lacks one of the classes is left out. Where all units are alike, so are all resamples:
    low = high = share.

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
    estimate, _ = _estimate(right, *drawn_units(speakers, utts), classes, seed)
    return estimate


def estimate_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    speakers: Sequence[str],
    utts: Sequence[str],
    classes: Sequence[object] | None = None,
    seed: int = 1,
) -> tuple[Estimate, float | None]:
    """Mean of ours - theirs over trials that both have, its interval, and the p-value of no difference.

    The bootstrap is that of `estimate_recall`, of the differences: pairs stay together. With R resamples, of which a
    share q has a mean below 0 (half of those at 0 count),

        p = 2 min(q, 1 - q), and at least 2 / (R + 1):

    an interval at level 1 - p would just reach 0 (Efron and Tibshirani 1993, chapter 15).

    Args:
        ours, theirs: a value of each trial, such as 1 for a right decision, or a cost in bits; (n,).
        speakers, utts, classes, seed: as in `estimate_recall`.

    Returns:
        The estimate, whose `share` is the mean difference, and p; None where there is no interval. Where all
        differences are 0, p is 1.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    classes = np.zeros(len(ours), int) if classes is None else np.asarray(classes)
    if not len(ours) == len(theirs) == len(speakers) == len(utts) == len(classes) or len(ours) == 0:
        raise ValueError(
            f"{len(ours)} and {len(theirs)} values, {len(speakers)} speakers, {len(utts)} utterances and "
            f"{len(classes)} classes: need as many of each, and at least one"
        )
    estimate, drawn = _estimate(ours - theirs, *drawn_units(speakers, utts), classes, seed)
    if estimate.low is None:
        return estimate, None
    drawn = drawn[np.isfinite(drawn)]
    below = float(((drawn < 0) + 0.5 * (drawn == 0)).mean())
    return estimate, min(1.0, max(2 * min(below, 1 - below), 2 / (len(drawn) + 1)))


def _estimate(
    values: Array, unit: str, names: Sequence[object], classes: np.ndarray, seed: int
) -> tuple[Estimate, NDArray[np.float64]]:
    """Mean over the classes of the means of values (n,), with its interval; and that of each resample."""
    kinds, units = np.unique(_counts(values, names, classes), axis=1, return_counts=True)
    (mean,) = _mean_recall(kinds.astype(float), units[None])
    low, high, drawn = None, None, np.zeros(0)
    if units.sum() > 1:
        drawn = resample(units, lambda drawn: _mean_recall(kinds, drawn), seed)
        low, high = percentile_interval(drawn)
    return Estimate(float(mean), low, high, unit, units=int(units.sum())), drawn


def _counts(right: Array, units: Sequence[str], classes: np.ndarray) -> Array:
    """Trials of each of G units that are right, per class, and then all trials of each unit, per class: (2 K, G)."""
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    present, row = np.unique(classes, return_inverse=True)
    table = np.zeros((2, len(present), len(names)))
    np.add.at(table[0], (row, unit), right)
    np.add.at(table[1], (row, unit), 1)
    return table.reshape(-1, len(names))


def _mean_recall(kinds: Array, drawn: Array) -> Array:
    """Mean of the classes' shares in each resample, NaN if it lacks a class: (2 K, G) and (r, G) -> (r,)."""
    right, trials = np.split(drawn @ kinds.T, 2, axis=1)
    recall = (right / np.maximum(trials, 1)).mean(axis=1)
    return np.where((trials > 0).all(axis=1), recall, np.nan)
