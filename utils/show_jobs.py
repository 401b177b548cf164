#!/usr/bin/env python3
"""Show the jobs of utils/slurm.py and utils/gridengine.py that are in the queue.

Usage: utils/show_jobs.py slurm|grid DIRECTORY...
Of what was submitted with logs in DIRECTORY/log or DIRECTORY, a line of five columns between tabs: DIRECTORY, the log's
name without .log, the job, its state (how many are in which, of several), and minutes since the submission.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cluster import Queue, Refused, Seen
from jobs import say


@dataclass
class Noted:
    """What a `Queue` needs to know of an earlier submission, from q/BASE.job."""

    path: Path
    title: str
    token: str
    since: float

    @property
    def base(self) -> str:
        return self.path.name.removesuffix(".job")

    def file(self, end: str) -> Path:
        return self.path.with_name(f"{self.base}.{self.token}.{end}")

    def said(self) -> dict[str, str]:
        return {}


def read(path: Path) -> Noted:
    noted = json.loads(path.read_text())
    return Noted(path, noted["title"], noted["token"], float(noted["since"]))


def shown(noted: Noted, living: list[Seen]) -> str:
    """The line, without the directory."""
    jobs = sorted({each.job.partition("_")[0] for each in living})
    states = Counter(each.state for each in living)
    words = next(iter(states)) if len(living) == 1 else ", ".join(f"{n} {state}" for state, n in states.items())
    return "\t".join([noted.base, " ".join(jobs), words, f"{(time.time() - noted.since) / 60:.0f}"])


def queue_of(backend: str) -> Queue:
    if backend == "slurm":
        from slurm import Slurm

        return Slurm([], [], "")
    from gridengine import GridEngine

    return GridEngine([], [], "")


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ("slurm", "grid"):
        print(__doc__, file=sys.stderr)
        sys.exit(1)
    queue = queue_of(sys.argv[1])
    for directory in sys.argv[2:]:
        for path in sorted(Path(directory, "q").glob("*.job")):
            try:
                noted = read(path)
            except FileNotFoundError:  # its last job has just ended
                continue
            seen = queue.look(noted)
            if seen is None:
                say("the cluster does not answer; try again later")
                sys.exit(1)
            living = [each for each in seen if each.kind != "ended"]
            if living:
                print(directory, shown(noted, living), sep="\t")


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        say(str(error))
        sys.exit(1)
