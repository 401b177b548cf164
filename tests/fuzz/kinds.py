"""What a kind of input is: how a valid one is made, how it is read, and what may come of each damage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

from .mutations import Mutation

# What may come of a damage, beside a clear error:
SAME = "same"  # the value that the undamaged input gives
FREE = "free"  # a value that the kind's own `check` finds right
REFUSED = "refused"  # nothing: it must be an error


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: for reports.
        make: writes a valid one into an empty directory.
        read: what the program makes of a directory: a value that can be compared with `==`, or an exception.
        damages: file name or pattern -> mutations that suit it.
        claims: (pattern of file names, names of mutations or "*", claim); the first that fits counts, else FREE.
        check: for FREE: directory, value, value of the undamaged input, mutations -> what is wrong, or None.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    damages: Mapping[str, Sequence[Mutation]]
    claims: Sequence[tuple[str, str, str]] = ()
    check: Callable[[Path, Any, Any, Sequence[str]], str | None] = field(default=lambda *_: None)

    def claim(self, file: str, mutation: str) -> str:
        """What may come of a mutation of a file."""
        for pattern, mutations, claim in self.claims:
            if fnmatch(file, pattern) and (mutations == "*" or mutation in mutations.split()):
                return claim
        return FREE

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


def tone(seconds: float, number: int, rate: int = 8000) -> "Any":
    """Samples (n,) of a sound in [-1, 1] that is no silence: a buzz over noise, one of its own for each number."""
    import numpy as np

    random = np.random.default_rng(number)
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * (100 + 10 * number) * k * time) / k for k in range(1, 8))
    return 0.15 * buzz * np.abs(np.sin(4 * np.pi * time)) + 1e-3 * random.normal(size=len(time))
