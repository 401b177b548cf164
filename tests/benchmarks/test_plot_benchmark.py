"""The benchmark of pictures and intervals runs, and its tables hold what it says."""

import os
import re
import subprocess
import sys

from tools import ROOT


def test_the_tables_have_every_size() -> None:
    options = ["--frames", "60 20", "--units", "50 100", "--rounds", "1"]
    command = [sys.executable, "tests/benchmarks/plots.py", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    seconds = r"\| (\d+\.\d\d) s "
    pictures = re.findall(rf"^\| (\d+) {seconds * 4}\| (\d+) \|$", done.stdout, re.MULTILINE)
    intervals = re.findall(rf"^\| (\d+) {seconds * 2}\| (\d+) \|$", done.stdout, re.MULTILINE)
    assert [row[0] for row in pictures] == ["20", "60"] and [row[0] for row in intervals] == ["50", "100"]
    assert all(float(row[1]) > 0 for row in pictures) and "median of 1 rounds" in done.stdout
