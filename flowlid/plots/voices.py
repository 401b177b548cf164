"""Accuracy and bits on new voices against the number of voices per language in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flowlid.plots.style import GREY, class_colors, save, styled

_PANEL_INCHES = 1.55
_INK = "#222222"
MEASURES = ("accuracy", "bits")
Interval = tuple[float, float | None, float | None]  # mean, low, high


@dataclass(frozen=True)
class Point:
    """Means at one number of voices per language in training, and the values behind that of the new voices.

    Attributes:
        voices: the number of voices per language.
        new, known: measure -> mean over new voices and over those of training, with its interval.
        each: (language, speaker) of a new voice -> measure -> value.
    """

    voices: int
    new: Mapping[str, Interval]
    known: Mapping[str, Interval]
    each: Mapping[tuple[str, str], Mapping[str, float]]


@styled
def voice_curves(curves: Mapping[str, Sequence[Point]], chance: Mapping[str, float], stem: str | Path) -> None:
    """Draw each model's curves in a column of panels: accuracy above, bits below; each new voice is a thin line.

    Args:
        curves: model -> points, by number of voices.
        chance: measure -> its value for who knows nothing.
        stem: path to write to, without the suffix.

    Raises:
        ValueError: no model, or one without points.
    """
    if not curves or not all(len(points) for points in curves.values()):
        raise ValueError(f"{stem}: needs at least one model, and a point of each")
    figure = Figure(figsize=(max(_PANEL_INCHES * len(curves), 3.0) + 0.4, 4.4), layout="constrained")
    grid = figure.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False)
    colors = class_colors({who[0] for points in curves.values() for point in points for who in point.each})
    for column, (name, points) in enumerate(curves.items()):
        for axes, measure in zip(grid[:, column], MEASURES, strict=True):
            _panel(axes, points, measure, chance[measure], colors)
        grid[0, column].set_title(name)
    numbers = sorted({point.voices for points in curves.values() for point in points})
    grid[0, 0].set(xlim=(min(numbers) - 0.3, max(numbers) + 0.3), xticks=numbers, ylim=(-0.03, 1.03))
    for axes, measure in zip(grid[:, 0], ("accuracy of utterances", "bits, calibrated"), strict=True):
        axes.set_ylabel(measure)
    grid[1, 0].set_ylim(bottom=0)
    grid[1, len(curves) // 2].set_xlabel("voices per language in training")
    handles = [
        Line2D([], [], color=_INK, marker="o", markersize=4, label="new voices: mean, 95% interval over voices"),
        Line2D([], [], color=GREY, linestyle="--", marker="s", markersize=3, label="voices of training"),
        Line2D([], [], color=GREY, linestyle=":", label="knowing nothing"),
        *(Line2D([], [], color=color, linewidth=0.9, label=f"a new voice: {name}") for name, color in colors.items()),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    save(figure, stem)


def _panel(axes: Axes, points: Sequence[Point], measure: str, chance: float, colors: Mapping[str, str]) -> None:
    axes.axhline(chance, color=GREY, linestyle=":", linewidth=1)
    for who in sorted({who for point in points for who in point.each}):
        line = [(point.voices, point.each[who][measure]) for point in points if who in point.each]
        axes.plot(*zip(*line, strict=True), color=colors[who[0]], linewidth=0.7, marker=".", markersize=3, alpha=0.7)
    x = [point.voices for point in points]
    for which, look in (
        ("known", {"color": GREY, "linestyle": "--", "marker": "s", "markersize": 3}),
        ("new", {"color": _INK, "marker": "o", "markersize": 4, "zorder": 3}),
    ):
        found = [getattr(point, which)[measure] for point in points]
        ends = np.array([[mean - (mean if low is None else low), (mean if high is None else high) - mean]
                         for mean, low, high in found])  # fmt: skip
        axes.errorbar(x, [mean for mean, _, _ in found], yerr=ends.T.clip(0), elinewidth=1, capsize=2, **look)
