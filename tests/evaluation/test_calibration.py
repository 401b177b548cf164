"""Calibration and costs, against psrcal, llreval and scikit-learn, by hand, and on scores whose truth is known."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from flowlid.evaluation import metrics
from flowlid.evaluation.calibration import (
    Calibration,
    best_threshold,
    bits,
    class_mean,
    cllr,
    detection_costs,
    fit,
    min_cllr,
)
from flowlid.evaluation.novelty import Novelty


def made_up(seed: int, counts: tuple[int, ...] = (60, 40, 90)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean log-likelihoods per frame (U, K), frames (U,), labels (U,): noisy, overconfident, one class favoured."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(range(len(counts)), counts)
    frames = generator.integers(20, 800, len(labels))
    means = generator.normal(size=(len(labels), len(counts))) * 0.8 - 100
    means[np.arange(len(labels)), labels] += 0.7
    means[:, 0] += 0.5
    return means, frames, labels


def trials(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return np.round(generator.normal(2, 3, 50), 1), np.round(generator.normal(-1, 2, 80), 1)  # rounded: ties


# Costs


@pytest.mark.parametrize("seed", range(3))
def test_cllr_and_its_minimum_are_those_of_llreval(seed: int) -> None:
    from llreval.quick_eval import tarnon_2_eer_cllr_mincllr

    target, nontarget = trials(seed)
    _, expected, least = tarnon_2_eer_cllr_mincllr(target, nontarget)
    assert cllr(target, nontarget) == pytest.approx(expected, rel=1e-12)
    assert min_cllr(target, nontarget) == pytest.approx(least, rel=1e-9)
    assert min_cllr(target, nontarget) <= cllr(target, nontarget)


def test_cllr_by_hand() -> None:
    assert cllr([0.0], [0.0]) == 1.0  # knows nothing
    assert cllr([math.log(3)], [-math.log(3)]) == pytest.approx(math.log2(4 / 3))
    assert min_cllr([1.0, 2.0], [-1.0, 0.5]) == 0.0  # told apart
    assert min_cllr([1.0, 1.0], [1.0]) == pytest.approx(1.0)  # one score
    # targets at 0 and 2, the other at 1: PAV joins 1 with 0 (share 1/3 of a half, weights 1/4 and 1/2)
    assert min_cllr([0.0, 2.0], [1.0]) == pytest.approx(-(0.25 * math.log2(1 / 3) + 0.5 * math.log2(2 / 3)))


@pytest.mark.parametrize("seed", range(3))
def test_bits_are_the_log_loss_of_psrcal_and_sklearn(seed: int) -> None:
    import torch
    from psrcal.losses import LogLoss
    from sklearn.metrics import log_loss

    loglik, _, labels = made_up(seed)
    logs = log_softmax(loglik, axis=1)
    flat = torch.full((3,), 1 / 3, dtype=torch.float64)
    expected = LogLoss(torch.from_numpy(logs), torch.from_numpy(labels), norm=False, priors=flat)
    assert bits(loglik, labels) == pytest.approx(float(expected) / math.log(2))
    weights = 1 / np.bincount(labels)[labels]
    assert bits(loglik, labels) == pytest.approx(log_loss(labels, np.exp(logs), sample_weight=weights) / math.log(2))


def test_bits_by_hand() -> None:
    assert bits(np.zeros((5, 4)), [0, 1, 2, 3, 3]) == pytest.approx(2.0)  # log2 4
    # -log2 P is 1 for both utterances of class 0 and 2 for that of class 1; a third class is not in the set
    loglik = np.log([[0.5, 0.25, 0.25], [0.5, 0.4, 0.1], [0.5, 0.25, 0.25]])
    assert bits(loglik, [0, 0, 1]) == pytest.approx(1.5)


@pytest.mark.parametrize("beta", [1.0, 9.0, 0.25])
def test_detection_costs_by_the_definition(beta: float) -> None:
    loglik, _, labels = made_up(4)
    llr = metrics.detection_llr(loglik)

    def cost(threshold: float) -> float:
        total = 0.0
        for k in range(3):
            total += (llr[labels == k, k] < threshold).mean()
            total += sum(beta / 2 * (llr[labels == m, k] >= threshold).mean() for m in range(3) if m != k)
        return total / 3 / min(1.0, beta)

    assert class_mean(detection_costs(loglik, labels, beta), labels) == pytest.approx(cost(math.log(beta)))
    if beta == 1:
        assert cost(0.0) == pytest.approx(2 * metrics.cavg(llr, labels))
    best = best_threshold(loglik, labels, beta)
    least = class_mean(detection_costs(loglik, labels, beta, best), labels)
    assert least == pytest.approx(cost(best)) == pytest.approx(min(map(cost, [*np.unique(llr), np.inf])))
    nothing, labels = np.zeros((6, 3)), [0, 0, 1, 1, 2, 2]
    best = best_threshold(nothing, labels, beta)
    assert class_mean(detection_costs(nothing, labels, beta, best), labels) == pytest.approx(1.0)


# The fit


def affine(found: tuple[float, float, tuple[float, ...]]) -> Calibration:
    """The map of this scale, power and offsets; where utterances are believed is another matter."""
    return Calibration(*found, Novelty(np.zeros((1, 1)), np.ones(1), 1.0, 0.0, 1.0))


@pytest.mark.parametrize("least", [1.0, 0.0])
def test_gradient_and_optimum(least: float) -> None:
    """Where all utterances are believed, and where some are not, or by half."""
    means, frames, labels = made_up(1)
    believed = np.linspace(least, 1.0, len(labels))
    found = affine(fit(means, frames, labels, believed=believed, smooth=False))

    def loss(x: np.ndarray) -> float:
        logs = log_softmax(affine((math.exp(x[0]), x[1], tuple(x[2:]))).affine(means, frames), axis=1)
        return bits(np.log(believed[:, None] * np.exp(logs) + (1 - believed[:, None]) / 3), labels)

    bounds = [(None, None), (0, 1), *[(None, None)] * 3]
    best = minimize(loss, [0.0, 0.3, 0.0, 0.0, 0.0], method="Nelder-Mead", bounds=bounds, options={"maxiter": 5000})
    assert loss(np.array([math.log(found.scale), found.power, *found.offsets])) <= best.fun + 1e-7
    assert 0 <= found.power <= 1 and sum(found.offsets) == pytest.approx(0, abs=1e-9)
    slopes = [
        (loss(x + step) - loss(x - step)) / 2e-5
        for x in [np.array([math.log(found.scale), found.power, *found.offsets])]
        for step in 1e-5 * np.eye(5)
        if not (step[1] and found.power in (0.0, 1.0))
    ]
    assert np.abs(slopes).max() < 1e-4


def test_agrees_with_psrcal_where_all_utterances_are_alike_long() -> None:
    import torch
    from psrcal.calibration import AffineCalLogLoss, calibrate

    means, _, labels = made_up(2)
    frames = np.full(len(labels), 100)
    ours = affine(fit(means, frames, labels, smooth=False)).affine(means, frames)
    scores = torch.from_numpy(means - means.mean(1, keepdims=True))
    theirs, _ = calibrate(scores, torch.from_numpy(labels), scores, AffineCalLogLoss, priors=[1 / 3] * 3)
    assert bits(ours, labels) == pytest.approx(bits(theirs.detach().numpy(), labels), abs=1e-4)


def test_recovers_a_known_map() -> None:
    """Calibrated scores that were spoiled by a known map are mapped back."""
    generator = np.random.default_rng(5)
    labels, frames = np.repeat(range(3), 4000), generator.integers(50, 1000, 12000)
    # log-likelihoods of a Gaussian observation whose quality grows with the square root of its duration
    quality = (frames / 100) ** 0.5
    centres = np.eye(3) * 1.5
    seen = centres[labels] + generator.normal(size=(12000, 3)) / np.sqrt(quality)[:, None]
    true = -0.5 * quality[:, None] * ((seen[:, None] - centres) ** 2).sum(2)
    offsets = np.array([0.5, -0.2, -0.3])
    spoiled = (true - offsets) / (0.2 * quality[:, None])
    found = affine(fit(spoiled, frames, labels))
    assert found.scale == pytest.approx(0.2, rel=0.05)
    assert found.power == pytest.approx(0.5, abs=0.05)
    assert found.offsets == pytest.approx(offsets, abs=0.08)
    assert bits(found.affine(spoiled, frames), labels) == pytest.approx(bits(true, labels), abs=0.002)


def test_a_dev_set_without_an_error_gives_a_finite_scale() -> None:
    means, frames = np.array([[0.0, -1], [0, -2], [-1, 0], [-3, 0]]), np.array([50, 80, 100, 300])
    found = affine(fit(means, frames, [0, 0, 1, 1]))
    assert 0 < found.scale < 100
    # smoothed targets: (2 + 1/4) / (2 + 1/2) = 0.9 each, between which the probabilities of the truth lie
    probability = np.exp(log_softmax(found.affine(means, frames), axis=1))[range(4), [0, 0, 1, 1]]
    assert probability.min() < 0.9 < probability.max() < 0.999


def test_pieces_weigh_as_much_as_they_are_told() -> None:
    means, frames, labels = made_up(3)
    doubled = [np.concatenate([values, values]) for values in (means, frames, labels)]
    once, twice = fit(means, frames, labels), fit(*doubled, np.full(2 * len(labels), 0.5))
    assert twice[:2] == pytest.approx(once[:2], rel=1e-4) and twice[2] == pytest.approx(once[2], abs=1e-4)


def test_an_answer_is_worth_what_is_believed_of_it() -> None:
    """At the place of the dev set the affine map's, far away that of knowing nothing, between a mean of both."""
    measure = Novelty(np.zeros((1, 1)), np.ones(1), 1.0, 0.0, 1.0)  # novelty is log c^2
    map_ = Calibration(2.0, 0.5, (0.1, -0.1), measure)
    novelty = np.array([0.0, 2.7082901, 9.0])  # in the middle between the quantiles 2.3263479 and 3.0902323: w = 1/2
    found = np.exp(map_([[-1.0, -2.0]] * 3, [400] * 3, np.exp(novelty / 2)[:, None]))
    # 2 (T / 100)^0.5 s + b: a ratio of 2 x 2 x 1 + 0.2
    own = 1 / (1 + math.exp(-4.2))
    np.testing.assert_allclose(found[:, 0], [own, own / 2 + 0.25, 0.5], atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="class 2 of 3 has no utterance"):
        fit(np.zeros((3, 3)), [10, 10, 10], [0, 1, 1])
    with pytest.raises(ValueError, match="finite"):
        fit([[0.0, math.nan], [1.0, 0.0]], [10, 10], [0, 1])
