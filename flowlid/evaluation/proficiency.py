"""Correlation of a flow's values of utterances with the scores that human raters gave them.

After "ASR-Free Pronunciation Assessment", arXiv 2005.11902: under a flow of well pronounced speech, poorly pronounced
speech is less likely.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from flowlid.evaluation.bootstrap import drawn_units, percentile_interval, resample
from flowlid.evaluation.decisions import class_numbers, reference_class
from flowlid.evaluation.scored import ScoredSet
from flowlid.kaldi.datadir import DataDir

PREDICTORS = ("loglik", "llr", "ridge")
FOLDS = 5
FEWEST_FOR_RIDGE = 3  # speakers: one to test, and two to choose the penalty with
NATIVE = "native"
_FEWEST = 4  # utterances: Fisher's interval needs as many
_PENALTIES = np.logspace(-1, 5, 13)
_NOTHING = ("utterances", "speakers", "score_mean", "score_min", "score_max", "native", *PREDICTORS)

Array = NDArray[np.float64]


def human_scores(data: DataDir, utts: Sequence[str]) -> Array:
    """The scores of these utterances in a directory's utt2score: (U,).

    Raises:
        ValueError: an utterance without score, or a score that is no finite number.
    """
    table, path = data.table("utt2score"), data.path / "utt2score"
    scores = np.empty(len(utts))
    for number, utt in enumerate(utts):
        try:
            scores[number] = float(table[utt])
        except KeyError:
            raise ValueError(f"{path}: no utterance {utt}; run stage 1 again") from None
        except ValueError:
            scores[number] = np.nan
        if not np.isfinite(scores[number]):
            raise ValueError(
                f"{path}: utterance {utt}: {table[utt]!r} is not a number; correct it, or run stage 1 again"
            )
    return scores


def no_scores(reason: str) -> dict[str, Any]:
    """The entries of `assess`, all None, with the reason."""
    return {**dict.fromkeys(_NOTHING), "reasons": dict.fromkeys(PREDICTORS, reason)}


def assess(scored: ScoredSet, speakers: Sequence[str], human: Array, seed: int = 1) -> dict[str, Any]:
    """Correlation of what a model says of a set's utterances with their scores by human raters.

    The predictors are: `loglik`, LogLL per frame (of a normal flow, or of the class called "native"; without one, of
    the utterance's own class, or of the best one if its language is unseen); `llr`, log p(x | native) - max log p(x |
    another class) per frame; `ridge`, see `ridge_predictions`, on the mean latent of the utterance's frames.

    Args:
        scored: what the model says of the set.
        speakers: of each utterance, (U,).
        human: score of each utterance, (U,).
        seed: of the bootstrap.

    Returns:
        `utterances`, `speakers`, `score_mean`, `score_min`, `score_max`; `native`, that class if there
        is one; what `correlate` found of each predictor, or None; `reasons`, why it is None.
    """
    values, reasons = _predictors(scored, speakers, human)
    reasons |= {name: reason for name, value in values.items() if (reason := reason_without_correlation(value, human))}
    return {
        "utterances": len(human),
        "speakers": len(set(speakers)),
        "score_mean": float(human.mean()),
        "score_min": float(human.min()),
        "score_max": float(human.max()),
        "native": _native(scored.classes),
        **{name: None if name in reasons else correlate(values[name], human, speakers, seed) for name in PREDICTORS},
        "reasons": reasons,
    }


def _predictors(scored: ScoredSet, speakers: Sequence[str], human: Array) -> tuple[dict[str, Array], dict[str, str]]:
    """Values of the predictors, (U,) each, and why there are none of the others."""
    loglik, classes = scored.mean_loglik, scored.classes
    values, reasons = {"loglik": utterance_loglik(loglik, scored.languages, classes)}, {}
    native, count = _native(classes), len(set(speakers))
    if native is None:
        reasons["llr"] = "a normal flow has one class" if len(classes) == 1 else f"no class is called {NATIVE}"
    else:
        values["llr"] = native_llr(loglik, classes.index(native))
    if count < FEWEST_FOR_RIDGE:
        reasons["ridge"] = f"{count} speakers; cross-validation by speakers needs {FEWEST_FOR_RIDGE}"
    else:
        values["ridge"] = ridge_predictions(scored.mean_latents, human, speakers)
    return values, reasons


def _native(classes: Sequence[str]) -> str | None:
    """The class called native; None if there is none, or no other class."""
    return NATIVE if NATIVE in classes and len(classes) > 1 else None


def utterance_loglik(mean_loglik: Array, languages: Sequence[str], classes: Sequence[str]) -> Array:
    """LogLL per frame of each utterance, of its log-likelihoods under every class: (U, K) -> (U,).

    Of the class called native; without one of the utterance's own class, or of the best if its language is unseen.
    """
    native = _native(classes)
    if native is not None:
        return mean_loglik[:, classes.index(native)]
    column = reference_class(mean_loglik, class_numbers(languages, classes))
    return np.take_along_axis(mean_loglik, column[:, None], axis=1)[:, 0]


def native_llr(mean_loglik: Array, native: int) -> Array:
    """log p(x | native) - max over the other classes of log p(x | y), per frame: (U, K) -> (U,)."""
    return mean_loglik[:, native] - np.delete(mean_loglik, native, axis=1).max(axis=1)


def ridge_predictions(x: ArrayLike, y: ArrayLike, speakers: Sequence[str]) -> Array:
    """Ridge regression of y (U,) on standardized x (U, D): predictions by models that never saw the speaker.

    Up to five folds, whole speakers in each. The penalty is chosen within the training folds, again by folds of
    whole speakers, for the least squared error.

    The prediction is the difference from the mean of the fold's training scores. That mean is lower when better
    speakers are left out: if it were added, it would produce a negative correlation from nothing.

    Raises:
        ValueError: fewer than three speakers.
    """
    x, y, speakers = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(speakers)
    if len(set(speakers.tolist())) < FEWEST_FOR_RIDGE:
        raise ValueError(f"ridge: {len(set(speakers.tolist()))} speakers, at least {FEWEST_FOR_RIDGE} are needed")
    predicted = np.empty(len(y))
    for train, test in _speaker_folds(speakers):
        errors = np.zeros(len(_PENALTIES))
        for fit, tune in _speaker_folds(speakers[train]):
            fit, tune = train[fit], train[tune]
            errors += np.square(_ridge(x[fit], y[fit], _PENALTIES).predict(x[tune]) - y[tune, None]).sum(axis=0)
        best = _PENALTIES[[errors.argmin()]]
        predicted[test] = _ridge(x[train], y[train], best).predict(x[test]).ravel() - y[train].mean()
    return predicted


def _ridge(x: Array, y: Array, penalties: Array) -> Pipeline:
    """Fitted ridge regressions, one for each penalty: `predict` gives a column for each."""
    ridge = Ridge(penalties, solver="cholesky")
    return make_pipeline(StandardScaler(), ridge).fit(x, np.repeat(y[:, None], len(penalties), axis=1))


def _speaker_folds(speakers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    folds = GroupKFold(min(FOLDS, len(np.unique(speakers))))
    return list(folds.split(speakers, groups=speakers))


def reason_without_correlation(predictor: Array, human: Array) -> str | None:
    """Why two lists of values have no correlation, or None."""
    if len(human) < _FEWEST:
        return f"{len(human)} utterances; a correlation needs {_FEWEST}"
    if np.ptp(human) == 0:
        return "all scores are equal"
    return "the same for all utterances" if np.ptp(predictor) == 0 else None


def correlate(predictor: ArrayLike, human: ArrayLike, speakers: Sequence[str], seed: int = 1) -> dict[str, Any]:
    """Pearson and Spearman correlation of two lists of values, neither of them constant, with 95% intervals.

    `*_low` and `*_high` are percentiles 2.5 and 97.5 of a bootstrap that draws whole speakers with all their
    utterances (or utterances, if there are fewer than five speakers: `unit` says which), None if most
    resamples have no correlation. A ridge regression is not trained again for each resample. `fisher_low` and
    `fisher_high` are Pearson's interval by Fisher's transform (scipy), which assumes independent utterances: too
    narrow if speakers have many utterances.

    Args:
        predictor, human: (U,).
        speakers: of each utterance.
        seed: of the bootstrap.
    """
    x, y = np.asarray(predictor, dtype=float), np.asarray(human, dtype=float)
    pearson = stats.pearsonr(x, y)
    with np.errstate(divide="ignore"):  # Fisher's transform of a correlation of 1 is infinite
        fisher = pearson.confidence_interval(0.95)
    unit, units = drawn_units(speakers, range(len(x)))
    names, unit_of = np.unique(np.asarray(units), return_inverse=True)

    def correlations(drawn: Array) -> Array:
        weights = drawn[:, unit_of]
        ranks = weighted_ranks(x, weights), weighted_ranks(y, weights)
        return np.stack([weighted_pearson(x, y, weights), weighted_pearson(*ranks, weights)], axis=1)

    drawn = resample(np.ones(len(names), int), correlations, seed, numbers=len(x))
    found: dict[str, Any] = {"pearson": float(pearson.statistic), "spearman": float(stats.spearmanr(x, y).statistic)}
    for name, values in zip(("pearson", "spearman"), drawn.T, strict=True):
        found[f"{name}_low"], found[f"{name}_high"] = percentile_interval(values)
    return {**found, "fisher_low": float(fisher.low), "fisher_high": float(fisher.high), "unit": unit}


def weighted_pearson(x: Array, y: Array, weights: Array) -> Array:
    """Correlation of x and y (U,) or (R, U), where value u counts weights[r, u] times: (R,); NaN of a constant."""
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1))
    known = spread > 1e-12 * total[:, 0]
    return np.where(known, (weights * x * y).sum(axis=1) / np.where(known, spread, 1), np.nan)


def weighted_ranks(values: Array, weights: Array) -> Array:
    """Ranks of values (U,), equal ones sharing their mean rank, where value u counts weights[r, u] times: (R, U)."""
    groups, group = np.unique(values, return_inverse=True)
    counts = np.zeros((len(groups), len(weights)))
    np.add.at(counts, group, weights.T)
    return ((counts.cumsum(axis=0) - counts / 2 + 0.5)[group]).T
