"""How far a statistic of an utterance is from what its class and duration lead one to expect.

A mean over T frames spreads the less the longer the utterance is, but not by 1 / T alone: its frames are correlated,
and utterances differ from one another however long they are. Of utterances decided as class k, a statistic x has about

    mean c_k + d / sqrt(T),   variance s_k^2 (1 + b / T),

with c, d, s and b from the dev set. Utterances of many durations are needed to find d and b; where all are alike, the
law is flat in T.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PRIOR = 5.0  # utterances that a class has of the average of all classes: a class of few is not judged by these alone
_BOUNDS = (-5.0, 12.0)  # of log b: from no influence of the duration to a variance that goes with 1 / T

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """The law above: `means` are c, `slope` is d, `scales` are s, `frames` is b; K classes."""

    means: tuple[float, ...]
    slope: float
    scales: tuple[float, ...]
    frames: float

    def __call__(self, x: ArrayLike, frames: ArrayLike, decided: ArrayLike) -> Array:
        """Standardized deviations (U,) of statistics (U,), of so many frames (U,), decided as class numbers (U,)."""
        frames, decided = np.asarray(frames, float), np.asarray(decided)
        expected = np.array(self.means)[decided] + self.slope / np.sqrt(frames)
        return (x - expected) / (np.array(self.scales)[decided] * np.sqrt(1 + self.frames / frames))


def fit_law(x: ArrayLike, frames: ArrayLike, decided: ArrayLike, classes: int) -> Law:
    """The law of these statistics: d by least squares within the classes, s and b by maximum likelihood.

    Class means and variances are drawn towards those of all classes, as if each had five more utterances of these.

    Args:
        x: of each utterance, (U,).
        frames: of each utterance, (U,).
        decided: class of each, (U,), 0 to `classes` - 1; a class may have none.
        classes: K.

    Raises:
        ValueError: fewer than two utterances, NaN or Inf, or a statistic that is the same of all.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and using a fit needs none of it

    x, frames, decided = np.asarray(x, float), np.asarray(frames, float), np.asarray(decided)
    if len(x) < 2 or not np.isfinite(x).all() or np.ptp(x) == 0:
        raise ValueError(f"a law of {len(x)} values: needs finite ones of two or more utterances, not all the same")
    count = np.bincount(decided, minlength=classes)

    def drawn(values: Array) -> Array:
        """Class means (K,), drawn towards the mean of all."""
        return (np.bincount(decided, values, minlength=classes) + _PRIOR * values.mean()) / (count + _PRIOR)

    def within(values: Array) -> Array:
        return values - (np.bincount(decided, values, minlength=classes) / np.maximum(count, 1))[decided]

    inverse = 1 / np.sqrt(frames)
    spread = within(inverse)
    varied = spread @ spread > 1e-12 * len(x)
    slope = float(spread @ x / (spread @ spread)) if varied else 0.0
    means = drawn(x - slope * inverse)
    square = (x - slope * inverse - means[decided]) ** 2

    def variances(log_b: float) -> tuple[Array, Array]:
        relative = 1 + np.exp(log_b) / frames
        return drawn(square / relative), relative

    def loss(log_b: float) -> float:
        variance, relative = variances(log_b)
        whole = variance[decided] * relative
        return float((np.log(whole) + square / whole).sum())

    log_b = float(minimize_scalar(loss, bounds=_BOUNDS, method="bounded").x) if varied else _BOUNDS[0]
    scales = np.sqrt(variances(log_b)[0])
    return Law(tuple(map(float, means)), slope, tuple(map(float, scales)), float(np.exp(log_b)))
