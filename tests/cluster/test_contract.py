"""The contract of the programs that run jobs, as their callers see it: exit status, logs, messages.

Each test runs with utils/run.py, with utils/slurm.py where a Slurm can start, and with utils/gridengine.py inside
tests/cluster/grid_cell.py.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools import ROOT

if TYPE_CHECKING:
    from conftest import Program

SHOW = 'import os, sys; sys.stdout.buffer.write(b"\\0".join(map(os.fsencode, sys.argv[2:])))'


def test_single_job_log(program: "Program") -> None:
    program.run("new/dir/a.log", "echo", "a former run")
    done = program.run("new/dir/a.log", "echo", "out", ";", "echo", "err", ">&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = (program.folder / "new/dir/a.log").read_text().splitlines()
    assert lines[0] == "# echo out ; echo err >&2"
    if program.name != "run.py":
        assert re.fullmatch(r"# Host \S+, .* job \d+, attempt 1", lines.pop(2))
    assert re.fullmatch(r"# Started at \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}", lines[1])
    assert lines[2:5] == ["#", "out", "err"]
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[5])
    assert re.fullmatch(r"# Ended \(code 0\) at .*\d{4}, elapsed time \d+ seconds", lines[6])
    assert len(lines) == 7


@pytest.mark.parametrize(("spec", "numbers"), [("JOB=1:3", [1, 2, 3]), ("K=3:5", [3, 4, 5]), ("_J2=7", [7])])
def test_every_occurrence_of_the_name_is_replaced(program: "Program", spec: str, numbers: list[int]) -> None:
    name = spec.partition("=")[0]
    done = program.run(spec, f"x{name}/{name}.log", "printf", "%s", f"a{name}-{name}", ">", f"out.{name}")
    assert done.returncode == 0, done.stderr
    assert sorted(program.folder.glob("out.*")) == [program.folder / f"out.{i}" for i in numbers]
    for i in numbers:
        assert (program.folder / f"out.{i}").read_text() == f"a{i}-{i}"
        assert "# Ended (code 0)" in (program.folder / f"x{i}/{i}.log").read_text()


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
def test_operators_act_and_the_rest_is_literal(program: "Program", arguments: list[str], expected: str) -> None:
    (program.folder / "in.txt").write_text("content\n")
    assert program.run("a.log", *arguments).returncode == 0
    assert program.body("a.log") == expected


CHARACTERS = st.text(alphabet="ab =-'\"\\;&|<>()*?[]{}!#~^%\n\té語", max_size=12)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHARACTERS.map(lambda text: "x" + text) | CHARACTERS.map(lambda text: f"$a `b` {text}"), max_size=40))
def test_arguments_arrive_unchanged(program: "Program", arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        program.folder = Path(name)
        done = program.run("a.log", sys.executable, "-c", SHOW, "-", *arguments, ">", "out")
        assert done.returncode == 0, (program.folder / "a.log").read_text()
        assert (program.folder / "out").read_bytes() == "\0".join(arguments).encode()


def test_empty_and_undecodable_arguments_arrive(program: "Program") -> None:
    command = [os.fsencode(word) for word in (*program.command, "a.log", sys.executable, "-c", SHOW, "-")]
    subprocess.run([*command, b"", b"caf\xe9", b">", b"out"], cwd=program.folder, check=True)
    assert (program.folder / "out").read_bytes() == b"\0caf\xe9"


def test_long_command(program: "Program") -> None:
    words = ["w" * 1000] * 300  # 300 kB: more than one argument of a process may hold
    assert program.run("a.log", "printf", "%s", *words, "|", "wc", "-c").returncode == 0
    assert program.body("a.log").strip() == "300000"


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
def test_failure_of_one_job(program: "Program", command: list[str], status: str) -> None:
    done = program.run("log/a.log", *command)
    assert (done.returncode, done.stderr) == (1, f"{program.name}: job failed, log is in log/a.log\n")
    assert f"# Ended ({status}) at" in (program.folder / "log/a.log").read_text()


def test_failure_of_one_numbered_job(program: "Program") -> None:
    assert program.run("JOB=4", "a.JOB.log", "false").stderr == f"{program.name}: job failed, log is in a.4.log\n"
    assert "is JOB=1:N missing" in program.run("a.JOB.log", "false").stderr


def test_failures_of_several_jobs_and_the_others_run(program: "Program") -> None:
    script = "import sys; sys.exit(sys.argv[1] in '13')"
    done = program.run("--max-jobs-run", "1", "JOB=1:5", "l/a.JOB.log", sys.executable, "-c", script, "JOB")
    assert (done.returncode, done.stderr) == (1, f"{program.name}: 2 / 5 failed, log is in l/a.*.log\n")
    ends = [re.search(r"Ended \(code (\d+)\)", (program.folder / f"l/a.{i}.log").read_text()) for i in range(1, 6)]
    assert [end and end[1] for end in ends] == ["1", "0", "1", "0", "0"]


def test_log_that_cannot_be_written(program: "Program") -> None:
    (program.folder / "a.2.log").mkdir()
    done = program.run("JOB=1:3", "a.JOB.log", "touch", "done.JOB")
    assert done.returncode == 1
    assert "a.2.log" in done.stderr and "1 / 3 failed" in done.stderr
    assert sorted(path.name for path in program.folder.glob("done.*")) == ["done.1", "done.3"]


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
        (["JOB=1:2", "--no-such", "1", "a.JOB.log", "true"], "--no-such: unknown option"),
        (["JOB=4:3", "a.JOB.log", "true"], "JOB=4:3: job numbers"),
        (["JOB=0:3", "a.JOB.log", "true"], "JOB=0:3: job numbers"),
        (["JOB=0", "a.JOB.log", "true"], "JOB=0: job numbers"),
        (["JOB=1:", "a.JOB.log", "true"], "JOB=1:: not a range"),
        (["JOB=-1:2", "a.JOB.log", "true"], "JOB=-1:2: not a range"),
        (["JOB=1-4", "a.JOB.log", "true"], "JOB=1-4: not a range"),
        (["JOB=1:2", "a.log", "true"], "a.log: 2 jobs cannot share one log file; put JOB into its name"),
    ],
)
def test_wrong_usage(program: "Program", arguments: list[str], message: str) -> None:
    done = program.run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{program.name}: {message}") and done.stderr.count("\n") == 1
    assert not list(program.folder.iterdir())


def test_cluster_options_are_taken_before_and_after_the_range(program: "Program") -> None:
    before = ["--mem", "1G", "--time=1:00:00", "-V", "-sync", "y", "-l", "gpu=1", "-q", "all.q", "-pe", "smp", "5"]
    (program.folder / "site.conf").touch()
    after = ["--config", "site.conf", "--gpu=0", "-tc", "3", "--max-jobs-run", "2"]
    done = program.run(*before, "JOB=1:2", *after, "a.JOB.log", "touch", "done.JOB")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in program.folder.glob("done.*")) == ["done.1", "done.2"]


def test_help(program: "Program") -> None:
    done = program.run("--help")
    assert done.returncode == 0
    assert (
        done.stdout.startswith(f"Usage: utils/{program.name} [options]") and "JOB=1:4 exp/log/a.JOB.log" in done.stdout
    )


def test_a_job_that_says_it_ended_well_has_not(program: "Program") -> None:
    foot = "# Accounting: time=0 threads=1\n# Ended (code 0) at Wed Nov 25 10:00:00 UTC 2026, elapsed time 0 seconds"
    done = program.run("a.log", "echo", foot, ";", "echo", "Finished with status 0", ";", "exit", "1")
    assert (done.returncode, done.stderr) == (1, f"{program.name}: job failed, log is in a.log\n")


def test_what_is_expanded_is_expanded_once(program: "Program") -> None:
    done = program.run("a.log", "echo", "$(echo>>ran)", "$TEXT", TEXT="$(touch again)")
    assert done.returncode == 0, done.stderr
    assert (program.folder / "ran").read_text() == "\n"
    assert program.body("a.log") == "$(touch again)\n"
    assert not (program.folder / "again").exists()


def test_blanks_in_paths(program: "Program") -> None:
    program.folder = program.folder / "a folder"
    program.folder.mkdir()
    assert program.run("JOB=1:2", "my log/a.JOB.log", "touch", "it is JOB").returncode == 0
    assert (program.folder / "it is 2").exists()
    assert "# Ended (code 0)" in (program.folder / "my log/a.2.log").read_text()


def test_a_job_is_left_to_the_cluster_and_shown(program: "Program") -> None:
    done = program.run("--detach", "log/a.log", "bash", "-c", "until [ -f go ]; do sleep 0.1; done")
    if program.name == "run.py":
        assert done.returncode == 1 and "run.py: --detach: no cluster to leave the job to" in done.stderr
        return
    assert (done.returncode, done.stderr) == (0, "")
    backend = {"slurm.py": "slurm", "gridengine.py": "grid"}[program.name]
    command = [sys.executable, "-S", str(ROOT / "utils/show_jobs.py"), backend, "."]

    def shown() -> str:
        return subprocess.run(command, cwd=program.folder, capture_output=True, text=True, check=True).stdout

    deadline = time.monotonic() + 60
    while not (program.folder / "log/a.log").exists():
        assert time.monotonic() < deadline, shown()
        time.sleep(0.1)
    assert re.fullmatch(r"\.\ta\t\d+\t\w+ on \w+\t0\n", shown())
    again = program.run("--detach", "log/a.log", "bash", "-c", "until [ -f go ]; do sleep 0.1; done")
    assert again.returncode == 1 and re.search(r"log/a.log: already submitted as job \S+ \(.*\)\n$", again.stderr)
    (program.folder / "go").touch()
    while shown():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    several = program.run("--detach", "JOB=1:2", "log/a.JOB.log", "true")
    assert several.returncode == 1 and "--detach: 2 jobs need a program that waits for them" in several.stderr
