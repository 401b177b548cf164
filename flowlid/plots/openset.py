"""Plot of the open set: what share of each set is rejected, at every threshold."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from flowlid.plots.style import GREY, PALETTE, save, styled

_LEAST = 0.01  # lesser surprises are drawn there: nobody rejects at them


@styled
def rejection(
    surprise: Mapping[str, Mapping[bool, ArrayLike]], threshold: float, rate: float, stem: str | Path, title: str
) -> None:
    """Share of each set's utterances whose surprise is above a threshold, against the threshold.

    Solid lines are of seen languages: where they cross the threshold that is used, they show the false rejections.
    Dashed ones are of unseen languages: what they lack there of 1 are false acceptances.

    Args:
        surprise: set -> whether its language was seen -> surprises (n,), 0 or more.
        threshold: the one that is used; a vertical line.
        rate: false-rejection rate on the dev set that it is meant for; a horizontal line.
        stem: path to write to, without the suffix.
        title: of the figure.

    Raises:
        ValueError: no utterance, or a surprise that is negative or not finite.
    """
    lines = {(name, seen): np.sort(np.asarray(v, float)) for name, own in surprise.items() for seen, v in own.items()}
    lines = {key: values for key, values in lines.items() if len(values)}
    if not lines or not all(np.isfinite(values).all() and values[0] >= 0 for values in lines.values()):
        raise ValueError(f"{stem}: needs at least one utterance, and surprises that are finite and 0 or more")
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.subplots()
    colors = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(surprise)}
    for (name, seen), found in lines.items():
        values = np.maximum(found, _LEAST)
        share = np.arange(len(values), -1, -1) / len(values)  # of values above: falls at each of them
        look = {
            "color": colors[name],
            "linestyle": "-" if seen else "--",
            "label": name if seen else f"{name} (unseen)",
        }
        axes.step([values[0] / 2, *values], share, where="post", **look)
    axes.axvline(threshold, color=GREY, linewidth=0.9, zorder=0)
    axes.axhline(rate, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
    axes.set(
        xscale="log",
        ylim=(0, 1.01),
        xlabel="threshold of the surprise (line: in use; dotted: the share of the dev set)",
        ylabel="share of utterances rejected",
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    figure.suptitle(title)
    figure.legend(loc="outside lower center", ncols=3)
    save(figure, stem)
