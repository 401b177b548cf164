"""Training curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowlid.plots.latents import Points
from flowlid.plots.style import GREY, PALETTE, save, styled

History = Sequence[Mapping[str, float | None]]


@styled
def loss_curve(history: History, stem: str | Path, title: str, discriminative: bool = False) -> None:
    """Training curves by epoch: LogLL, LogP and LogDet, cross-entropy if it was trained, dev accuracy if there is any.

    Args:
        history: the objects of train.jsonl (`epoch`; `loglik`, `logp`, `logdet`, `dev_loglik` in nats/frame;
            `crossent`, `dev_crossent` likewise; `dev_accuracy`; `recoveries` in that epoch). Null values are left out.
        stem: path to write to, without the suffix.
        title: of the figure.
        discriminative: whether the cross-entropy was a part of the loss.

    Raises:
        ValueError: no epoch.
    """
    if not history:
        raise ValueError(f"{stem}: no epoch to draw; train.jsonl is empty")
    scored = any(epoch.get("dev_accuracy") is not None for epoch in history)
    columns = 2 + discriminative + scored
    figure = Figure(figsize=(0.4 + 2.4 * columns, 2.6), layout="constrained")
    figure.suptitle(title)
    # LogP and LogDet are hundreds of nats apart: on one scale both would look flat.
    grid = figure.add_gridspec(2, columns)
    first = figure.add_subplot(grid[:, 0], ylabel="LogLL (nats/frame)")
    upper, lower = figure.add_subplot(grid[0, 1], ylabel="LogP"), figure.add_subplot(grid[1, 1], ylabel="LogDet")
    panels = [first, upper, lower]
    _line(first, history, "loglik", PALETTE[0], "o", "train: running mean over the epoch")
    _line(first, history, "dev_loglik", PALETTE[1], "s", "dev: at the end of the epoch")
    _line(upper, history, "logp", PALETTE[0], "o", "train")
    _line(lower, history, "logdet", PALETTE[0], "o", "train")
    if discriminative:
        panels.append(figure.add_subplot(grid[:, 2], ylabel="cross-entropy (nats/frame)"))
        _line(panels[-1], history, "crossent", PALETTE[0], "o", "train")
        _line(panels[-1], history, "dev_crossent", PALETTE[1], "s", "dev")
    if scored:
        panels.append(figure.add_subplot(grid[:, -1], ylabel="dev frame accuracy"))
        _line(panels[-1], history, "dev_accuracy", PALETTE[1], "s", "dev")
    epochs = _series(history, "epoch")
    for axes in panels:
        for number, epoch in enumerate(epochs[_series(history, "recoveries") > 0]):
            label = None if number else "recovery"  # one entry in the legend
            axes.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":", zorder=0, label=label)
        axes.set(xlabel="epoch", xlim=(epochs.min() - 0.5, epochs.max() + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    upper.set(xlabel="", xticklabels=[])
    figure.align_ylabels([upper, lower])
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save(figure, stem)


def _series(history: History, key: str) -> Points:
    return np.array([np.nan if epoch.get(key) is None else epoch[key] for epoch in history], dtype=float)


def _line(axes: Axes, history: History, key: str, color: str, marker: str, name: str) -> None:
    epochs, values = _series(history, "epoch"), _series(history, key)
    if np.isfinite(values).any():
        every = max(1, len(epochs) // 15)
        axes.plot(epochs, values, color=color, marker=marker, markersize=3, markevery=every, label=name)
