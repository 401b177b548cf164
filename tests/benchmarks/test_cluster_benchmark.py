"""The benchmark of a cluster runs, and extrapolates on the line through what it measured."""

import math
import sys
from pathlib import Path

import pytest
from tools import load


def test_what_is_measured_is_taken_to_be_linear() -> None:
    cluster = load("tests/benchmarks/cluster.py")
    part = cluster.Part("x", cluster.ALL, 10.0, cluster.Took(5.0, 4.0, 300.0), 1.0, cluster.Took(0.5, 4.0, 120.0))
    assert part.of(100) == (50.0, 4.0, 2100.0)
    assert part.of(10) == part.took
    assert cluster.Part("x", cluster.ALL, 2.0, cluster.Took(1.0, 1.0, math.nan)).of(20)[:2] == (10.0, 10.0)


def test_the_table_has_every_part(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Some of them: the rest are programs of their own, which take seconds each to start."""
    cluster = load("tests/benchmarks/cluster.py")
    monkeypatch.setattr(cluster, "run", lambda *command: cluster.Took(2.0, 1.0, 2.0**30))
    monkeypatch.setattr(cluster, "FLOW", cluster.replace(cluster.FLOW, blocks=1, hidden=8))
    monkeypatch.setattr(
        cluster, "table_parts", lambda *_: iter([cluster.Part("tables", cluster.ONCE, 1.0, cluster.run())])
    )
    options = ["--feature-hours", "0.1", "--sound-hours", "0.01", "--batch-size", "1000", "--place", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["cluster.py", *options])
    monkeypatch.setattr(cluster, "with_fewer", lambda fewer, parts: list(fewer) and parts)
    cluster.main()
    output = capsys.readouterr().out
    assert "| tables | login node | 1 | 2.00 | 1.00 | 100.0 | 50.0 | 3000.0 |" in output
    for name in ("extraction", "packing", "parts joined", "pack opened", "mean and variance", "epoch", "scoring"):
        assert sum(name in line for line in output.splitlines() if line.startswith("|")) >= 1, name
    assert "Serial, elapsed: " in output and not list(tmp_path.iterdir())
