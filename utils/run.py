#!/usr/bin/env python3
"""Run a command, or N numbered copies of it, on this machine: Kaldi's run.pl, in Python."""

import math
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

USAGE = """\
Usage: utils/run.py [options] [JOB=1:N] <log-file> <command> [arguments...]
e.g.:  utils/run.py --max-jobs-run 2 JOB=1:4 exp/log/a.JOB.log steps/x.py in.JOB.scp out.JOB.ark

Runs <command> in bash, its output in <log-file>. With JOB=1:N (or 3:5, or a single number; any name will do) it
runs once for each number, which replaces JOB in <log-file> and in <command>. All jobs run, even if one fails.

Options, before or after JOB=1:N:
  --max-jobs-run N   jobs at once (default: the processors; with --gpu, what the visible GPUs can hold)
  --num-threads N    OMP_NUM_THREADS and MKL_NUM_THREADS of a job (default: 1 with several jobs, else unchanged)
  --gpu N            GPUs that a job uses
  --mem X, --time X, --config F, -V, -sync y, -l X, -q X, -pe X N, -tc N
                     for clusters: ignored here, except that -tc is --max-jobs-run

Arguments reach the command as they are, blanks and quotes included, except that
  - a shell operator or a redirection, quoted for your own shell, acts in the job: '|' '&&' ';' '>' out.JOB '2>&1'
  - an argument without blanks that holds a $ or a backquote is expanded in the job: --seed '$[JOB+10]'

Exit status: 0 when all jobs ended with 0; 1 when one did not, or on wrong usage; 128 + the signal that stopped it.
"""

VALUES = {"--mem": 1, "--time": 1, "--config": 1, "--gpu": 1, "--num-threads": 1, "--max-jobs-run": 1}
VALUES |= {"-V": 0, "-sync": 1, "-l": 1, "-q": 1, "-pe": 2, "-tc": 1}
COUNTS = {"--gpu": 0, "--num-threads": 1, "--max-jobs-run": 1, "-tc": 1}  # option -> the least allowed
JOBS = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", re.ASCII)
LIKE_JOBS = re.compile(r"[A-Za-z_]\w*=([^/]*:[^/]*|[-+.\d]*)", re.ASCII)  # e.g. JOB=1: where $nj was empty
OPERATORS = {"|", "||", "|&", "&", "&&", ";", "(", ")", "{", "}", "!", "[[", "]]"}
REDIRECTION = re.compile(r"(\d*(<|>|>>|>\||<&|>&)|&>>?)[^\s<>|&;()'\"]*")  # not <unk>
GRACE = 3.0  # seconds between SIGTERM and SIGKILL


@dataclass
class Call:
    """What the command line asks for."""

    log: str
    command: str
    name: str | None = None
    first: int = 1
    last: int = 1
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        return self.last - self.first + 1

    def numbered(self, text: str, number: int | str) -> str:
        return text if self.name is None else text.replace(self.name, str(number))


@dataclass(eq=False)
class Job:
    """One process group, and its log."""

    log: Path
    command: str
    threads: int | None
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0

    def start(self) -> None:
        """Write the head of the log and start bash, as the leader of a new process group."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        shown = self.command.replace("\n", "\n# ")
        self.log.write_bytes(os.fsencode(f"# {shown}\n# Started at {date()}\n#\n"))
        environment = dict(os.environ)
        if self.threads is not None:
            environment |= {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        self.began = time.time()
        # The script goes through a file: one argument of a process is limited to 128 KiB.
        with tempfile.TemporaryFile() as script, self.log.open("ab") as log:
            script.write(os.fsencode(f"( {self.command}\n) </dev/null\n"))
            script.seek(0)
            self.process = subprocess.Popen(
                ["bash"], stdin=script, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    def end(self) -> bool:
        """Write the end of the log; True where the job succeeded."""
        assert self.process is not None
        code = self.process.wait()
        number = -code if code < 0 else code - 128  # bash reports a child killed by signal n as 128 + n
        status = f"code 1; signal {number}" if number in set(signal.Signals) else f"code {code}"
        seconds = round(time.time() - self.began)
        foot = f"# Accounting: time={seconds} threads={self.threads or 1}\n"
        foot += f"# Ended ({status}) at {date()}, elapsed time {seconds} seconds\n"
        try:
            with self.log.open("ab") as log:
                log.write(foot.encode())
        except OSError as error:  # a full disk must not leave the other jobs without their master
            say(f"cannot end a log: {error}")
            return False
        return code == 0

    def signal(self, number: int) -> bool:
        """Send a signal to the whole process group; False where none of it is left."""
        assert self.process is not None
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # macOS says so of a group whose last process has ended and is not yet reaped
            return False
        return True


def date() -> str:
    """Now, as the program `date` shows it."""
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def parse(arguments: Sequence[str]) -> Call:
    """Read the command line.

    Raises:
        ValueError: it is wrong; the message names the argument.
    """
    left, counts = deque(arguments), {}
    take_options(left, counts)
    if left and (match := JOBS.fullmatch(left[0])):
        name, first, last = match[1], int(match[2]), int(match[3] or match[2])
        spec = left.popleft()
        if not 1 <= first <= last:
            raise ValueError(f"{spec}: job numbers start at 1 or above, and the first is not above the last")
        take_options(left, counts)
    elif left and LIKE_JOBS.fullmatch(left[0]):
        raise ValueError(f"{left[0]}: not a range of jobs; write JOB=1:4 or JOB=3 (is the number of jobs empty?)")
    else:
        name, first, last = None, 1, 1
    if len(left) < 2:
        raise ValueError("a log file and a command are needed (see --help)")
    call = Call(left.popleft(), join(left), name, first, last, counts)
    if name is not None and name not in call.log and call.jobs > 1:
        raise ValueError(f"{call.log}: {call.jobs} jobs cannot share one log file; put {name} into its name")
    return call


def take_options(left: deque[str], counts: dict[str, int]) -> None:
    """Take the options off the front of `left`, and note the ones that count here."""
    while left and left[0].startswith("-"):
        option, equals, value = left.popleft().partition("=")
        if option in ("-h", "--help"):
            print(USAGE, end="")
            sys.exit(0)
        if option not in VALUES or (equals and not option.startswith("--")):
            raise ValueError(f"{option}: unknown option (see --help)")
        if equals:
            left.appendleft(value)
        for _ in range(VALUES[option]):
            if not left or left[0].startswith("--") or not left[0]:
                raise ValueError(f"{option}: needs a value")
            value = left.popleft()
        if option in COUNTS:
            if not re.fullmatch("[0-9]+", value) or int(value) < COUNTS[option]:
                raise ValueError(f"{option}: needs a whole number, at least {COUNTS[option]}, and got {value!r}")
            key = "--max-jobs-run" if option == "-tc" else option
            # As in run.pl, the strictest of several limits holds; otherwise the last value does.
            counts[key] = min(counts.get(key, math.inf), int(value)) if key == "--max-jobs-run" else int(value)


def join(arguments: Sequence[str]) -> str:
    """Join arguments to a line of bash: see USAGE for those that bash may interpret."""

    def quote(argument: str) -> str:
        expands = re.search(r"[$`]", argument) and not re.search(r"\s", argument)
        if expands or argument in OPERATORS or REDIRECTION.fullmatch(argument):
            return argument
        return shlex.quote(argument)

    return " ".join(map(quote, arguments))


def jobs_at_once(call: Call) -> int:
    """How many jobs may run at the same time."""
    if "--max-jobs-run" in call.counts:
        return call.counts["--max-jobs-run"]
    gpus = call.counts.get("--gpu", 0)
    if gpus and call.jobs > 1:
        visible = visible_gpus()
        if visible < gpus:
            say(f"warning: {visible} GPUs are visible and a job asks for {gpus}; running one job at a time")
        return max(1, visible // gpus)
    if hasattr(os, "sched_getaffinity"):  # not on macOS; it knows the limits of containers and taskset
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> int:
    """Number of GPUs that a job would see."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return sum(1 for gpu in chosen.split(",") if gpu.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return sum(1 for line in listed.splitlines() if line.startswith("GPU "))


def run(jobs: Sequence[Job], at_once: int) -> int:
    """Run all jobs, at most `at_once` together, and return how many failed; a signal ends them and this program."""
    events: queue.SimpleQueue[Job | int] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish stays
            signal.signal(number, lambda number, _frame: events.put(int(number)))
    waiting, running, failed = deque(jobs), set(), 0
    while waiting or running:
        while waiting and len(running) < at_once:
            job = waiting.popleft()
            try:
                job.start()
            except OSError as error:
                say(f"cannot start a job: {error}")
                failed += 1
                continue
            running.add(job)
            threading.Thread(target=report_end, args=(job, events), daemon=True).start()
        if not running:
            continue
        event = events.get()
        if isinstance(event, int):
            stop(running)
            say(f"stopped by {signal.Signals(event).name}; ended {len(running)} running, left out {len(waiting)}")
            sys.exit(128 + event)
        running.remove(event)
        failed += not event.end()
    return failed


def report_end(job: Job, events: "queue.SimpleQueue[Job | int]") -> None:
    """Wait for a job, in its own thread, and tell the main one."""
    assert job.process is not None
    job.process.wait()
    events.put(job)


def stop(running: set[Job]) -> None:
    """Terminate the process groups; after GRACE seconds, kill what is left of them; end their logs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [job for job in running if job.signal(number)]
        deadline = time.monotonic() + GRACE
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [job for job in left if job.signal(0)]
    for job in running:
        job.end()


def say(message: str) -> None:
    print(f"run.py: {message}", file=sys.stderr)


def main() -> None:
    """Parse, run, and tell where the logs of failed jobs are."""
    try:
        call = parse(sys.argv[1:])
    except ValueError as error:
        say(str(error))
        sys.exit(1)
    threads = call.counts.get("--num-threads", 1 if call.jobs > 1 else None)
    numbers = range(call.first, call.last + 1)
    jobs = [Job(Path(call.numbered(call.log, n)), call.numbered(call.command, n), threads) for n in numbers]
    failed = run(jobs, jobs_at_once(call))
    if not failed:
        return
    if call.jobs == 1:
        say(f"job failed, log is in {jobs[0].log}")
        if call.name is None and "JOB" in call.log:
            say("the log file's name holds JOB: is JOB=1:N missing before it?")
    else:
        say(f"{failed} / {call.jobs} failed, log is in {call.numbered(call.log, '*')}")
    sys.exit(1)


if __name__ == "__main__":
    main()
