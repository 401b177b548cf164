"""The picture of a timeline: what is drawn are the values given, and the files are the same each time."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tools import check_picture

from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.plots import timeline as module
from flowlid.plots.timeline import timeline

PROBABILITIES = {"en": [0.9, 0.2, np.nan, 0.7], "es": [0.1, 0.7, np.nan, 0.2], "fr": [0.0, 0.1, np.nan, 0.1]}
SEGMENTS = [(0.0, 1.0, "en"), (1.0, 1.8, "es"), (3.1, 4.0, "unknown")]


def draw(feats: np.ndarray, stem: str | Path, segments: list = SEGMENTS) -> None:
    timeline(feats, 0.01, (20, 4000), PROBABILITIES, 1.0, segments, stem, "a")


def test_files_are_whole_unclipped_and_the_same_each_time(tmp_path: Path) -> None:
    feats = np.random.default_rng(0).normal(size=(400, 12))
    check_picture(lambda stem: draw(feats, stem), tmp_path)


def drawn(feats: np.ndarray, monkeypatch: pytest.MonkeyPatch, segments: list = SEGMENTS) -> Figure:
    figures: list[Figure] = []
    monkeypatch.setattr(module, "save", lambda figure, stem: figures.append(figure))
    draw(feats, "x", segments)
    return figures[0]


def test_segments_and_probabilities_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    strip, lines, picture, _ = drawn(np.zeros((400, 12)), monkeypatch).axes
    rows = [text.get_text() for text in strip.get_yticklabels()]
    bars = [
        (
            round(bar.get_x(), 6),
            round(bar.get_x() + bar.get_width(), 6),
            rows[round(bar.get_y() + bar.get_height() / 2)],
        )
        for bar in strip.patches
    ]
    assert bars == SEGMENTS and rows == ["en", "es", "unknown"]
    assert [line.get_label() for line in lines.lines] == ["en", "es"]  # French is nowhere the most probable
    assert len({line.get_linestyle() for line in lines.lines}) == 2  # told apart without colours
    for line in lines.lines:
        assert np.array_equal(line.get_ydata(), PROBABILITIES[line.get_label()], equal_nan=True)
        assert line.get_xdata().tolist() == [0.5, 1.5, 2.5, 3.5]
    assert picture.get_xlim() == strip.get_xlim() == (0, 4.0)


def test_without_speech_there_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    strip = drawn(np.zeros((400, 12)), monkeypatch, []).axes[0]
    assert not strip.patches and not strip.get_yticklabels()


@pytest.mark.parametrize("hertz", [500, 2000])
def test_a_tone_is_at_its_frequency_and_time_and_levels_are_in_db(hertz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at = np.arange(32000) / 8000
    loud = np.where(at < 2, 0.5, 0.05) * np.sin(2 * np.pi * hertz * at)  # 20 dB less from the third second on
    feats, _ = FeatureExtractor(FbankOptions(sample_frequency=8000))(loud.astype(np.float32))
    axes = drawn(feats, monkeypatch).axes[2]
    (image,) = axes.images
    level, (left, right, low, high) = np.asarray(image.get_array()), image.get_extent()
    row = level[:, : level.shape[1] // 4].mean(1).argmax()
    place = low + (row + 0.5) * (high - low) / len(level)
    ticks = dict(zip([text.get_text() for text in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert abs(place - ticks[f"{hertz / 1000:g}"]) < (high - low) / len(level)
    columns = left + (np.arange(level.shape[1]) + 0.5) * (right - left) / level.shape[1]
    before, after = (level[row, within].mean() for within in (columns < 1.9, columns > 2.1))
    assert before == pytest.approx(0, abs=0.5) and before - after == pytest.approx(20, abs=0.5)


def test_an_hour_is_averaged_into_columns_and_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    feats = np.broadcast_to(np.arange(360000, dtype=np.float32)[:, None] / 1000, (360000, 3))
    axes = drawn(feats, monkeypatch).axes[2]
    level = np.asarray(axes.images[0].get_array())
    assert 1000 < level.shape[1] <= 3000 and np.all(np.diff(level, axis=1) > 0)
    assert axes.xaxis.get_major_formatter()(3599, None) == "59:59"
    assert [tick for tick in axes.get_xticks() if 0 <= tick <= 3600] == list(range(0, 3601, 300))
    with pytest.raises(ValueError, match="no frame to draw"):
        draw(np.zeros((0, 3)), "x")
