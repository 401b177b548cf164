"""What every program sets up around its work."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from flowlid import program

def main():
    for step in range(20):
        activations = [torch.ones(2**20) for _ in range(10)]  # 4 MiB each
        del activations
        if step == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

program.run(main) if sys.argv[1] == "kept" else main()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_a_step_has_freed_serves_the_next_one() -> None:
    faults = {
        way: int(subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True).stdout)
        for way in ("kept", "freed")
    }
    assert faults["kept"] * 5 < faults["freed"]
