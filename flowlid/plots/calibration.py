"""Plots of calibrated decisions: reliability, normalized Bayes error, Tippett and DET."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, ndtri

from flowlid.plots.style import GREY, PALETTE, save, styled

Array = NDArray[np.float64]
Trials = tuple[Array, Array]  # detection log-likelihood ratios of target trials, and of the others

_SIZE = (3.5, 3.0)  # inches: a column of a paper
# Sets are told apart by their lines too: a column may be printed in grey.
_LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_ODDS = np.linspace(-7, 7, 141)  # prior log odds of a normalized Bayes error plot


def roc(trials: Trials) -> tuple[Array, Array, Array]:
    """Scores that differ, rising, and the shares of target and of other trials below each: (P,); and above the last."""
    target, nontarget = map(np.sort, trials)
    scores = np.append(np.unique(np.concatenate([target, nontarget])), np.inf)
    below = [np.searchsorted(values, scores, side="left") / len(values) for values in (target, nontarget)]
    return scores, below[0], below[1]


def bayes_error(trials: Trials, odds: Array) -> tuple[Array, Array]:
    """Error rates (P,) of Bayes' decisions at prior log odds (P,), and the least of any threshold; 1 is that of none.

    min(P_t, 1 - P_t) divides P_t P_miss + (1 - P_t) P_fa, P_t = 1 / (1 + exp(-odds)); a target is accepted where the
    log-likelihood ratio is at least -odds (Brümmer and de Villiers, The BOSARIS Toolkit, 2011).
    """
    scores, miss, below = roc(trials)
    prior = expit(odds)[:, None]
    errors = (prior * miss + (1 - prior) * (1 - below)) / np.minimum(prior, 1 - prior)
    at = np.searchsorted(scores, -odds, side="left")
    return np.take_along_axis(errors, at[:, None], axis=1)[:, 0], errors.min(axis=1)


def reliability(probability: Array, right: Array) -> tuple[Array, Array]:
    """Stated probabilities (n,), rising, and the share that is right at each by the pool-adjacent-violators algorithm.

    There are no bins (Dimitriadis, Gneiting and Jordan, "Stable reliability diagrams for probabilistic classifiers",
    PNAS 2021).
    """
    values, number = np.unique(probability, return_inverse=True)
    count = np.bincount(number)
    share = np.bincount(number, right) / count
    return values, isotonic_regression(share, weights=count.astype(float)).x


@styled
def draw_reliability(sets: Mapping[str, tuple[Array, Array]], stem: str | Path, title: str) -> None:
    """Share of classes that are the true one against the probability stated of them.

    Args:
        sets: set -> stated probability of each class of each utterance (n,), and whether it is the true one (n,).
        stem: path to write to, without the suffix.
        title: of the figure.
    """
    figure, axes = _figure(title)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="as stated")
    for number, (name, (probability, right)) in enumerate(sets.items()):
        values, share = reliability(probability, right)
        axes.plot(values, share, label=name, marker=".", markersize=3, **_look(number))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set(xlabel="stated probability of a class", ylabel="share in which it is true (PAV)")
    _finish(figure, stem)


@styled
def draw_bayes_error(sets: Mapping[str, Trials], stem: str | Path, title: str) -> None:
    """Normalized Bayes error of detection at every prior: as calibrated, and at best (thin).

    Args:
        sets: set -> detection log-likelihood ratios of target and other trials.
        stem, title: as for `draw_reliability`.
    """
    figure, axes = _figure(title)
    axes.axhline(1, color=GREY, linewidth=0.8, label="knowing nothing")
    for number, (name, trials) in enumerate(sets.items()):
        look, (actual, least) = _look(number), bayes_error(trials, _ODDS)
        axes.plot(_ODDS, actual, label=name, **look)
        axes.plot(_ODDS, least, **{**look, "linewidth": 0.6})
    axes.set(xlim=(_ODDS[0], _ODDS[-1]), ylim=(0, 1.3))
    axes.set(xlabel="prior log odds of a target (nats)", ylabel="normalized Bayes error (thin: least)")
    _finish(figure, stem)


@styled
def draw_tippett(sets: Mapping[str, Trials], stem: str | Path, title: str) -> None:
    """Share of target trials below each log-likelihood ratio (rising), and of the others at or above it (falling).

    Args:
        sets, stem, title: as for `draw_bayes_error`.
    """
    figure, axes = _figure(title)
    axes.axvline(0, color=GREY, linewidth=0.8)
    for number, (name, trials) in enumerate(sets.items()):
        scores, miss, below = roc(trials)
        axes.step(scores[:-1], miss[:-1], where="pre", label=name, **_look(number))
        axes.step(scores[:-1], 1 - below[:-1], where="pre", **_look(number))
    axes.set(ylim=(-0.02, 1.02), xlabel="detection log-likelihood ratio (nats)")
    axes.set_ylabel("share of targets below,\nof the others at or above")
    _finish(figure, stem)


@styled
def draw_det(sets: Mapping[str, Trials], stem: str | Path, title: str) -> None:
    """Detection error tradeoff: misses against false alarms at every threshold, on normal deviates.

    Args:
        sets, stem, title: as for `draw_bayes_error`.
    """
    figure, axes = _figure(title)
    ends = ndtri([_RATES[0] / 1.5, 0.5])
    axes.plot(ends, ends, color=GREY, linewidth=0.8, label="equal rates")
    for number, (name, trials) in enumerate(sets.items()):
        _, miss, below = roc(trials)
        rates = np.clip([1 - below, miss], 1e-6, 1 - 1e-6)
        axes.plot(*ndtri(rates), label=name, **_look(number))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ndtri(_RATES)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda _, place: f"{100 * _RATES[place]:g}"))
    axes.set(xlim=ends, ylim=ends, xlabel="false alarms (%)", ylabel="misses (%)")
    _finish(figure, stem)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots()


def _look(number: int) -> dict[str, object]:
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": _LINES[number % len(_LINES)]}


def _finish(figure: Figure, stem: str | Path) -> None:
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    save(figure, stem)
