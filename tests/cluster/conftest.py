"""A real Slurm for tests, and the three programs that run jobs, which all keep one contract."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tools import ROOT

CANNOT = 77  # what the cells return where they cannot start
PATIENCE = 60.0  # seconds that a slow machine may take for what needs a fraction of one


@dataclass
class Slurm:
    """The cluster: two nodes, n1 and n2, of 4 processors and 4000 MB each, and the partitions main and high."""

    conf: Path

    def ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    def jobs(self, state: str = "all") -> list[str]:
        """Jobs that are not over, as squeue names them."""
        states = ["-t", "running"] if state == "running" else []
        return self.ask("squeue", "-h", "-r", *states, "-o", "%i").split()

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.ask("squeue")
            time.sleep(0.05)


@pytest.fixture(scope="session")
def slurm_cell() -> Iterator[Path]:
    """The Slurm of this test process; its daemons end when the process does, in whatever way."""
    command = [sys.executable, str(Path(__file__).parent / "slurm_cell.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as cell:
        conf = cell.stdout.readline().strip()
        if not conf:
            reason = cell.stderr.read()
            if cell.wait(PATIENCE) == CANNOT and os.environ.get("FLOWLID_REQUIRE_SLURM") != "1":
                pytest.skip(reason)
            pytest.fail(reason)
        yield Path(conf)
        cell.stdin.close()
        cell.wait(PATIENCE)


@pytest.fixture
def slurm(slurm_cell: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """The Slurm, empty; programs that the test starts find it."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_cell))
    monkeypatch.delenv("FLOWLID_SLURM_CONF", raising=False)
    cluster = Slurm(slurm_cell)
    yield cluster
    left = cluster.jobs()
    cluster.ask("scancel", "-Q", "-u", "root")
    cluster.until(lambda: not cluster.jobs())
    assert not left, "a test left jobs in the queue"


@dataclass
class Program:
    """One of the programs that run jobs, in a folder."""

    name: str
    folder: Path
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        # Without site packages (-S): the programs need the standard library only.
        return [sys.executable, "-S", str(ROOT / "utils" / self.name)]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )

    def body(self, log: str) -> str:
        """What the job itself wrote, between the head and the foot of its log."""
        return "".join(line for line in (self.folder / log).read_text().splitlines(True) if not line.startswith("#"))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start it, and let the test go on; it ends with the test at the latest."""
        master = subprocess.Popen([*self.command, *arguments], cwd=self.folder, stderr=subprocess.PIPE, text=True)
        self.started.append(master)
        return master

    def end(self) -> None:
        for master in self.started:
            master.terminate()
            master.communicate(timeout=PATIENCE)


@pytest.fixture
def alone() -> None:
    """For a test that disturbs all others in the Grid Engine."""


@pytest.fixture
def gridengine(request: pytest.FixtureRequest) -> Iterator[None]:
    """The Grid Engine around this process; a test that wants `alone` waits until no other uses it."""
    root = os.environ.get("FLOWLID_GRIDENGINE")
    if root is None:
        pytest.skip("not inside a Grid Engine: tests/cluster/grid.sh")
    with (Path(root) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if "alone" in request.fixturenames else fcntl.LOCK_SH)
        yield


@pytest.fixture(params=["run.py", "slurm.py", "gridengine.py"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    """Each of the programs in turn."""
    if request.param == "slurm.py":
        request.getfixturevalue("slurm")
    elif request.param == "gridengine.py":
        request.getfixturevalue("gridengine")
    return Program(request.param, tmp_path)


@pytest.fixture
def slurm_py(slurm: Slurm, tmp_path: Path) -> Iterator[Program]:
    program = Program("slurm.py", tmp_path)
    yield program
    program.end()


@pytest.fixture
def gridengine_py(gridengine: None, tmp_path: Path) -> Iterator[Program]:
    program = Program("gridengine.py", tmp_path)
    yield program
    program.end()
