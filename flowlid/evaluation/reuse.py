"""Skip results that are whole and up to date."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowlid.files import atomic_directory, read_json, write_json

MADE_FROM = "made_from.json"
log = logging.getLogger("flowlid")


def make_unless_up_to_date(
    place: Path, inputs: Mapping[str, Any], make: Callable[[Path], None], overwrite: bool = False
) -> None:
    """Have `make(directory)` fill a new directory, which takes the place of `place` when it is whole.

    Not if `place` was made from the same inputs and all of its files are there: then a line of the log says so.
    made_from.json in the directory holds the inputs and the files' sizes. A directory without it, of an older
    flowlid, is made again.

    Args:
        place: the directory.
        inputs: all that the content depends on, as JSON can hold it: digests (`digest`) and options.
        make: writes the files.
        overwrite: make it in any case.
    """
    if not overwrite and made_from(place) == dict(inputs):
        log.info("%s: up to date", place.name)
        return
    with atomic_directory(place) as partial:
        make(partial)
        write_json(partial / MADE_FROM, {"inputs": inputs, "files": _sizes(partial)})


def made_from(place: Path) -> dict[str, Any] | None:
    """The inputs that a directory was made from; None if it is not there, or not whole."""
    try:
        made = read_json(place / MADE_FROM)
        return made["inputs"] if made["files"] == _sizes(place) else None
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def digest(*parts: str | Path) -> str:
    """SHA-256, 32 hex digits, of texts, and of the content of the files at paths; a missing file counts as such."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            whole.update(hashlib.sha256(part.encode()).digest())
        elif part.is_file():
            whole.update(hashlib.sha256(part.read_bytes()).digest())
        else:
            whole.update(b"missing")
    return whole.hexdigest()[:32]


def _sizes(place: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(place.iterdir()) if path.name != MADE_FROM}
