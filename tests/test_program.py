"""What every program sets up around its work."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT, write_tables

from flowlid import program

SCRIPT = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages (PR_SET_THP_DISABLE): how many there are depends on the machine
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


def test_a_job_leaves_how_far_it_is_in_the_file_of_the_stage_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "progress", 100.0
    monkeypatch.setenv("FLOWLID_PROGRESS", str(path))
    monkeypatch.setattr(program.time, "monotonic", lambda: now)
    with program.progress_bar("dnf", 1000) as show:
        show(
            400, 1000, epoch="5 of 10", loss=1.234
        )  # training goes on: what an earlier run did took no time of this one
        assert path.read_text() == "400 1000 0 dnf, epoch 5 of 10, loss 1.23\n"
        now += 0.1
        show(401, 1000)
        assert path.read_text().startswith("400 ")  # not at every step
        now += 9.9
        show(500, 1000, loss=2.0)
        assert path.read_text() == "500 1000 50 dnf, loss 2.00\n"  # 100 steps took 10 s, and 500 are left
        show(1000, 1000)
        assert path.read_text() == "1000 1000 0 dnf\n"  # the last one at once
    path.unlink()
    with program.progress_bar("other process", 10, hidden=True) as show:
        show(1, 10)
    assert not path.exists()


@pytest.mark.parametrize(
    "program_file",
    ["utils/validate_data_dir.py", "steps/list_sets.py", "local/prepare_table.py", "tests/benchmarks/plots.py"],
)
def test_a_program_finds_its_environment_in_a_fresh_shell(program_file: str, tmp_path: Path) -> None:
    links = [ROOT / "egs/table" / program_file] if not program_file.startswith("tests") else []
    for path in [ROOT / program_file, *links]:
        done = subprocess.run([path, "--help"], env={}, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout.startswith(f"usage: {path.name}"), done.stderr


def test_a_table_is_checked_and_a_data_directory_validated_in_a_fresh_shell(tmp_path: Path) -> None:
    write_tables(tmp_path / "data", {"a-1": "en"})
    (tmp_path / "my.tsv").write_text("utt_id\tpath\tspeaker\tlanguage\tset\na\tnope.wav\ts\ten\ttrain\n")
    for command, code, told in (
        (["utils/validate_data_dir.py", "--no-wav", "--no-feats", tmp_path / "data"], 0, "Successfully validated"),
        (["local/prepare_table.py", "--check-only", tmp_path / "my.tsv"], 1, "no audio file"),
    ):
        done = subprocess.run(command, env={}, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code and told in done.stdout + done.stderr
    assert not list(tmp_path.glob("manifests"))


def test_without_an_environment_one_line_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    for name in ("path.sh", "steps/score.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "steps/score.py").chmod(0o755)
    done = subprocess.run([tmp_path / "steps/score.py"], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"path.sh: no environment in {tmp_path}/.venv; make it with utils/setup_env.sh\n"


def test_the_middle_of_a_line_that_nobody_reads_is_left_out() -> None:
    short = "x.yaml: model.hidden must be a whole number, not 'x'\nand more"
    assert program.told(ValueError(short)) == short
    lines = program.told(ValueError(f"x.yaml: set {'x' * 200_000} is none; correct it\nand more")).split("\n")
    assert lines[0].startswith("x.yaml: set xxx") and lines[0].endswith("xxx is none; correct it")
    assert len(lines[0]) < 2100 and lines[1] == "and more"


def test_who_reads_no_further_ends_a_program_without_a_word() -> None:
    code = "from flowlid import program; program.run(lambda: [print(n, flush=True) for n in range(10**6)])"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -c '{code}' | head -n 1"],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "0\n", "")
