"""What goes wrong on a cluster is told in words and soon, and nothing is left or done twice. With a real Slurm."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Program, Slurm

SOON = 15.0  # seconds within which a failure is to be told, on a machine that is not overloaded


def running(slurm: "Slurm", count: int) -> list[str]:
    """Wait until so many jobs run; their names."""
    slurm.until(lambda: len(slurm.jobs("running")) == count)
    return slurm.jobs("running")


def wait_for_start(log: Path) -> None:
    deadline = time.monotonic() + 60
    while not (log.exists() and "\n#\n" in log.read_text()):
        assert time.monotonic() < deadline, f"{log} did not start"
        time.sleep(0.05)


def ended(master: "subprocess.Popen[str]") -> str:
    return master.communicate(timeout=60)[1]


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_job_over_its_memory(slurm_py: "Program") -> None:
    began = time.monotonic()
    eat = "import time; x = bytearray(600 << 20); time.sleep(60)"
    done = slurm_py.run("--mem", "200M", "log/a.log", sys.executable, "-S", "-c", eat, "||", "true")
    assert time.monotonic() - began < 2 * SOON
    assert done.returncode == 1
    assert ": killed, over its memory of 200M; give --mem\n" in done.stderr
    assert "job failed, log is in log/a.log" in done.stderr
    assert "# Ended (code 1; memory) at" in (slurm_py.folder / "log/a.log").read_text()


def test_one_job_of_several_is_cancelled_by_somebody(slurm: "Slurm", slurm_py: "Program") -> None:
    master = slurm_py.start("JOB=1:3", "log/a.JOB.log", "bash", "-c", "[ JOB -ne 2 ] || exec sleep 60")
    wait_for_start(slurm_py.folder / "log/a.2.log")
    job = next(name for name in slurm.jobs() if name.endswith("_2"))
    slurm.ask("scancel", job)
    began, said = time.monotonic(), ended(master)
    assert time.monotonic() - began < SOON + 5
    assert said == f"slurm.py: job {job}: cancelled\nslurm.py: 1 / 3 failed, log is in log/a.*.log\n"
    assert "# Ended (code 1; cancelled) at" in (slurm_py.folder / "log/a.2.log").read_text()
    assert "# Ended (code 0) at" in (slurm_py.folder / "log/a.3.log").read_text()
    assert [path.name for path in (slurm_py.folder / "q").iterdir()] == ["a.JOB.lock"]


def test_a_signal_cancels_what_was_submitted(slurm: "Slurm", slurm_py: "Program") -> None:
    master = slurm_py.start("--max-jobs-run", "2", "JOB=1:5", "log/a.JOB.log", "sleep", "60")
    array = running(slurm, 2)[0].partition("_")[0]
    master.send_signal(signal.SIGTERM)
    assert ended(master) == f"slurm.py: stopped by SIGTERM; cancelled 2 running, 3 waiting (jobs {array})\n"
    assert master.returncode == 128 + signal.SIGTERM
    assert not slurm.jobs()
    assert "# Ended (code 1; cancelled) at" in (slurm_py.folder / "log/a.1.log").read_text()


def test_the_next_start_waits_for_what_lives(slurm: "Slurm", slurm_py: "Program") -> None:
    command = ["JOB=1:2", "log/a.JOB.log", "bash", "-c", "echo JOB >>ran; sleep $((4*JOB))"]
    first = slurm_py.start(*command)
    job = sorted(running(slurm, 2))[0]
    beside = slurm_py.run(*command)
    assert beside.returncode == 1 and f"process {first.pid} on" in beside.stderr and "is at work" in beside.stderr
    first.kill()
    ended(first)
    other = slurm_py.run("log/a.JOB.log", "true")
    assert other.returncode == 1
    assert f"another command is still at work as job {job}" in other.stderr and "or scancel" in other.stderr
    again = slurm_py.run(*command)
    assert again.returncode == 0, again.stderr
    assert f"already submitted as job {job}" in again.stderr
    assert sorted((slurm_py.folder / "ran").read_text().split()) == ["1", "2"]
    assert not slurm.jobs()


def test_a_request_that_no_node_can_meet(slurm: "Slurm", slurm_py: "Program") -> None:
    done = slurm_py.run("--num-threads", "64", "a.log", "true")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "slurm.py: the cluster cannot run this: Requested node configuration is not available"
    )
    assert "--cpus-per-task=64" in done.stderr
    assert "Invalid partition" in slurm_py.run("--partition", "none", "a.log", "true").stderr
    untested = slurm_py.run("--no-test", "--mem", "100G", "a.log", "true")
    assert untested.returncode == 1 and "the cluster refuses this job: " in untested.stderr
    assert not slurm.jobs()


def test_what_a_job_waits_for_is_told(slurm: "Slurm", slurm_py: "Program") -> None:
    blocker = slurm.ask("sbatch", "--parsable", "--hold", "--wrap", "true", "--output=/dev/null").strip()
    master = slurm_py.start("--after", blocker, "a.log", "true")
    assert master.stderr is not None
    began, said = time.monotonic(), master.stderr.readline()
    assert time.monotonic() - began < SOON + 5
    assert "slurm.py: waiting: job " in said and said.endswith(" PENDING (Dependency)\n")
    slurm.ask("scancel", blocker)
    said = ended(master)
    assert "the cluster cannot run this: a job that it comes after has failed" in said
    assert master.returncode == 1 and not slurm.jobs()


def test_more_jobs_than_an_array_may_have(slurm: "Slurm", slurm_py: "Program") -> None:
    names = set()

    def watch() -> None:
        while master.poll() is None:
            names.update(name.partition("_")[0] for name in slurm.jobs())
            time.sleep(0.1)

    master = slurm_py.start("J=3:27", "log/a.J.log", "echo", "J", ";", "exit", "$((J==27))")
    watch()
    assert ended(master) == "slurm.py: 1 / 25 failed, log is in log/a.*.log\n"
    assert [slurm_py.body(f"log/a.{number}.log") for number in range(3, 28)] == [f"{n}\n" for n in range(3, 28)]
    assert len(names) == 2


def test_a_limit_of_jobs_at_once(slurm: "Slurm", slurm_py: "Program") -> None:
    script = "echo start >>marks; sleep 0.5; echo end >>marks"
    assert slurm_py.run("--max-jobs-run", "2", "JOB=1:6", "a.JOB.log", "bash", "-c", script).returncode == 0
    now, most = 0, 0
    for mark in (slurm_py.folder / "marks").read_text().split():
        now += 1 if mark == "start" else -1
        most = max(most, now)
    assert (now, most) == (0, 2)


def test_a_submission_that_fails_is_tried_again(slurm: "Slurm", slurm_py: "Program") -> None:
    """Once without having been submitted, and once after it was: it must not be submitted twice."""
    for submits in ("", 'sbatch "$@"'):
        executable(
            slurm_py.folder / "submit",
            f'case "$*" in *--test-only*) exec sbatch "$@" ;; esac\n'
            f"if ! [ -e tried ]; then touch tried; {submits}\n"
            'echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1; fi\n'
            'exec sbatch "$@"',
        )
        (slurm_py.folder / "site.conf").write_text("command ./submit\n")
        (slurm_py.folder / "ran").write_text("")
        done = slurm_py.run("--config", "site.conf", "a.log", "echo", "once", ">>", "ran")
        assert done.returncode == 0, done.stderr
        assert "takes no jobs now (Socket timed out); trying again" in done.stderr
        slurm.until(lambda: not slurm.jobs())
        assert (slurm_py.folder / "ran").read_text() == "once\n"
        (slurm_py.folder / "tried").unlink()


def test_the_controller_is_restarted(slurm: "Slurm", slurm_py: "Program") -> None:
    down = slurm.conf.with_name("down")
    master = slurm_py.start("a.log", "bash", "-c", "until [ -e go ]; do sleep 0.1; done")
    wait_for_start(slurm_py.folder / "a.log")
    down.touch()
    try:
        assert master.stderr is not None
        assert master.stderr.readline() == "slurm.py: the cluster does not answer; still waiting for its jobs\n"
    finally:
        down.unlink()
    slurm.until(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0)
    (slurm_py.folder / "go").touch()
    assert ended(master) == "" and master.returncode == 0


def test_an_exit_code_that_comes_late(slurm: "Slurm", slurm_py: "Program") -> None:
    """As over a slow network file system: `mv` hides the file, and it appears after the job has ended."""
    executable(slurm_py.folder / "mv", 'exec /bin/mv "$3" "$PWD/late"')
    path = {"PATH": f"{slurm_py.folder}:{os.environ['PATH']}"}

    def deliver() -> None:
        late = slurm_py.folder / "late"
        while not late.exists():
            time.sleep(0.1)
        slurm.until(lambda: not slurm.jobs())
        time.sleep(2)
        token = next((slurm_py.folder / "q").glob("a.*.sh")).name.removesuffix(".sh")
        late.rename(slurm_py.folder / "q" / f"{token}.1.rc")

    thread = threading.Thread(target=deliver)
    thread.start()
    done = slurm_py.run("--wait-file", "20", "a.log", "true", **path)
    thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    done = slurm_py.run("--wait-file", "1", "a.log", "true", **path)
    assert done.returncode == 1
    assert "no exit code came into q within 1 s (--wait-file)" in done.stderr
    assert "# Ended (code 1; no exit code) at" in (slurm_py.folder / "a.log").read_text()
