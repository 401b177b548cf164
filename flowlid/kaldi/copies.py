"""Copies of the tables of data directories that others made: a run works on these, and never writes to theirs."""

import fcntl
import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowlid.files import atomic_directory, read_json, write_json
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import OF_FEATURES, table_names

COPIED_FROM = "copied_from.json"
FEATURES = ("feats.scp", "vad.scp", "cmvn.scp", "utt2num_frames", *OF_FEATURES)
log = logging.getLogger("flowlid")


def copy_directories(source: Path, names: Sequence[str], place: Path, features: bool) -> None:
    """Copy the tables of some data directories, byte for byte, to `place`; archives and sound stay where they are.

    A copy of the same tables is left alone, with the features that stage 2 has made for it; one of other tables is
    made anew, and one whose original has gone is removed.

    Args:
        source: has a data directory of each name; only read.
        names: of the data directories.
        place: gets a directory of each name; copied_from.json in it tells where it is from.
        features: whether a new copy gets the features of the original; if not, it waits for stage 2. A copy that
            has stage 2's features keeps them in either case.

    Raises:
        FileNotFoundError: no such data directory in `source`.
        ValueError: `place` has a directory of that name that is no copy.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two experiments may begin at once
        for path in sorted(place.glob(f"*/{COPIED_FROM}")):
            original = Path(_made_from(path)["source"])
            if original != source.absolute() / path.parent.name or not original.is_dir():
                log.info("%s: removed, %s is not used any more", path.parent, original)
                shutil.rmtree(path.parent)
        for name in names:
            _copy(DataDir(source / name).path, place / name, features)


def _copy(source: Path, place: Path, features: bool) -> None:
    tables = {name for name in table_names(source) if name not in FEATURES}
    own = {name for name in FEATURES if (source / name).is_file()}
    wanted = {"source": str(source.absolute()), "tables": _digest(source, tables), "features": _digest(source, own)}
    if place.is_dir() and not (place / COPIED_FROM).is_file():
        raise ValueError(f"{place}: not made by a run; move it away, or give another --exp")
    found = _made_from(place / COPIED_FROM) if place.is_dir() else {}
    # stage 2 takes out utterances that cannot be used: it is given all of them again
    same = found.get("tables") == wanted["tables"] and (features or _digest(place, tables) == wanted["tables"])
    if same and (found["features"] is None or (features and found == wanted)):
        words = "stage 2's" if found["features"] is None else "its own"
        log.info("%s: unchanged since it was copied to %s; with %s features", source, place, words)
        return
    with atomic_directory(place) as new:
        for name in sorted(tables | (own if features else set())):
            shutil.copyfile(source / name, new / name)
        write_json(new / COPIED_FROM, wanted if features else {**wanted, "features": None})
    words = "with its own features" if features and own else "without features"
    log.info("%s: tables copied to %s, %s", source, place, words)


def _made_from(path: Path) -> dict[str, Any]:
    """What copied_from.json tells."""
    found = read_json(path)
    whole = isinstance(found, dict) and {"source", "tables", "features"} <= found.keys()
    if not whole or not isinstance(found["source"], str):
        raise ValueError(f"{path}: does not tell what it is a copy of; remove {path.parent}, it is made anew")
    return found


def _digest(path: Path, names: set[str]) -> str:
    whole = hashlib.sha256()
    for name in sorted(names):
        content = (path / name).read_bytes() if (path / name).is_file() else b"\0"
        whole.update(f"{name} {len(content)}\n".encode() + content)
    return whole.hexdigest()
