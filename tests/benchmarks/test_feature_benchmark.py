"""The benchmark of stage 2 runs, and its table holds what it says."""

import os
import re
import subprocess
import sys

from tools import ROOT


def test_the_table_has_every_row() -> None:
    options = ["--generated", "--hours", "0.01", "--seconds", "3", "--rounds", "1"]
    command = [sys.executable, "tests/benchmarks/features.py", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    rows = re.findall(r"^\| (\w.*) \| ([-\d.]+) \| (-?\d+) \| (-?\d+)% \|$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in rows] == [
        "kaldi_native_fbank alone",
        "lhotse alone, its defaults, float32",
        "flowlid's extractor alone, float64",
        "the stage, 1 job",
        "the stage, 2 jobs",
    ]
    speeds = {name: (float(hours), float(times), float(share)) for name, hours, times, share in rows}
    assert max(share for _, _, share in list(speeds.values())[:2]) == 100
    for hours, times, _ in speeds.values():
        assert abs(hours * 60 - times) < 4  # 60 hours a minute are 3600 times real time
    assert "Audio: 0.01 h for the stage, 0.01 h for the extractors; generated utterances, 3.0 s each" in done.stdout
