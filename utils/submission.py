"""How utils/slurm.py and utils/gridengine.py begin: nothing is submitted twice, and what lives is waited for."""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

import jobs
from cluster import Queue, Refused
from jobs import say
from jobscript import Work
from watch import PAUSES, Watch


def lock(work: Work) -> IO[str]:
    """Be the only program that submits these jobs or waits for them.

    Raises:
        Refused: there is another.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    held = (work.folder / f"{work.base}.lock").open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.seek(0)
        other = held.read().strip() or "another program"
        raise Refused(f"{other} is at work on {work.call.log}; wait for it, or end it") from None
    held.truncate(0)
    held.write(f"{work.program}, process {os.getpid()} on {os.uname().nodename},")
    held.flush()
    work.held = (held.fileno(),)
    return held


def living(work: Work, queue: Queue) -> set[int]:
    """Numbers of what an earlier start submitted, if some of it still lives; `work` becomes that one.

    Raises:
        Refused: it does something else, or neither its note nor the cluster tells.
    """
    try:
        noted = work.recorded()
    except ValueError as error:
        raise Refused(str(error)) from None
    if noted is None:
        return set()
    own, work.token = work.token, noted["token"]
    for pause in (*PAUSES, None):
        seen = queue.look(work)
        if seen is not None:
            break
        if pause is None:
            raise Refused(f"the cluster does not answer, and {work.file('sh')} of an earlier start may still run")
        time.sleep(pause)
    alive = [each for each in seen or () if each.kind != "ended"]
    if not alive:
        work.token = own
        return set()
    minutes = (time.time() - float(noted["since"])) / 60
    what = f"job {alive[0].job} ({alive[0].state}, submitted {minutes:.0f} min ago)"
    if noted["digest"] != work.digest:
        raise Refused(
            f"{work.call.log}: another command is still at work as {what}: wait, or {queue.cancelling(alive)}"
        )
    say(f"{work.call.log}: already submitted as {what}" + "; waiting for it" * ("detach" not in work.call.texts))
    return {each.number for each in seen or ()} | set(work.codes())


def run(work: Work, queue: Queue, prepare: Callable[[], None]) -> int:
    """Do the work; the exit status of the program."""
    try:
        held = lock(work)
        submitted = living(work, queue)
    except Refused as error:
        say(str(error))
        return 1
    watch = Watch(work, queue)
    try:
        if not submitted:
            start_anew(work, prepare)
        if "detach" in work.call.texts:
            return int(bool(submitted)) or watch.leave()
        failed = watch.run(queue.most(), submitted)
    except Refused as error:
        watch.give_up(str(error))
    if failed:
        jobs.tell_failures(work.call, failed)
    work.remove_files()
    held.close()
    return int(failed > 0)


def start_anew(work: Work, prepare: Callable[[], None]) -> None:
    """Remove what earlier starts left, and make ready for the submission."""
    work.remove_files(of_all=True)
    for number in range(work.call.first, work.call.last + 1):
        with suppress(OSError):  # the job itself will say that it cannot write its log
            work.log(number).unlink(missing_ok=True)  # attempts of one job are appended to one log
    prepare()
    work.record()
