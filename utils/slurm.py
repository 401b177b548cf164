#!/usr/bin/env python3
"""Run a command, or N numbered copies of it, on a cluster with Slurm, as utils/run.py does on one machine."""

import re
import sys

import jobs
import siteconf
import submission
from jobs import say
from jobscript import Work
from slurmqueue import Slurm

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
