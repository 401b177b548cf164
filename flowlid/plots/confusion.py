"""Plot of a model's confusions: which class each language was recognised as."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from flowlid.plots.style import save, shown, styled

_MOST_WITH_NUMBERS = 15  # classes; with more, cells are coloured only, and the worst pairs are listed
_WORST = 8  # pairs that are listed


@styled
def confusion_shares(
    confusion: Mapping[str, Mapping[str, Mapping[str, float]]],
    counts: Mapping[str, Mapping[str, int]],
    classes: Sequence[str],
    unseen: set[str],
    stem: str | Path,
    title: str,
) -> None:
    """Heat map of how the languages of each set were recognised; correct decisions are in bold.

    With more than 15 classes, cells have no numbers, classes that are confused are neighbours, and the worst pairs are
    listed.

    Args:
        confusion: set -> true language -> predicted class -> share (0 to 1).
        counts: set -> true language -> number of frames or utterances, N of the row.
        classes: the columns, in this order if there are at most 15.
        unseen, stem, title: as for `first_dims`.

    Raises:
        ValueError: no row, or a prediction that is not a class.
    """
    rows = [(name, true, shares) for name, languages in confusion.items() for true, shares in languages.items()]
    strange = {label for _, _, shares in rows for label in shares} - set(classes)
    if not rows or strange:
        raise ValueError(f"{stem}: needs a row, and predictions only of {list(classes)}; has {sorted(strange)}")
    many = len(classes) > _MOST_WITH_NUMBERS
    if many:
        classes = _neighbours(rows, classes)
        place, sets = {label: number for number, label in enumerate(classes)}, list(confusion)
        rows.sort(key=lambda row: (sets.index(row[0]), place.get(row[1], len(place)), row[1]))
    shares = np.array([[row.get(label, 0.0) for label in classes] for _, _, row in rows])
    cell = (0.13, 0.13) if many else (0.62, 0.27)
    width, height = 2.9 + cell[0] * len(classes), 1.3 + cell[1] * len(rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, ax=axes, label="share of the row", aspect=30, pad=0.02)
    for row in range(1, len(rows)):
        same = rows[row][0] == rows[row - 1][0]
        axes.axhline(row - 0.5, color="white", linewidth=(0 if many else 1) if same else 4)
    names = [f"{name}: {shown(true, unseen)}, N = {counts[name][true]}" for name, true, _ in rows]
    small = {"fontsize": 6} if many else {}
    axes.set_yticks(range(len(rows)), names, **small)
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, classes)) > 7 else {}
    axes.set_xticks(range(len(classes)), classes, **({**small, "rotation": 90} if many else slant))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="recognised as" + (_worst(rows) if many else ""), ylabel="set: true language")
    if not many:
        _numbers(axes, shares, rows, classes)
    figure.suptitle(title)  # of the figure: with few classes the axes are narrower than it
    save(figure, stem)


Row = tuple[str, str, Mapping[str, float]]


def _numbers(axes: Axes, shares: NDArray[np.float64], rows: Sequence[Row], classes: Sequence[str]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        weight = "bold" if rows[row][1] == classes[column] else "normal"
        color = "white" if share > 0.55 else "black"
        axes.text(column, row, f"{share:.3f}", ha="center", va="center", color=color, weight=weight)


def _neighbours(rows: Sequence[Row], classes: Sequence[str]) -> list[str]:
    """The classes, by average-linkage clustering of their confusions over all sets, with the best order of leaves."""
    number = {label: place for place, label in enumerate(classes)}
    confused = np.zeros((len(classes), len(classes)))
    for _, true, shares in rows:
        for label, share in shares.items():
            if true in number:
                confused[number[true], number[label]] += share
    confused = confused + confused.T
    distance = 1 - confused / max(confused.max(), 1e-12)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [classes[place] for place in leaves_list(tree)]


def _worst(rows: Sequence[Row]) -> str:
    """Lines that list the errors of seen or unseen languages with the highest shares."""
    errors = [(-share, name, true, label) for name, true, row in rows for label, share in row.items() if label != true]
    found = [f"{name}: {true} as {label} {-share:.2f}" for share, name, true, label in sorted(errors)[:_WORST] if share]
    return "".join(f"\n{line}" for line in ("highest shares of errors:", *found)) if found else ""
