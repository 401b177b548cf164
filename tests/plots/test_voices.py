"""The curve over the number of voices: its points are the values given, and the files are the same each time."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tools import check_picture

from flowlid.plots import voices
from flowlid.plots.voices import Point, voice_curves

CHANCE = {"accuracy": 0.25, "bits": 2.0}


def point(count: int, accuracy: float) -> Point:
    new = {"accuracy": (accuracy, accuracy - 0.1, accuracy + 0.1), "bits": (3 - accuracy, None, None)}
    known = {"accuracy": (0.9, 0.8, 1.0), "bits": (0.25, 0.2, 0.3)}
    each = {("es", "a"): {"accuracy": accuracy, "bits": 3 - accuracy}}
    if count == 1:
        each["fr", "b"] = {"accuracy": 0.125, "bits": 4.0}
    return Point(count, new, known, each)


CURVES = {"dnf": [point(1, 0.25), point(2, 0.5), point(3, 0.5)], "gmm": [point(1, 0.375), point(2, 0.25)]}


def test_files_are_whole_unclipped_and_the_same_each_time(tmp_path: Path) -> None:
    check_picture(lambda stem: voice_curves(CURVES, CHANCE, stem), tmp_path)


def test_means_intervals_chance_and_each_voice_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(voices, "save", lambda figure, stem: figures.append(figure))
    voice_curves(CURVES, CHANCE, "x")
    axes = figures[0].axes[0]  # accuracy of dnf
    drawn = [tuple(map(tuple, line.get_xydata())) for line in axes.lines]
    assert ((1, 0.25), (2, 0.5), (3, 0.5)) in drawn  # the voice, and the mean
    assert ((1, 0.125),) in drawn
    assert ((1, 0.9), (2, 0.9), (3, 0.9)) in drawn
    assert [*axes.lines[0].get_ydata()] == [0.25, 0.25]
    bars = np.concatenate(axes.collections[-1].get_segments())
    assert {(1, 0.15), (1, 0.35), (3, 0.6)} <= {(int(x), round(float(y), 6)) for x, y in bars}
    assert [text.get_text() for text in figures[0].legends[0].get_texts()][-2:] == [
        "a new voice: es",
        "a new voice: fr",
    ]


@pytest.mark.parametrize("curves", [{}, {"dnf": []}])
def test_nothing_to_draw_is_an_error(curves: dict[str, list[Point]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one model, and a point of each"):
        voice_curves(curves, CHANCE, tmp_path / "x")
