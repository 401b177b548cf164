"""Measures of scores and latents: detection costs, accuracies, confusions and moments."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Moments = dict[str, float]

# Kurtosis is a fourth moment: fewer samples say nothing about it.
_FEWEST = 4
# The float64 copy that the moments need is made for this many dims at a time.
_DIMS_AT_ONCE = 32


def roc(target: ArrayLike, nontarget: ArrayLike) -> tuple[Array, Array, Array]:
    """Miss and false alarm rates at every threshold that the scores distinguish.

    A trial is accepted where score >= threshold, so equal scores are always on the same side:
    P_miss = share of `target` below the threshold, P_fa = share of `nontarget` at or above it.

    Args:
        target: scores of target trials, shape (n,).
        nontarget: scores of non-target trials, shape (m,).

    Returns:
        `(p_miss, p_fa, thresholds)`, each of shape (P,), thresholds increasing: the P - 1 distinct
        scores and infinity. The first point accepts every trial (0, 1), the last none (1, 0).

    Raises:
        ValueError: one of the lists is empty, or holds NaN or Inf.
    """
    accepted = np.sort(_scores(target, "target"))
    refused = np.sort(_scores(nontarget, "nontarget"))
    thresholds = np.append(np.unique(np.concatenate([accepted, refused])), np.inf)
    p_miss = np.searchsorted(accepted, thresholds, side="left") / accepted.size
    p_fa = 1 - np.searchsorted(refused, thresholds, side="left") / refused.size
    return p_miss, p_fa, thresholds


def eer(target: ArrayLike, nontarget: ArrayLike) -> float:
    """Equal error rate: where the ROC, drawn with straight lines, crosses P_miss = P_fa.

    Of the operating points of `roc`, the last with P_miss < P_fa and the next one are joined by a
    line; the rate is read where that line has P_miss = P_fa. It is not the convex hull's.

    Raises:
        ValueError: one of the lists is empty, or holds NaN or Inf.
    """
    p_miss, p_fa, _ = roc(target, nontarget)
    gap = p_miss - p_fa  # strictly increasing from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    step = -gap[before] / (gap[after] - gap[before])
    return float(p_miss[before] + step * (p_miss[after] - p_miss[before]))


def min_dcf(
    target: ArrayLike, nontarget: ArrayLike, p_target: float = 0.5, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Least detection cost over all thresholds, not normalised.

    min over thresholds of C_miss P_target P_miss + C_fa (1 - P_target) P_fa: the cost model of the
    NIST language recognition evaluations (The 2009 NIST Language Recognition Evaluation Plan,
    section "Performance measure": C_miss = C_fa = 1, P_target = 0.5, the defaults).

    Raises:
        ValueError: one of the lists is empty or holds NaN or Inf, or a parameter is out of range.
    """
    _check_costs(p_target, c_miss, c_fa)
    p_miss, p_fa, _ = roc(target, nontarget)
    return float(np.min(c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa))


def cavg(
    scores: ArrayLike,
    labels: ArrayLike,
    p_target: float = 0.5,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    threshold: float | None = None,
) -> float:
    """Average detection cost over languages, closed set, decided at one threshold.

    C_avg = 1/K sum_k [ C_miss P_target P_miss(k) + sum_{m != k} C_fa P_nontarget P_fa(k, m) ],
    P_nontarget = (1 - P_target) / (K - 1); P_fa(k, m) is the share of language m's utterances
    accepted as k, so that a language with many utterances counts no more than one with few.
    From the NIST Language Recognition Evaluation Plans of 2007 and 2009, with P_out-of-set = 0.

    Args:
        scores: detection log-likelihood ratios (`detection_llr`), shape (n, K).
        labels: true class of each utterance, integers 0 to K - 1, shape (n,).
        p_target, c_miss, c_fa: the cost model.
        threshold: accept where score >= threshold; by default Bayes' threshold
            log(C_fa (1 - P_target) / (C_miss P_target)), 0 for the default costs.

    Raises:
        ValueError: a class without utterances, fewer than two classes, a label out of range, NaN or
            Inf, or a parameter out of range.
    """
    _check_costs(p_target, c_miss, c_fa)
    scores = _matrix(scores, "scores")
    classes = scores.shape[1]
    labels = _labels(labels, len(scores), classes)
    if threshold is None:
        threshold = float(np.log(c_fa * (1 - p_target)) - np.log(c_miss * p_target))
    # rate[m, k]: the share of language m's utterances that was accepted as k
    rate = np.stack([(scores[labels == true] >= threshold).mean(axis=0) for true in range(classes)])
    p_miss = 1 - np.diag(rate)
    p_fa = rate.sum(axis=0) - np.diag(rate)
    cost = c_miss * p_target * p_miss + c_fa * (1 - p_target) / (classes - 1) * p_fa
    return float(cost.mean())


def detection_llr(loglik: ArrayLike) -> Array:
    """Log-likelihood ratio of each class against the others, equally weighted.

    llr_k = l_k - log( 1/(K-1) sum_{m != k} exp l_m ), by sums of logarithms: nothing over- or underflows.

    Args:
        loglik: log p(x | k) in nats, shape (n, K).

    Returns:
        Detection scores, shape (n, K).

    Raises:
        ValueError: fewer than two classes, or NaN or Inf.
    """
    loglik = _matrix(loglik, "loglik")
    classes = loglik.shape[1]
    # those before a class and those after it: no sum over all is made smaller again, and the time grows with K alone
    edge = np.full((len(loglik), 1), -np.inf)
    before = np.logaddexp.accumulate(np.hstack([edge, loglik[:, :-1]]), axis=1)
    after = np.logaddexp.accumulate(np.hstack([edge, loglik[:, :0:-1]]), axis=1)[:, ::-1]
    return loglik - np.logaddexp(before, after) + np.log(classes - 1)


def confusion(
    true: Sequence[str],
    predicted: Sequence[str],
    weights: ArrayLike | None = None,
    classes: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Share of each true language that was predicted as each class; every row sums to 1.

    Args:
        true: true languages, shape (n,).
        predicted: predicted classes, shape (n,).
        weights: of each prediction, such as its number of frames; 1 by default. Shape (n,).
        classes: classes that get a column even if none was predicted.

    Returns:
        `{true: {predicted: share}}`, both levels sorted by name.

    Raises:
        ValueError: no samples, different lengths, a negative weight, or a language whose weights are all zero.
    """
    counts = _weights(true, predicted, weights)
    names = sorted({*classes, *predicted})
    rows = {name: dict.fromkeys(names, 0.0) for name in sorted(set(true))}
    for row, column, count in zip(true, predicted, counts, strict=True):
        rows[row][column] += float(count)
    for name, row in rows.items():
        total = sum(row.values())
        if total == 0:
            raise ValueError(f"language {name}: all its weights are zero; leave its utterances out")
        rows[name] = {column: count / total for column, count in row.items()}
    return rows


def accuracy(true: Sequence[str], predicted: Sequence[str], weights: ArrayLike | None = None) -> float:
    """Share of the samples (or of their weight) whose prediction is their true language.

    Raises:
        ValueError: no samples, different lengths, a negative weight, or weights that sum to zero.
    """
    counts = _weights(true, predicted, weights)
    if counts.sum() == 0:
        raise ValueError("accuracy: all weights are zero")
    right = np.array([a == b for a, b in zip(true, predicted, strict=True)])
    return float(counts[right].sum() / counts.sum())


def macro_accuracy(true: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean over the true languages of the share of each one's samples that is predicted correctly (its recall).

    Raises:
        ValueError: no samples, or different lengths.
    """
    _weights(true, predicted, None)
    number = np.unique(np.asarray(true), return_inverse=True)[1]
    right = np.array([a == b for a, b in zip(true, predicted, strict=True)], float)
    return float((np.bincount(number, right) / np.bincount(number)).mean())


def moments(z: ArrayLike) -> tuple[float, float]:
    """Skewness and excess kurtosis (a Gaussian's are 0 and 0), averaged over the dimensions.

    Per dimension m_3 / m_2^1.5 and m_4 / m_2^2 - 3, m_i the central moments (scipy.stats.skew and
    kurtosis, biased), in float64.

    Args:
        z: latents, shape (n, D).

    Raises:
        ValueError: fewer than four samples, no dimension, NaN or Inf, or a constant dimension.
    """
    from scipy import stats  # takes half a second, which programs that only score need not wait

    z = np.asarray(z)
    if z.ndim != 2 or z.shape[0] < _FEWEST or z.shape[1] < 1:
        raise ValueError(f"moments: the latents have shape {z.shape}; they need (n, D) with n >= {_FEWEST}, D >= 1")
    skew = np.empty(z.shape[1])
    kurt = np.empty(z.shape[1])
    for start in range(0, z.shape[1], _DIMS_AT_ONCE):
        part = slice(start, start + _DIMS_AT_ONCE)
        block = z[:, part].astype(np.float64)
        if not np.isfinite(block).all():
            raise ValueError("moments: the latents hold NaN or Inf; train again with a lower learning rate")
        constant = np.flatnonzero(np.ptp(block, axis=0) == 0)
        if constant.size:
            raise ValueError(f"moments: latent dimension {start + constant[0]} is constant: its moments are undefined")
        block -= block.mean(axis=0)  # scipy warns of lost precision where the mean is far from 0
        skew[part] = stats.skew(block, axis=0)
        kurt[part] = stats.kurtosis(block, axis=0, fisher=True)
    return float(skew.mean()), float(kurt.mean())


def latent_moments(z: ArrayLike, labels: Sequence[str], class_dim: int) -> Mapping[str, Moments | None]:
    """Moments of the class part per language and pooled, and of the residual part pooled.

    Args:
        z: latents [c; r], shape (n, D).
        labels: language of each row, shape (n,).
        class_dim: dims of c, the first ones; 1 to D.

    Returns:
        `{language: {"skew", "kurt"}, ..., "pooled": ..., "residual": ...}`. None is a group of
        fewer than four samples, and for "residual" where class_dim = D.

    Raises:
        ValueError: shapes that do not fit, a language named "pooled" or "residual", NaN or Inf, or a
            dimension that is constant in a group.
    """
    z = np.asarray(z)
    names = np.asarray(labels, dtype=str)
    if z.ndim != 2 or names.shape != (len(z),) or not 1 <= class_dim <= z.shape[1]:
        raise ValueError(f"moments: latents {z.shape}, {names.size} labels and class_dim {class_dim} do not fit")
    taken = {"pooled", "residual"}.intersection(names)
    if taken:
        raise ValueError(f"utt2lang: no language may be called {min(taken)}: moments.json uses the name")
    c, r = z[:, :class_dim], z[:, class_dim:]
    found = {str(name): _group(c[names == name], f"language {name}") for name in np.unique(names)}
    return {**found, "pooled": _group(c, "pooled"), "residual": _group(r, "residual") if r.shape[1] else None}


def _group(z: NDArray[np.floating], name: str) -> Moments | None:
    if len(z) < _FEWEST:
        return None
    try:
        skew, kurt = moments(z)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return {"skew": skew, "kurt": kurt}


def _scores(values: ArrayLike, name: str) -> Array:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} scores: need a list of at least one trial, have shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} scores: NaN or Inf at trial {int(np.argmin(np.isfinite(values)))}")
    return values


def _matrix(values: ArrayLike, name: str) -> Array:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"{name}: shape {values.shape}; detection needs (n, K) with K >= 2 classes")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: NaN or Inf in row {int(np.argwhere(~np.isfinite(values))[0, 0])}")
    return values


def _labels(labels: ArrayLike, rows: int, classes: int) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: need {rows} integers, have {labels.dtype} of shape {labels.shape}")
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise ValueError(f"C_avg is undefined: class {missing[0]} of {classes} has no utterances")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels: {labels.min()} to {labels.max()}, outside 0 to {classes - 1}")
    return labels.astype(np.int64)


def _weights(true: Sequence[str], predicted: Sequence[str], weights: ArrayLike | None) -> Array:
    counts = np.ones(len(true)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(true) == len(predicted) == counts.size or counts.size == 0:
        raise ValueError(f"{len(true)} true languages, {len(predicted)} predictions, {counts.size} weights")
    if not np.isfinite(counts).all() or counts.min() < 0:
        raise ValueError("weights: need finite numbers of 0 or more")
    return counts


def _check_costs(p_target: float, c_miss: float, c_fa: float) -> None:
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise ValueError(f"costs: p_target {p_target} must lie in (0, 1), c_miss {c_miss} and c_fa {c_fa} above 0")
