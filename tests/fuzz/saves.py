"""Fail, or die, at each system call with which training and scoring save; repeat, and compare with an undisturbed run.

Usage:   python3 -m tests.fuzz.saves [train] [score]
Example: python3 -m tests.fuzz.saves           (about a hundred trainings and scorings of a second's speech)

The calls are each fsync of a file or a directory (of many in a row the first and the last), each rename and each
removal; and write, which is cut off at several
sizes by the limit of a file's size: that gives an error, as a full disk does, or kills. Each time the program runs in
a process of its own. One that fails must end with 1, with one message, and leave no temporary file. Whatever
happened, each file must be whole, old or new; and the same command must end with 0 and give the same files.
"""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from flowlid import program
from flowlid.flow.checkpoint import load_model, load_payload

from ..tools import YAML, call, feature_dir, load
from .kills import lasting

CALLS = ("fsync", "replace", "rename", "unlink")
LIMITS = {"train": (0, 100, 4000, 9000), "score": (0, 100, 500)}  # bytes; the largest files here are larger
SPEAKERS = {"a-1": "en", "a-2": "en", "b-1": "es", "b-2": "es"}


@dataclass(frozen=True)
class Attempt:
    """A program that ran: its exit status (below 0: a signal), what it logged and which calls it made."""

    code: int
    log: str
    calls: list[str]


def attempt(command: list[object], disturb: Callable[[list[str]], None]) -> Attempt:
    """Run steps/NAME.py in a process of its own, which `disturb` prepares; it gets the list of calls to fill."""
    read, write = os.pipe()
    if not (child := os.fork()):
        calls: list[str] = []
        try:
            disturb(calls)
            ended = call(*command)
            os.write(write, json.dumps([ended.code, ended.log, calls]).encode())
        finally:
            os._exit(3)
    os.close(write)
    with os.fdopen(read) as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Attempt(-os.WTERMSIG(status), "", [])
    return Attempt(*json.loads(told)) if told else Attempt(os.WEXITSTATUS(status), "no answer", [])


def at_call(number: int, dies: bool) -> Callable[[list[str]], None]:
    """Fail or die at a call, counted from 0 over all of CALLS."""

    def disturb(calls: list[str]) -> None:
        for name in CALLS:
            setattr(os, name, counted(name, getattr(os, name), calls))

    def counted(name: str, real: Callable[..., object], calls: list[str]) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            calls.append(f"{name} {arguments[-1]}")
            if len(calls) - 1 == number:
                if dies:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")
            return real(*arguments, **options)

        return called

    return disturb


def at_size(limit: int, dies: bool) -> Callable[[list[str]], None]:
    """Fail or die at the write that makes a file larger than `limit` bytes."""

    def disturb(calls: list[str]) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dies else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    return disturb


def made(place: Path) -> dict[str, bytes]:
    """The files of an experiment, without what changes from run to run, but the lock; of a temporary one the name."""
    found = {}
    for path in place.rglob("*"):
        if path.is_file() and path.name != ".train.lock":
            name = str(path.relative_to(place))
            passing = name == "checkpoint.pt" or any(part[0] == "." for part in Path(name).parts)
            found[name] = b"" if passing else lasting(path)
    return found


def broken(exp: Path) -> Iterator[str]:
    """Files that are neither absent nor whole."""
    for name, read in (("final.pt", load_model), ("checkpoint.pt", lambda path: load_payload(path, "training state"))):
        if (exp / name).exists():
            try:
                read(exp / name)
            except ValueError as error:
                yield str(error)
    for path in exp.rglob("*.json"):
        if path.name[0] != ".":
            json.loads(path.read_text())


def check(place: Path, before: Path, command: list[object], disturb: Callable, wanted: dict[str, bytes]) -> list[str]:
    """Disturb a program that starts with the files of `before`, and repeat it; what is then not as it should be."""
    exp = place / "exp"
    shutil.rmtree(exp, ignore_errors=True)
    shutil.copytree(before, exp)
    old = made(exp)
    first = attempt(command, disturb)
    found = made(exp)
    problems = list(broken(exp))
    if first.code == 1:
        problems += [f"{name} is left" for name in found if Path(name).name[0] == "."]
        scores = {name for name in {*old, *wanted} if name.startswith("score_")}
        if [found.get(name) for name in scores] not in ([old.get(n) for n in scores], [wanted.get(n) for n in scores]):
            problems.append("the old scores are gone")
        if first.log.count("ERROR ") != 1:
            problems.append(f"no message: {first.log}")
    elif first.code >= 0:
        problems.append(f"it ended with {first.code}: {first.log[-300:]}")
    if found == old:
        return problems  # it left what it began with: the repeat is a first run
    again = attempt(command, lambda calls: None)
    if again.code != 0:
        return [*problems, f"the repeat ended with {again.code}: {again.log[-300:]}"]
    now = made(exp)
    return problems + [f"{name} differs" for name in {*now, *wanted} if now.get(name) != wanted.get(name)]


def disturbances(calls: list[str], limits: tuple[int, ...]) -> Iterator[tuple[str, Callable[[list[str]], None]]]:
    """What may be done to a program that makes these calls, in words and as `attempt` takes it."""
    for dies in (False, True):
        how = "dies" if dies else "fails"
        for number, name in enumerate(calls):
            around = calls[max(0, number - 1) : number + 2]
            if len(around) < 3 or not all(
                each.startswith("fsync") for each in around
            ):  # else as good as the one before
                yield f"{how} at call {number}, {name}", at_call(number, dies)
        for limit in limits:
            yield f"{how} at a write beyond {limit} bytes", at_size(limit, dies)


def campaign(place: Path, names: list[str]) -> tuple[int, int]:
    """Disturb these programs everywhere; gives the numbers of cases and of those with a problem, which it prints."""
    feature_dir(place / "data/train", SPEAKERS)
    feature_dir(place / "data/test", SPEAKERS, seed=1)
    (place / "tiny.yaml").write_text(YAML.replace("epochs: 2", "epochs: 1"))
    exp = place / "exp"
    commands: dict[str, list[object]] = {
        "train": ["train", "--device", "cpu", "--save-minutes", "1e-9", place / "tiny.yaml", place / "data", exp],
        "score": ["score", "--device", "cpu", "--overwrite", "true", exp, place / "data", "test"],
    }
    for name in commands:
        load(f"steps/{name}.py")
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports much of torch, once for all processes
    before, cases, failed = place / "before", 0, 0
    before.mkdir()
    for command in commands.values():  # packs of the data are made once
        attempt(command, lambda calls: None)
    shutil.rmtree(exp)
    for name, command in commands.items():
        whole = attempt(command, at_call(-1, False))
        assert whole.code == 0, whole.log
        wanted = made(exp)
        if name == "score":  # over scores of an older version
            shutil.copytree(exp, before, dirs_exist_ok=True)
            for path in (before / "score_test").glob("*.json"):
                path.write_text("{}\n")
        for told, disturb in disturbances(whole.calls, LIMITS[name]) if name in names else ():
            cases += 1
            problems = check(place, before, command, disturb, wanted)
            if problems:
                failed += 1
                print(f"{name} {told}: {'; '.join(problems)}", flush=True)
    return cases, failed


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="flowlid-saves-") as place,
        mock.patch.object(program, "git_commit", lambda: "none"),  # two processes each time
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        cases, failed = campaign(Path(place), sys.argv[1:] or ["train", "score"])
    print(f"{cases} cases, {failed} defects")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
