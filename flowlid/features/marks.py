"""What features were made from, told beside them: what is finished and still true is not made again.

A mark is the file done.json in the directory of a job. It is written last, with a digest of everything that the
features depend on, and the size and time of each file of the directory: a mark whose inputs or files have changed does
not count.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flowlid.files import read_json, write_json

MARK = "done.json"
_TABLES = ("wav.scp", "utt2spk", "segments", "reco2dur")
_ROOMS = ("features", "audio")  # whose code features depend on
_THREADS = 32  # that ask for sizes and times: a file server takes long for each, but answers many at once
_AT_ONCE = 1000  # files that one of them asks for
log = logging.getLogger("flowlid")


def inputs_digest(files: Iterable[str | Path], directories: Iterable[str | Path], place: Path, pipes: bool) -> str:
    """Digest of all that features are made from.

    Args:
        files: the options, and the program.
        directories: data directories, whose tables count, and the size and time of each audio file that they name, also
            in commands.
        place: where the features go: the scp files there have its full path.
        pipes: whether commands in wav.scp are run.
    """
    digest, audio = hashlib.sha256(f"{os.path.abspath(place)} {pipes}\n".encode(errors="surrogateescape")), set()
    library = Path(__file__).resolve().parent.parent
    for path in map(Path, files):
        _add(digest, "file", path.read_bytes())  # a copy of the options under another name is the same
    for path in (path for room in _ROOMS for path in sorted((library / room).glob("*.py"))):
        _add(digest, path.name, path.read_bytes())
    for directory in directories:
        for name in _TABLES:
            path = Path(directory, name)
            content = path.read_bytes() if path.is_file() else b""
            _add(digest, name, content)
            if name == "wav.scp":
                audio.update(_audio_files(content.decode(errors="surrogateescape")))
    _add(digest, "audio", "\n".join(_sizes_and_times(sorted(audio))).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _add(digest: Any, name: str, content: bytes) -> None:  # noqa: ANN401  (hashlib names no type)
    digest.update(f"{name} {len(content)}\n".encode())
    digest.update(content)


def _audio_files(scp: str) -> Iterator[str]:
    """The files of a wav.scp: those of its lines, the paths in commands, and of a sound in an archive the archive."""
    for line in scp.split("\n"):
        _, _, value = line.strip().replace("\t", " ").partition(" ")
        if value.endswith("|"):
            yield from (word for word in value.split() if "/" in word)
        elif value:
            path, _, offset = value.strip().rpartition(":")
            yield value.strip()
            if offset.isdecimal():
                yield path


def _sizes_and_times(paths: Sequence[str]) -> Iterator[str]:
    groups = (paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE))
    with ThreadPoolExecutor(_THREADS) as pool:
        for lines in pool.map(lambda group: list(map(_size_and_time, group)), groups):
            yield from lines


def _size_and_time(path: str) -> str:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # extraction tells what is wrong with it
        return f"{path} -"
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def write_mark(place: Path, inputs: str, checksum: str) -> None:
    """Say that the features in `place` are whole; `checksum` is that of their statistics."""
    write_json(place / MARK, {"inputs": inputs, "files": _listed(place), "cmvn": checksum})


def is_done(place: Path, inputs: str) -> bool:
    """Whether `place` has the whole features of these inputs."""
    mark = _read(place)
    return mark["inputs"] == inputs and mark["files"] == _listed(place)


def checksum_of_statistics(place: Path) -> str:
    """What `write_mark` was told; "" without a mark."""
    return _read(place)["cmvn"]


def wait_for_marks(places: Sequence[Path], seconds: float) -> None:
    """Return when each of these directories is seen to have its mark and the files that the mark names.

    What another machine wrote may be seen here late. Directories are listed: what is remembered of a single name may be
    older.

    Raises:
        ValueError: not after so many seconds; says which.
    """
    began = time.monotonic()
    while late := [place for place in places if not _is_whole(place)]:
        waited = time.monotonic() - began
        if waited >= seconds:
            raise ValueError(
                f"{late[0]}: not finished, or not seen here after waiting for {waited:.0f} s"
                + (f", nor {len(late) - 1} more" if len(late) > 1 else "")
                + "; run stage 2 again, which keeps what is finished (--wait-file gives slow file servers more time)"
            )
        if waited < 0.5:
            log.info("%s: its files are not seen here yet; waiting up to %g s", late[0], seconds)
        time.sleep(0.5)


def _is_whole(place: Path) -> bool:
    found = _listed(place)
    return bool(found) and _read(place)["files"] == found


def _read(place: Path) -> dict[str, Any]:
    nothing = {"inputs": "", "files": None, "cmvn": ""}
    try:
        mark = read_json(place / MARK)
    except (FileNotFoundError, ValueError):
        return nothing
    return mark if isinstance(mark, dict) and mark.keys() == nothing.keys() else nothing


def _listed(place: Path) -> dict[str, list[int]]:
    """Size and time of each file but the mark and what is being written, by name; none where nothing is."""
    try:
        with os.scandir(place) as entries:
            found = {entry.name: entry.stat() for entry in entries if entry.name != MARK and entry.name[0] != "."}
    except FileNotFoundError:
        return {}
    return {name: [found[name].st_size, found[name].st_mtime_ns] for name in sorted(found)}
