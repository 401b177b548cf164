"""The law of a statistic by class and duration, against data made by a known law."""

import numpy as np
import pytest
from scipy.stats import kstest

from flowlid.evaluation.typicality import Law, fit_law


def test_a_known_law_is_found() -> None:
    generator = np.random.default_rng(1)
    frames = np.exp(generator.uniform(np.log(20), np.log(2000), 20000))
    decided = generator.integers(0, 2, 20000)
    law = Law((1.0, -2.0), 3.0, (0.5, 0.2), 80.0)
    noise = generator.normal(size=20000)
    x = np.array([1.0, -2.0])[decided] + 3 / np.sqrt(frames)
    x += noise * np.array([0.5, 0.2])[decided] * np.sqrt(1 + 80 / frames)
    assert law(x, frames, decided) == pytest.approx(noise)
    found = fit_law(x, frames, decided, 2)
    assert found.means == pytest.approx(law.means, abs=0.02)
    assert found.slope == pytest.approx(3, abs=0.2)
    assert found.scales == pytest.approx(law.scales, rel=0.03)
    assert found.frames == pytest.approx(80, rel=0.1)
    for own in (frames < 100, frames > 1000):  # the deviations are as many, whatever the duration
        assert kstest(found(x, frames, decided)[own], "norm").pvalue > 0.01


def test_a_mean_of_correlated_frames_is_standardized_at_each_duration() -> None:
    """Frames of an AR(1) process around the mean of their utterance: neither independent nor alike."""
    generator = np.random.default_rng(2)

    def means(count: int, length: int) -> np.ndarray:
        frames = np.zeros((count, length))
        frames[:, 0] = generator.normal(size=count)
        for t in range(1, length):
            frames[:, t] = 0.9 * frames[:, t - 1] + np.sqrt(1 - 0.81) * generator.normal(size=count)
        return frames.mean(1) + 0.1 * generator.normal(size=count)

    lengths = (50, 100, 200, 400, 800)
    x = np.concatenate([means(400, length) for length in lengths])
    frames = np.repeat(lengths, 400)
    z = fit_law(x, frames, 0 * frames, 1)(x, frames, 0 * frames)
    for length in lengths:
        assert z[frames == length].std() == pytest.approx(1, abs=0.1)


def test_a_class_of_few_is_judged_by_the_others_too() -> None:
    generator = np.random.default_rng(3)
    x, decided = generator.normal(5, 2, 101), np.array([0] * 100 + [1])
    law = fit_law(x, [100] * 101, decided, 3)
    assert law.means[1] == pytest.approx((x[-1] + 5 * x.mean()) / 6)
    assert law.means[2] == pytest.approx(x.mean())  # no utterance at all
    assert all(1 < scale < 3 for scale in law.scales)


def test_durations_that_are_all_alike_give_a_law_without_them() -> None:
    law = fit_law([1.0, 2.0, 3.0, 4.0], [70] * 4, [0] * 4, 1)
    assert law.slope == 0
    assert law([5.0], [10], [0]) == pytest.approx(law([5.0], [1000], [0]), rel=1e-3)


@pytest.mark.parametrize("x", [[1.0], [1.0, float("nan")], [2.0, 2.0], []])
def test_what_has_no_law_is_refused(x: list) -> None:
    with pytest.raises(ValueError, match="a law of"):
        fit_law(x, [10] * len(x), [0] * len(x), 1)
