"""Novelty against a sum written out, on utterances whose distribution is known, and the trust that it leaves."""

import numpy as np
import pytest
from scipy.stats import norm

from flowlid.evaluation.novelty import Novelty, fit_novelty, trust


def test_novelty_by_hand() -> None:
    measure = Novelty(np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([1.0, 4.0]), between=0.5, within=2.0, spread=3.0)
    # distances of (3, 2) per dim: (9/1 + 4/4) / 2 = 5 from the first class, (1/1 + 4/4) / 2 = 1 from the second
    found = measure([[3.0, 2.0], [3.0, 2.0]], [100, 400])
    assert found == pytest.approx([np.log(1 / 2.5) / 3, np.log(1 / (0.5 + 2 / 4)) / 3])


def test_trust_is_lost_between_two_quantiles() -> None:
    full, none = norm.isf([0.01, 0.001])
    assert trust([-5, 0, full, (full + none) / 2, none, 50]) == pytest.approx([1, 1, 1, 0.5, 0, 0])


def utterances(seed: int, count: int = 300, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean latents of two classes, 20 dims: 1 and 4 / T (s) are the parts of their variance; and frames and labels."""
    generator = np.random.default_rng(seed)
    labels, frames = np.arange(count) % 2, generator.integers(50, 1000, count)
    noise = generator.normal(size=(count, 20)) * np.geomspace(0.1, 3, 20) * np.sqrt(1 + 400 / frames)[:, None]
    return 2.0 * labels[:, None] + noise + shift, frames, labels


def test_utterances_like_those_of_the_dev_set_are_standard() -> None:
    latents, frames, labels = utterances(1)
    measure, own = fit_novelty(latents, frames, labels, np.arange(len(labels)), np.ones(len(labels)))
    assert (own.mean(), np.sqrt((own**2).mean())) == pytest.approx((0, 1), abs=0.01)
    assert measure.within / measure.between == pytest.approx(4, rel=0.2)
    others = measure(*utterances(2)[:2])
    assert others.mean() == pytest.approx(0, abs=0.2) and others.std() == pytest.approx(1, abs=0.15)
    short, long = (abs(others[chosen].mean()) for chosen in np.array([frames < 300, frames > 600]))
    assert max(short, long) < 0.4
    assert measure(*utterances(3, shift=-9.0)[:2]).min() > 3.1


def test_groups_are_left_out_as_a_whole() -> None:
    """Each group of 30 has a place of its own: judged by the others it is new, by its own utterances it is not."""
    latents, frames, labels = utterances(4)
    speakers = np.arange(len(labels)) // 2 % 5 * 2 + labels
    latents = latents + np.random.default_rng(5).normal(size=(10, 20))[speakers] * 3
    ones = np.ones(len(labels))
    by_speaker, own = fit_novelty(latents, frames, labels, speakers, ones)
    by_utterance, _ = fit_novelty(latents, frames, labels, np.arange(len(labels)), ones)
    assert by_speaker.between + by_speaker.within > 1.1 * (by_utterance.between + by_utterance.within)
    assert own.mean() == pytest.approx(0, abs=0.01)
    np.testing.assert_array_equal(by_speaker.means, by_utterance.means)


def test_the_weights_of_pieces_count() -> None:
    latents, frames, labels = utterances(6, count=40)
    doubled = [np.concatenate([values, values]) for values in (latents, frames, labels, np.arange(40))]
    once, own = fit_novelty(latents, frames, labels, np.arange(40), np.ones(40))
    twice, again = fit_novelty(*doubled, np.full(80, 0.5))
    np.testing.assert_allclose(twice.means, once.means)
    np.testing.assert_allclose(twice.variances, once.variances)
    assert (twice.between, twice.within, twice.spread) == pytest.approx(
        (once.between, once.within, once.spread), rel=1e-4
    )
    np.testing.assert_allclose(again[:40], own, atol=1e-4)


def test_one_group_cannot_be_left_out() -> None:
    latents, frames, labels = utterances(1, count=6)
    with pytest.raises(ValueError, match="class 1 of 2 has 1 group in the dev set; need two"):
        fit_novelty(latents, frames, labels, [0, 9, 1, 9, 2, 9], np.ones(6))


def test_copies_of_a_recording_tell_nothing_of_others() -> None:
    latents, frames, labels = utterances(1, count=20)
    latents[labels == 1] = latents[1]
    with pytest.raises(ValueError, match="has a recording several times; leave the copies out"):
        fit_novelty(latents, frames, labels, np.arange(20), np.ones(20))
