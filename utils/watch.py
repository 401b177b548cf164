"""Jobs of a cluster from their submission to their end, for utils/slurm.py and utils/gridengine.py.

What the cluster shows of a job counts only where the job's own exit code (utils/jobscript.py) does not tell.
"""

import re
import signal
import sys
import threading
import time
from collections import Counter

import jobs
from cluster import Block, Busy, Queue, Refused, Seen
from jobs import say
from jobscript import Work

PAUSES = (2, 5, 10, 20, 30, 60)  # seconds before each new try, where the cluster does not answer
LOOKS = 10.0  # seconds between two looks at the queue, at most
PATIENCE = 60.0  # seconds that a cancelled job may take to go
AT_ONCE = 2  # arrays in the queue: sites limit how many jobs may be submitted
SHOWN = 3  # jobs that are named for each thing that went wrong


class Watch:
    """Submits the jobs of a work, waits for their ends, and tells what goes wrong."""

    def __init__(self, work: Work, queue: Queue) -> None:
        self.work, self.queue = work, queue
        self.limit = work.call.counts.get("max_jobs_run")
        self.wait_file = work.call.counts.get("wait_file", 20)
        self.left = set(range(work.call.first, work.call.last + 1))
        self.failed: set[int] = set()
        self.explained: set[int] = set()  # of the failed: those of which the cluster has said why
        self.blocks: list[Block] = []
        self.submitted: list[Block] = []
        self.seen: dict[int, Seen] = {}
        self.suspects: dict[int, tuple[float, int]] = {}  # number -> since when it seems to have ended, looks since
        self.told: Counter[str] = Counter()
        self.waits: dict[str, float] = {}  # what jobs wait for -> since when, below 0 once told
        self.began = time.monotonic()
        self.next_look = self.began + 1
        self.silent_until = 0.0
        self.wake, self.stopped_by = threading.Event(), 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish stays
                signal.signal(number, self._stop)

    def _stop(self, number: int, _frame: object) -> None:
        self.stopped_by = self.stopped_by or number
        self.wake.set()

    def pause(self, seconds: float) -> None:
        """Wait; a signal ends it."""
        self.wake.wait(seconds)
        if self.stopped_by:
            self.end_by_signal()

    def run(self, block: int, submitted: set[int]) -> int:
        """Submit what is not `submitted` yet in blocks of `block`, wait for all, and return how many failed."""
        starts = range(self.work.call.first, self.work.call.last + 1, block)
        blocks = [Block(start, min(start + block - 1, self.work.call.last)) for start in starts]
        for each in blocks:
            known = submitted & set(range(each.first, each.last + 1))
            (self.submitted if known else self.blocks).append(each)
        while self.left:
            while self.blocks and self._room(block):
                self._submit(self.blocks.pop(0))
            self._read_codes()
            if self.left and time.monotonic() >= self.next_look:
                self.look()
            self.pause(min(3.0, 0.1 + (time.monotonic() - self.began) / 20) if self.left else 0)
        self._settle()
        for what, count in self.told.items():
            if count > SHOWN:
                say(f"and {count - SHOWN} more: {what}")
        return len(self.failed)

    def leave(self) -> int:
        """Submit the only job, for the cluster to do; 0."""
        self._submit(Block(self.work.call.first, self.work.call.last))
        return 0

    def _room(self, block: int) -> bool:
        """Whether the next block may be submitted: with a limit of jobs, when the one before has ended."""
        open_ = [sum(n in self.left for n in range(each.first, each.last + 1)) for each in self.submitted]
        open_ = [count for count in open_ if count]
        if self.limit is not None or not open_:
            return not open_
        return len(open_) < AT_ONCE and open_[-1] < block / 2

    def _submit(self, block: Block) -> None:
        """Submit a block once, however often the cluster has to be asked."""
        for pause in (*PAUSES, None):
            try:
                self.queue.submit(self.work, block, self.limit)
                break
            except Busy as error:
                reason = str(error)
            except Refused as error:
                self.give_up(f"the cluster refuses this job: {error}")
            if pause is None:
                self.give_up(f"the cluster takes no jobs: {reason}")
            if pause == PAUSES[0]:
                say(f"the cluster takes no jobs now ({reason}); trying again for {sum(PAUSES)} s")
            self.pause(pause)
            while (seen := self.queue.look(self.work)) is None:  # it may have been submitted
                self.pause(PAUSES[2])
            if any(block.first <= each.number <= block.last for each in seen):
                break
        self.submitted.append(block)
        self.next_look = min(self.next_look, time.monotonic() + 1)

    def _read_codes(self) -> None:
        """Take the exit codes that have come."""
        for number, code in self.work.codes().items():
            if number in self.left:
                self.left.remove(number)
                if code:
                    self.failed.add(number)
                    if not self.work.log(number).is_file():
                        say(f"{self.work.log(number)} cannot be written: {self.work.last_words()}")

    def look(self) -> None:
        """Look at the queue, and judge what has ended without an exit code."""
        seen, now = self.queue.look(self.work), time.monotonic()
        self.next_look = now + min(LOOKS, max(1.0, (now - self.began) / 3))
        if seen is None:
            if now >= self.silent_until:
                say("the cluster does not answer; still waiting for its jobs")
                self.silent_until = now + 300
            return
        self.silent_until = 0.0
        self.seen = {each.number: each for each in seen}
        self._judge_codes()
        self._read_codes()
        submitted = (n for block in self.submitted for n in range(block.first, block.last + 1) if n in self.left)
        for number in list(submitted):
            self._judge(number, now)
        self._tell_waiting(now)

    def _judge(self, number: int, now: float) -> None:
        """Count a job as failed that has ended without an exit code: at once where the cluster says why."""
        each = self.seen.get(number)
        if each is not None and each.kind != "ended":
            self.suspects.pop(number, None)
            if each.kind == "waiting" and each.how:
                self.give_up(f"the cluster cannot run this: {each.how} (job {each.job})")
            return
        since, looks = self.suspects.get(number, (now, 0))
        self.suspects[number] = since, looks + 1
        self.next_look = min(self.next_look, now + 1)
        if each is not None and each.told and looks:
            self._fail(number, each.how, each.job, each.told)
        elif looks and now - since >= self.wait_file + 5 * (each is None):
            job = "vanished from the queue" if each is None else f"ended ({each.state})"
            told = f"{job}, and no exit code came into {self.work.folder} within {self.wait_file} s (--wait-file)"
            self._fail(number, "vanished" if each is None else "no exit code", each.job if each else "", told)

    def _fail(self, number: int, how: str, job: str, told: str) -> None:
        """Count a job as failed, tell why, and end its log."""
        self.left.discard(number)
        self.failed.add(number)
        self.explained.add(number)
        self.told[told] += 1
        name = f"job {job}" if job else f"the job of {self.work.log(number)}"
        if self.told[told] <= SHOWN:
            words = self.work.last_words() if how in ("vanished", "no exit code") else ""
            say(f"{name}: {told}" + (f" ({words})" if words else ""))
        self._end_log(number, how, f"# {self.work.program}: {name}: {told}\n")

    def _end_log(self, number: int, how: str, told: str = "") -> None:
        """Write the last line of a log that the job could not end."""
        try:
            self.work.log(number).parent.mkdir(parents=True, exist_ok=True)
            with self.work.log(number).open("a") as log:
                log.write(f"{told}# Ended (code 1; {how}) at {jobs.date()}\n")
        except OSError as error:
            say(f"cannot end a log: {error}")

    def _judge_codes(self) -> None:
        """What the cluster says counts more than an exit code: a job whose child was killed may end with 0."""
        for number in set(self.seen) - self.left - self.explained:
            each = self.seen[number]
            if each.kind == "ended" and each.told:
                self._fail(number, each.how, each.job, each.told)

    def _settle(self) -> None:
        """Wait until the queue shows the ends of the jobs, three seconds at most, for what it may say of them."""
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            seen = self.queue.look(self.work)
            self.seen = {each.number: each for each in seen or ()}
            if not any(each.kind == "running" for each in self.seen.values()):
                break
            self.pause(0.1)
        self._judge_codes()

    def _tell_waiting(self, now: float) -> None:
        """Say what jobs wait for: once they have for some seconds, and again when it changes."""
        waiting: dict[str, list[Seen]] = {}
        for number in self.left & set(self.seen):
            if self.seen[number].kind == "waiting":
                waiting.setdefault(self.seen[number].state, []).append(self.seen[number])
        if any(self.seen[number].kind == "running" for number in self.left & set(self.seen)):
            waiting = {}  # the others wait for these
        self.waits = {state: since for state, since in self.waits.items() if state in waiting}
        for state, those in waiting.items():
            since = self.waits.setdefault(state, now)
            if 0 <= since <= now - 5:
                more = f" and {len(those) - 1} more" if len(those) > 1 else ""
                say(f"waiting: job {those[0].job}{more} {state}")
                self.waits[state] = -1.0

    def _cancel(self) -> list[Seen]:
        """Cancel what is in the queue, and wait until it is gone; return what was there."""
        deadline, found, asked = time.monotonic() + PATIENCE, [], 0.0
        while time.monotonic() < deadline:
            seen = self.queue.look(self.work)
            if seen is not None:
                living = [each for each in seen if each.kind != "ended"]
                found = found or living
                if not living:
                    return found
                if time.monotonic() - asked > 15:
                    self.queue.cancel(living)
                    asked = time.monotonic()
            time.sleep(0.2)
        left = f"; end what is left with: {self.queue.cancelling(found)}" if found else ""
        say(f"the cluster has not ended all jobs in {PATIENCE:.0f} s{left}")
        return found

    def end_by_signal(self) -> None:
        """Cancel everything, and end as the signal wants it."""
        found = self._cancel()
        kinds = Counter(each.kind for each in found)
        names = " ".join(sorted({re.split("[_.]", each.job)[0] for each in found}))
        for number in self.left:
            if self.work.log(number).is_file():
                self._end_log(number, "cancelled")
        name = signal.Signals(self.stopped_by).name
        what = f"cancelled {kinds['running']} running, {kinds['waiting']} waiting"
        say(f"stopped by {name}; {what}" + (f" (jobs {names})" if names else ""))
        self.work.remove_files()
        sys.exit(128 + self.stopped_by)

    def give_up(self, message: str) -> None:
        """Cancel everything, and end with a message."""
        say(message)
        if self.submitted:
            self._cancel()
        self.work.remove_files()
        sys.exit(1)
