"""The style of all plots: type, colours, markers, and files with the same bytes each time."""

import colorsys
import warnings
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray

from flowlid.files import atomic_write
from flowlid.plots.fonts import FONT, fallbacks

GREY = "#666666"
# Okabe and Ito's colours, which colour-blind readers can tell apart (without yellow, which is too pale for
# points on white), then those of Paul Tol's "muted" scheme that differ from them.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
    "#332288", "#999933", "#882255", "#44AA99", "#DDCC77", "#117733", "#AA4499",
)  # fmt: skip
_STYLE = {
    "font.family": FONT,
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.formatter.useoffset": False,
    "figure.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,  # publishers reject Type 3 fonts
    "text.parse_math": False,  # "$" is a plain character in names of sets
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}
_SLICES = 10  # a scatter plot is drawn in slices of all labels, or the last label would cover the others
_PDF_FIELDS = ("CreationDate", "Creator", "Producer")

# A decorator: the caller's matplotlib settings do not affect a plot, and are not changed by it.
styled = style.context(["default", _STYLE])


def class_colors(classes: Iterable[str], unseen: Iterable[str] = ()) -> dict[str, str]:
    """One colour per language: the model's classes in sorted order, then the unseen languages.

    If all plots of an experiment are given the same colours, a class has its own colour even where others are
    missing.

    Args:
        classes: the model's classes.
        unseen: the other languages in the plots of the experiment.

    Returns:
        `{name: "#RRGGBB"}`, in the order in which legends list them.
    """
    names = [*sorted(set(classes)), *sorted(set(unseen) - set(classes))]
    return {name: _color(index) for index, name in enumerate(names)}


def colors_for(labels: Iterable[str], unseen: set[str], colors: Mapping[str, str] | None) -> Mapping[str, str]:
    """The colours given, or by default those of `labels`.

    Raises:
        ValueError: a label has no colour.
    """
    names = set(labels)
    found = class_colors(names - unseen, names & unseen) if colors is None else colors
    without = sorted(names - set(found))
    if without:
        raise ValueError(f"no colour for {without[0]}; make the colours from all classes and all unseen languages")
    return found


def shown(label: str, unseen: set[str]) -> str:
    """A label as it appears in legends."""
    return f"{label} (unseen)" if label in unseen else label


def outline(label: str, unseen: set[str]) -> str | tuple[float, tuple[float, float]]:
    """The line style of a label in histograms: dotted for unseen languages, of which there may be many."""
    return (0, (1, 0.8)) if label in unseen else "-"


def points_look(labels: Container[str], unseen: set[str], colors: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """How matplotlib draws the points of each label, in the order of `colors`: triangles for unseen languages."""
    return {
        label: {"color": color, "linestyle": "", "marker": "^" if label in unseen else "o"}
        for label, color in colors.items()
        if label in labels
    }


def scatter(
    axes: Axes, groups: Mapping[str, NDArray[np.float64]], unseen: set[str], colors: Mapping[str, str]
) -> list[Line2D]:
    """Draw each label's points, shape (n, 2), translucent; return handles for a legend, in the order of `colors`."""
    count = sum(len(points) for points in groups.values())
    alpha, size = (0.7, 4.0) if count < 500 else (0.45, 2.8) if count < 5000 else (0.3, 2.0)
    look = points_look(groups, unseen, colors)
    for part in range(_SLICES):
        for label, drawn in look.items():
            x, y = groups[label][part::_SLICES].T
            axes.plot(x, y, **drawn, markersize=size, alpha=alpha, markeredgewidth=0, rasterized=True)
    return [Line2D([], [], **drawn, label=shown(label, unseen)) for label, drawn in look.items()]


def save(figure: Figure, stem: str | Path) -> None:
    """Write `stem`.png (150 dpi) and `stem`.pdf, each whole or not at all, without dates or versions in them.

    Text in a script that the pictures' font lacks is set in installed fonts that have it. Where there is none, it shows
    boxes; `fonts.boxes_note` says so.
    """
    for text in figure.findobj(Text):
        families, _ = fallbacks([text.get_text()])
        if families:
            text.set_fontfamily([FONT, *families])
    for suffix, metadata in (("png", {"Software": None}), ("pdf", dict.fromkeys(_PDF_FIELDS))):
        with warnings.catch_warnings(), atomic_write(f"{stem}.{suffix}", "wb") as file:
            warnings.filterwarnings("ignore", r"Glyph \d+")  # a line per character and picture
            figure.savefig(file, format=suffix, dpi=150, metadata=metadata, bbox_inches="tight", pad_inches=0.05)


def _color(index: int) -> str:
    if index < len(PALETTE):
        return PALETTE[index]
    red, green, blue = colorsys.hls_to_rgb(index * 0.618 % 1, 0.45, 0.65)  # golden ratio: neighbours differ
    return f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}"
