#!/usr/bin/env python3
"""Show the jobs of utils/slurm.py and utils/gridengine.py that are in the queue.

Usage: utils/show_jobs.py slurm|grid DIRECTORY...
Of what was submitted with logs in DIRECTORY/log or DIRECTORY, a line of five columns between tabs: DIRECTORY, the log's
name without .log, the job, its state (how many are in which, of several), and minutes since the submission.
"""

import re
import sys
import time
from collections import Counter
from pathlib import Path

from cluster import Queue, Refused, Seen
from jobs import Call, say
from jobscript import Work, noted


class Submitted(Work):
    """An earlier submission, from its q/BASE.job."""

    def __init__(self, path: Path) -> None:
        found = noted(path)
        super().__init__(Call("", ""), {}, "", found["token"])
        self.path, self.noted_title, self.since = path, found["title"], float(found["since"])

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def base(self) -> str:
        return self.path.name.removesuffix(".job")

    @property
    def title(self) -> str:
        return self.noted_title


def shown(work: Submitted, living: list[Seen]) -> str:
    """The line, without the directory."""
    jobs = sorted({re.split("[_.]", each.job)[0] for each in living})
    states = Counter(each.state for each in living)
    words = next(iter(states)) if len(living) == 1 else ", ".join(f"{n} {state}" for state, n in states.items())
    return "\t".join([work.base, " ".join(jobs), words, f"{(time.time() - work.since) / 60:.0f}"])


def queue_of(backend: str) -> Queue:
    if backend == "slurm":
        from slurmqueue import Slurm

        return Slurm([], [], "")
    from gridqueue import GridEngine

    return GridEngine([], [], "", None)


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ("slurm", "grid"):
        print(__doc__, file=sys.stderr)
        sys.exit(1)
    for directory in sys.argv[2:]:
        for path in sorted(Path(directory, "q").glob("*.job")):
            try:
                work = Submitted(path)
            except FileNotFoundError:  # its last job has just ended
                continue
            seen = queue_of(sys.argv[1]).look(work)
            if seen is None:
                say("the cluster does not answer; try again later")
                sys.exit(1)
            living = [each for each in seen if each.kind != "ended"]
            if living:
                print(directory, shown(work, living), sep="\t")


if __name__ == "__main__":
    try:
        main()
    except (Refused, ValueError) as error:
        say(str(error))
        sys.exit(1)
