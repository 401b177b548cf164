#!/usr/bin/env python3
"""Run a command, or N numbered copies of it, with Grid Engine, as utils/run.py does on one machine."""

import os
import re
import shlex
import sys

import jobs
import siteconf
import submission
from gridqueue import GridEngine
from jobs import say
from jobscript import Work

USAGE = jobs.USAGE.format(
    program="gridengine.py",
    where=" with Grid Engine",
    options="""\
  --max-jobs-run N   jobs at once (default: as many as the cluster lets)
  --num-threads N    slots of a job, and its OMP_NUM_THREADS and MKL_NUM_THREADS (default 1)
  --mem X            memory of a job, all its slots together; --mem 4G
  --gpu N            GPUs of a job (default 0: it sees none)
  --time T           time limit, in seconds or as H:M:S
  --name S           name in the queue (default: the experiment's and the log's)
  --after ID[,ID]    start when these jobs have ended, in whatever way
  --requeue N        times that a job may be started again after a failure of its host, a suspension or "qmod -rj"
                     (default 10); where it is given, a job whose --time runs out is told to save, and started again too
  --wait-file S      seconds that a job's exit code may take to be seen (default 20; slow network file systems)
  --no-test          do not ask the cluster first whether it can run the job at all
  --detach           do not wait for the job, of which there may be only one
  --config F         conf file (default: $FLOWLID_GRIDENGINE_CONF, conf/gridengine.conf,
                     ~/.config/flowlid/gridengine.conf), a queue.conf of Kaldi's: what the options above mean here, and
                     other options; see utils/README.md
  -l X, -q X, -pe X N, -tc N
                     as qsub has them; -V and -sync y are ignored: jobs have the environment, and are waited for
""",
)
BUILTIN = """\
command qsub -cwd -S /bin/bash
option mem=* -l mem_free=$0,h_vmem=$0
option mem=0
option time=* -l h_rt=$0
option num_threads=* -pe smp $0
option num_threads=1
option gpu=* -l gpu=$0
option gpu=0
option after=* -hold_jid $0
option queue=* -q $0
option project=* -P $0
option priority=* -p $0
"""
# A signal of Grid Engine (USR1 before a suspension or at s_rt, USR2 before a kill, KILL) is for the script's process
# group, and other groups survive even KILL: the command stays in this one. 99 puts the job back into the queue.
PROLOGUE = """\
exec >>@OUT@."$SGE_TASK_ID" 2>&1
__task=$SGE_TASK_ID __host=${HOSTNAME:-$(hostname)} __job="Grid Engine job $JOB_ID@TASK@" __monitor=+m
printf x >>@TOKEN@."$__task".tries && __attempt=$(wc -c <@TOKEN@."$__task".tries) || exit 1
__again() { if [ "$1" = USR1 ]; then exit 99; fi; }
__group() { # PROCESS
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
  # shellcheck disable=SC2086  # the fields after the name: state, parent, group
  set -- ${stat##*) }
  if [ "$1" != Z ]; then __of=$3; fi
}
__kill() {
  local process own
  if [ "$1" != -0 ]; then kill "$1" 0; return 0; fi
  __group $$ && own=$__of
  for process in /proc/[0-9]*; do
    __of=; __group "${process#/proc/}"
    if [ "$__of" = "$own" ] && [ "$process" != "/proc/$$" ]; then return 0; fi  # without the 0, a trap has another
  done
  return 1
}
@ENVIRONMENT@
"""
LAUNCHER = "trap '' USR1 USR2\n( "  # the script hears these signals, and sends TERM
# Variables that are a job's own, or bash's.
OWN = {"ARC", "ENVIRONMENT", "HOME", "HOSTNAME", "LOGNAME", "NHOSTS", "NQUEUES", "NSLOTS", "PE", "PE_HOSTFILE", "QUEUE"}
OWN |= {"REQUEST", "RESTARTED", "SHELL", "TERM", "TMP", "TMPDIR", "USER", "JOB_ID", "JOB_NAME", "JOB_SCRIPT"}
OWN |= {"BASHOPTS", "BASH_VERSINFO", "EUID", "IFS", "OLDPWD", "POSIXLY_CORRECT", "PPID", "PWD", "SHELLOPTS", "SHLVL"}
OWN |= {"UID", "_", "CUDA_VISIBLE_DEVICES", "FLOWLID_PROGRESS"}


def environment() -> str:
    """The caller's environment, in bash.

    Neither qsub -V nor -v can do it: both lose LD_LIBRARY_PATH, and qstat shows the values to everybody.
    """
    lines = []
    for name, value in os.environ.items():
        if match := re.fullmatch(r"BASH_FUNC_([^\s()%]+)(%%|\(\))", name):
            lines.append(f"{match[1]} {value}\nexport -f {match[1]}")
        elif name not in OWN and not name.startswith("SGE_") and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            lines.append(f"export {name}={shlex.quote(value)}")
    return "\n".join(lines)


def seconds(time: str) -> int | None:
    """A time limit in seconds; None where it is not written as Grid Engine has it."""
    match = re.fullmatch(r"(?:(\d+):(\d+):)?(\d+)", time)
    return None if match is None else int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + int(match[3])


def per_slot(mem: str, slots: int) -> str:
    """Memory as Grid Engine counts it, for each slot.

    Raises:
        ValueError: it is not an amount of memory.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)", mem)
    if match is None:
        raise ValueError(f"--mem {mem}: write an amount such as 4G")
    if slots == 1 or float(match[1]) == 0:
        return mem
    bytes_ = float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ")
    return f"{-int(-bytes_ // (slots * 1024**2))}M"


def options_of(call: jobs.Call, conf: siteconf.Conf) -> tuple[dict[str, str], list[str]]:
    """The options that hold, and what they are to qsub.

    Raises:
        ValueError: one is unknown, or wrong.
    """
    kept = {"max_jobs_run", "requeue", "wait_file", "name", "no_test", "detach"}
    values = conf.values({**call.texts, **{name: str(count) for name, count in call.counts.items()}})
    if int(values.get("nodes", 1)) > 1:
        raise ValueError("--nodes: jobs on several machines need Slurm (utils/slurm.py)")
    asked = {name: value for name, value in values.items() if name not in kept and (name, value) != ("nodes", "1")}
    if "mem" in asked:
        asked["mem"] = per_slot(asked["mem"], int(values.get("num_threads", 1)))
    words = [*conf.words(asked), *call.of_grid_engine]
    limit = seconds(values.get("time", ""))
    if limit and int(values.get("requeue", 0)):
        words += ["-l", f"s_rt={limit - max(1, min(120, limit // 10))}"]
    return values, words


def main() -> None:
    """Parse, submit, wait, and tell where the logs of failed jobs are."""
    try:
        call = jobs.parse(sys.argv[1:], USAGE, others=True)
        conf = siteconf.read(BUILTIN, siteconf.find(call.texts.pop("config", None), "gridengine"), "gridengine")
        values, options = options_of(call, conf)
    except ValueError as error:
        say(str(error))
        sys.exit(1)
    work = Work(call, values, "gridengine.py")
    asks = f"{' '.join(options) or 'nothing'} ({conf.source})"
    grid = GridEngine(conf.command, options, asks, seconds(values.get("time", "")))

    def prepare() -> None:
        token = str(work.file("").absolute()).rstrip(".")
        parts = {"TASK": ", task $SGE_TASK_ID" if call.jobs > 1 else ""}
        parts |= {"OUT": shlex.quote(f"{token}.out"), "TOKEN": shlex.quote(token), "ENVIRONMENT": environment()}
        work.file("sh").touch(mode=0o600)  # it holds the environment
        work.write_script(re.sub("@([A-Z]+)@", lambda match: parts[match[1]], PROLOGUE), LAUNCHER)
        if "no_test" not in call.texts:
            grid.test(work)

    sys.exit(submission.run(work, grid, prepare))


if __name__ == "__main__":
    main()
