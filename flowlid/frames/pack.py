"""The features of a data directory in one array, written once and then mapped into memory, not read.

A pack is the directory `data/<set>/packed/<signature>/` of plain .npy files. It holds features as they are in the
archives: normalization and selection of frames come after it, so that all experiments share it. The signature follows
the sources, so that a pack never changes: another one takes its place. It may be removed at any time.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from flowlid.files import read_json, sync
from flowlid.frames.checksums import checksum
from flowlid.frames.packing import ARRAYS, FORMAT, HEADER, described, join, number_of_parts, write_part, written
from flowlid.kaldi.arks import ark_path, is_pipe
from flowlid.kaldi.datadir import DataDir

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
log = logging.getLogger("flowlid")


@dataclass
class Pack:
    """All frames of a data directory, its utterances in C order of their names; the arrays are mapped, read-only.

    Attributes:
        feats: (sum of T, F) float32 features of all utterances, voiced or not, as in the archives.
        ends: (U,) row of `feats` after the last one of each utterance.
        stats: (U, 2, F + 1) float64 CMVN statistics of each utterance, as `cmvn_stats` gives them.
        voiced: (N,) rows of `feats` that are voiced, ascending; all rows if there is no vad.scp.
        utt_of: (N,) number of the utterance that each of them belongs to.
        digest: checksum of the content.
    """

    feats: np.ndarray
    ends: np.ndarray
    stats: np.ndarray
    voiced: np.ndarray
    utt_of: np.ndarray
    digest: str


def open_or_build(data: DataDir, allow_pipes: bool = False) -> Pack:
    """Map the pack of a data directory, built first if there is none or its sources changed.

    It appears whole or not at all; while it is built, memory stays that of one utterance, and other processes that
    want it wait. A pack of other sources is removed. Where the directory cannot be written to, and where an scp file
    has commands, whose output may differ from run to run, the pack is built in a temporary place and unlinked as soon
    as it is mapped. Each file is checked against its checksum when it is opened.

    Args:
        data: directory with feats.scp and, if there are voicing decisions, vad.scp.
        allow_pipes: whether an scp entry may be a shell command.

    Raises:
        ValueError: a damaged pack; it is not replaced silently, because a disk or memory that flips bits does so
            again. Or sources that are: utterances of different dimensions, a VAD of another length than its features,
            and as `DataDir.feats` and `DataDir.vad`.
        OSError: the disk is full.
    """
    signature = _signature(data)
    if signature is None:
        return _build_for_once(data, allow_pipes, signature)
    place = data.path / "packed"
    path = place / signature
    with contextlib.suppress(FileNotFoundError):  # none yet, or removed by a process with newer sources
        return _open(path, signature)
    lock = _lock_of(place)
    if lock is None:
        return _build_for_once(data, allow_pipes, signature)
    with lock:
        _wait_for(lock, place)
        if _build(data, allow_pipes, place, signature):
            return _open(path, signature, check=False)  # it was just written
        return _open(path, signature)


def pack_part(data: DataDir, part: int, parts: int, allow_pipes: bool = False) -> None:
    """Write part 1, 2, ... of `parts` of a pack; whichever part comes last joins them, and `open_or_build` finds it.

    Parts may be written at the same time, on any machines that share the directory; one that is there is left alone.
    There may be fewer (`number_of_parts`): then the last ones have nothing to do. Nor has any part where
    `open_or_build` keeps no pack.

    Raises:
        ValueError, OSError: as `open_or_build`, and as `write_part`.
    """
    signature, place, parts = _signature(data), data.path / "packed", number_of_parts(data, parts)
    lock = _lock_of(place) if signature is not None and part <= parts else None
    if lock is None:
        log.info("%s: nothing to pack in part %d", data.path, part)
        return
    path, building = place / signature, _building(place, signature, parts)
    with lock:
        _wait_for(lock, place)
        if _join_if_whole(data, place, signature):
            log.info("%s: packed already", data.path)
            return
        if parts == 1:
            _build(data, allow_pipes, place, signature)
            return
        _remove_others(place, signature)
        fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            if part not in written(building):
                log.info("%s: packing part %d of %d", data.path, part, parts)
                with full_disk_named(place):
                    write_part(data, allow_pipes, building, part, parts)
        except FileNotFoundError:
            if not path.is_dir():  # else another process has packed all of it meanwhile
                raise
        _wait_for(lock, place)
        _join_if_whole(data, place, signature)


def mapped(parts: Iterator[np.ndarray]) -> np.ndarray:
    """Arrays (n, ...) of one type, one after the other, in a temporary file that is mapped read-only and unlinked.

    They take no memory, however many rows there are.
    """
    place, shape, kind = _scratch(), (0,), np.dtype(np.int64)
    with tempfile.TemporaryFile(dir=place) as file, full_disk_named(place):
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
            shape, kind = (shape[0] + len(part), *part.shape[1:]), part.dtype
        file.flush()
        return np.asarray(np.memmap(file, kind, "r", shape=shape)) if shape[0] else np.empty(shape, kind)


@contextlib.contextmanager
def full_disk_named(place: Path) -> Iterator[None]:
    """Name the place in an OSError that names none: "No space left on device" alone does not tell where."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(place)
        raise


def _scratch() -> Path:
    return Path(tempfile.gettempdir())


def _signature(data: DataDir) -> str | None:
    """A checksum of feats.scp and vad.scp, and of size and time of the archives that they point to.

    None where one of them has a command.
    """
    digest = hashlib.sha256(f"{FORMAT}\n".encode())
    for name in ["feats.scp"] + ["vad.scp"] * data.has("vad.scp"):
        digest.update(f"{name}\n".encode())
        archives = set()
        for utt, specifier in data.table(name).items():
            digest.update(f"{utt} {specifier}\n".encode())
            if is_pipe(specifier):
                return None
            archives.add(ark_path(specifier))
        for path in sorted(archives - {None}):
            with contextlib.suppress(OSError):  # reading will report what is missing
                stat = os.stat(path)
                digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


# Building


def _build_for_once(data: DataDir, allow_pipes: bool, signature: str | None) -> Pack:
    with tempfile.TemporaryDirectory(prefix="flowlid-pack-") as scratch:
        place = Path(scratch)
        with full_disk_named(place):
            write_part(data, allow_pipes, place, 1, 1)
            return _open(join(data, place, 1, signature), signature, check=False)


def _build(data: DataDir, allow_pipes: bool, place: Path, signature: str) -> bool:
    """Make the pack that is missing, if it is, in one part unless others are all there; for the holder of the lock."""
    if (place / signature).is_dir():
        return False
    _remove_others(place, signature)
    if not _join_if_whole(data, place, signature):
        building = _building(place, signature, 1)
        log.info("%s: packing %d utterances", data.path, len(data.table("feats.scp")))
        try:
            with full_disk_named(place):
                write_part(data, allow_pipes, building, 1, 1)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        _join_if_whole(data, place, signature)
    return True


def _join_if_whole(data: DataDir, place: Path, signature: str) -> bool:
    """Whether there is a pack now: joined if all its parts are there; for the holder of the lock."""
    path = place / signature
    for building in sorted(place.glob(_building("", signature, "*").name)):
        parts = int(building.suffixes[-2][1:])
        if not path.is_dir() and written(building) >= set(range(1, parts + 1)):
            with full_disk_named(place):
                os.rename(join(data, building, parts, signature), path)
                sync(place)
        if path.is_dir():
            shutil.rmtree(building, ignore_errors=True)
    return path.is_dir()


def _building(place: str | Path, signature: str, parts: int | str) -> Path:
    """Where a pack of a number of parts grows."""
    return Path(place, f".{signature}.{parts}.tmp")


def _lock_of(place: Path) -> IO[bytes] | None:
    """The file that is locked by those who make packs in a directory; None if it cannot be written to."""
    try:
        place.mkdir(exist_ok=True)
        return open(place / ".lock", "ab")
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        log.warning("%s: cannot be written to; each program packs the features anew in %s", place, _scratch())
        return None


def _wait_for(lock: IO[bytes], place: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another process is packing the features; waiting for it", place)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _remove_others(place: Path, signature: str) -> None:
    """Remove packs of other sources or an older format, and what killed processes left of such."""
    for left in place.glob(".*.tmp"):
        if not left.name.startswith(f".{signature}."):
            shutil.rmtree(left, ignore_errors=True)  # another process may have it mapped, which NFS minds
    for old in place.glob("[!.]*"):
        log.info("%s: removed, its sources changed", old)
        # half removed, it must not be taken for a whole one
        shutil.rmtree(old.rename(place / f".{old.name}.old.tmp"), ignore_errors=True)


# Opening


def _open(path: Path, signature: str | None, check: bool = True) -> Pack:
    """Map a pack, its files checked against their checksums; FileNotFoundError: there is none at `path`."""
    again = f"remove {path}, and it is made again"
    try:
        meta = _meta(path, signature, again)
        for name in ARRAYS:
            if check and checksum(path / name, HEADER) != meta["crc32"][name]:
                raise ValueError(f"{path / name}: damaged, its content is not what was written; {again}")
        return Pack(*(np.asarray(np.load(path / name, mmap_mode="r")) for name in ARRAYS), meta["digest"])
    except FileNotFoundError as error:
        if not path.is_dir():
            raise
        raise ValueError(f"{error.filename}: missing; {again}") from error


def _meta(path: Path, signature: str | None, again: str) -> dict[str, Any]:
    try:
        meta = read_json(path / "meta.json")
        if sorted(meta["crc32"]) == sorted(ARRAYS) and meta == described(signature, meta["crc32"]):
            return meta
    except (ValueError, TypeError, KeyError):
        pass
    raise ValueError(f"{path / 'meta.json'}: damaged, it does not describe this pack; {again}")
