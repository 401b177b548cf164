"""Plots of decisions: what is drawn agrees with the data, nothing is clipped, and the files are the same each time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from tools import check_picture

from flowlid.plots import decisions
from flowlid.plots.decisions import accuracy_duration, llr_per_frame
from flowlid.plots.style import class_colors


def rows(shares: list[float | None], low: float = 0.1, high: float = 0.05) -> list[dict[str, Any]]:
    return [
        {"seconds": seconds, "utterances": 12, "share": share, "low": None if share is None else share - low,
         "high": None if share is None else share + high}
        for seconds, share in zip((1.0, 2.0, 3.0, 5.0, 10.0, None), shares, strict=True)
    ]  # fmt: skip


LLR = {"dev": {"en": [0.5, 0.75, 1.0, 1.5, 3.0], "zh": [-2.0, 0.25]}, "test_je": {"ja": [0.125]}}
DURATIONS = {"dev": rows([0.5, 0.6, 0.7, 0.8, None, 0.9]), "test_a_long_name": rows([0.6, 0.65, 0.7, 0.75, 0.8, 0.95])}
MANY = {f"test_{n}": rows([0.5, 0.6, 0.7, 0.8, 0.85, 0.9]) for n in range(8)}
DRAWINGS: dict[str, Callable[[Path], None]] = {
    "llr": lambda stem: llr_per_frame(LLR, ["en", "zh"], {"ja"}, stem, "dnf_$x$: a title"),
    "llr of one": lambda stem: llr_per_frame({"a": {"en": [0.0]}}, ["en", "zh"], set(), stem, "t"),
    "llr of many": lambda stem: llr_per_frame(
        {f"test_{n}": {k: [0.1, n] for k in "abcde"} for n in range(8)}, list("abcde"), set(), stem, "t"
    ),
    "durations": lambda stem: accuracy_duration(DURATIONS, ["en", "zh"], stem, "t"),
    "durations of many": lambda stem: accuracy_duration(MANY, ["en", "zh"], stem, "t"),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a plot would have saved."""
    figures: list[Figure] = []
    monkeypatch.setattr(decisions, "save", lambda figure, stem: figures.append(figure))
    return figures


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_files_are_whole_unclipped_and_the_same_each_time(draw: Callable[[Path], None], tmp_path: Path) -> None:
    check_picture(draw, tmp_path)


def test_every_ratio_is_a_point_of_its_language_s_colour(drawn: list[Figure]) -> None:
    colors = class_colors(["en", "zh"], ["ja"])
    llr_per_frame(LLR, ["en", "zh"], {"ja"}, "x", "t", colors)
    axes = drawn[0].axes[0]
    points = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [line.get_xdata().tolist() for line in points] == [[0.5, 0.75, 1.0, 1.5, 3.0], [-2.0, 0.25], [0.125]]
    assert [to_hex(line.get_color()).upper() for line in points] == [colors["en"], colors["zh"], colors["ja"]]
    assert [line.get_marker() for line in points] == ["o", "o", "^"]
    places = [line.get_ydata() for line in points]
    for place, ys in zip((0, 1, 2.5), places, strict=True):
        assert (np.abs(ys - place) < 0.4).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dev: en", "dev: zh", "test_je: ja (unseen)"]
    assert axes.get_yticks().tolist() == [0, 1, 2.5]
    assert "whiskers: 5% and 95%" in axes.get_xlabel()
    assert any(
        list(line.get_xdata()) == [0, 0] for line in axes.lines if len(line.get_xdata()) == 2
    )  # the line at zero
    boxes = [(box.get_x(), box.get_width()) for box in axes.patches]
    assert len(boxes) == 1 and boxes[0] == pytest.approx((0.75, 0.75))  # of five utterances or more
    assert axes.get_xscale() == "symlog"
    assert legend(drawn[0]) == ["en", "zh", "ja (unseen)"]


def test_the_axis_says_what_a_ratio_is(drawn: list[Figure]) -> None:
    llr_per_frame(LLR, ["en", "zh"], {"ja"}, "x", "t")
    llr_per_frame(LLR, ["en", "ko", "zh"], {"ja"}, "x", "t")
    two, three = (figure.axes[0].get_xlabel() for figure in drawn)
    assert two.startswith("log p(x|en) - log p(x|zh) (nats/frame; above 0: decided for en)")
    assert three.startswith("true class minus best other; unseen: best minus second best (nats/frame)")


def test_far_utterances_are_counted_and_every_row_keeps_its_middle(drawn: list[Figure]) -> None:
    values = np.linspace(0.5, 1.5, 1000)
    values[0] = 500
    llr_per_frame({"a": {"en": values}, "b": {"en": [-30.0, -30.0]}}, ["en", "zh"], set(), "x", "t")
    axes = drawn[0].axes[0]
    low, high = axes.get_xlim()
    assert -35 < low < -30 and 1.5 < high < 10
    assert "\n1 of 1002 utterances lie outside the axes" in axes.get_xlabel()


def test_accuracies_and_intervals_are_drawn_where_they_are_known(drawn: list[Figure]) -> None:
    given = {**DURATIONS, "one_utterance": [{**row, "low": None, "high": None} for row in DURATIONS["dev"]]}
    accuracy_duration(given, ["en", "zh", "ko", "es"], "x", "t")
    first, second, third = drawn[0].axes
    assert [axes.get_title() for axes in drawn[0].axes] == list(given)
    assert [label.get_text() for label in first.get_xticklabels()] == ["1", "2", "3", "5", "10", "all"]
    points, _, (bars,) = first.containers[0].lines
    assert points.get_ydata().tolist() == [0.5, 0.6, 0.7, 0.8, 0.9]  # none after 10 s
    assert points.get_xdata().tolist() == [0, 1, 2, 3, 5.4]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends - points.get_ydata()[:, None], np.tile([-0.1, 0.05], (5, 1)))
    for segment in third.containers[0].lines[2][0].get_segments():
        assert not segment.size  # no interval
    assert [text.get_text() for text in first.texts] == ["12"] * 5
    joined = [
        [line for line in axes.lines if line.get_linestyle() == "-" and line.get_marker() == "None"]
        for axes in (first, second)
    ]
    assert [list(line.get_ydata()) for (line,) in joined] == [[0.5, 0.6, 0.7, 0.8], [0.6, 0.65, 0.7, 0.75, 0.8]]
    dashed = [line for line in second.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_ydata() == [0.25, 0.25] and second.get_ylim()[0] < 0.25
    assert "chance, 1/4" in drawn[0].get_supxlabel()


def test_an_interval_without_width_is_not_drawn(drawn: list[Figure]) -> None:
    accuracy_duration({"a": rows([1.0] * 6, low=0.0, high=0.0)}, ["en", "zh"], "x", "t")
    axes = drawn[0].axes[0]
    assert not any(segment.size for segment in axes.containers[0].lines[2][0].get_segments())
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [6]


def test_one_panel_per_set_all_on_one_scale(drawn: list[Figure]) -> None:
    accuracy_duration({**MANY, "test_" + "long_" * 9: MANY["test_0"]}, ["en", "zh"], "x", "t")
    panels = drawn[0].axes
    assert len(panels) == 9 and len({axes.get_ylim() for axes in panels}) == 1
    assert "\n" in panels[-1].get_title() and panels[-1].get_title().replace("\n", "") == "test_" + "long_" * 9


def test_narrow_rows_can_be_seen_beside_wide_ones(drawn: list[Figure]) -> None:
    values = {"a": {"en": [-30.0, 30.0]}, "b": {"en": [-0.02, 0.02]}}
    llr_per_frame(values, ["en", "zh"], set(), "x", "t")
    axes = drawn[0].axes[0]
    low, zero, narrow, wide = (axes.transData.transform((x, 0))[0] for x in (axes.get_xlim()[0], 0, 0.02, 30))
    assert low < zero and narrow - zero > 0.1 * (wide - zero)


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda stem: llr_per_frame({}, ["a", "b"], set(), stem, "t"), "at least one utterance"),
        (lambda stem: llr_per_frame({"x": {"a": []}}, ["a", "b"], set(), stem, "t"), "utterance per row"),
        (lambda stem: llr_per_frame({"x": {"a": [np.inf]}}, ["a"], set(), stem, "t"), "finite"),
        (
            lambda stem: llr_per_frame(LLR, ["en"], set(), stem, "t", {"en": "#000000"}),
            "no colour for ja",
        ),
        (lambda stem: accuracy_duration({}, ["a", "b"], stem, "t"), "at least one set"),
        (
            lambda stem: accuracy_duration({"x": rows([None] * 6)}, ["a"], stem, "t"),
            "an accuracy in each",
        ),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(draw: Callable[[Path], None], match: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=match):
        draw(tmp_path / "plot")
    assert list(tmp_path.iterdir()) == []
