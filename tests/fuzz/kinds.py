"""What a kind of input is: how a valid one is made, how it is read, and what may come of each damage."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .mutations import Mutation


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: for reports.
        make: writes a valid one into an empty directory.
        read: what the program makes of a directory: a value that can be compared with `==`, or an exception.
        damages: file name or pattern -> mutations that suit it.
        exact: (pattern of file names, names of mutations or "*"): damage after which there may be the value of the
            undamaged input or an error, and no other value.
        check: of any other damage: directory, value, value of the undamaged input, mutations -> what is wrong, or None.
        needs: a program without which its cases are not run.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    damages: Mapping[str, Sequence[Mutation]]
    exact: Sequence[tuple[str, str]] = ()
    check: Callable[[Path, Any, Any, Sequence[str]], str | None] = lambda *_: None
    needs: str = ""

    def keeps_value(self, file: str, mutation: str) -> bool:
        """Whether a mutation of a file may not change the value."""
        return any(
            fnmatch(file, pattern) and (names == "*" or mutation in names.split()) for pattern, names in self.exact
        )

    def damage(self, random: Random, place: Path) -> list[tuple[str, str]]:
        """Damage the input in `place`, mostly once; returns (file, mutation) of what was changed."""
        done = []
        for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
            pattern = random.choice(sorted(self.damages))
            path = random.choice(sorted(path for path in place.rglob(pattern) if path.is_file()))
            mutation = random.choice(self.damages[pattern])
            before = path.read_bytes()
            after = mutation(random, before)
            if after != before:
                path.write_bytes(after)
                done.append((str(path.relative_to(place)), mutation.__name__))
        return done


def tone(seconds: float, number: int, rate: int = 8000) -> np.ndarray:
    """Samples (n,) of a sound in [-1, 1] that is no silence: a buzz over noise, one of its own for each number."""
    random = np.random.default_rng(number)
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * (100 + 10 * number) * k * time) / k for k in range(1, 8))
    return 0.15 * buzz * np.abs(np.sin(4 * np.pi * time)) + 1e-3 * random.normal(size=len(time))


def alike(names: Iterable[str]) -> str | None:
    """Two of these names that are the same to a person: they differ in case or in Unicode form only."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            return f"{other!r} and {name!r} were taken for two names"
    return None
