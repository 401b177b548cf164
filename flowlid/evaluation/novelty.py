"""How far an utterance lies from all that a calibration was fitted on, and what its decision is then worth.

A new voice or channel moves the mean latent of an utterance, whatever its language. With the mean latent m_k of the dev
utterances of each class, and the variance v_d of their mean latents about it in each dim, the novelty of an utterance
of T frames with the mean latent c is

    n = log(q / (between + within 100 / T)) / spread,   q = min_k mean_d (c_d - m_kd)^2 / v_d.

`between` is what utterances differ by, however long, `within` what the mean of 100 frames varies by. They and `spread`
are fitted on dev utterances and their pieces, each measured by means and variances to which its own group gave nothing:
of utterances like those of the dev set n has about mean 0 and variance 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

_FRAMES = 100.0
_FOLDS = 10
_SAME = 1e-10  # of the variance: nearer to its class's mean than any other recording of it could be
# Of utterances like the dev set's, 1% lie beyond the novelty up to which a calibration is believed in full, and 0.1%
# beyond that from which on it is not believed at all.
_BELIEVED, _REFUSED = (float(ndtri(1 - share)) for share in (0.01, 0.001))

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Novelty:
    """The measure; K classes, D dims.

    Attributes:
        means: (K, D) mean latent of each class.
        variances: (D,) of utterances' mean latents about that of their class.
        between, within, spread: as in the formula.
    """

    means: Array
    variances: Array
    between: float
    within: float
    spread: float

    def __call__(self, mean_latents: ArrayLike, frames: ArrayLike) -> Array:
        """Novelty (U,) of utterances with these mean latents (U, D) over (U,) frames."""
        distance = _log_distance(np.asarray(mean_latents, float), self.means, self.variances)
        return (distance - _expected(self.between, self.within, frames)) / self.spread


def trust(novelty: ArrayLike) -> Array:
    """How far a calibration is to be believed: 1 up to a novelty of 2.33, 0 from 3.09 on, and linear between.

    1% and 0.1% of the utterances that are like the dev set's lie beyond, if novelty is normal.
    """
    return np.clip((_REFUSED - np.asarray(novelty, float)) / (_REFUSED - _BELIEVED), 0.0, 1.0)


def fit_novelty(
    mean_latents: ArrayLike, frames: ArrayLike, labels: ArrayLike, groups: ArrayLike, weights: ArrayLike
) -> tuple[Novelty, Array]:
    """Fit the measure on a dev set.

    Args:
        mean_latents: of utterances and pieces of them, (U, D).
        frames: of each, (U,).
        labels: class of each, (U,), 0 to K - 1.
        groups: what is left out together, (U,): an utterance with its pieces, or all of a speaker whom training did not
            have; then n tells how far other new speakers lie.
        weights: of each, (U,).

    Returns:
        The measure, and the novelty (U,) of the dev set itself, of each group by the others.

    Raises:
        ValueError: a class that only one group has, or recordings that are there several times.
    """
    from scipy.optimize import least_squares  # slow to import, and using a fit needs none of it

    latents, labels, weights = np.asarray(mean_latents, float), np.asarray(labels), np.asarray(weights, float)
    fold = _folds(np.asarray(groups), labels)
    distance = np.empty(len(latents))
    for number in range(fold.max() + 1):
        out = fold == number
        distance[out] = _log_distance(latents[out], *_moments(latents[~out], labels[~out], weights[~out]))
    if not (distance > np.log(_SAME)).all():
        raise ValueError(
            "calibration: the mean latent of an utterance is just that of others of its class: the dev set, or what a "
            "class is added from, has a recording several times; leave the copies out"
        )
    root = np.sqrt(weights)
    parts = least_squares(
        lambda logs: (distance - _expected(*np.exp(logs), frames)) * root, np.full(2, distance.mean() - np.log(2))
    )
    between, within = map(float, np.exp(parts.x))
    rest = distance - _expected(between, within, frames)
    spread = float(np.sqrt((weights * rest**2).sum() / weights.sum()))
    means, variances = _moments(latents, labels, weights)
    return Novelty(means, variances, between, within, spread), rest / spread


def _folds(groups: NDArray, labels: NDArray) -> NDArray[np.int64]:
    """Fold of each row, (U,): whole groups, as many of each class in every fold as can be."""
    names, first, group = np.unique(groups, return_index=True, return_inverse=True)
    own = labels[first]
    counts = np.bincount(own, minlength=labels.max() + 1)
    if counts.min() < 2:
        few = counts.argmin()
        raise ValueError(f"calibration: class {few} of {len(counts)} has {counts[few]} group in the dev set; need two")
    order = np.lexsort((np.random.default_rng(1).permutation(len(names)), own))  # shuffled, class by class
    number = np.empty(len(names), int)
    number[order] = np.arange(len(names)) - np.repeat(np.cumsum(counts) - counts, counts)
    return (number % min(_FOLDS, counts.min()))[group]


def _moments(latents: Array, labels: NDArray, weights: Array) -> tuple[Array, Array]:
    """Weighted mean (K, D) of each class, and variance (D,) about it."""
    share = np.eye(labels.max() + 1)[labels] * weights[:, None]
    means = share.T @ latents / share.sum(axis=0)[:, None]
    return means, weights @ (latents - means[labels]) ** 2 / weights.sum()


def _log_distance(latents: Array, means: Array, variances: Array) -> Array:
    with np.errstate(divide="ignore"):  # of none: -inf
        return np.log(np.min([((latents - mean) ** 2 / variances).mean(axis=1) for mean in means], axis=0))


def _expected(between: float, within: float, frames: ArrayLike) -> Array:
    """Logarithm of the distance that utterances of so many frames have."""
    return np.log(between + within * _FRAMES / np.asarray(frames, float))
