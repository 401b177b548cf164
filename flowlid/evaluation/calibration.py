"""Calibrated log-likelihoods: an affine map of each utterance's vector, fitted on a dev set, and what scores cost.

A flow takes neighbouring frames for independent, so that the sum of an utterance's log-likelihoods is far too sure of
itself. The calibrated vector of an utterance of T frames with the mean log-likelihoods s_k (nats per frame) is

    l_k = a (T / 100)^p (s_k - mean_j s_j) + b_k,   a > 0, 0 <= p <= 1, sum_k b_k = 0,

multi-class linear logistic regression (Brümmer and van Leeuwen, "On calibration of language recognition scores",
Odyssey 2006) with the duration as in quality measures: p = 1 counts all frames, p = 0 one vote per utterance.

That holds for utterances like those of the dev set. Of one that may be of another voice or channel nothing is known:
with the trust w in that it is like them (`novelty.trust`),

    P(k | x) = w softmax(l)_k + (1 - w) / K.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, xlogy

from flowlid.evaluation import metrics
from flowlid.evaluation.novelty import Novelty, trust

_FRAMES = 100.0  # at which the scale is that of the formula: keeps the fit well conditioned
_BOUNDS = (-30.0, 30.0)  # of log a, where classes are never confused and nothing else bounds it
BETAS = (1.0, 9.0)  # operating points of the NIST evaluations of 2017 and 2022: P_target 0.5 and 0.1 at equal costs

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The map; `offsets` are b, one per class in the model's order."""

    scale: float
    power: float
    offsets: tuple[float, ...]
    novelty: Novelty

    def __call__(self, mean_loglik: ArrayLike, frames: ArrayLike, mean_latents: ArrayLike) -> Array:
        """log P(class | utterance) at flat priors (U, K), which are calibrated log-likelihoods too.

        Args:
            mean_loglik: log-likelihood per frame of each class in nats, (U, K).
            frames: of each utterance, (U,).
            mean_latents: of each utterance, (U, D).
        """
        believed = trust(self.novelty(mean_latents, frames))
        return _mixed(log_softmax(self.affine(mean_loglik, frames), axis=1), believed)

    def affine(self, mean_loglik: ArrayLike, frames: ArrayLike) -> Array:
        """The log-likelihoods l (U, K), of utterances that are like those of the dev set; their best class decides."""
        return _apply(np.array([math.log(self.scale), self.power, *self.offsets]), _centred(mean_loglik), frames)


def fit(
    mean_loglik: ArrayLike,
    frames: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None = None,
    believed: ArrayLike | None = None,
    smooth: bool = True,
) -> tuple[float, float, tuple[float, ...]]:
    """Scale, power and offsets of least cross-entropy, all classes weighted alike.

    Its targets are smoothed (Platt, 1999), as if the dev set had one utterance more, of which nothing is known: of n
    utterances of a class that has 1 / K of it, the own probability counts as (n + 1 / K^2) / (n + 1 / K), every other
    as (1 / K^2) / (n + 1 / K). A dev set without an error then gives a finite scale.

    Args:
        mean_loglik: log-likelihood per frame of each class in nats, (U, K).
        frames: of each utterance, (U,).
        labels: class of each utterance, (U,), 0 to K - 1; every class has an utterance.
        weights: of each, (U,), for pieces of utterances: those of one add up to 1. By default all are 1.
        believed: the trust w in each, (U,). By default all are 1.
        smooth: whether targets are smoothed; not for the minimum that a set allows.

    Raises:
        ValueError: a class without utterances, NaN or Inf, or fewer than two classes.
    """
    from scipy.optimize import minimize  # slow to import, and using a fit needs none of it

    means, labels = _centred(mean_loglik), np.asarray(labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    believed = np.ones(len(labels)) if believed is None else np.asarray(believed, float)
    targets = _targets(labels, weights, means.shape[1], smooth)
    durations = np.log(np.asarray(frames) / _FRAMES)

    def loss(parameters: Array) -> tuple[float, Array]:
        loglik = _apply(parameters, means, frames)
        logs = log_softmax(loglik, axis=1)
        mixed = _mixed(logs, believed)
        pulled = targets * np.exp(logs - mixed) * believed[:, None]
        slope = pulled.sum(1, keepdims=True) * np.exp(logs) - pulled  # of the loss by the log-likelihoods
        by_scale = (slope * (loglik - parameters[2:])).sum(1)
        return -(targets * mixed).sum(), np.array([by_scale.sum(), by_scale @ durations, *slope.sum(0)])

    best = min(
        (
            minimize(loss, [start, power, *[0.0] * len(targets.T)], jac=True, method="L-BFGS-B",
                     bounds=[_BOUNDS, (0.0, 1.0), *[(None, None)] * len(targets.T)],
                     options={"maxiter": 2000, "ftol": 1e-12})
            for start in (-math.log(means.std() + 1e-12), 0.0)
            for power in (0.0, 0.5)
        ),
        key=lambda found: found.fun,
    )  # fmt: skip
    offsets = best.x[2:] - best.x[2:].mean()
    return math.exp(best.x[0]), float(best.x[1]), tuple(map(float, offsets))


def bits(loglik: ArrayLike, labels: ArrayLike) -> float:
    """Multi-class cross-entropy at flat priors, in bits: the mean over the classes of the mean of -log2 P(class).

    log2 K is what knowing nothing costs. A class without utterances in the set does not count.

    Args:
        loglik: of whole utterances, nats, (U, K).
        labels: class of each, (U,), 0 to K - 1.
    """
    return class_mean(costs_in_bits(loglik, labels), labels)


def costs_in_bits(loglik: ArrayLike, labels: ArrayLike) -> Array:
    """-log2 P(class) of each utterance at flat priors, (U,)."""
    logs = log_softmax(_matrix(loglik), axis=1)
    return -np.take_along_axis(logs, np.asarray(labels)[:, None], axis=1)[:, 0] / math.log(2)


def cllr(target: ArrayLike, nontarget: ArrayLike) -> float:
    """Cost of log-likelihood ratios in bits (Brümmer and du Preez, 2006); 1 is that of knowing nothing.

    1/2 mean log2(1 + exp(-t)) over target trials + 1/2 mean log2(1 + exp(n)) over the others.
    """
    return float((np.logaddexp(0, -np.asarray(target)).mean() + np.logaddexp(0, nontarget).mean()) / 2 / math.log(2))


def min_cllr(target: ArrayLike, nontarget: ArrayLike) -> float:
    """The least `cllr` that a rising map of these scores can have, by the pool-adjacent-violators algorithm (PAV)."""
    from scipy.optimize import isotonic_regression  # slow to import, and using a fit needs none of it

    target, nontarget = np.asarray(target, float), np.asarray(nontarget, float)
    scores = np.concatenate([target, nontarget])
    weights = np.repeat([0.5 / len(target), 0.5 / len(nontarget)], [len(target), len(nontarget)])
    values, number = np.unique(scores, return_inverse=True)  # equal scores cannot be told apart
    whole = np.bincount(number, weights)
    share = np.bincount(number[: len(target)], weights[: len(target)], minlength=len(values)) / whole
    p = isotonic_regression(share, weights=whole).x
    return float(-(whole * (xlogy(share, p) + xlogy(1 - share, 1 - p))).sum() / math.log(2))


def detection_costs(loglik: ArrayLike, labels: ArrayLike, beta: float, threshold: float | None = None) -> Array:
    """What each utterance adds to C(beta) of the NIST language recognition evaluations of 2017 and 2022, (U,).

    1/K sum_k [ P_miss(k) + beta / (K - 1) sum_{m != k} P_fa(k, m) ], k accepted where its detection log-likelihood
    ratio is at least the threshold, is the mean over the classes of the mean over their utterances (`class_mean`) of

        [k refused] + beta / (K - 1) x the number of other classes accepted.

    Divided by min(1, beta), the cost of the better of "never" and "always", it is 1 for a system that knows nothing.

    Args:
        loglik: of whole utterances, nats, (U, K).
        labels: class of each, (U,), 0 to K - 1.
        beta: the cost of a false alarm at equal priors, in misses.
        threshold: by default that of Bayes' rule, log beta; `best_threshold` gives the minimum.
    """
    llr = metrics.detection_llr(loglik)
    accepted = llr >= (math.log(beta) if threshold is None else threshold)
    own = np.take_along_axis(accepted, np.asarray(labels)[:, None], axis=1)[:, 0]
    wrong = beta / (llr.shape[1] - 1) * (accepted.sum(axis=1) - own)
    return (~own + wrong) / min(1.0, beta)


def best_threshold(loglik: ArrayLike, labels: ArrayLike, beta: float) -> float:
    """The one threshold for all classes of which the mean of `detection_costs` is least."""
    llr, labels = metrics.detection_llr(loglik), np.asarray(labels)
    classes = llr.shape[1]
    own = labels[:, None] == np.arange(classes)
    share = np.broadcast_to(1 / np.bincount(labels, minlength=classes)[labels, None], llr.shape)
    values, number = np.unique(llr, return_inverse=True)
    number = number.reshape(llr.shape)
    missed = np.bincount(number[own], share[own], minlength=len(values))
    accepted = np.bincount(number[~own], share[~own] * beta / (classes - 1), minlength=len(values))
    # at the lowest score everything is accepted; above each value, what is up to it is refused
    change = np.concatenate([[0.0], np.cumsum(missed - accepted)])
    return float(np.append(values, np.inf)[change.argmin()])


def class_mean(values: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes of the mean of their utterances' values; a class without utterances does not count."""
    values, labels = np.asarray(values, float), np.asarray(labels)
    return float(np.mean([values[labels == k].mean() for k in np.unique(labels)]))


def _targets(labels: NDArray, weights: Array, classes: int, smooth: bool) -> Array:
    """What each utterance says of each class, times its weight; all classes weigh alike and add up to 1: (U, K)."""
    counts = np.bincount(labels, weights, minlength=classes)
    if counts.min() == 0:
        raise ValueError(f"calibration: class {counts.argmin()} of {len(counts)} has no utterance in the dev set")
    own, count = np.eye(classes)[labels], counts[labels, None]
    targets = (own * count + 1 / classes**2) / (count + 1 / classes) if smooth else own
    return targets * weights[:, None] / (count * classes)


def _mixed(logs: Array, believed: Array) -> Array:
    """log(w p + (1 - w) / K) of log p (U, K) and w (U,)."""
    with np.errstate(divide="ignore"):  # the log of 0: all of the other part
        own, flat = np.log(believed)[:, None], np.log1p(-believed)[:, None] - math.log(logs.shape[1])
    return np.logaddexp(logs + own, flat)


def _apply(parameters: Array, centred: Array, frames: ArrayLike) -> Array:
    duration = (np.asarray(frames, float) / _FRAMES) ** parameters[1]
    return np.exp(parameters[0]) * duration[:, None] * centred + parameters[2:]


def _centred(mean_loglik: ArrayLike) -> Array:
    means = _matrix(mean_loglik)
    return means - means.mean(axis=1, keepdims=True)


def _matrix(loglik: ArrayLike) -> Array:
    loglik = np.asarray(loglik, float)
    if loglik.ndim != 2 or loglik.shape[1] < 2 or not np.isfinite(loglik).all():
        raise ValueError(f"log-likelihoods of shape {loglik.shape}: need finite (U, K), K >= 2")
    return loglik
