"""Damage valid inputs of every kind, read them as the programs do, and sort what comes of it.

Usage:   python3 -m tests.fuzz.campaign [--count N] [--seed S] [--case N ...] [--kind WORD] [--place DIR]
Example: python3 -m tests.fuzz.campaign --count 10000 --seed 1
Example: python3 -m tests.fuzz.campaign --seed 1 --case 4711     (one case again, told in full)

A case is right if it gives the right value or a clear error: a ValueError or an OSError that names the file and says
more. Anything else is a defect: another exception, another value, a hang, memory, the end of the process, or words of
a library on the terminal. Each case's random numbers come from the seed and its number alone.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import logging
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from flowlid import program

from . import directories, kaldi_files, models, settings, sounds
from .kinds import Kind

KINDS: list[Kind] = [*sounds.KINDS, *kaldi_files.KINDS, *directories.KINDS, *settings.KINDS, *models.KINDS]
SECONDS = 10  # that one case may take
MEMORY = 2**30  # bytes that one case may take beyond what the process has
# libmpg123's notes on frames that it passes over; libsndfile has no way to silence it
MPG123 = re.compile(r"\[src/libmpg123/|Note: (Illegal Audio-MPEG-Header|Trying to resync|Skipped \d+ bytes|Hit end)")
DEFECTS = ("traceback", "wrong value", "unclear error", "noise", "memory", "hang", "died")
LOGGERS = ("flowlid", "make_data_dirs")


class Hang(BaseException):
    """A case took too long."""


def run_case(number: int, seed: int, kinds: Sequence[Kind], place: Path) -> dict[str, Any]:
    """Damage and read one input; returns what happened: kind, damage, outcome, detail."""
    kind = kinds[number % len(kinds)]
    if kind.needs and not shutil.which(kind.needs):
        return {"case": number, "kind": kind.name, "damage": "", "outcome": "not run", "detail": f"no {kind.needs}"}
    good, case = prepared(kind, place)
    restore(good, case)
    damage = kind.damage(Random(f"{seed} {number}"), case)
    outcome, detail = judge(kind, case, damage)
    told = " + ".join(f"{name} in {file}" for file, name in damage) or "nothing"
    return {"case": number, "kind": kind.name, "damage": told, "outcome": outcome, "detail": detail}


def restore(good: Path, case: Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(good, case)


UNDAMAGED: dict[str, Any] = {}


def prepared(kind: Kind, place: Path) -> tuple[Path, Path]:
    """Where the valid input of a kind is, made once, and where its cases are read; scp files point to the latter."""
    folder = place / kind.name.replace(" ", "_")
    good, case = folder / "good", folder / "case"
    if kind.name not in UNDAMAGED:
        if not good.exists():
            case.mkdir(parents=True)
            kind.make(case)
            case.rename(good)
        restore(good, case)
        value, error, told = observe(kind, case)
        if (error is not None and not isinstance(error, ValueError)) or told:
            raise AssertionError(f"{kind.name}: the undamaged input gives {error!r} {told}") from error
        UNDAMAGED[kind.name] = value
    return good, case


def observe(kind: Kind, case: Path) -> tuple[Any, BaseException | None, str]:
    """The value that reading gives, or the exception, and what was written to the terminal meanwhile."""
    value = error = None
    with heard() as told:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            value = kind.read(case)
        except (Exception, SystemExit, Hang) as raised:
            error = raised
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return value, error, told.getvalue()


@contextlib.contextmanager
def heard() -> Iterator[io.StringIO]:
    """What comes to the terminal while the block runs: from C libraries, programs, warnings, loggers but our own."""
    told = io.StringIO()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        handler = logging.StreamHandler(told)
        handler.setLevel(logging.WARNING)
        handler.addFilter(lambda record: record.name not in LOGGERS)
        logging.getLogger().addHandler(handler)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                for category in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning):
                    warnings.simplefilter("ignore", category)  # as Python has it outside of tests
                yield told
        finally:
            logging.getLogger().removeHandler(handler)
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
        file.seek(0)
        lines = file.read().decode("utf-8", "replace").splitlines(keepends=True)
        told.writelines(line for line in lines if line.strip() and not MPG123.match(line))
        told.write("".join(f"{each.category.__name__}: {each.message} ({each.filename})\n" for each in warned))


def judge(kind: Kind, case: Path, damage: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Sort what came of reading a damaged input: "right value", "clear error" or a defect, with the detail."""
    value, error, told = observe(kind, case)
    if isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError):
        return ("noise", told[:1500]) if told else judge_error(program.told(error), case, [file for file, _ in damage])
    if error is not None:
        outcome = "hang" if isinstance(error, Hang) else "memory" if isinstance(error, MemoryError) else "traceback"
        return outcome, "".join(traceback.format_exception(error))[-2500:]
    if told:
        return "noise", told[:1500]
    undamaged = UNDAMAGED[kind.name]
    if value == undamaged:
        return "right value", ""
    if undamaged is None or all(kind.keeps_value(*each) for each in damage):
        return "wrong value", difference(undamaged, value)
    try:
        wrong = kind.check(case, value, undamaged, [mutation for _, mutation in damage])
    except Exception:
        wrong = f"the file cannot be read otherwise:\n{traceback.format_exc()[-1200:]}"
    return ("wrong value", wrong) if wrong else ("right value", "")


def judge_error(message: str, case: Path, files: Sequence[str]) -> tuple[str, str]:
    """Clear if it names the damaged file, or another one of the directory, and says more than that."""
    names = {str(case.parent.parent), str(case), *files, *(path.name for path in case.rglob("*"))}
    named = [name for name in names if name in message]
    rest = message
    for name in sorted(named, key=len, reverse=True):
        rest = rest.replace(name, "")
    clear = named and len(rest.split()) >= 3
    return ("clear error" if clear and len(message) < 20_000 else "unclear error"), message[:1500]


def difference(old: Any, new: Any, where: str = "") -> str:  # noqa: ANN401  (values of any kind)
    """Where two values differ first."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *new]:
            if old.get(key) != new.get(key):
                return difference(old.get(key), new.get(key), f"{where}/{key}")
    return f"{where}: {str(old)[:150]} became {str(new)[:150]}"


def work(numbers: Sequence[int], seed: int, kinds: Sequence[Kind], place: Path, out: int) -> None:
    """In a process of its own: run cases and write a line of JSON before and after each."""
    with os.fdopen(out, "w", buffering=1) as file:
        for number in numbers:
            file.write(json.dumps({"begun": number}) + "\n")
            limit_memory()
            faulthandler.dump_traceback_later(2 * SECONDS, exit=True)  # where a library hangs
            file.write(json.dumps(run_case(number, seed, kinds, place)) + "\n")
            faulthandler.cancel_dump_traceback_later()


def quiet() -> None:
    """Make ready for cases: what our own loggers say is no noise, a case that hangs ends, and torch takes one core."""

    def hung(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, hung)
    for name in LOGGERS:
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
    torch.set_num_threads(1)


def limit_memory() -> None:
    """Refuse memory beyond what the process has now and `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))


def campaign(numbers: Sequence[int], seed: int, kinds: Sequence[Kind], place: Path) -> Iterator[dict[str, Any]]:
    """Run cases in a process that is started anew where one ends it."""
    left = list(numbers)
    place.mkdir(parents=True, exist_ok=True)
    quiet()
    for kind in {kinds[number % len(kinds)].name: kinds[number % len(kinds)] for number in numbers}.values():
        if not kind.needs or shutil.which(kind.needs):
            prepared(kind, place)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                work(left, seed, kinds, place, writing)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        with open(reading) as file:
            for line in file:
                found = json.loads(line)
                if "begun" in found:
                    begun = found["begun"]
                else:
                    left.remove(found["case"])
                    yield found
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if left:
            kind = kinds[begun % len(kinds)]
            left.remove(begun)
            yield {"case": begun, "kind": kind.name, "damage": "?", "outcome": "died", "detail": f"exit code {code}"}


def report(found: Sequence[dict[str, Any]], seed: int, full: bool) -> int:
    """Print counts by kind, and the defects, those of one kind and damage together; returns how many there are."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for each in found:
        table[each["kind"]][each["outcome"]] += 1
    columns = [
        "right value",
        "clear error",
        *(name for name in ("not run", *DEFECTS) if any(row[name] for row in table.values())),
    ]
    print(" ".join(["kind".ljust(28), *(name.rjust(13) for name in columns)]))
    for name, row in table.items():
        print(" ".join([name.ljust(28), *(str(row[column]).rjust(13) for column in columns)]))
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for each in found:
        if each["outcome"] in DEFECTS or full:
            damage = each["damage"] if " + " not in each["damage"] or full else "several damages"
            groups[each["outcome"], each["kind"], damage].append(each)
    for (outcome, kind, damage), cases in sorted(groups.items()):
        numbers = " ".join(str(each["case"]) for each in cases[:5])
        print(f"\n{outcome}: {kind}: {damage} ({len(cases)}: --seed {seed} --case {numbers})")
        print(cases[0]["detail"] if full else _shortened(cases[0]["detail"]))
    defects = sum(each["outcome"] in DEFECTS for each in found)
    print(f"\nseed {seed}: {len(found)} cases, {defects} defects")
    return defects


def _shortened(detail: str) -> str:
    lines = [line for line in detail.splitlines() if line.strip(" ^~")]
    return "\n".join(line[:300] for line in lines[-3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, nargs="+", help="only these cases")
    parser.add_argument("--kind", default="", help="only cases of the kinds with this word in their name")
    parser.add_argument("--place", type=Path, help="where the files are made, and stay; else they are removed")
    args = parser.parse_args()
    kinds, began = KINDS, time.monotonic()
    numbers = args.case or [n for n in range(args.count) if args.kind in kinds[n % len(kinds)].name]
    print(f"seed {args.seed}, {len(numbers)} cases of {len(kinds)} kinds")
    with contextlib.ExitStack() as stack:
        place = args.place or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowlid-fuzz-")))
        found = list(campaign(numbers, args.seed, kinds, place))
    defects = report(found, args.seed, bool(args.case))
    print(f"{time.monotonic() - began:.1f} s")
    sys.exit(1 if defects else 0)


if __name__ == "__main__":
    main()
