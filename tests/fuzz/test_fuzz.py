"""A small campaign with damaged inputs, the same each time (some seconds); the whole one is `fuzz.campaign`."""

import os
import subprocess
import sys

from tools import ROOT


def test_damaged_inputs_give_the_right_value_or_a_clear_error() -> None:
    command = [sys.executable, "-m", "tests.fuzz.campaign", "--count", "300", "--seed", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 1: 300 cases, 0 defects" in done.stdout
