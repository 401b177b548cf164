"""What a job of utils/slurm.py finds on its node, and how it goes on after a preemption. With a real Slurm."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Program, Slurm

# Counts in a file until it is told to end; started again, it goes on from there, to 40 more.
COUNT = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
done = pathlib.Path("done")
number = int(done.read_text()) if done.exists() else 0
print("from", number, flush=True)
last = number + 40
while number < last or "SLURM_RESTART_COUNT" not in os.environ:
    time.sleep(0.05)
    number += 1
    new = pathlib.Path("done.new")
    new.write_text(str(number))
    new.replace(done)
"""
# Each process adds its rank, and all see the sum.
TOGETHER = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
sum_ = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(sum_)
open(f"rank{dist.get_rank()}", "w").write(f"{os.environ['SLURMD_NODENAME']} {sum_.item()} {os.environ['WORLD_SIZE']}")
dist.destroy_process_group()
"""


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def counted(folder: Path) -> int:
    return int((folder / "done").read_text()) if (folder / "done").exists() else 0


def only_waited(said: str) -> bool:
    """Whether a program said nothing, but that its job is in the queue again."""
    return all("slurm.py: waiting: job " in line for line in said.splitlines())


def test_a_preempted_job_goes_on(slurm: "Slurm", slurm_py: "Program") -> None:
    (slurm_py.folder / "count.py").write_text(COUNT)
    master = slurm_py.start("--num-threads", "4", "--nodes", "1", "a.log", sys.executable, "-S", "count.py")
    slurm.until(lambda: counted(slurm_py.folder) > 5)
    # both nodes, for a moment
    slurm.ask("sbatch", "-p", "high", "-N", "2", "--exclusive", "--wrap", "sleep 1", "--output=/dev/null")
    assert only_waited(master.communicate(timeout=60)[1])
    assert master.returncode == 0 and counted(slurm_py.folder) > 45
    log = (slurm_py.folder / "a.log").read_text()
    assert log.count("# Started at") == 2 and "# Interrupted (SIGTERM), attempt 1\n" in log
    assert "attempt 2\n" in log and "told to end" in log and "# Ended (code 0)" in log
    first, second = [int(line.split()[1]) for line in log.splitlines() if line.startswith("from ")]
    assert first == 0 and second > 5
    slurm.until(lambda: not slurm.jobs())  # the job of the high priority


def test_a_job_goes_on_when_its_node_fails(slurm: "Slurm", slurm_py: "Program") -> None:
    (slurm_py.folder / "count.py").write_text(COUNT)
    command = ["a.log", sys.executable, "-S", "count.py"]
    for options, told in (([], ""), (["--requeue", "0"], "its node n1 failed")):
        (slurm_py.folder / "done").unlink(missing_ok=True)
        master = slurm_py.start(*options, *command)
        slurm.until(lambda: counted(slurm_py.folder) > 5)
        slurm.ask("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test")
        try:
            said = master.communicate(timeout=60)[1]
        finally:
            subprocess.run(["scontrol", "update", "NodeName=n1", "State=RESUME"], capture_output=True)  # unless it has
            slurm.until(lambda: slurm.ask("sinfo", "-h", "-p", "main", "-o", "%t %D") == "idle 2\n")
        assert told in said and master.returncode == bool(told), said
    assert "# Ended (code 1; node failed) at" in (slurm_py.folder / "a.log").read_text()


def test_a_job_that_runs_out_of_time_saves_and_goes_on(slurm: "Slurm", slurm_py: "Program") -> None:
    (slurm_py.folder / "count.py").write_text(COUNT)
    master = slurm_py.start("--time", "1", "--requeue", "3", "a.log", sys.executable, "-S", "count.py")
    slurm.until(lambda: counted(slurm_py.folder) > 5)
    (job,) = slurm.jobs()
    slurm.ask("scancel", "--batch", "--signal=USR1", job)  # as Slurm does some time before the limit
    assert only_waited(master.communicate(timeout=60)[1])
    log = (slurm_py.folder / "a.log").read_text()
    assert master.returncode == 0 and counted(slurm_py.folder) > 45
    assert "# Interrupted (SIGUSR1), attempt 1\n" in log and "attempt 2\n" in log


def test_a_job_that_is_started_too_often_ends(slurm: "Slurm", slurm_py: "Program") -> None:
    executable(slurm_py.folder / "submit", 'SLURM_RESTART_COUNT=2 exec sbatch "$@"')
    (slurm_py.folder / "site.conf").write_text("command ./submit\n")
    options = ["--config", "site.conf", "--requeue"]
    assert slurm_py.run(*options, "2", "a.log", "touch", "third").returncode == 0
    assert (slurm_py.folder / "third").exists()
    done = slurm_py.run(*options, "1", "a.log", "touch", "third.again")
    assert (done.returncode, done.stderr) == (1, "slurm.py: job failed, log is in a.log\n")
    assert "# Ended (code 75) at" in (slurm_py.folder / "a.log").read_text()
    assert not (slurm_py.folder / "third.again").exists()


def test_two_nodes_train_together(slurm: "Slurm", slurm_py: "Program") -> None:
    (slurm_py.folder / "together.py").write_text(TOGETHER)
    small = slurm_py.run("--nodes", "2", "--mem", "50M", "a.log", "together.py")
    assert small.returncode == 1 and "killed, over its memory of 50M; give --mem" in small.stderr
    done = slurm_py.run("--nodes", "2", "--mem", "1G", "a.log", "together.py")
    assert done.returncode == 0, (slurm_py.folder / "a.log").read_text()
    ranks = [(slurm_py.folder / f"rank{rank}").read_text().split() for rank in (0, 1)]
    assert {node for node, *_ in ranks} == {"n1", "n2"}
    assert [rest for _, *rest in ranks] == [["3.0", "2"], ["3.0", "2"]]


def test_what_a_job_finds(slurm: "Slurm", slurm_py: "Program") -> None:
    (slurm_py.folder / "path.sh").write_text("export FROM_PATH=yes\n")
    show = [
        "$OMP_NUM_THREADS",
        "$MKL_NUM_THREADS",
        "$SLURM_CPUS_PER_TASK",
        "$FROM_PATH",
        "$OWN",
        "x$CUDA_VISIBLE_DEVICES",
    ]
    done = slurm_py.run("--num-threads", "3", "a.log", "echo", *show, OWN="own", CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 0, done.stderr
    assert slurm_py.body("a.log") == "3 3 3 yes own x\n"


def test_a_node_without_the_environment(slurm: "Slurm", slurm_py: "Program") -> None:
    (slurm_py.folder / "path.sh").write_text('echo "path.sh: no environment here" >&2\nexit 1\n')
    assert slurm_py.run("a.log", "touch", "ran").returncode == 1
    assert slurm_py.body("a.log") == "path.sh: no environment here\n"
    assert not (slurm_py.folder / "ran").exists()


def test_inside_a_job_of_another(slurm: "Slurm", slurm_py: "Program") -> None:
    """The stage machine can be a job itself; what Slurm has told that job is not for its own jobs."""
    inner = " ".join([*slurm_py.command, "--num-threads", "2", "in.log", "echo", "'$SLURM_CPUS_PER_TASK'"])
    done = slurm_py.run("--num-threads", "3", "--mem", "300M", "out.log", "bash", "-c", inner)
    assert done.returncode == 0, (slurm_py.folder / "out.log").read_text()
    assert slurm_py.body("in.log") == "2\n"
