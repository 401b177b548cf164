"""What utils/gridengine.py tells, keeps and leaves where things go wrong. With a real Grid Engine.

Run it, and the contract, by: tests/cluster/grid.sh
Seen with Son of Grid Engine 8.1.9 of Debian 12.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Program

PATIENCE = 60.0  # seconds that a slow machine may take for what needs a fraction of one


class Grid:
    """One host of 8 slots, 8 GB and 2 GPUs; arrays have 20 tasks at most; five seconds between a notice and a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stdout

    def jobs(self, state: str = "prs") -> list[str]:
        """The jobs of this test's folder, "30.2"; in state "r" those that run."""
        lines = [line.split() for line in self.ask("qstat", "-g", "d", "-s", state).splitlines()[2:]]
        own = {line[0]: f"sge_o_workdir:              {self.folder}" for line in lines}
        own = {job for job, folder in own.items() if folder in self.ask("qstat", "-j", job)}
        return [f"{line[0]}.{line[-1]}" for line in lines if line[0] in own]

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.ask("qstat", "-f")
            time.sleep(0.1)

    def running(self, count: int) -> list[str]:
        """Wait until so many jobs run; their names."""
        self.until(lambda: len(self.jobs("r")) == count)
        return sorted(self.jobs("r"))


@pytest.fixture
def grid(gridengine: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Grid]:
    cluster = Grid(tmp_path)
    yield cluster
    if "alone" not in request.fixturenames:  # a new master hears of the ends of jobs half a minute late
        cluster.until(lambda: not cluster.jobs())  # what has written its exit code stays for a moment


def text_in(path: Path, text: str) -> None:
    """Wait until the file holds the text."""
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{text} did not come into {path}"
        time.sleep(0.05)


def ended(master: "subprocess.Popen[str]") -> str:
    return master.communicate(timeout=PATIENCE)[1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


EAT = "import os, time; os.fork(); os.fork(); x = b'x' * (150 << 20); time.sleep(60)"


def test_a_job_over_its_memory(grid: Grid, gridengine_py: "Program") -> None:
    done = gridengine_py.run("--mem", "300M", "log/a.log", sys.executable, "-S", "-c", EAT, "||", "true")
    assert done.returncode == 1
    assert "killed, over its memory or another limit of its queue, at " in done.stderr and "give --mem" in done.stderr
    assert "job failed, log is in log/a.log" in done.stderr
    assert "# Ended (code 1; memory) at" in (gridengine_py.folder / "log/a.log").read_text()


def test_one_process_over_its_memory_sees_an_error(grid: Grid, gridengine_py: "Program") -> None:
    done = gridengine_py.run("--mem", "300M", "a.log", sys.executable, "-S", "-c", "x = bytearray(400 << 20)")
    assert done.returncode == 1
    assert "MemoryError" in gridengine_py.body("a.log")


def test_memory_is_of_all_slots_together(grid: Grid, gridengine_py: "Program") -> None:
    command = ["a.log", "bash", "-c", "ulimit -v; echo $OMP_NUM_THREADS $NSLOTS"]
    assert gridengine_py.run("--mem", "1G", "--num-threads", "4", *command).returncode == 0
    assert gridengine_py.body("a.log") == f"{1 << 20}\n4 4\n"
    assert "--mem lots: write an amount such as 4G" in gridengine_py.run("--mem", "lots", *command).stderr


def test_a_job_over_its_time(grid: Grid, gridengine_py: "Program") -> None:
    done = gridengine_py.run("--time", "2", "a.log", "bash", "-c", "trap 'echo saved; exit' TERM; sleep 60 & wait")
    assert done.returncode == 1
    assert "killed, over its time limit of 2 s; give --time" in done.stderr
    log = (gridengine_py.folder / "a.log").read_text()
    assert "\nsaved\n# Interrupted (SIGUSR2), attempt 1\n" in log and "# Ended (code 1; time limit) at" in log


def test_a_job_that_is_requeued_before_its_time_ends(grid: Grid, gridengine_py: "Program") -> None:
    script = "[ -e saved ] && exit; trap 'touch saved; exit' TERM; sleep 60 & wait"
    done = gridengine_py.run("--time", "6", "--requeue", "1", "a.log", "bash", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    log = (gridengine_py.folder / "a.log").read_text()
    assert "# Interrupted (SIGUSR1), attempt 1" in log and ", attempt 2\n" in log and "# Ended (code 0)" in log


@pytest.mark.parametrize("what", ["-rj", "-sj"])  # "reschedule", and "suspend", as for a job of a higher priority
def test_a_job_that_is_put_back_into_the_queue(grid: Grid, gridengine_py: "Program", what: str) -> None:
    script = "[ -e saved ] && exit; trap 'touch saved; exit' TERM; echo began; sleep 60 & wait"
    master = gridengine_py.start("a.log", "bash", "-c", script)
    text_in(gridengine_py.folder / "a.log", "\nbegan\n")
    grid.ask("qmod", what, grid.running(1)[0])
    assert ended(master) == "" and master.returncode == 0
    assert ", attempt 2\n" in (gridengine_py.folder / "a.log").read_text()


def test_a_job_that_is_started_too_often(grid: Grid, gridengine_py: "Program") -> None:
    master = gridengine_py.start("--requeue", "0", "a.log", "sleep", "60")
    text_in(gridengine_py.folder / "a.log", "\n#\n")
    grid.ask("qmod", "-rj", grid.running(1)[0])
    assert ended(master) == "gridengine.py: job failed, log is in a.log\n"
    assert "# Ended (code 75) at" in (gridengine_py.folder / "a.log").read_text()


def test_jobs_are_deleted_by_somebody(grid: Grid, gridengine_py: "Program") -> None:
    script = "trap 'sleep 1; exit' TERM; [ JOB = 1 ] || sleep 60 & wait"
    master = gridengine_py.start("--max-jobs-run", "2", "JOB=1:4", "log/a.JOB.log", "bash", "-c", script)
    text_in(gridengine_py.folder / "log/a.3.log", "\n#\n")
    array = grid.running(2)[0].partition(".")[0]
    grid.ask("qdel", f"{array}.2", f"{array}.3", f"{array}.4")
    said = ended(master)
    for number in (2, 3):
        assert f"gridengine.py: job {array}.{number}: cancelled\n" in said
        assert "# Ended (code 1; cancelled) at" in (gridengine_py.folder / f"log/a.{number}.log").read_text()
    assert f"gridengine.py: job {array}.4: cancelled before it began\n" in said
    assert said.endswith("gridengine.py: 3 / 4 failed, log is in log/a.*.log\n")
    assert "# Ended (code 0) at" in (gridengine_py.folder / "log/a.1.log").read_text()
    assert [path.name for path in (gridengine_py.folder / "q").iterdir()] == ["a.JOB.lock"]


def test_a_job_that_cannot_start(grid: Grid, gridengine_py: "Program") -> None:
    (gridengine_py.folder / "site.conf").write_text("command qsub -S /bin/bash\noption place=* -wd $0\n")
    done = gridengine_py.run("--config", "site.conf", "--place", "/no/such/folder", "JOB=1:2", "a.JOB.log", "true")
    assert done.returncode == 1
    assert ".1: cannot start: can't chdir to /no/such/folder: No such file or directory\n" in done.stderr
    assert done.stderr.endswith("gridengine.py: 2 / 2 failed, log is in a.*.log\n")
    assert "# Ended (code 1; cannot start) at" in (gridengine_py.folder / "a.2.log").read_text()
    assert not grid.jobs()


def test_a_request_that_no_host_can_meet(grid: Grid, gridengine_py: "Program") -> None:
    def refused(*arguments: str) -> str:
        done = gridengine_py.run(*arguments, "a.log", "true")
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        return done.stderr

    said = refused("--mem", "100G")
    assert said.startswith("gridengine.py: the cluster cannot run this: (-l h_vmem=100G")
    assert "offers only hc:h_vmem=" in said
    assert said.endswith("; asked for: -l mem_free=100G,h_vmem=100G (conf/gridengine.conf)\n")
    assert "it only offers 0 slots; asked for: -pe smp 64" in refused("--num-threads", "64")
    assert "unknown queue" in refused("--queue", "none")
    assert "the cluster refuses this job: " in refused("--no-test", "--queue", "none")
    assert 'give it a line "option colour=* --colour=$0" in conf/gridengine.conf' in refused("--colour", "red")
    assert "need Slurm" in refused("--nodes", "2")
    assert not grid.jobs()


def test_what_a_job_waits_for_is_told(grid: Grid, gridengine_py: "Program") -> None:
    (gridengine_py.folder / "held.sh").write_text("true\n")
    held = subprocess.run(
        ["qsub", "-terse", "-h", "-cwd", "-o", "/dev/null", "-j", "y", "held.sh"],
        cwd=grid.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    master = gridengine_py.start("--after", held, "a.log", "true")
    assert master.stderr is not None
    said = master.stderr.readline()
    assert said.startswith("gridengine.py: waiting: job ")
    assert said.endswith(".1 hqw (job dropped because of job dependencies)\n")
    grid.ask("qrls", held)
    assert ended(master) == "" and master.returncode == 0


def test_a_signal_deletes_what_was_submitted(grid: Grid, gridengine_py: "Program") -> None:
    script = "trap '' TERM; sleep 60 & echo $! >child.JOB; bash -c 'sleep 60 & echo $! >grandchild.JOB; wait' & wait"
    script += "; wait; wait"
    for number, jobs in ((signal.SIGTERM, ["--max-jobs-run", "2", "J=1:5", "log/a.J.log"]), (signal.SIGINT, ["a.log"])):
        name = "J" if number == signal.SIGTERM else ""
        command = script.replace("JOB", name or "1")
        master = gridengine_py.start(*jobs, "bash", "-c", command)
        running = grid.running(2 if name else 1)
        files = [grid.folder / f"{what}.{n + 1}" for what in ("child", "grandchild") for n in range(len(running))]
        for path in files:
            text_in(path, "\n")
        pids = [int(path.read_text()) for path in files]
        assert all(map(alive, pids))
        master.send_signal(number)
        array, count = running[0].partition(".")[0], f"{len(running)} running, {3 if name else 0} waiting"
        assert ended(master) == f"gridengine.py: stopped by {number.name}; cancelled {count} (jobs {array})\n"
        assert master.returncode == 128 + number
        assert not grid.jobs() and not any(map(alive, pids))
        for path in files:
            path.unlink()


def test_the_next_start_waits_for_what_lives(grid: Grid, gridengine_py: "Program") -> None:
    command = ["JOB=1:2", "log/a.JOB.log", "bash", "-c", "echo JOB >>ran; sleep $((4*JOB))"]
    first = gridengine_py.start(*command)
    array = grid.running(2)[0].partition(".")[0]
    beside = gridengine_py.run(*command)
    assert beside.returncode == 1 and f"process {first.pid} on" in beside.stderr and "is at work" in beside.stderr
    first.kill()
    ended(first)
    other = gridengine_py.run("log/a.JOB.log", "true")
    assert other.returncode == 1 and f"job {array}." in other.stderr and "qdel" in other.stderr
    again = gridengine_py.run(*command)
    assert again.returncode == 0, again.stderr
    assert f"already submitted as job {array}." in again.stderr
    assert sorted((gridengine_py.folder / "ran").read_text().split()) == ["1", "2"]


def test_more_jobs_than_an_array_may_have(grid: Grid, gridengine_py: "Program") -> None:
    done = gridengine_py.run("J=3:27", "log/a.J.log", "echo", "J", ";", "exit", "$((J==27))")
    assert (done.returncode, done.stderr) == (1, "gridengine.py: 1 / 25 failed, log is in log/a.*.log\n")
    assert [gridengine_py.body(f"log/a.{number}.log") for number in range(3, 28)] == [f"{n}\n" for n in range(3, 28)]


def test_a_submission_that_fails_is_tried_again(grid: Grid, gridengine_py: "Program") -> None:
    """Once without having been submitted, and once after it was: it must not be submitted twice."""
    for submits in ("", 'qsub "$@" >/dev/null'):
        (grid.folder / "submit").write_text(
            f'#!/bin/bash\ncase "$*" in *"-w v"*) exec qsub "$@" ;; esac\n'
            f"if ! [ -e tried ]; then touch tried; {submits}\n"
            'echo "error: commlib error: got read error (closing connection)" >&2; exit 1; fi\nexec qsub "$@"\n'
        )
        (grid.folder / "submit").chmod(0o755)
        (grid.folder / "site.conf").write_text("command ./submit -cwd -S /bin/bash\n")
        (grid.folder / "ran").write_text("")
        done = gridengine_py.run("--config", "site.conf", "a.log", "echo", "once", ">>", "ran")
        assert done.returncode == 0, done.stderr
        assert "takes no jobs now (commlib error: got read error (closing connection)); trying again" in done.stderr
        grid.until(lambda: not grid.jobs())
        assert (grid.folder / "ran").read_text() == "once\n"
        (grid.folder / "tried").unlink()


def test_a_conf_file_of_kaldi(grid: Grid, gridengine_py: "Program") -> None:
    (grid.folder / "conf").mkdir()
    (grid.folder / "conf/gridengine.conf").write_text(
        "# as Kaldi's users have it\n"
        "command qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*\n"
        "option mem=* -l mem_free=$0,h_vmem=$0\n"
        "option mem=0          # do not add anything to qsub_opts\n"
        "option num_threads=* -pe smp $0\n"
        "option num_threads=1  # do not add anything to qsub_opts\n"
        "option max_jobs_run=* -tc $0\n"
        "default gpu=0\n"
        "option gpu=0 -q all.q\n"
        "option gpu=* -l gpu=$0 -q *.q\n"
    )
    shown = ["echo", "[${CUDA_VISIBLE_DEVICES-none}]", "$NSLOTS"]
    options = ["--mem", "2G", "--num-threads", "2", "--max-jobs-run", "1"]
    assert gridengine_py.run(*options, "JOB=1:2", "a.JOB.log", *shown).returncode == 0
    assert gridengine_py.body("a.2.log") == "[] 2\n"  # no GPU is seen
    assert gridengine_py.run("--gpu", "1", "--mem", "0", "a.log", *shown).returncode == 0
    assert gridengine_py.body("a.log") == "[none] 1\n"


def test_the_environment_arrives_and_nobody_else_sees_it(grid: Grid, gridengine_py: "Program") -> None:
    values = {"LD_LIBRARY_PATH": "/some/where", "SECRET": "a b'c\nd", "BASH_FUNC_greet%%": "() { echo hello; }"}
    values |= {"CUDA_VISIBLE_DEVICES": "5", "SGE_TASK_ID": "9", "FLOWLID_PROGRESS": "x"}
    shown = 'greet; echo "$LD_LIBRARY_PATH" "$SECRET" "$CUDA_VISIBLE_DEVICES" ${FLOWLID_PROGRESS-none}'
    shown += "; echo began; until [ -e go ]; do sleep 0.1; done"
    master = subprocess.Popen(
        [*gridengine_py.command, "a.log", "bash", "-c", shown],
        cwd=grid.folder,
        env=os.environ | values,
    )
    text_in(grid.folder / "a.log", "\nbegan\n")
    assert "c\nd" not in grid.ask("qstat", "-j", grid.running(1)[0].partition(".")[0])
    scripts = list((grid.folder / "q").glob("*.sh"))
    assert [path.stat().st_mode & 0o777 for path in scripts] == [0o600]
    (grid.folder / "go").touch()
    assert master.wait(PATIENCE) == 0
    assert gridengine_py.body("a.log") == "hello\n/some/where a b'c\nd  none\nbegan\n"


def test_a_command_is_no_option_of_qsub(grid: Grid, gridengine_py: "Program") -> None:
    assert gridengine_py.run("a.log", "printf", "%s", "\n#$ -q none\n").returncode == 0


def test_the_master_is_restarted(alone: None, grid: Grid, gridengine_py: "Program") -> None:
    down = Path(os.environ["FLOWLID_GRIDENGINE"]) / "down"
    master = gridengine_py.start("a.log", "bash", "-c", "until [ -e go ]; do sleep 0.1; done")
    text_in(grid.folder / "a.log", "\n#\n")
    down.touch()
    try:
        grid.ask("qconf", "-km")
        assert master.stderr is not None
        assert master.stderr.readline() == "gridengine.py: the cluster does not answer; still waiting for its jobs\n"
    finally:
        down.unlink()
    grid.until(lambda: grid.ask("qconf", "-sh"))
    (grid.folder / "go").touch()
    assert ended(master) == "" and master.returncode == 0
