"""What utils/gridengine.py makes of words, without a Grid Engine. The answers are as version 8.1.9 gave them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tools import ROOT

MODULES = ("accounting", "cluster", "gridengine", "gridqueue", "jobs", "jobscript", "siteconf", "submission", "watch")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """utils/gridengine.py, imported as it is when it runs: with utils on the path of modules."""
    monkeypatch.syspath_prepend(str(ROOT / "utils"))
    monkeypatch.chdir(tmp_path)
    import gridengine

    yield gridengine
    for name in MODULES:
        sys.modules.pop(name, None)


def account(task: int | str, failed: str, status: str, took: str) -> str:
    fields = {"jobname": "a.b", "taskid": task, "failed": failed, "exit_status": status, "ru_wallclock": took}
    lines = "".join(f"{name:<13}{value}\n" for name, value in (fields | {"maxvmem": "827.875MB"}).items())
    return "=" * 62 + f"\n{lines}"


@pytest.mark.parametrize(
    ("failed", "status", "took", "how"),
    [
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137                  (Killed)", "2s", "memory"),
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "1", "31.5s", "time limit"),
        ("100 : assumedly after job", "137                  (Killed)", "4s", "killed"),
        ("0", "1", "4s", "cancelled"),
        ("21  : in recognizing job", "0", "0s", "failed"),
    ],
)
def test_how_jobs_ended(engine: ModuleType, failed: str, status: str, took: str, how: str) -> None:
    other = account("undefined", "0", "0", "0s") + account(5, "25  : rescheduling", "99", "3s")
    ends = sys.modules["accounting"].killed(other + account(4, failed, status, took), 30)
    assert {number: end.how for number, end in ends.items()} == {4: how}


def test_the_last_start_of_a_job_counts(engine: ModuleType) -> None:
    first, again = account(4, "37  : limit", "1", "40s"), account(4, "25  : rescheduling", "99", "3s")
    assert list(sys.modules["accounting"].killed(again + first, 30)) == [4]
    assert not sys.modules["accounting"].killed(first + again, 30)
    assert not sys.modules["accounting"].killed("", 30)


def test_tasks_of_a_line(engine: ModuleType) -> None:
    tasks = sys.modules["gridqueue"].tasks
    assert tasks("3") == [3]
    assert tasks("1,2,7-9:1") == [1, 2, 7, 8, 9]


def test_why_qsub_refuses(engine: ModuleType) -> None:
    said = (
        'Unable to run job: Job 10 (-l h_vmem=100G) cannot run at host "n1" because it offers only hc:h_vmem=8.000G\n'
        "verification: no suitable queues\nExiting.\n"
    )
    why = '(-l h_vmem=100G) cannot run at host "n1" because it offers only hc:h_vmem=8.000G'
    assert sys.modules["gridqueue"].reason(said) == why


def test_what_cannot_be_verified_is_left_out(engine: ModuleType) -> None:
    words = ["qsub", "-l", "mem_free=1G,h_vmem=1G", "-l", "mem_free=2G", "-q", "a"]
    assert sys.modules["gridqueue"].without(words, {"mem_free"}) == ["qsub", "-l", "h_vmem=1G", "-q", "a"]


@pytest.mark.parametrize(
    ("mem", "slots", "of_a_slot"),
    [("4G", 1, "4G"), ("4G", 4, "1024M"), ("1G", 3, "342M"), ("0", 4, "0"), ("1.5G", 2, "768M"), ("512", 2, "1M")],
)
def test_memory_of_a_slot(engine: ModuleType, mem: str, slots: int, of_a_slot: str) -> None:
    assert engine.per_slot(mem, slots) == of_a_slot


def test_time(engine: ModuleType) -> None:
    assert [engine.seconds(time) for time in ("90", "1:00:00", "0:1:30", "1-0", "")] == [90, 3600, 90, None, None]
