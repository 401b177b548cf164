"""What utils/slurmqueue.py makes of the lines of squeue that this machine's Slurm cannot be brought to show."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tools import ROOT


@pytest.fixture
def slurm_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """utils/slurmqueue.py, imported as it is when slurm.py runs: with utils on the path of modules."""
    monkeypatch.syspath_prepend(str(ROOT / "utils"))
    monkeypatch.chdir(tmp_path)
    import slurmqueue

    yield slurmqueue
    for name in ("cluster", "jobs", "jobscript", "slurmqueue", "submission", "watch"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("state", "reason", "said", "kind", "words"),
    [
        ("OUT_OF_MEMORY", "OutOfMemory", "", "ended", ("memory", "killed, over its memory of 4G; give --mem")),
        ("TIMEOUT", "TimeLimit", "", "ended", ("time limit", "killed, over its time limit of 1:00:00; give --time")),
        ("NODE_FAIL", "NodeDown", "", "ended", ("node failed", "its node n7 failed")),
        ("PREEMPTED", "None", "", "ended", ("preempted", "preempted, and the cluster does not start it again")),
        ("CANCELLED", "None", "", "ended", ("cancelled", "cancelled")),
        ("FAILED", "NonZeroExitCode", "", "ended", ("", "")),
        ("COMPLETED", "None", "", "ended", ("", "")),
        (
            "FAILED",
            "NonZeroExitCode",
            "slurmstepd: error: Detected 1 oom_kill event in StepId=30.batch. Some of the tasks were killed.",
            "ended",
            ("memory", "killed, over its memory of 4G; give --mem"),
        ),
        ("FAILED", "NonZeroExitCode", "RuntimeError: out of memory\n", "ended", ("", "")),  # the job's own words
        ("RUNNING", "None", "", "running", ("", "")),
        ("COMPLETING", "None", "", "running", ("", "")),
        ("CONFIGURING", "None", "", "running", ("", "")),
        ("SUSPENDED", "None", "", "running", ("", "")),
        ("PENDING", "Resources", "", "waiting", ("", "")),
        ("REQUEUED", "None", "", "waiting", ("", "")),
        ("PENDING", "PartitionTimeLimit", "", "waiting", ("the partition's time limit is below that", "")),
    ],
)
def test_states(
    slurm_module: ModuleType, state: str, reason: str, said: str, kind: str, words: tuple[str, str]
) -> None:
    call = sys.modules["jobs"].parse(["JOB=1:30", "log/a.JOB.log", "true"], "")
    work = slurm_module.Work(call, {}, "slurm.py")
    fields = [f"{work.title}+20", "31", "30", "4", state, reason, "2026-11-25T14:05:00", "n7", "4G", "1:00:00"]
    seen = slurm_module.seen(fields, work, {f"a.JOB.{work.token}.out.20.4": said})
    assert (seen.job, seen.number, seen.kind, (seen.how, seen.told)) == ("30_4", 24, kind, words)
    if kind == "waiting":
        assert seen.state == f"{state} ({reason}), starts about Wed 14:05"


@pytest.mark.parametrize(
    ("error", "reason", "later"),
    [
        (
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            "Invalid partition name",
            False,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "Socket timed", True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (x)", "Unable to", True),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", "Slurm temporarily", True),
        ("allocation failure: Requested node configuration is not available", "Requested node", False),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "Job violates",
            True,
        ),
        ("", "no reason given", False),
    ],
)
def test_reasons_of_refusals(slurm_module: ModuleType, error: str, reason: str, later: bool) -> None:
    assert slurm_module.last_line(error).startswith(reason)
    assert bool(slurm_module.NOT_NOW.search(error)) == later


@pytest.mark.parametrize("text", ["", '{"token": "0123', "[]", '{"token": "01234567"}'])
def test_a_damaged_note_of_a_submission_is_no_reason_to_submit_again(
    slurm_module: ModuleType, tmp_path: Path, text: str
) -> None:
    import jobs
    import submission
    from jobscript import Work

    work = Work(jobs.parse(["log/a.log", "true"], ""), {}, "slurm.py")
    (tmp_path / "q").mkdir()
    (tmp_path / "q/a.job").write_text(text)
    with pytest.raises(submission.Refused, match=r"q/a\.job: damaged; see whether jobs of a are still in the queue"):
        submission.living(work, slurm_module.Slurm([], [], ""))
