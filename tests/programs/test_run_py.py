"""utils/run.py as its callers see it: exit status, logs, messages, and what is left of its children."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import ROOT

# Without site packages (-S): run.py needs the standard library only.
RUN = [sys.executable, "-S", str(ROOT / "utils" / "run.py")]
SHOW = 'import os, sys; sys.stdout.buffer.write(b"\\0".join(map(os.fsencode, sys.argv[2:])))'
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


def test_single_job_log(tmp_path: Path) -> None:
    run(tmp_path, "new/dir/a.log", "echo", "a former run")
    done = run(tmp_path, "new/dir/a.log", "echo", "out", ";", "echo", "err", ">&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = (tmp_path / "new/dir/a.log").read_text().splitlines()
    assert lines[0] == "# echo out ; echo err >&2"
    assert re.fullmatch(r"# Started at \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}", lines[1])
    assert lines[2:5] == ["#", "out", "err"]
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[5])
    assert re.fullmatch(r"# Ended \(code 0\) at .*\d{4}, elapsed time \d+ seconds", lines[6])
    assert len(lines) == 7


def test_output_arrives_while_the_job_runs(tmp_path: Path) -> None:
    script = "echo early; for i in {1..1500}; do grep -q ^early a.log && touch seen && break; sleep 0.02; done"
    assert run(tmp_path, "a.log", "bash", "-c", script).returncode == 0
    assert (tmp_path / "seen").exists()


@pytest.mark.parametrize(("spec", "numbers"), [("JOB=1:3", [1, 2, 3]), ("K=3:5", [3, 4, 5]), ("_J2=7", [7])])
def test_every_occurrence_of_the_name_is_replaced(tmp_path: Path, spec: str, numbers: list[int]) -> None:
    name = spec.partition("=")[0]
    done = run(tmp_path, spec, f"x{name}/{name}.log", "printf", "%s", f"a{name}-{name}", ">", f"out.{name}")
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.glob("out.*")) == [tmp_path / f"out.{i}" for i in numbers]
    for i in numbers:
        assert (tmp_path / f"out.{i}").read_text() == f"a{i}-{i}"
        assert "# Ended (code 0)" in (tmp_path / f"x{i}/{i}.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["echo", "a b", "|", "cat"], "a b\n"),
        (["false", "||", "echo", "no"], "no\n"),
        (["true", "&&", "echo", "yes"], "yes\n"),
        (["(", "exit", "3", ")", ";", "echo", "$?"], "3\n"),
        (["VARIABLE=5", "bash", "-c", "echo $VARIABLE"], "5\n"),
        (["echo", "$[40+2]"], "42\n"),
        (["ls", "/none", "2>/dev/null", "||", "echo", "<unk>"], "<unk>\n"),
        (["cat", "<", "in.txt"], "content\n"),
        (["cat"], ""),  # no terminal, no waiting for input
        (["echo", "a", "#", "*", "~", "{a,b}", "x;y"], "a # * ~ {a,b} x;y\n"),
        (["awk", 'BEGIN{print "it\'s $" 1 + 1}'], "it's $2\n"),
    ],
)
def test_operators_act_and_the_rest_is_literal(tmp_path: Path, arguments: list[str], expected: str) -> None:
    (tmp_path / "in.txt").write_text("content\n")
    assert run(tmp_path, "a.log", *arguments).returncode == 0
    assert body(tmp_path / "a.log") == expected


CHARACTERS = st.text(alphabet="ab =-'\"\\;&|<>()*?[]{}!#~^%\n\té語", max_size=12)


@settings(max_examples=15, deadline=None)
@given(st.lists(CHARACTERS.map(lambda text: "x" + text) | CHARACTERS.map(lambda text: f"$a `b` {text}"), max_size=12))
def test_arguments_arrive_unchanged(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = run(folder, "a.log", sys.executable, "-c", SHOW, "-", *arguments, ">", "out")
        assert done.returncode == 0, (folder / "a.log").read_text()
        assert (folder / "out").read_bytes() == "\0".join(arguments).encode()


def test_empty_and_undecodable_arguments_arrive(tmp_path: Path) -> None:
    command = [os.fsencode(word) for word in (*RUN, "a.log", sys.executable, "-c", SHOW, "-")]
    subprocess.run([*command, b"", b"caf\xe9", b">", b"out"], cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_bytes() == b"\0caf\xe9"


def test_long_command(tmp_path: Path) -> None:
    words = ["w" * 1000] * 300  # 300 kB: more than one argument of a process may hold
    assert run(tmp_path, "a.log", "printf", "%s", *words, "|", "wc", "-c").returncode == 0
    assert body(tmp_path / "a.log").strip() == "300000"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["exit", "3"], "code 3"),
        (["no-such-program"], "code 127"),
        (["kill", "-9", "$$"], "code 1; signal 9"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"], "code 1; signal 15"),
        (["echo", "("], "code 2"),
    ],
)
def test_failure_of_one_job(tmp_path: Path, command: list[str], status: str) -> None:
    done = run(tmp_path, "log/a.log", *command)
    assert (done.returncode, done.stderr) == (1, "run.py: job failed, log is in log/a.log\n")
    assert f"# Ended ({status}) at" in (tmp_path / "log/a.log").read_text()


def test_failure_of_one_numbered_job(tmp_path: Path) -> None:
    assert run(tmp_path, "JOB=4", "a.JOB.log", "false").stderr == "run.py: job failed, log is in a.4.log\n"
    assert "is JOB=1:N missing" in run(tmp_path, "a.JOB.log", "false").stderr


def test_failures_of_several_jobs_and_the_others_run(tmp_path: Path) -> None:
    script = "import sys; sys.exit(sys.argv[1] in '13')"
    done = run(tmp_path, "--max-jobs-run", "1", "JOB=1:5", "l/a.JOB.log", sys.executable, "-c", script, "JOB")
    assert (done.returncode, done.stderr) == (1, "run.py: 2 / 5 failed, log is in l/a.*.log\n")
    ends = [re.search(r"Ended \(code (\d+)\)", (tmp_path / f"l/a.{i}.log").read_text()) for i in range(1, 6)]
    assert [end and end[1] for end in ends] == ["1", "0", "1", "0", "0"]


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.2.log").mkdir()
    done = run(tmp_path, "JOB=1:3", "a.JOB.log", "touch", "done.JOB")
    assert done.returncode == 1
    assert "a.2.log" in done.stderr and "1 / 3 failed" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("done.*")) == ["done.1", "done.3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a log file and a command"),
        (["a.log"], "a log file and a command"),
        (["--no-such", "1", "a.log", "true"], "--no-such: unknown option"),
        (["-V=1", "a.log", "true"], "-V: unknown option"),
        (["--mem"], "--mem: needs a value"),
        (["--mem", "--gpu", "1", "a.log", "true"], "--mem: needs a value"),
        (["--max-jobs-run=", "a.log", "true"], "--max-jobs-run: needs a value"),
        (["--max-jobs-run", "0", "a.log", "true"], "--max-jobs-run: needs a whole number, at least 1, and got '0'"),
        (["--num-threads", "two", "a.log", "true"], "--num-threads: needs a whole number"),
        (["-pe", "smp"], "-pe: needs a value"),
        (["JOB=1:2", "--no-such", "a.JOB.log", "true"], "--no-such: unknown option"),
        (["JOB=4:3", "a.JOB.log", "true"], "JOB=4:3: job numbers"),
        (["JOB=0:3", "a.JOB.log", "true"], "JOB=0:3: job numbers"),
        (["JOB=0", "a.JOB.log", "true"], "JOB=0: job numbers"),
        (["JOB=1:", "a.JOB.log", "true"], "JOB=1:: not a range"),
        (["JOB=-1:2", "a.JOB.log", "true"], "JOB=-1:2: not a range"),
        (["JOB=1-4", "a.JOB.log", "true"], "JOB=1-4: not a range"),
        (["JOB=1:2", "a.log", "true"], "a.log: 2 jobs cannot share one log file; put JOB into its name"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"run.py: {message}") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_cluster_options_are_taken_before_and_after_the_range(tmp_path: Path) -> None:
    before = ["--mem", "4G", "--time=1:00:00", "-V", "-sync", "y", "-l", "gpu=1", "-q", "all.q", "-pe", "smp", "5"]
    after = ["--config", "conf/none.conf", "--gpu=0", "-tc", "3", "--max-jobs-run", "2"]
    done = run(tmp_path, *before, "JOB=1:2", *after, "a.JOB.log", "touch", "done.JOB")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("done.*")) == ["done.1", "done.2"]


def test_help(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: utils/run.py [options]") and "JOB=1:4 exp/log/a.JOB.log" in done.stdout


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
