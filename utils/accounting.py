"""What Grid Engine's accounting (qacct) says of the ends of jobs.

Seen with 8.1.9: an entry comes as late as the site's flush_time, 15 seconds by default; a job that was deleted before
it began has none; a restarted job has one for each start.
"""

import re
import signal
from dataclasses import dataclass

LIMIT, AGAIN, ON_HOST = 37, 25, 100  # of the field "failed": over a limit, put back into the queue, killed by a signal


@dataclass(frozen=True)
class Killed:
    """How a job ended that could not write its exit code: for its log, and in a message."""

    how: str
    told: str


def killed(accounts: str, limit: int | None) -> dict[int, Killed]:
    """How the tasks of an array ended, by their numbers.

    Args:
        accounts: the output of qacct -j.
        limit: on the time of a job, in seconds; None where there is none or it is not known.
    """
    ends = {}
    for entry in re.split(r"^=+$", accounts, flags=re.MULTILINE):
        fields = dict(line.split(None, 1) for line in entry.splitlines() if len(line.split(None, 1)) == 2)
        if not fields.get("taskid", "").strip().isdigit():
            continue
        failed, status = (int(re.match(r"\d+", fields[name])[0]) for name in ("failed", "exit_status"))
        ends.pop(int(fields["taskid"]), None)
        if failed != AGAIN:
            ends[int(fields["taskid"])] = _end(fields, failed, status, limit)
    return ends


def _end(fields: dict[str, str], failed: int, status: int, limit: int | None) -> Killed:
    if failed == LIMIT:
        took = float(re.match(r"[\d.]+", fields["ru_wallclock"])[0])
        if limit is not None and took >= limit:
            return Killed("time limit", f"killed, over its time limit of {limit} s; give --time")
        used = fields["maxvmem"].strip()
        return Killed(
            "memory", f"killed, over its memory or another limit of its queue, at {used} of memory; give --mem"
        )
    if failed == 0:  # the script ends without an exit code when it is told to
        return Killed("cancelled", "cancelled")
    if failed == ON_HOST and status > 128:
        return Killed("killed", f"killed by {signal.Signals(status - 128).name}")
    return Killed("failed", f"failed: {fields['failed'].partition(':')[2].strip() or fields['failed'].strip()}")
