"""Pictures for papers and reports: each function writes `stem`.png (150 dpi) and `stem`.pdf.

A class has one colour in every picture of an experiment (`class_colors`). Languages that the model was not
trained on are marked "(unseen)", with another marker or hatch. The same data give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.manifold import TSNE

from flowlid.figures import GREY, PALETTE, class_colors, colors_for, hatch, save, scatter, shown, styled

__all__ = ["class_colors", "confusion_shares", "first_dims", "histograms", "loss_curve", "tsne", "tsne_embedding"]

Points = NDArray[np.float64]
History = Sequence[Mapping[str, float | None]]
FEWEST_FOR_TSNE = 4  # frames
_CLOUD = (4.6, 3.4)  # inches, of a scatter


@styled
def loss_curve(history: History, stem: str | Path, title: str) -> None:
    """Training curves against the epoch: LogLL, LogP with LogDet, and dev accuracy where there is one.

    Args:
        history: the objects of train.jsonl (`epoch`, `loglik`, `logp`, `logdet`, `dev_loglik` in
            nats/frame, `dev_accuracy`, `recoveries` in that epoch); a null value is left out.
        stem: where to write, without the suffix.
        title: shown above.

    Raises:
        ValueError: no epoch.
    """
    if not history:
        raise ValueError(f"{stem}: no epoch to draw; train.jsonl is empty")
    scored = any(epoch.get("dev_accuracy") is not None for epoch in history)
    figure = Figure(figsize=(7.6 if scored else 5.2, 2.6), layout="constrained")
    figure.suptitle(title)
    # LogP and LogDet lie hundreds of nats apart: on one scale both would look flat.
    grid = figure.add_gridspec(2, 3 if scored else 2)
    first = figure.add_subplot(grid[:, 0], ylabel="LogLL (nats/frame)")
    upper, lower = figure.add_subplot(grid[0, 1], ylabel="LogP"), figure.add_subplot(grid[1, 1], ylabel="LogDet")
    panels = [first, upper, lower]
    _line(first, history, "loglik", PALETTE[0], "o", "train")
    _line(first, history, "dev_loglik", PALETTE[1], "s", "dev")
    _line(upper, history, "logp", PALETTE[0], "o", "train")
    _line(lower, history, "logdet", PALETTE[0], "o", "train")
    if scored:
        panels.append(figure.add_subplot(grid[:, 2], ylabel="dev frame accuracy"))
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


@styled
def first_dims(
    samples: Mapping[str, ArrayLike],
    unseen: set[str],
    stem: str | Path,
    title: str,
    class_means: Mapping[str, ArrayLike] | None = None,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Scatter of latent dims 1 and 2, 0.5th to 99.5th percentile, and a cross for each class mean.

    Args:
        samples: label -> latents, shape (n, D), D >= 2.
        unseen: the labels that are no class of the model.
        stem: where to write, without the suffix.
        title: shown above.
        class_means: class -> mean, shape (D,) or more than one of its first dims.
        colors: from `class_colors`; by default made from the labels shown.

    Raises:
        ValueError: no point, fewer than two dims, or a label without a colour.
    """
    groups = {label: _two_dims(z, f"{stem}: {label}") for label, z in samples.items()}
    if not groups:
        raise ValueError(f"{stem}: no latents to draw")
    means = {label: np.asarray(mean, dtype=float)[:2] for label, mean in (class_means or {}).items()}
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
    axes.set(xlabel=f"latent dim 1{note}", ylabel="latent dim 2")
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
) -> None:
    """Scatter of a two-dimensional embedding, such as `tsne_embedding` makes.

    Args:
        embedding: shape (n, 2).
        labels: language of each point, shape (n,).
        unseen, stem, title, colors: as for `first_dims`.

    Raises:
        ValueError: no point, shapes that do not fit, or a label without a colour.
    """
    points, names = _two_dims(embedding, str(stem)), np.asarray(labels, dtype=str)
    if names.shape != (len(points),):
        raise ValueError(f"{stem}: {len(points)} points, {names.size} labels")
    groups = {str(name): points[names == name] for name in np.unique(names)}
    figure = Figure(figsize=_CLOUD, layout="constrained")
    axes = figure.subplots()
    handles = scatter(axes, groups, unseen, colors_for(groups, unseen, colors))
    # Units and directions of t-SNE mean nothing.
    axes.set(title=title, xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    figure.legend(handles=handles, loc="outside right upper")
    save(figure, stem)


def tsne_embedding(z: ArrayLike, seed: int, perplexity: float = 30.0) -> NDArray[np.float32]:
    """Embed latents in two dims by t-SNE (van der Maaten and Hinton 2008), started from their PCA.

    Args:
        z: latents, shape (n, D), n >= 4, D >= 2.
        seed: of scikit-learn's random state.
        perplexity: lowered to (n - 1) / 3 where there are few samples.

    Returns:
        Shape (n, 2).

    Raises:
        ValueError: too few samples or dims, or NaN or Inf.
    """
    z = np.asarray(z)
    if z.ndim != 2 or z.shape[0] < FEWEST_FOR_TSNE or z.shape[1] < 2 or not np.isfinite(z).all():
        raise ValueError(f"t-SNE: needs finite latents (n, D) with n >= 4 and D >= 2, have shape {z.shape}")
    perplexity = min(perplexity, (len(z) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed).fit_transform(z)


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
    """Histograms of single latent dims per label, with the Gaussians that the model holds them to be.

    Args:
        samples: label -> latents, shape (n, D).
        density: class -> (mean, variance) of each shown dim, in the order of `dims`.
        dims: the dims to show, counted from 0 (the picture counts from 1).
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
    handles = [
        Patch(facecolor="none", edgecolor=palette[label], hatch=hatch(label, unseen), label=shown(label, unseen))
        for label in palette
        if label in groups
    ]
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="model density"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 2 * columns))
    save(figure, stem)


@styled
def confusion_shares(
    confusion: Mapping[str, Mapping[str, Mapping[str, float]]],
    classes: Sequence[str],
    unseen: set[str],
    stem: str | Path,
    title: str,
) -> None:
    """Heat map of where each set's languages went; the right answers stand in bold.

    Args:
        confusion: set -> true language -> predicted class -> share (0 to 1).
        classes: the columns, in this order.
        unseen, stem, title: as for `first_dims`.

    Raises:
        ValueError: no row, or a prediction that is no class.
    """
    rows = [(name, true, shares) for name, languages in confusion.items() for true, shares in languages.items()]
    strange = {label for _, _, shares in rows for label in shares} - set(classes)
    if not rows or strange:
        raise ValueError(f"{stem}: needs a row, and no predictions but {list(classes)}; has {sorted(strange)}")
    shares = np.array([[row.get(label, 0.0) for label in classes] for _, _, row in rows])
    figure = Figure(figsize=(2.3 + 0.62 * len(classes), 1.1 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        weight = "bold" if rows[row][1] == classes[column] else "normal"
        color = "white" if share > 0.55 else "black"
        axes.text(column, row, f"{share:.3f}", ha="center", va="center", color=color, weight=weight)
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color="white", linewidth=1 if rows[row][0] == rows[row - 1][0] else 4)
    axes.set_yticks(range(len(rows)), [f"{name}: {shown(true, unseen)}" for name, true, _ in rows])
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, classes)) > 7 else {}
    axes.set_xticks(range(len(classes)), classes, **slant)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(title=title, xlabel="recognised as", ylabel="set: true language")
    save(figure, stem)


def _two_dims(z: ArrayLike, name: str) -> Points:
    z = np.asarray(z, dtype=float)
    if z.ndim != 2 or z.shape[0] < 1 or z.shape[1] < 2 or not np.isfinite(z[:, :2]).all():
        raise ValueError(f"{name}: a scatter needs finite points (n, 2 or more) with n >= 1, has shape {z.shape}")
    return z[:, :2]


def _series(history: History, key: str) -> Points:
    return np.array([np.nan if epoch.get(key) is None else epoch[key] for epoch in history], dtype=float)


def _line(axes: Axes, history: History, key: str, color: str, marker: str, name: str) -> None:
    epochs, values = _series(history, "epoch"), _series(history, key)
    if np.isfinite(values).any():
        every = max(1, len(epochs) // 15)
        axes.plot(epochs, values, color=color, marker=marker, markersize=3, markevery=every, label=name)


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
    bins = np.linspace(low, high, 61) if high > low else np.array([low - 0.5, low + 0.5])
    for label, values in groups.items():
        # Over all frames, also those outside the axes: the area is the share that is shown.
        heights = np.histogram(values, bins)[0] / (values.size * (bins[1] - bins[0]))
        axes.stairs(heights, bins, color=palette[label], hatch=hatch(label, unseen), linewidth=1.2)
    grid = np.linspace(low, high, 400)
    for label, (mean, variance) in gaussians.items():
        axes.plot(grid, norm.pdf(grid, mean, np.sqrt(variance)), "--", color=palette[label], linewidth=1)
    axes.set(yticks=[], xlim=(bins[0], bins[-1]), ylim=(0, None))
    axes.spines["left"].set_visible(False)
