"""Plots of a model's decisions: log-likelihood ratios, accuracy by duration."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike, NDArray

from flowlid.plots.style import GREY, PALETTE, colors_for, points_look, save, shown, styled

_ROW_INCHES = 0.17  # height of the row of one language
_GAP = 0.5  # rows between two sets
_COLUMNS = 4  # panels side by side
_TITLE_WIDTH = 26  # characters per line in the title of a panel
_FEWEST_FOR_BOX = 5  # utterances; with fewer, quartiles mean little
_FAINT = "#dddddd"


@styled
def llr_per_frame(
    llr: Mapping[str, Mapping[str, ArrayLike]],
    classes: Sequence[str],
    unseen: set[str],
    stem: str | Path,
    title: str,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Log-likelihood ratio of each utterance, in one row per set and true language.

    The axis is linear around 0 and logarithmic beyond. Rows of five utterances or more have a box: quartiles and
    median, with whiskers from the 5th to the 95th percentile.

    Args:
        llr: set -> true language -> nats per frame (`llr_per_frame` of flowlid.evaluation), shape (n,).
        classes: those of the model, in its order; if there are two, ratios above 0 are for the first.
        unseen: languages that are not classes of the model.
        stem: path to write to, without the suffix.
        title: of the figure.
        colors: from `class_colors`; by default those of the languages shown.

    Raises:
        ValueError: no row, a row without utterances, a value that is not finite, or a language without a colour.
    """
    groups = {name: {label: np.asarray(v, float) for label, v in found.items()} for name, found in llr.items()}
    rows = [values for found in groups.values() for values in found.values()]
    if not rows or not all(len(values) and np.isfinite(values).all() for values in rows):
        raise ValueError(f"{stem}: needs at least one utterance per row, and finite log-likelihood ratios")
    labels = {label for found in groups.values() for label in found}
    palette = colors_for(labels, unseen, colors)
    look = points_look(labels, unseen, palette)
    width = 5.0 + 0.05 * max(map(len, groups)) + 0.05 * max(map(len, labels))
    figure = Figure(figsize=(width, _ROW_INCHES * (len(rows) + _GAP * len(groups)) + 1.3), layout="constrained")
    axes = figure.subplots()
    bottom, places = _rows(axes, groups, look)
    axes.axvline(0, color=GREY, linewidth=0.9, zorder=0)
    low, high, note = _limits(rows)
    figure.suptitle(title)
    # some sets are decided by hundredths of a nat, others by tens
    linear = _linear_part(rows)
    axes.set_xscale("symlog", linthresh=linear, linscale=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlim=(low, high), ylim=(bottom, -(1 + _GAP) / 2))
    axes.set_xlabel(
        f"{_llr_words(classes)}\nlogarithmic beyond ±{linear:g}; box: quartiles, whiskers: 5% and 95%{note}"
    )
    names = [f"{name}: {shown(label, unseen)}" for name, found in groups.items() for label in found]
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    handles = [Line2D([], [], **drawn, markersize=4, label=shown(label, unseen)) for label, drawn in look.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    save(figure, stem)


@styled
def accuracy_duration(
    durations: Mapping[str, Sequence[Mapping[str, Any]]], classes: Sequence[str], stem: str | Path, title: str
) -> None:
    """Accuracy by duration of speech with 95% intervals, in one panel per set; whole utterances are set apart.

    Args:
        durations: set -> rows of `evaluation.durations.accuracy_by_duration`.
        classes: those of the model; chance is 1/K.
        stem: path to write to, without the suffix.
        title: of the figure.

    Raises:
        ValueError: no set, or one without any accuracy.
    """
    if not durations or any(all(row["share"] is None for row in rows) for rows in durations.values()):
        raise ValueError(f"{stem}: needs at least one set, and an accuracy in each")
    seconds = sorted({row["seconds"] for rows in durations.values() for row in rows} - {None})
    place = {**{value: float(number) for number, value in enumerate(seconds)}, None: len(seconds) + 0.4}
    columns = min(len(durations), _COLUMNS)
    count = -(-len(durations) // columns)
    figure = Figure(figsize=(max(1.85 * columns, 3.2), 1.6 * count + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(count, columns, sharex=True, sharey=True, squeeze=False).ravel()
    lowest, chance = 1 / len(classes), 1 / len(classes)
    for axes, (name, rows) in zip(grid, durations.items(), strict=False):
        found = [row for row in rows if row["share"] is not None]
        x = np.array([place[row["seconds"]] for row in found])
        lowest = min(lowest, _with_intervals(axes, x, found, {"color": PALETTE[0], "marker": "o"}))
        windows = [number for number, row in enumerate(found) if row["seconds"] is not None]
        for place_of, row in zip(x, found, strict=True):
            axes.text(
                place_of, 0.02, row["utterances"], fontsize=5.5, ha="center", transform=axes.get_xaxis_transform()
            )
        axes.plot(x[windows], [found[number]["share"] for number in windows], color=PALETTE[0], linewidth=1.1)
        axes.axhline(chance, color=GREY, linestyle="--", linewidth=0.9, zorder=0)
        axes.set_title("\n".join(textwrap.wrap(name, _TITLE_WIDTH)), fontsize=8)
        axes.set_xticks(list(place.values()), [*(f"{value:g}" for value in seconds), "all"])
        axes.tick_params(labelbottom=True)
    for axes in grid[len(durations) :]:
        axes.remove()
    grid[0].set(xlim=(-0.6, place[None] + 0.6), ylim=(max(-0.03, lowest - 0.15), 1.03))
    words = (
        "seconds of selected speech (all: whole utterances)\nbelow: number of utterances; "
        f"hollow: no interval, as all agree\ndashed: chance, 1/{len(classes)}"
    )
    figure.supxlabel(words, fontsize=8)
    figure.supylabel("accuracy, 95% interval", fontsize=8)
    save(figure, stem)


def _with_intervals(
    axes: Axes, x: NDArray[np.float64], rows: Sequence[Mapping[str, Any]], look: Mapping[str, str]
) -> float:
    """Draw shares, with their intervals where there are any; return the lowest value drawn."""
    share = np.array([row["share"] for row in rows], dtype=float)
    ends = {key: np.array([row[key] for row in rows], dtype=float) for key in ("low", "high")}  # NaN: no interval
    known = ends["high"] > ends["low"]  # where all units agree, a bootstrap interval is a point that says nothing
    below = np.where(known, np.maximum(share - ends["low"], 0), np.nan)
    above = np.where(known, np.maximum(ends["high"] - share, 0), np.nan)
    axes.errorbar(x, share, yerr=[below, above], linestyle="", markersize=4, elinewidth=0.9, capsize=2, **look)
    axes.plot(x[~known], share[~known], **look, linestyle="", markersize=4, markerfacecolor="white", zorder=3)
    return float((share - np.nan_to_num(below)).min())


def _rows(
    axes: Axes, groups: Mapping[str, Mapping[str, NDArray[np.float64]]], look: Mapping[str, Mapping[str, str]]
) -> tuple[float, list[float]]:
    """Draw a row per language, set by set; return the lower end of the last set, and the place of each row."""
    generator = np.random.default_rng(0)  # spreads the points over the height of their row
    place, places = 0.0, []
    for found in groups.values():
        for label, values in found.items():
            places.append(place)
            _points(axes, values, place + generator.uniform(-0.38, 0.38, len(values)), look[label])
            if len(values) >= _FEWEST_FOR_BOX:
                _box(axes, values, place)
            place += 1
        place += _GAP
        axes.axhline(place - (1 + _GAP) / 2, color=_FAINT, linewidth=0.8, zorder=0)
    return place - (1 + _GAP) / 2, places


def _points(axes: Axes, values: NDArray[np.float64], heights: NDArray[np.float64], look: Mapping[str, str]) -> None:
    alpha = 0.7 if len(values) < 100 else 0.4 if len(values) < 1000 else 0.2
    axes.plot(values, heights, **look, markersize=2.4, alpha=alpha, markeredgewidth=0, rasterized=True)


def _box(axes: Axes, values: NDArray[np.float64], place: float) -> None:
    least, first, middle, third, most = np.percentile(values, [5, 25, 50, 75, 95])
    look = {"color": "black", "linewidth": 0.7, "zorder": 3}
    axes.plot([least, first], [place, place], **look)
    axes.plot([third, most], [place, place], **look)
    axes.plot([middle, middle], [place - 0.3, place + 0.3], **{**look, "linewidth": 1.6})
    axes.add_patch(
        Rectangle((first, place - 0.3), third - first, 0.6, fill=False, edgecolor="black", linewidth=0.7, zorder=3)
    )


def _limits(rows: Sequence[NDArray[np.float64]]) -> tuple[float, float, str]:
    """Limits that include 0 and the middle 99% of every row, and a note of the points outside."""
    low = min(0.0, *(np.percentile(values, 0.5) for values in rows))
    high = max(0.0, *(np.percentile(values, 99.5) for values in rows))
    margin = max(0.05 * (high - low), 1e-6)
    low, high = float(low - margin), float(high + margin)
    points = np.concatenate(rows)
    outside = int(((points < low) | (points > high)).sum())
    return low, high, f"\n{outside} of {len(points)} utterances lie outside the axes" if outside else ""


def _linear_part(rows: Sequence[NDArray[np.float64]]) -> float:
    """Where the axis turns from linear to logarithmic: a power of ten at which the narrowest row can be seen."""
    narrowest = min(np.percentile(np.abs(values), 90) for values in rows)
    return float(10 ** np.floor(np.log10(np.clip(narrowest, 0.01, 10))))


def _llr_words(classes: Sequence[str]) -> str:
    if len(classes) == 2:
        return f"log p(x|{classes[0]}) - log p(x|{classes[1]}) (nats/frame; above 0: decided for {classes[0]})"
    return "true class minus best other; unseen: best minus second best (nats/frame)"
