"""Each save that fails, or that the program dies in, at each of its system calls (see `fuzz.saves`)."""

import os
import re
import subprocess
import sys

import pytest
from tools import ROOT


@pytest.mark.parametrize(("name", "fewest"), [("train", 40), ("score", 15)])
def test_a_save_that_is_cut_off_anywhere_leaves_whole_files_and_can_be_repeated(name: str, fewest: int) -> None:
    command, environment = [sys.executable, "-m", "tests.fuzz.saves", name], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) cases, 0 defects", done.stdout)[1]) >= fewest
