"""Plots of latents: first two dims, t-SNE, histograms. Each function writes `stem`.png (150 dpi) and `stem`.pdf.

A class has the same colour in all plots of an experiment (`style.class_colors`). Languages that the model was not
trained on are marked "(unseen)" and have another marker or a dotted outline. The same data give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from flowlid.plots.style import GREY, colors_for, outline, save, scatter, shown, styled

Points = NDArray[np.float64]
_CLOUD = (4.6, 3.4)  # inches, size of a scatter plot
_BINS = 30  # of a histogram: a sample has some hundred frames of a language


@styled
def first_dims(
    samples: Mapping[str, ArrayLike],
    unseen: set[str],
    stem: str | Path,
    title: str,
    class_means: Mapping[str, ArrayLike] | None = None,
    colors: Mapping[str, str] | None = None,
    dims: tuple[int, int] = (0, 1),
) -> None:
    """Scatter plot of two latent dims, from the 0.5th to the 99.5th percentile, with a cross at each class mean.

    Args:
        samples: label -> latents, shape (n, D), D >= 2.
        unseen: labels that are not classes of the model.
        stem: path to write to, without the suffix.
        title: of the figure.
        class_means: class -> mean, shape (D,), or at least up to the shown dims.
        colors: from `class_colors`; by default those of the labels shown.
        dims: the two that are shown, counted from 0.

    Raises:
        ValueError: no points, fewer than two dims, or a label without a colour.
    """
    groups = {label: _two_dims(z, f"{stem}: {label}", dims) for label, z in samples.items()}
    if not groups:
        raise ValueError(f"{stem}: no latents to draw")
    means = {label: np.asarray(mean, dtype=float)[list(dims)] for label, mean in (class_means or {}).items()}
    palette = colors_for([*groups, *means], unseen, colors)
    figure = Figure(figsize=_CLOUD, layout="constrained")
    axes = figure.subplots()
    handles = scatter(axes, groups, unseen, palette)
    cross = {"linestyle": "", "marker": "X", "markeredgecolor": "black", "markeredgewidth": 0.8}
    for label, mean in means.items():
        axes.plot(*mean, color=palette[label], markersize=9, zorder=4, **cross)
    if means:
        handles.append(Line2D([], [], color="white", markersize=7, label="class mean", **cross))
    points = np.concatenate(list(groups.values()))
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    low, high = np.min([low, *means.values()], axis=0), np.max([high, *means.values()], axis=0)
    margin = np.maximum(0.06 * (high - low), 1e-6)
    low, high = low - margin, high + margin
    outside = int(((points < low) | (points > high)).any(axis=1).sum())
    note = f"\n{outside} of {len(points)} frames lie outside the axes" if outside else ""
    axes.set(title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set(xlabel=f"latent dim {dims[0] + 1}{note}", ylabel=f"latent dim {dims[1] + 1}")
    figure.legend(handles=handles, loc="outside right upper")
    save(figure, stem)


@styled
def tsne(
    embedding: ArrayLike,
    labels: Sequence[str],
    unseen: set[str],
    stem: str | Path,
    title: str,
    colors: Mapping[str, str] | None = None,
    note: str = "",
) -> None:
    """Scatter plot of a two-dimensional embedding, such as that of `evaluation.latents.tsne_embedding`.

    Args:
        embedding: shape (n, 2).
        labels: language or set of each point, shape (n,).
        unseen, stem, title, colors: as for `first_dims`.
        note: how the embedding was made; below the axes.

    Raises:
        ValueError: no points, shapes that do not fit, or a label without a colour.
    """
    points, names = _two_dims(embedding, str(stem)), np.asarray(labels, dtype=str)
    if names.shape != (len(points),):
        raise ValueError(f"{stem}: {len(points)} points, {names.size} labels")
    groups = {str(name): points[names == name] for name in np.unique(names)}
    figure = Figure(figsize=_CLOUD, layout="constrained")
    axes = figure.subplots()
    handles = scatter(axes, groups, unseen, colors_for(groups, unseen, colors))
    # The units and directions of t-SNE have no meaning.
    axes.set(title=title, xticks=[], yticks=[], xlabel=f"t-SNE 1\n{note}" if note else "t-SNE 1", ylabel="t-SNE 2")
    figure.legend(handles=handles, loc="outside right upper")
    save(figure, stem)


@styled
def histograms(
    samples: Mapping[str, ArrayLike],
    density: Mapping[str, Sequence[tuple[float, float]]],
    dims: Sequence[int],
    unseen: set[str],
    stem: str | Path,
    title: str,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Histograms of single latent dims per label, with the Gaussian densities of the model.

    Args:
        samples: label -> latents, shape (n, D).
        density: class -> (mean, variance) of each shown dim, in the order of `dims`.
        dims: the dims to show, counted from 0 (titles count from 1).
        unseen, stem, title, colors: as for `first_dims`.

    Raises:
        ValueError: no sample or dim, a density that does not fit `dims`, or a label without a colour.
    """
    groups = {label: np.asarray(z, dtype=float)[:, list(dims)] for label, z in samples.items()}
    if not len(dims) or not groups or min(len(z) for z in groups.values()) == 0:
        raise ValueError(f"{stem}: needs at least one dim and one frame per label")
    if any(len(gaussians) != len(dims) for gaussians in density.values()):
        raise ValueError(f"{stem}: each class needs a mean and a variance for each of the {len(dims)} dims")
    palette = colors_for([*groups, *density], unseen, colors)
    columns = min(len(dims), 4)
    rows = -(-len(dims) // columns)
    figure = Figure(figsize=(max(1.9 * columns, 3.2), 1.55 * rows + 0.7), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(dims) :]:
        axes.remove()
    for index, dim in enumerate(dims):
        gaussians = {label: found[index] for label, found in density.items()}
        _histogram(grid[index], {label: z[:, index] for label, z in groups.items()}, gaussians, unseen, palette)
        grid[index].set_title(f"latent dim {dim + 1}", fontsize=8)
        if index % columns == 0:
            grid[index].set_ylabel("density")
    handles = [
        Patch(facecolor="none", edgecolor=palette[label], linestyle=outline(label, unseen), label=shown(label, unseen))
        for label in palette
        if label in groups
    ]
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="model density of a class, in its colour"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns))
    save(figure, stem)


def discriminative_dims(samples: Mapping[str, ArrayLike], count: int) -> tuple[int, int]:
    """The two of the first `count` dims, counted from 0, whose Fisher ratio is the highest; the best is first.

    The ratio is the variance of the class means over the mean of the variances within classes.

    Args:
        samples: class -> latents, shape (n, D).
        count: number of dims to choose from, 2 or more.
    """
    groups = [np.asarray(z, dtype=float)[:, :count] for z in samples.values()]
    between = np.var([z.mean(axis=0) for z in groups], axis=0)
    within = np.maximum(np.mean([z.var(axis=0) for z in groups], axis=0), np.finfo(float).tiny)
    first, second = np.argsort(-between / within, kind="stable")[:2]
    return int(first), int(second)


def _two_dims(z: ArrayLike, name: str, dims: tuple[int, int] = (0, 1)) -> Points:
    z = np.asarray(z, dtype=float)
    if z.ndim != 2 or z.shape[0] < 1 or z.shape[1] <= max(dims) or not np.isfinite(z[:, list(dims)]).all():
        raise ValueError(f"{name}: a scatter needs finite points (n, 2 or more) with n >= 1, has shape {z.shape}")
    return z[:, list(dims)]


def _histogram(
    axes: Axes,
    groups: Mapping[str, Points],
    gaussians: Mapping[str, tuple[float, float]],
    unseen: set[str],
    palette: Mapping[str, str],
) -> None:
    edges = [mean + side * 3 * np.sqrt(variance) for mean, variance in gaussians.values() for side in (-1, 1)]
    low, high = np.percentile(np.concatenate(list(groups.values())), [0.5, 99.5])
    low, high = min([low, *edges]), max([high, *edges])
    bins = np.linspace(low, high, _BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    for label, values in groups.items():
        # Frames outside the axes count too: the area is the share of frames that is shown.
        heights = np.histogram(values, bins)[0] / (values.size * (bins[1] - bins[0]))
        axes.stairs(heights, bins, color=palette[label], linestyle=outline(label, unseen), linewidth=1.2)
    grid = np.linspace(low, high, 400)
    for label, (mean, variance) in gaussians.items():
        axes.plot(grid, norm.pdf(grid, mean, np.sqrt(variance)), "--", color=palette[label], linewidth=1)
    axes.set(xlim=(bins[0], bins[-1]), ylim=(0, None))
