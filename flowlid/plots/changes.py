"""What changed between two runs, as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from flowlid.plots.style import GREY, PALETTE, save, styled

_ROW_INCHES = 0.19


@styled
def differences(rows: Mapping[str, Sequence[tuple[str, float, float | None, float | None]]], stem: str | Path) -> None:
    """Differences with their 95% intervals, a panel per quantity and a row per set; filled where 0 is outside.

    Args:
        rows: quantity with its unit -> (label, difference, low, high) in the order from top to bottom; low and high are
            None where there is no interval.
        stem: path to write to, without the suffix.

    Raises:
        ValueError: nothing to draw.
    """
    if not rows or not all(rows.values()):
        raise ValueError(f"{stem}: no difference to draw")
    most = max(map(len, rows.values()))
    figure = Figure(figsize=(3.4 * len(rows), _ROW_INCHES * most + 1.2), layout="constrained")
    for axes, (quantity, found) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True):
        axes.axvline(0, color=GREY, linewidth=0.9, zorder=0)
        for place, (_, difference, low, high) in enumerate(found):
            sure = low is not None and (low > 0 or high < 0)
            if low is not None:
                axes.plot([low, high], [place, place], color=PALETTE[0], linewidth=1.1)
            axes.plot(difference, place, "o", color=PALETTE[0], markerfacecolor=PALETTE[0] if sure else "white")
        axes.set_yticks(range(len(found)), [row[0] for row in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlabel(quantity)
    save(figure, stem)
