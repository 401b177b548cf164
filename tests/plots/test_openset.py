"""Plot of the open set: the lines are the shares above each threshold, and the files are the same each time."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tools import check_picture

from flowlid.plots import openset
from flowlid.plots.openset import rejection

SURPRISE = {"test_a": {True: [1.0, 2.0, 4.0, 40.0], False: []}, "test_b": {True: [3.0], False: [9.0, 30.0]}}


def test_files_are_whole_unclipped_and_the_same_each_time(tmp_path: Path) -> None:
    check_picture(lambda stem: rejection(SURPRISE, 8.0, 0.05, stem, "dnf_$x$: a title"), tmp_path)


def test_lines_are_the_shares_above_each_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(openset, "save", lambda figure, stem: figures.append(figure))
    rejection({**SURPRISE, "test_c": {True: [0.0], False: []}}, 8.0, 0.05, "x", "t")
    drawn = {line.get_label(): line for line in figures[0].axes[0].lines[:3]}
    assert sorted(drawn) == ["test_a", "test_b", "test_b (unseen)"]
    x, y = drawn["test_a"].get_data()
    for threshold, share in ((0.9, 1.0), (1.0, 0.75), (3.9, 0.5), (8.0, 0.25), (40.0, 0.0)):
        assert y[np.searchsorted(x, threshold, side="right") - 1] == share
    assert drawn["test_b (unseen)"].get_linestyle() == "--" and drawn["test_b"].get_linestyle() == "-"
    assert drawn["test_b (unseen)"].get_color() == drawn["test_b"].get_color()


@pytest.mark.parametrize("surprise", [{}, {"a": {True: []}}, {"a": {True: [-1.0]}}, {"a": {False: [float("nan")]}}])
def test_what_cannot_be_drawn_is_refused(surprise: dict) -> None:
    with pytest.raises(ValueError, match="needs at least one utterance"):
        rejection(surprise, 1.0, 0.05, "x", "t")
