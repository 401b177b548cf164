"""Slurm as a `cluster.Queue`: what sbatch, squeue and scancel say, and what is made of it."""

import os
import re
import subprocess
from collections.abc import Iterable
from datetime import datetime

from cluster import Block, Busy, Refused, Seen, ask
from jobscript import Work

FORMAT = "%j|%A|%F|%K|%T|%r|%S|%N|%m|%l"
NOT_NOW = re.compile("Unable to contact|timed out|[Tt]emporarily|refused|ommunication|Zero Bytes|submit limit")
NEVER = {
    "BadConstraints": "no node is as asked for",
    "DependencyNeverSatisfied": "a job that it comes after has failed",
    "PartitionNodeLimit": "the partition has fewer nodes than that",
    "PartitionTimeLimit": "the partition's time limit is below that",
    "InvalidAccount": "the account is not valid",
    "InvalidQOS": "the QOS is not valid",
    "AccountNotAllowed": "the partition does not allow the account",
    "QOSNotAllowed": "the partition does not allow the QOS",
}
ENDED = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"}
ENDED |= {"OUT_OF_MEMORY", "REVOKED"}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
OVER_MEMORY = re.compile(r"exceeded (job )?memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)


class Slurm:
    """A `cluster.Queue`: sbatch, squeue and scancel. sacct is not needed, many sites do not have it."""

    def __init__(self, command: list[str], options: list[str], asks: str) -> None:
        self.command, self.options, self.asks = command, options, asks
        inner = [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]
        # of a job that this program may itself be a part of, and the GPUs of this machine
        self.environment = {k: v for k, v in os.environ.items() if k not in (*inner, "CUDA_VISIBLE_DEVICES")}

    def _ask(self, *words: str, keep: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        return ask(*words, environment=self.environment, keep=keep)

    def most(self) -> int:
        shown = re.search(r"MaxArraySize\s*=\s*(\d+)", self._ask("scontrol", "show", "config").stdout)
        return max(1, int(shown[1]) - 1 if shown else 1000)  # it limits the index, which starts at 0

    def test(self, work: Work) -> None:
        """Raise Refused where no node could ever run the job: sbatch would take it, and it would wait for ever."""
        options = [word for word in self.options if not word.startswith("--dependency")]
        asked = self._ask(*self.command, "--test-only", *options, str(work.file("sh")))
        reason = last_line(asked.stderr)
        if asked.returncode and not NOT_NOW.search(asked.stderr) and "Required node not available" not in reason:
            raise Refused(f"the cluster cannot run this: {reason}; asked for: {self.asks}")

    def name(self, work: Work, block: Block) -> str:
        return f"{work.title}+{block.first - 1}"

    def submit(self, work: Work, block: Block, limit: int | None) -> None:
        count = block.last - block.first + 1
        words = ["--parsable", "--open-mode=append", *self.options]
        words.append("--no-requeue" if work.call.counts.get("requeue") == 0 else "--requeue")
        words.append(f"--job-name={self.name(work, block)}")
        out = f"{work.file('out')}.{block.first - 1}"
        words.append(f"--output={out}.%a" if count > 1 else f"--output={out}.1")
        if count > 1:
            words.append(f"--array=1-{count}" + (f"%{limit}" if limit else ""))
        asked = self._ask(*self.command, *words, str(work.file("sh")), str(block.first - 1), keep=work.held)
        if asked.returncode:
            raise (Busy if NOT_NOW.search(asked.stderr) else Refused)(last_line(asked.stderr))

    def look(self, work: Work) -> list[Seen] | None:
        asked = self._ask("squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", FORMAT)
        if asked.returncode:
            return None
        lines = [line.split("|") for line in asked.stdout.splitlines()]
        # names longer than a column are not cut by -o without a width
        own = [fields for fields in lines if fields[0].rpartition("+")[0] == work.title]
        said = work.said() if any(fields[4] in ENDED - {"COMPLETED"} for fields in own) else {}
        return [seen(fields, work, said) for fields in own]

    def cancel(self, seen: Iterable[Seen]) -> None:
        self._ask("scancel", "-Q", *self._ids(seen))

    def cancelling(self, seen: Iterable[Seen]) -> str:
        return " ".join(["scancel", *self._ids(seen)])

    def _ids(self, seen: Iterable[Seen]) -> list[str]:
        return sorted({each.job.partition("_")[0] for each in seen})


def seen(fields: list[str], work: Work, said: dict[str, str]) -> Seen:
    """What one line of squeue says; `said` has what Slurm wrote into the jobs' output files."""
    name, _, array, index, state, reason, start, nodes, memory, limit = fields
    offset, task = int(name.rpartition("+")[2]), int(index) if index.isdigit() else 1
    job = f"{array}_{task}" if index.isdigit() else array
    number = offset + task
    if state in WAITING:
        begins = "" if start in ("N/A", "") else f", starts about {datetime.fromisoformat(start):%a %H:%M}"
        return Seen(job, number, "waiting", f"{state} ({reason}){begins}", NEVER.get(reason, ""))
    if state not in ENDED:
        return Seen(job, number, "running", f"{state} on {nodes}")
    told = {
        "TIMEOUT": ("time limit", f"killed, over its time limit of {limit}; give --time"),
        "DEADLINE": ("deadline", "cancelled, its deadline has passed"),
        "CANCELLED": ("cancelled", "cancelled"),
        "PREEMPTED": ("preempted", "preempted, and the cluster does not start it again"),
        "NODE_FAIL": ("node failed", f"its node {nodes} failed"),
        "BOOT_FAIL": ("node failed", f"its node {nodes} failed to boot"),
        "REVOKED": ("cancelled", "taken over by another cluster"),
        "OUT_OF_MEMORY": ("memory", f"killed, over its memory of {memory}; give --mem"),
    }
    written = said.get(f"{work.file('out').name}.{offset}.{task}", "") + work.log_end(number)
    over = any("slurmstepd" in line and OVER_MEMORY.search(line) for line in written.splitlines())
    if state == "OUT_OF_MEMORY" or (over and state in ("FAILED", "CANCELLED")):
        return Seen(job, number, "ended", state, *told["OUT_OF_MEMORY"])
    return Seen(job, number, "ended", state, *told.get(state, ("", "")))


def last_line(text: str) -> str:
    """The last line of an error, without who said it."""
    lines = text.strip().splitlines() or ["no reason given"]
    return re.sub(r"^(sbatch: )?((fatal|error|allocation failure): )*(Batch job submission failed: )?", "", lines[-1])
