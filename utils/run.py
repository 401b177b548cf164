#!/usr/bin/env python3
"""Run a command, or N numbered copies of it, on this machine: Kaldi's run.pl, in Python."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jobs
from jobs import Call, say

USAGE = jobs.USAGE.format(
    program="run.py",
    where="",
    options="""\
  --max-jobs-run N   jobs at once (default: the processors; with --gpu, what the visible GPUs can hold)
  --num-threads N    OMP_NUM_THREADS and MKL_NUM_THREADS of a job (default: 1 with several jobs, else unchanged)
  --gpu N            GPUs that a job uses
  --mem X, --time X, --config F, --name S, --after ID, --requeue N, --wait-file S, --no-test, -V, -sync y, -l X, -q X,
  -pe X N, -tc N     for clusters: ignored here, except that -tc is --max-jobs-run
""",
)
GRACE = 3.0  # seconds between SIGTERM and SIGKILL


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
        self.log.write_bytes(os.fsencode(jobs.head(self.command)))
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
        foot = jobs.foot(jobs.ending(code), round(time.time() - self.began), self.threads or 1)
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


def jobs_at_once(call: Call) -> int:
    """How many jobs may run at the same time."""
    if "max_jobs_run" in call.counts:
        return call.counts["max_jobs_run"]
    gpus = call.counts.get("gpu", 0)
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


def run(todo: Sequence[Job], at_once: int) -> int:
    """Run all jobs, at most `at_once` together, and return how many failed; a signal ends them and this program."""
    events: queue.SimpleQueue[Job | int] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish stays
            signal.signal(number, lambda number, _frame: events.put(int(number)))
    waiting, running, failed = deque(todo), set(), 0
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


def main() -> None:
    """Parse, run, and tell where the logs of failed jobs are."""
    try:
        call = jobs.parse(sys.argv[1:], USAGE)
        if call.counts.get("nodes", 1) > 1:
            raise ValueError(f"--nodes {call.counts['nodes']}: this is one machine; a cluster is chosen in cmd.sh")
        if "detach" in call.texts:
            raise ValueError("--detach: no cluster to leave the job to; one is chosen in cmd.sh")
    except ValueError as error:
        say(str(error))
        sys.exit(1)
    threads = call.counts.get("num_threads", 1 if call.jobs > 1 else None)
    numbers = range(call.first, call.last + 1)
    todo = [Job(Path(call.numbered(call.log, n)), call.numbered(call.command, n), threads) for n in numbers]
    failed = run(todo, jobs_at_once(call))
    if failed:
        jobs.tell_failures(call, failed)
        sys.exit(1)


if __name__ == "__main__":
    main()
