"""What utils/run.py does besides the contract in tests/cluster/test_contract.py: processes of one machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import ROOT

# Without site packages (-S): run.py needs the standard library only.
RUN = [sys.executable, "-S", str(ROOT / "utils" / "run.py")]
PATIENCE = 30.0  # seconds that a slow machine may take for what needs a fraction of one


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


def body(log: Path) -> str:
    """What the job itself wrote, between the head and the foot of its log."""
    return "".join(line for line in log.read_text().splitlines(True) if not line.startswith("#"))


def alive(pid: int) -> bool:
    """Whether the process still runs; a zombie that nobody reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(paths: list[Path]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not all(path.exists() and path.read_text().endswith("\n") for path in paths):
        assert time.monotonic() < deadline, f"{paths} did not appear"
        time.sleep(0.02)


def test_output_arrives_while_the_job_runs(tmp_path: Path) -> None:
    script = "echo early; for i in {1..1500}; do grep -q ^early a.log && touch seen && break; sleep 0.02; done"
    assert run(tmp_path, "a.log", "bash", "-c", script).returncode == 0
    assert (tmp_path / "seen").exists()


def test_one_machine_has_one_node(tmp_path: Path) -> None:
    assert "this is one machine" in run(tmp_path, "--nodes", "2", "a.log", "true").stderr
    assert run(tmp_path, "--nodes", "1", "a.log", "true").returncode == 0


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (["JOB=1:2"], "1 1"),
        (["JOB=1"], "7 8"),
        (["--num-threads", "3", "JOB=1"], "3 3"),
        (["--num-threads=3", "JOB=1:2"], "3 3"),
    ],
)
def test_threads(tmp_path: Path, options: list[str], threads: str) -> None:
    command = ["echo", "$OMP_NUM_THREADS", "$MKL_NUM_THREADS"]
    assert run(tmp_path, *options, "JOB.log", *command, OMP_NUM_THREADS="7", MKL_NUM_THREADS="8").returncode == 0
    assert body(tmp_path / "1.log") == f"{threads}\n"


# Each job marks its start and its end in one file; the first two may wait for each other, so that an overlap of two
# is certain where two may run at once, however slow the machine.
MARKS = """
echo start >> marks; touch began.$1
if [ "$2" = meet ] && [ $1 -le 2 ]; then
  for i in {1..1500}; do [ -e began.$((3 - $1)) ] && break; sleep 0.02; done
  [ -e began.$((3 - $1)) ] || exit 1
fi
sleep 0.05; echo end >> marks
"""


@pytest.mark.parametrize(
    ("options", "environment", "most"),
    [
        (["--max-jobs-run", "1"], {}, 1),
        (["--max-jobs-run", "2"], {}, 2),
        (["--max-jobs-run", "4", "--max-jobs-run", "2"], {}, 2),
        (["--max-jobs-run", "2", "--gpu", "1"], {"CUDA_VISIBLE_DEVICES": "0"}, 2),
        (["--gpu", "1"], {"CUDA_VISIBLE_DEVICES": "0"}, 1),
        (["--gpu", "1"], {"CUDA_VISIBLE_DEVICES": "2,5"}, 2),
        (["--gpu", "2"], {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 2),
        (["--gpu", "1"], {"CUDA_VISIBLE_DEVICES": ""}, 1),
    ],
)
def test_concurrency(tmp_path: Path, options: list[str], environment: dict[str, str], most: int) -> None:
    (tmp_path / "marks.sh").write_text(MARKS)
    meet = "meet" if most > 1 else "alone"
    done = run(tmp_path, *options, "JOB=1:5", "a.JOB.log", "bash", "marks.sh", "JOB", meet, **environment)
    assert done.returncode == 0, done.stderr
    now, seen = 0, []
    for mark in (tmp_path / "marks").read_text().split():
        now += 1 if mark == "start" else -1
        seen.append(now)
    assert (max(seen), seen[-1], len(seen)) == (most, 0, 10)


def test_gpus_are_counted_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: One (UUID: x)'\necho '  MIG 1g (UUID: y)'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    (tmp_path / "marks.sh").write_text(MARKS)
    command = ["--gpu", "1", "JOB=1:3", "a.JOB.log", "bash", "marks.sh", "JOB", "alone"]
    done = run(tmp_path, *command, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "marks").read_text().split() == ["start", "end"] * 3


STUBBORN = "trap '' TERM; sleep 300 & echo $! > child.$1; echo $$ > pid.$1; while :; do wait; sleep 300; done"
MEEK = "sleep 300 & echo $! > child.$1; echo $$ > pid.$1; wait"


@pytest.mark.parametrize(
    ("number", "script"),
    [(signal.SIGTERM, MEEK), (signal.SIGINT, MEEK), (signal.SIGHUP, MEEK), (signal.SIGTERM, STUBBORN)],
)
def test_signal_ends_all_children(tmp_path: Path, number: signal.Signals, script: str) -> None:
    (tmp_path / "job.sh").write_text(script)
    command = [*RUN, "--max-jobs-run", "2", "JOB=1:3", "a.JOB.log", "bash", "job.sh", "JOB"]

    def heed() -> None:  # a test runner in the background ignores SIGINT, and its children would too
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as master:
        files = [tmp_path / f"{name}.{job}" for name in ("child", "pid") for job in (1, 2)]
        wait_for(files)
        pids = [int(path.read_text()) for path in files]
        assert all(map(alive, pids))
        master.send_signal(number)
        stderr = master.communicate(timeout=PATIENCE)[1]
    assert not any(map(alive, pids))
    assert master.returncode == 128 + number
    assert stderr == f"run.py: stopped by {number.name}; ended 2 running, left out 1\n"
    assert not (tmp_path / "a.3.log").exists()
    assert "# Ended (code 1; signal 15)" in (tmp_path / "a.1.log").read_text()


def test_nohup_is_heeded(tmp_path: Path) -> None:
    script = "echo > began; for i in {1..1500}; do [ -e go ] && exit 0; sleep 0.02; done; exit 1"
    command = [*RUN, "a.log", "bash", "-c", script]

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=ignore) as master:
        wait_for([tmp_path / "began"])
        master.send_signal(signal.SIGHUP)
        (tmp_path / "go").touch()
        assert master.wait(timeout=PATIENCE) == 0
