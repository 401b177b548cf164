"""Curves of calibrated decisions, against scikit-learn, by hand, and as they are drawn."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtri
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import det_curve

from flowlid.plots import calibration as plots

GENERATOR = np.random.default_rng(1)
TRIALS = np.round(GENERATOR.normal(2, 2, 60), 1), np.round(GENERATOR.normal(-2, 2, 90), 1)  # rounded: ties


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, in place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, stem: figures.append(figure))
    return figures


def test_reliability_is_the_isotonic_regression_of_sklearn() -> None:
    probability = np.round(GENERATOR.uniform(size=200), 2)
    right = GENERATOR.uniform(size=200) < probability**2
    values, share = plots.reliability(probability, right)
    expected = IsotonicRegression().fit(probability, right).predict(values)
    np.testing.assert_allclose(share, expected, atol=1e-9)
    # 0.1 was true once of two, 0.2 never: joined to a third
    values, share = plots.reliability(np.array([0.1, 0.1, 0.2, 0.9]), np.array([1, 0, 0, 1]))
    assert values.tolist() == [0.1, 0.2, 0.9] and share == pytest.approx([1 / 3, 1 / 3, 1])


def test_rates_are_those_of_sklearn() -> None:
    scores, miss, below = plots.roc(TRIALS)
    labels = np.repeat([1, 0], [60, 90])
    false_alarm, expected_miss, thresholds = det_curve(labels, np.concatenate(TRIALS))
    at = np.searchsorted(scores, thresholds[np.isfinite(thresholds)])
    np.testing.assert_allclose(1 - below[at], false_alarm[np.isfinite(thresholds)])
    np.testing.assert_allclose(miss[at], expected_miss[np.isfinite(thresholds)])
    assert (miss[-1], below[-1]) == (1, 1)


def test_bayes_errors_by_the_definition() -> None:
    odds = np.array([-3.0, -0.5, 0.0, 2.0])
    actual, least = plots.bayes_error(TRIALS, odds)

    def error(log_odds: float, threshold: float) -> float:
        prior = 1 / (1 + np.exp(-log_odds))
        rates = (TRIALS[0] < threshold).mean(), (TRIALS[1] >= threshold).mean()
        return (prior * rates[0] + (1 - prior) * rates[1]) / min(prior, 1 - prior)

    assert actual == pytest.approx([error(value, -value) for value in odds])
    every = [*np.unique(np.concatenate(TRIALS)), np.inf]
    assert least == pytest.approx([min(error(value, threshold) for threshold in every) for value in odds])
    nothing = plots.bayes_error((np.zeros(3), np.zeros(4)), odds)
    np.testing.assert_allclose(nothing, 1)


def test_each_set_has_a_line_of_its_own_in_grey_too(drawn: list[Figure]) -> None:
    sets = {"test_a": TRIALS, "test_b": TRIALS[::-1]}
    plots.draw_bayes_error(sets, "x", "t")
    plots.draw_tippett(sets, "x", "t")
    plots.draw_det(sets, "x", "t")
    plots.draw_reliability({"test_a": (np.array([0.2, 0.8]), np.array([0, 1]))}, "x", "t")
    bayes, tippett, det, reliable = (figure.axes[0] for figure in drawn)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in (bayes, tippett, det, reliable))
    named = {line.get_label(): line for line in bayes.lines if line.get_label().startswith("test")}
    assert named["test_a"].get_linestyle() != named["test_b"].get_linestyle()
    np.testing.assert_allclose(named["test_a"].get_ydata(), plots.bayes_error(TRIALS, plots._ODDS)[0])
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["knowing nothing", "test_a", "test_b"]
    rising, falling = tippett.lines[1:3]
    assert rising.get_ydata()[0] == 0 and falling.get_ydata()[0] == 1
    np.testing.assert_allclose(rising.get_ydata(), plots.roc(TRIALS)[1][:-1])
    det.figure.canvas.draw()
    ticks = dict(zip(det.get_xticks(), [label.get_text() for label in det.get_xticklabels()], strict=True))
    assert ticks[ndtri(0.05)] == "5" and ticks[ndtri(0.001)] == "0.1"
    assert all(figure.get_size_inches()[0] <= 3.5 for figure in drawn)


def test_files_are_written(tmp_path: Path) -> None:
    plots.draw_tippett({"test_a": TRIALS}, tmp_path / "tippett", "t")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tippett.pdf", "tippett.png"]
