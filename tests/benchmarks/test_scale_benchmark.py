"""The benchmark of scale runs, and its tables hold what they say."""

import sys
from pathlib import Path

import pytest
from tools import load


def cells(output: str, start: str) -> list[str]:
    """The cells of the one line of a table that starts with these."""
    (line,) = (line for line in output.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_all_tables(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = ["--frames", "2400", "--rate-frames", "2400", "--block-frames", "800", "--batch-size", "200"]
    options += ["--hidden", "8", "--blocks", "1", "--rounds", "1", "--threads", "1", "--place", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["scale.py", *options])
    load("tests/benchmarks/scale.py").main()
    output = capsys.readouterr().out
    assert f"Command: scale.py {' '.join(options)}" in output
    frames, blocks, *rest, memory = cells(output, "| 2400 |")  # ten utterances of 240 voiced frames
    assert (frames, blocks) == ("2400", "3") and float(memory) > 20
    assert [cell for cell in rest if cell.startswith("x ")] == ["x 1.000", "x 1.000"]
    for dims in (120, 440):
        _, drawn, trained, _ = cells(output, f"| {dims} |")
        assert int(drawn) > 0 and int(trained) > 0
    assert cells(output, "| ready batches |")[2] == "100.0%"
    assert int(cells(output, "| 2400 frames of 10 utterances |")[1]) > 0
    assert int(cells(output, "| the same by steps/score.py |")[1]) > 0
    assert not list(tmp_path.iterdir())
