#!/usr/bin/env python3
"""Run a command, or N numbered copies of it, on a cluster with Slurm, as utils/run.py does on one machine."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime

import jobs
import siteconf
import submission
from cluster import Block, Busy, Refused, Seen
from jobs import say
from jobscript import Work

USAGE = jobs.USAGE.format(
    program="slurm.py",
    where=" on a cluster with Slurm",
    options="""\
  --max-jobs-run N   jobs at once (default: as many as the cluster lets)
  --num-threads N    processors of a job, and its OMP_NUM_THREADS and MKL_NUM_THREADS (default 1)
  --mem X            memory of a job
  --gpu N            GPUs of a job, on each of its nodes (default 0: it sees none)
  --time T           time limit
  --nodes N          nodes of a job: torchrun starts the command on each, --gpu times (once without GPUs)
  --name S           name in the queue (default: the experiment's and the log's)
  --after ID[,ID]    start when these jobs have succeeded
  --requeue N        times that a job may be started again after a preemption or a node's failure (default 10); where it
                     is given, a job whose --time runs out is told to save, and started again too
  --wait-file S      seconds that a job's exit code may take to be seen (default 20; slow network file systems)
  --no-test          do not ask the cluster first whether it can run the job at all
  --detach           do not wait for the job, of which there may be only one
  --config F         conf file (default: $FLOWLID_SLURM_CONF, conf/slurm.conf, ~/.config/flowlid/slurm.conf): what the
                     options above mean here, and other options; see utils/README.md
  -tc N              --max-jobs-run; -V, -sync y, -l X, -q X, -pe X N are Grid Engine's, and ignored
""",
)
BUILTIN = """\
command sbatch
option mem=* --mem=$0
option time=* --time=$0
option num_threads=* --cpus-per-task=$0
option gpu=0
option gpu=* --gres=gpu:$0
option nodes=* --nodes=$0 --ntasks-per-node=1
option after=* --dependency=afterok:$0
option partition=* --partition=$0
option account=* --account=$0
option qos=* --qos=$0
option constraint=* --constraint=$0
option exclude=* --exclude=$0
option reservation=* --reservation=$0
option mail_user=* --mail-user=$0
option mail_type=* --mail-type=$0
option nice=* --nice=$0
default num_threads=1
"""
PROLOGUE = """\
__task=${SLURM_ARRAY_TASK_ID:-1} __attempt=$((${SLURM_RESTART_COUNT:-0} + 1)) __host=${SLURMD_NODENAME:-$(hostname -s)}
__job="Slurm job ${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+, task $SLURM_ARRAY_TASK_ID}"
__again() { scontrol requeue "$SLURM_JOB_ID"; }
"""
ONE_NODE = "( "
# The processes meet at the allocation's first node, at the address by which Slurm itself reaches it.
NODES = """\
__first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
__address=$(scontrol show node -o "$__first" | sed -n 's/.* NodeAddr=\\([^ ]*\\).*/\\1/p')
export SRUN_CPUS_PER_TASK=@THREADS@
( srun --kill-on-bad-exit=1 torchrun --nnodes @NODES@ --nproc-per-node @PROCESSES@ --rdzv-id "$SLURM_JOB_ID" \\
  --rdzv-backend c10d --rdzv-endpoint "${__address:-$__first}:$((20000 + SLURM_JOB_ID % 20000))" """
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
        """Run a command of Slurm, in a session of its own: Ctrl-C must not end it halfway."""
        try:
            return subprocess.run(
                words,
                env=self.environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=keep,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 1, "", f"{words[0]} timed out")
        except OSError as error:
            raise Refused(f"{words[0]}: {error.strerror}; is this a machine of the cluster?") from None

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


def signal_before_limit(values: dict[str, str]) -> list[str]:
    """Tell the job to save some time before its limit; a tenth of it, two minutes at most."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", values.get("time", ""))
    if not match or "requeue" not in values or values["requeue"] == "0":
        return []
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] or match[4]:
        seconds = days * 86400 + first * 3600 + second * 60 + third
    else:
        seconds = first * 60 + second
    return [f"--signal=B:USR1@{min(120, seconds // 10)}"]


def main() -> None:
    """Parse, submit, wait, and tell where the logs of failed jobs are."""
    try:
        call = jobs.parse(sys.argv[1:], USAGE, others=True)
        conf = siteconf.read(BUILTIN, siteconf.find(call.texts.pop("config", None), "slurm"), "slurm")
        if "after" in call.texts:
            call.texts["after"] = call.texts["after"].replace(",", ":")
        kept = {"max_jobs_run", "requeue", "wait_file", "name", "no_test", "detach"}
        given = {**call.texts, **{name: str(count) for name, count in call.counts.items()}}
        values = conf.values(given)
        options = conf.words({name: value for name, value in values.items() if name not in kept})
    except ValueError as error:
        say(str(error))
        sys.exit(1)
    if call.of_grid_engine:
        say(f"{' '.join(call.of_grid_engine)}: for Grid Engine, ignored here")
    work = Work(call, values, "slurm.py")
    slurm = Slurm(conf.command, options + signal_before_limit(values), f"{' '.join(options)} ({conf.source})")
    launcher = NODES if work.nodes > 1 else ONE_NODE
    for mark, count in (("@THREADS@", work.threads), ("@NODES@", work.nodes), ("@PROCESSES@", work.gpus or 1)):
        launcher = launcher.replace(mark, str(count))

    def prepare() -> None:
        work.write_script(PROLOGUE, launcher)
        if "no_test" not in call.texts:
            slurm.test(work)

    sys.exit(submission.run(work, slurm, prepare))


if __name__ == "__main__":
    main()
