"""What is spoken when in a recording, over its spectrogram."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import ArrayLike, NDArray

from flowlid.plots.style import GREY, class_colors, save, styled

_WIDTH = (7.0, 20.0)  # inches, of recordings that are short and long
_SECONDS_PER_INCH = 10.0
_COLUMNS_PER_INCH = 150
_ROW_INCHES = 0.17  # height of the row of one language
_RANGE = 60.0  # dB that are shown below the loudest
_TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz
_STYLES = ("-", "--", ":", "-.")


@styled
def timeline(
    feats: ArrayLike,
    frame_shift: float,
    band: tuple[float, float],
    probabilities: Mapping[str, ArrayLike],
    step: float,
    segments: Sequence[tuple[float, float, str]],
    stem: str | Path,
    title: str,
    unknown: str = "unknown",
) -> None:
    """Segments, a row per language, over the probabilities of the windows, over the spectrogram.

    Lines differ in style as well as in colour. Of many languages, the probabilities are drawn that are the highest
    anywhere.

    Args:
        feats: log-mel energies (natural logarithm) of the frames, (T, F); may be mapped from disk.
        frame_shift: in seconds.
        band: lowest and highest frequency of the mel bank in Hz.
        probabilities: language -> that of each window, (B,); NaN where there is no speech.
        step: seconds from one window to the next.
        segments: begin and end in seconds, and language, in order of time.
        stem: path to write to, without the suffix.
        title: of the figure.
        unknown: what segments of none of the languages are called; drawn in grey, in the last row.

    Raises:
        ValueError: no frame to draw.
    """
    feats = np.asanyarray(feats)
    if not len(feats):
        raise ValueError(f"{stem}: no frame to draw")
    seconds = len(feats) * frame_shift
    colors = {**class_colors(probabilities), unknown: GREY}
    drawn = _highest(probabilities)
    rows = [name for name in colors if name in {language for *_, language in segments}]
    width = min(max(seconds / _SECONDS_PER_INCH, _WIDTH[0]), _WIDTH[1])
    heights = [_ROW_INCHES * max(1, len(rows)), 1.1, 1.5]
    figure = Figure(figsize=(width, sum(heights) + 1.1), layout="constrained")
    strip, lines, picture = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    figure.suptitle(title)
    _segments(strip, segments, rows, colors)
    _probabilities(lines, {name: probabilities[name] for name in drawn}, step, colors)
    image = _spectrogram(picture, feats, seconds, band, round(width * _COLUMNS_PER_INCH))
    figure.legend(loc="outside lower center", ncols=4, handlelength=2.6)
    figure.colorbar(image, ax=picture, pad=0.01, aspect=12, label="dB")
    picture.set_xlim(0, seconds)
    picture.set_xlabel("time, s" if seconds < 120 else "time, min:s")
    if seconds >= 120:
        picture.xaxis.set_major_locator(MultipleLocator(_tick_seconds(seconds)))
        picture.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{int(x) // 60}:{int(x) % 60:02}"))
    save(figure, stem)


def _tick_seconds(seconds: float) -> int:
    """Between two ticks: half a minute or whole minutes, for a dozen ticks at most."""
    return next((step for step in (30, 60, 120, 300, 600, 1800) if seconds / step <= 12), 3600)


def _highest(probabilities: Mapping[str, ArrayLike]) -> list[str]:
    """The languages that are the most probable in any window; all if there is no speech."""
    names = list(probabilities)
    values = np.array([probabilities[name] for name in names], float)
    spoken = values[:, np.isfinite(values).all(axis=0)]
    if not spoken.size:
        return names
    best = set(spoken.argmax(axis=0).tolist())
    return [name for number, name in enumerate(names) if number in best or len(names) == 2]


def _segments(
    axes: Axes, segments: Sequence[tuple[float, float, str]], rows: Sequence[str], colors: Mapping[str, str]
) -> None:
    for start, end, language in segments:
        axes.barh(
            rows.index(language), end - start, left=start, height=0.8, color=colors[language], edgecolor="white",
            linewidth=0.4,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=0)
    axes.spines["bottom"].set_visible(False)


def _probabilities(axes: Axes, drawn: Mapping[str, ArrayLike], step: float, colors: Mapping[str, str]) -> None:
    for (name, values), line in zip(drawn.items(), cycle(_STYLES), strict=False):
        values = np.asarray(values, float)
        axes.plot((np.arange(len(values)) + 0.5) * step, values, line, color=colors[name], label=name, linewidth=1.1)
    axes.set(ylim=(-0.03, 1.03), yticks=(0, 0.5, 1), ylabel="probability")


def _spectrogram(axes: Axes, feats: NDArray, seconds: float, band: tuple[float, float], columns: int) -> AxesImage:
    per = -(-len(feats) // columns)
    means = [np.asarray(feats[start : start + per]).mean(axis=0) for start in range(0, len(feats), per)]
    level = 10 / math.log(10) * np.stack(means)
    low, high = map(_mel, band)
    between = (high - low) / (level.shape[1] + 1)  # centres of bins are equally far apart in mel
    ends = (low + between / 2, high - between / 2)
    image = axes.imshow(
        level.T - level.max(), origin="lower", aspect="auto", cmap="Greys", vmin=-_RANGE, vmax=0,
        extent=(0, len(means) * per * seconds / len(feats), *ends), interpolation="nearest",
    )  # fmt: skip
    ticks = [hertz for hertz in _TICKS if ends[0] <= _mel(hertz) <= ends[1]]
    axes.set_yticks([_mel(hertz) for hertz in ticks], [f"{hertz / 1000:g}" for hertz in ticks])
    axes.set_ylabel("frequency, kHz")
    return image


def _mel(hertz: float) -> float:
    """On the mel scale of Kaldi's filterbanks."""
    return 1127 * math.log(1 + hertz / 700)
