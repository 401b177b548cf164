"""The benchmark of a cluster's costs runs, and names every part."""

import sys
from pathlib import Path

import pytest
from tools import load

PARTS = [
    "stage 1: tables of a set",
    "stage 2: digest of the inputs",
    "stage 2: pool of the sets",
    "stage 2: split",
    "stage 2: gather",
    "stage 2: give to a set",
    "stage 2: extraction",
    "packing",
    "packing: parts joined",
    "stages 3, 4: pack opened and checked",
    "stage 3: mean and variance of the frames",
    "stage 3: an epoch of 120 x 512, 10 blocks",
    "stage 4: scoring of as much",
]


@pytest.mark.usefixtures("one_thread")
def test_every_part_is_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = ["--utterances", "80", "--sound-hours", "0.01", "--feature-hours", "0.1", "--batch-size", "100"]
    monkeypatch.setattr(sys, "argv", ["cluster_costs.py", *options, "--jobs", "2", "--place", str(tmp_path)])
    load("tests/benchmarks/cluster_costs.py").main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| st")]
    output = [row[0] for row in rows]
    assert output == [name for name in PARTS if name.startswith("st")]
    assert {row[1] for row in rows} == {"login node", "each process", "all jobs"}
    assert all(row[3] == f"{float(row[3]):.2f}" for row in rows)
    assert not list(tmp_path.iterdir())
