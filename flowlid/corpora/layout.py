"""What is below a corpus's root: its files, names in any case, and whether it is that corpus at all."""

import os
from collections.abc import Iterator
from pathlib import Path

from flowlid.wording import some


def walk(root: str | Path, *suffixes: str) -> Iterator[Path]:
    """Files below `root` with these endings (or all), in any case (".wav" finds X.WAV), sorted; links are followed.

    Hidden files, such as the `._name` that copies from a Mac bring, are skipped.
    """
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # a link back up the tree
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if (not suffixes or name.lower().endswith(suffixes)) and not name.startswith("."):
                yield Path(folder) / name


def find(root: str | Path, relative: str) -> Path | None:
    """`root`/`relative` whatever the case of its names on the disk; None if there is no such file or folder."""
    path = Path(root)
    for part in relative.split("/"):
        if (path / part).exists():
            path = path / part
            continue
        try:
            same = sorted(name for name in os.listdir(path) if name.lower() == part.lower())
        except (NotADirectoryError, FileNotFoundError):
            return None
        if not same:
            return None
        path = path / same[0]
    return path


def check_root(root: str | Path, name: str, expected: str) -> None:
    """Check that a corpus root is a directory with something in it.

    Raises:
        ValueError: it is not; `expected` says what should be in it.
    """
    if not Path(root).is_dir():
        raise ValueError(f"{root}: no such directory; expected the root of {name}: {expected}")
    if not os.listdir(root):
        raise ValueError(f"{root}: an empty directory; expected the root of {name}: {expected}")


def wrong_root(root: str | Path, name: str, expected: str) -> ValueError:
    """The error for a directory that is not this corpus: what it should hold, and what it holds."""
    return ValueError(
        f"{root}: this is not {name}: expected {expected}, but it holds {some(sorted(os.listdir(root)))}; "
        "give the directory above those, or the right corpus"
    )
