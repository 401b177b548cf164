"""The queue of Grid Engine, as utils/watch.py wants it.

What is said here of qsub, qstat, qdel and qacct was seen with Son of Grid Engine 8.1.9 (tests/cluster/grid_cell.py).
"""

import os
import pwd
import re
from collections import defaultdict
from collections.abc import Iterable
from xml.etree import ElementTree

from accounting import Killed, killed
from cluster import Block, Busy, Refused, Seen, ask
from jobscript import Work

NOT_NOW = re.compile(r"commlib error|[Uu]nable to (send|contact)|got \w+ error|timed? ?out|refused\)|try again later")
KNOWN = {"arch", "num_proc"}  # of what hosts measure, -w v knows these; it refuses all else, such as mem_free
TOO_MANY = 25  # qsub's exit status where the user may have no more jobs now


class GridEngine:
    """A `cluster.Queue`: qsub, qstat and qdel; and qacct, where it answers, for why a job ended.

    The tasks of an array have the numbers of the jobs. The name of a block is the work's title and its range.
    """

    def __init__(self, command: list[str], options: list[str], asks: str, limit: int | None) -> None:
        self.command, self.options, self.asks = command, options, asks
        self.limit = limit  # seconds, where --time was given
        self.blocks: dict[str, Block] = {}  # by the number of the array
        self.last: dict[int, Seen] = {}  # each job as qstat last showed it
        self.ended: dict[int, Seen] = {}
        self.missed: dict[int, int] = {}  # looks at which a job was in neither qstat nor qacct

    def most(self) -> int:
        shown = re.search(r"^max_aj_tasks\s+(\d+)", ask("qconf", "-sconf").stdout, re.MULTILINE)
        return int(shown[1]) if shown and int(shown[1]) else 75000  # 75000 is the default, 0 is no limit

    def _words(self, work: Work, block: Block) -> list[str]:
        """The command that submits a block. A script's own lines "#$ ..." are no options: it holds a user's command."""
        name = f"{title(work)}.{block.first}-{block.last}"
        own = ["-terse", "-N", name, "-t", f"{block.first}-{block.last}", "-notify", "-r", "y", "-C", ""]
        return [*self.command, *self.options, *own, "-j", "y", "-o", "/dev/null"]

    def test(self, work: Work) -> None:
        """Raise Refused where no host could ever run the job: qsub would take it, and it would wait for ever."""
        call = work.call
        words = self._words(work, Block(call.first, call.first))
        if "-l" in words:
            words = without(words, set(re.findall(r"\b[gh]l:(\w+)=", ask("qhost", "-F").stdout)) - KNOWN)
        asked = ask(*words, "-w", "v", str(work.file("sh")))
        said = asked.stderr or asked.stdout
        if asked.returncode and not NOT_NOW.search(said):
            raise Refused(f"the cluster cannot run this: {reason(said)}; asked for: {self.asks}")

    def submit(self, work: Work, block: Block, limit: int | None) -> None:
        words = [*self._words(work, block), *(["-tc", str(limit)] if limit else []), str(work.file("sh"))]
        asked = ask(*words)
        if asked.returncode:
            said = asked.stderr or asked.stdout
            now = asked.returncode == TOO_MANY or NOT_NOW.search(said)
            raise (Busy if now else Refused)(reason(said))
        if match := re.search(r"^(\d+)\.", asked.stdout, re.MULTILINE):
            self.blocks[match[1]] = block

    def look(self, work: Work) -> list[Seen] | None:
        asked = ask("qstat", "-xml", "-u", pwd.getpwuid(os.getuid()).pw_name)
        try:
            shown = list(ElementTree.fromstring(asked.stdout).iter("job_list")) if not asked.returncode else None
        except ElementTree.ParseError:
            shown = None
        if shown is None:
            return None
        own = [each for each in shown if text(each, "JB_name").rpartition(".")[0] == title(work)]
        for each in own:
            first, _, last = text(each, "JB_name").rpartition(".")[2].partition("-")
            self.blocks[text(each, "JB_job_number")] = Block(int(first), int(last))
        codes = work.codes()  # an ended job stays in qstat for a while
        found = {n: Seen("", n, "ended", "has ended") for n in codes}
        reasons = self._reasons(own)
        for each in own:
            for task in tasks(text(each, "tasks")):
                if task not in codes and task not in self.ended:
                    found[task] = self.last[task] = self._seen(each, task, reasons)
        self._end_missing(work, found)
        return list((found | self.ended).values())

    def _reasons(self, own: list[ElementTree.Element]) -> dict[str, str]:
        """Why arrays wait, or cannot start, by their numbers."""
        waiting = {text(each, "JB_job_number") for each in own if "q" in text(each, "state")}
        if not waiting:
            return {}
        asked = ask("qstat", "-xml", "-j", ",".join(sorted(waiting)))
        try:
            root = ElementTree.fromstring(asked.stdout)
        except ElementTree.ParseError:
            return {}
        errors, messages = defaultdict(list), defaultdict(list)
        for job in root.iter("element"):
            if number := text(job, "JB_job_number"):
                errors[number] += [re.sub(r"^.*?\berror: ", "", each.text or "") for each in job.iter("QIM_message")]
            for each in job.findall("MES_job_number_list/ulong_sublist/ULNG_value"):
                messages[each.text].append(text(job, "MES_message"))
        return {n: "; ".join(dict.fromkeys((errors[n] or messages[n])[:2])) for n in waiting}

    def _seen(self, each: ElementTree.Element, task: int, reasons: dict[str, str]) -> Seen:
        """What qstat says of a job; one that cannot start (E) is taken out of the queue."""
        array, state, host = text(each, "JB_job_number"), text(each, "state"), text(each, "queue_name")
        job, why = f"{array}.{task}", reasons.get(array, "")
        if "E" in state:
            if self.command:  # who only shows the queue leaves it as it is
                ask("qdel", job)
            self.ended[task] = Seen(
                job, task, "ended", state, "cannot start", f"cannot start: {why or 'state ' + state}"
            )
            return self.ended[task]
        if "q" in state:
            return Seen(job, task, "waiting", f"{state} ({why})" if why else state)
        return Seen(job, task, "running", f"{state} on {host.rpartition('@')[2]}")

    def _end_missing(self, work: Work, found: dict[int, Seen]) -> None:
        """Find out how jobs ended that are no longer in the queue and left no exit code."""
        for array, block in self.blocks.items():
            missing = [n for n in range(block.first, block.last + 1) if n not in found and n not in self.ended]
            if not missing:
                continue
            accounts = killed(ask("qacct", "-j", array).stdout, self.limit)
            for number in missing:
                self.missed[number] = self.missed.get(number, 0) + 1
                self._end(work, f"{array}.{number}", number, accounts.get(number))

    def _end(self, work: Work, job: str, number: int, account: Killed | None) -> None:
        last = self.last.get(number)
        if last is not None and "d" in last.state.partition(" ")[0]:
            account = Killed("cancelled", "cancelled")
        elif account is None and self.missed[number] > 3 and not work.log(number).exists():
            account = Killed("cancelled", "cancelled before it began")  # such jobs are not accounted for
        if account is not None:
            self.ended[number] = Seen(job, number, "ended", "gone", account.how, account.told)

    def cancel(self, seen: Iterable[Seen]) -> None:
        ask("qdel", *self._ids(seen))

    def cancelling(self, seen: Iterable[Seen]) -> str:
        return " ".join(["qdel", *self._ids(seen)])

    def _ids(self, seen: Iterable[Seen]) -> list[str]:
        return sorted({each.job.partition(".")[0] for each in seen if each.job})


def without(words: list[str], names: set[str]) -> list[str]:
    """The command without the resources of these names in its options -l."""
    kept: list[str] = []
    for word in words:
        if kept and kept[-1] == "-l":
            word = ",".join(each for each in word.split(",") if each.partition("=")[0] not in names)
            if not word:
                kept.pop()
                continue
        kept.append(word)
    return kept


def title(work: Work) -> str:
    """A name that Grid Engine allows: no slash, and no digit in front."""
    name = re.sub(r"[^\w.-]", ".", work.title, flags=re.ASCII)
    return name if name[0].isalpha() else f"x{name}"


def text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(name) or ""


def tasks(ranges: str) -> list[int]:
    """The tasks that qstat has in one line: "3", "1,2", "4-10:1"."""
    numbers: list[int] = []
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition(":")[0].partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def reason(said: str) -> str:
    """Why qsub refuses, in one line."""
    lines = [re.sub(r"^(Unable to run job: |error: |Job \d+ )+", "", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line and line != "Exiting." and not line.startswith("verification:")]
    return "; ".join(dict.fromkeys(lines[:3])) or "no reason given"
