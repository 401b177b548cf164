"""The benchmark of many classes runs, and its tables have what they say."""

import sys
from importlib import import_module

import numpy as np
import pytest
from tools import ROOT

sys.path.append(str(ROOT / "tests" / "benchmarks"))
classes = import_module("classes")


def test_both_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    options = ["--classes", "2", "--dims", "40", "--frames", "600", "--full", "60000", "--utterances", "12"]
    options += ["--hidden", "8", "--blocks", "1", "--batch-size", "100"]
    monkeypatch.setattr(sys, "argv", ["classes.py", *options])
    classes.main()
    output = capsys.readouterr().out
    flow, costs = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in output.splitlines()
        if line.startswith(("| 2 | 40 |", "| 2 | 12 |"))
    )
    assert flow[3] == flow[5] == "x 1.00" and float(flow[6]) > 20
    assert float(flow[7]) == pytest.approx(2 * 60000 / float(flow[2]) / 60, abs=0.06)
    assert "by duration" in output and len(costs) == 7 and all(float(cell) >= 0 for cell in costs)


def test_frames_are_as_many_of_each_class() -> None:
    frames = classes.make_frames(classes=5, context=1, each=400)
    assert frames.dim == 120 and frames.counts.reshape(5, -1).sum(1).tolist() == [400] * 5
    scored = classes.make_scored(classes=5, utterances=20, seed=1)
    scores = classes.as_scores(scored)
    np.testing.assert_allclose(scores.mean_loglik, scored.mean_loglik)
    assert scores.blocks.loglik.shape == (200, 5) and scored.pieces(10).utts == scored.utts
