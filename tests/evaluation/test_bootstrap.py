"""Intervals, against a bootstrap by hand, scipy's, and what must hold of any interval."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from flowlid.evaluation import bootstrap
from flowlid.evaluation.bootstrap import Estimate, estimate_recall, percentile_interval, resample


def by_hand(right: np.ndarray, units: np.ndarray, classes: np.ndarray, resamples: int = 8000) -> tuple[float, float]:
    """Draw units with replacement, put their trials together, average the classes' shares; percentiles of that."""
    generator = np.random.default_rng(99)
    names = np.unique(units)
    trials = {name: np.flatnonzero(units == name) for name in names}
    shares = []
    for _ in range(resamples):
        chosen = np.concatenate([trials[name] for name in generator.choice(names, len(names))])
        if set(classes[chosen]) == set(classes):
            shares.append(np.mean([right[chosen][classes[chosen] == k].mean() for k in np.unique(classes)]))
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def made(speakers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Trials of speakers who are right more or less often: right, speakers, utterances, classes."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(2, 9, speakers)
    speaker = np.repeat(np.arange(speakers), counts)
    right = generator.random(len(speaker)) < generator.beta(2, 1, speakers)[speaker]
    names = np.array([f"s{n}" for n in speaker])
    utts = np.array([f"{name}-{n // 2}" for n, name in enumerate(names)])
    return right, names, utts, speaker % 2


def test_interval_is_that_of_a_bootstrap_by_hand() -> None:
    right, speakers, utts, classes = made(14)
    found = estimate_recall(right, speakers, utts)
    assert found.share == pytest.approx(right.mean()) and (found.unit, found.units) == ("speakers", 14)
    assert (found.low, found.high) == pytest.approx(by_hand(right, speakers, np.zeros(len(right))), abs=0.012)
    found = estimate_recall(right, speakers, utts, classes)
    assert found.share == pytest.approx((right[classes == 0].mean() + right[classes == 1].mean()) / 2)
    assert (found.low, found.high) == pytest.approx(by_hand(right, speakers, classes), abs=0.015)


def test_few_speakers_draw_utterances() -> None:
    right, speakers, utts, classes = made(4, seed=3)
    found = estimate_recall(right, speakers, utts, classes)
    assert (found.unit, found.units) == ("utterances", len(set(utts)))
    assert (found.low, found.high) == pytest.approx(by_hand(right, utts, classes), abs=0.02)
    assert estimate_recall(*made(5)[:3]).unit == "speakers"


def test_trials_of_a_speaker_are_not_independent() -> None:
    """Ten speakers, each always right or always wrong: a hundred trials of each make nothing surer."""
    right, speakers = np.repeat([1, 0] * 5, 100), [f"s{n // 100}" for n in range(1000)]
    found = estimate_recall(right, speakers, [str(n) for n in range(1000)])
    once = estimate_recall(right[::100], speakers[::100], speakers[::100])
    assert (found.low, found.high) == (once.low, once.high) == pytest.approx((0.2, 0.8))


@pytest.mark.parametrize(("right", "share"), [([1] * 6, 1.0), ([0] * 6, 0.0), ([1, 0] * 6, 0.5)])
def test_units_that_are_all_alike_give_one_point(right: list[int], share: float) -> None:
    speakers = [f"s{n * 6 // len(right)}" for n in range(len(right))]
    assert estimate_recall(right, speakers, speakers) == Estimate(share, share, share, "speakers", 6)


def test_one_utterance_has_no_interval() -> None:
    assert estimate_recall([1, 0, 1], ["s"] * 3, ["u"] * 3) == Estimate(2 / 3, None, None, "utterances", 1)


def test_resamples_that_mostly_lack_a_class_give_no_interval() -> None:
    """Eight classes of one utterance each: hardly any resample has them all."""
    names = [f"u{n}" for n in range(8)]
    assert estimate_recall([1] * 8, names, names, names) == Estimate(1.0, None, None, "speakers", 8)


def test_neither_the_order_nor_the_batches_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    right, speakers, utts, classes = made(9)
    found = estimate_recall(right, speakers, utts, classes)
    order = np.random.default_rng(1).permutation(len(right))
    assert estimate_recall(right[order], speakers[order], utts[order], classes[order]) == found
    other = estimate_recall(right, speakers, utts, classes, seed=2)
    assert other.share == found.share and (other.low, other.high) == pytest.approx((found.low, found.high), abs=0.03)
    assert (other.low, other.high) != (found.low, found.high)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 200)
    assert estimate_recall(right, speakers, utts, classes) == found


def test_an_interval_of_many_speakers_is_that_of_scipy() -> None:
    right, speakers, utts, classes = made(60)
    found = estimate_recall(right, speakers, utts, classes)
    rows = [np.flatnonzero(speakers == name) for name in np.unique(speakers)]

    def recall(drawn: np.ndarray) -> float:
        chosen = np.concatenate([rows[unit] for unit in drawn])
        return np.mean([right[chosen][classes[chosen] == k].mean() for k in (0, 1)])

    reference = stats.bootstrap(
        (np.arange(60),), recall, vectorized=False, n_resamples=3000, method="percentile",
        random_state=np.random.default_rng(5),
    )  # fmt: skip
    assert (found.unit, found.units) == ("speakers", 60)
    interval = reference.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.012)


def test_kinds_of_units_are_drawn_as_often_as_units_are() -> None:
    """Drawn by kind, or one by one: the same distribution of the number of each kind."""
    units = np.array([30, 50, 20])
    drawn = resample(units, lambda weights: weights, seed=1)
    kinds = np.repeat(np.arange(3), units)
    one_by_one = resample(np.ones(100, int), lambda w: np.stack([w[:, kinds == k].sum(1) for k in range(3)], 1), seed=2)
    for found in (drawn, one_by_one):
        assert found.shape == (bootstrap.RESAMPLES, 3) and (found.sum(axis=1) == 100).all()
        np.testing.assert_allclose(found.mean(axis=0), units, atol=0.5)
        np.testing.assert_allclose(found.var(axis=0), units * (1 - units / 100), rtol=0.12)


def test_an_interval_of_many_utterances_is_the_binomial_one() -> None:
    count = 40_000
    right = np.random.default_rng(0).random(count) < 0.8
    found = estimate_recall(right, ["s"] * count, [f"u{n}" for n in range(count)])
    margin = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / count)
    assert found.units == count
    assert (found.low, found.high) == pytest.approx((right.mean() - margin, right.mean() + margin), abs=0.1 * margin)


def test_the_memory_of_an_interval_does_not_hold_its_resamples() -> None:
    """All resamples of 10,000 units of as many kinds at once would be 160 MB."""
    tracemalloc.start()
    resample(np.ones(10_000, int), lambda weights: weights.max(axis=1), seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_an_interval_needs_half_of_the_resamples() -> None:
    drawn = np.arange(1000.0)
    assert percentile_interval(drawn) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    drawn[:500] = np.nan
    assert percentile_interval(drawn) == pytest.approx(tuple(np.percentile(drawn[500:], [2.5, 97.5])))
    drawn[500] = np.nan
    assert percentile_interval(drawn) == (None, None)


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 trials, 1 speakers, 2 utterances and 2 classes"):
        estimate_recall([1, 0], ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        estimate_recall([], [], [])
