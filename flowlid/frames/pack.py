"""The features of a data directory in one array, written once and then mapped into memory, not read.

A pack is the directory `data/<set>/packed/<signature>/` of plain .npy files. It holds features as they are in the
archives: normalization and selection of frames come after it, so that all experiments share it. The signature follows
the sources, so that a pack never changes: another one takes its place. It may be removed at any time.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from flowlid.files import atomic_directory, read_json, write_json
from flowlid.kaldi.arks import ark_path, is_pipe
from flowlid.kaldi.cmvn import check_dim, cmvn_stats
from flowlid.kaldi.datadir import DataDir

_FORMAT = 2  # of the files: those of another format are made again
_ARRAYS = ("feats.npy", "ends.npy", "stats.npy", "voiced.npy", "utt_of.npy")
_HEADER = 128  # bytes before the data of our .npy files
_CHUNK = 2**20  # bytes that are read at once to be checked
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
    write = functools.partial(_write, data, allow_pipes, signature)
    if signature is None:
        return _build_for_once(write, signature)
    place = data.path / "packed"
    path = place / signature
    with contextlib.suppress(FileNotFoundError):  # none yet, or removed by a process with newer sources
        return _open(path, signature)
    try:
        place.mkdir(exist_ok=True)
        lock = open(place / ".lock", "ab")
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        log.warning("%s: cannot be written to; each program packs the features anew in %s", place, _scratch())
        return _build_for_once(write, signature)
    with lock:
        _wait_for(lock, place)
        if not path.is_dir():
            _remove_others(place)
            with atomic_directory(path) as new, full_disk_named(new):
                write(new)
            return _open(path, signature, check=False)  # it was just written
        return _open(path, signature)


def global_cmvn(data: DataDir, allow_pipes: bool = False) -> np.ndarray:
    """CMVN statistics of all frames of a data directory: (2, F + 1) float64; raises as `open_or_build`."""
    return open_or_build(data, allow_pipes).stats.sum(0)


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
    digest = hashlib.sha256(f"{_FORMAT}\n".encode())
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


class _Writer:
    """A .npy file that grows by rows; at the end, `finish` gives its checksum."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")
        self._file.write(bytes(_HEADER))
        self._crc, self._rows, self._like = 0, 0, np.empty(0, np.int64)

    def add(self, rows: np.ndarray) -> None:
        """Append rows (n, ...)."""
        content = np.ascontiguousarray(rows).data.cast("B") if rows.size else b""
        self._file.write(content)
        self._crc = zlib.crc32(content, self._crc)
        self._rows, self._like = self._rows + len(rows), rows

    def finish(self) -> str:
        header = io.BytesIO()
        shape = (self._rows, *self._like.shape[1:])
        described = {"descr": self._like.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, described)
        assert header.tell() == _HEADER, "numpy pads headers to a multiple of 64 bytes, with room for a longer shape"
        self._file.seek(0)
        self._file.write(header.getvalue())
        self._file.flush()
        os.fsync(self._file.fileno())
        return f"{zlib.crc32(header.getvalue(), self._crc):08x}"

    def close(self) -> None:
        self._file.close()


def _write(data: DataDir, allow_pipes: bool, signature: str | None, place: Path) -> None:
    """Fill an empty directory with a pack."""
    began, end, utterances = time.monotonic(), 0, len(data.table("feats.scp"))
    log.info("%s: packing %d utterances", data.path, utterances)
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(contextlib.closing(_Writer(place / name))) for name in _ARRAYS}
        for number, (x, voiced) in enumerate(_utterances(data, allow_pipes)):
            writers["feats.npy"].add(x)
            writers["stats.npy"].add(cmvn_stats(x)[np.newaxis])
            writers["voiced.npy"].add(voiced + end)
            writers["utt_of.npy"].add(np.full(len(voiced), number))
            end += len(x)
            writers["ends.npy"].add(np.array([end]))
        checksums = {name: writer.finish() for name, writer in writers.items()}
    write_json(place / "meta.json", _describe(signature, checksums))
    log.info("%s: packed %d frames of %d utterances in %.1f s", data.path, end, utterances, time.monotonic() - began)


def _utterances(data: DataDir, allow_pipes: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features (T, F) of each utterance and the numbers of its voiced frames; without vad.scp, of all."""
    dim, has_vad = None, data.has("vad.scp")
    for utt in sorted(data.table("feats.scp")):
        x = data.feats(utt, allow_pipes)
        dim = dim or x.shape[1]
        check_dim(data, utt, x.shape[1], dim, "where those before it have")
        yield x, np.flatnonzero(_vad(data, utt, len(x), allow_pipes)) if has_vad else np.arange(len(x))


def _vad(data: DataDir, utt: str, length: int, allow_pipes: bool) -> np.ndarray:
    vad = data.vad(utt, allow_pipes)
    if len(vad) != length:
        raise ValueError(
            f"{data.path}/vad.scp: utterance {utt}: {len(vad)} decisions for {length} frames of features; "
            "compute both from the same audio with the same frame shift (stage 2)"
        )
    return vad


def _build_for_once(write: Callable[[Path], None], signature: str | None) -> Pack:
    with tempfile.TemporaryDirectory(prefix="flowlid-pack-") as scratch:
        place = Path(scratch)
        with full_disk_named(place):
            write(place)
        return _open(place, signature, check=False)


def _wait_for(lock: IO[bytes], place: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another process is packing the features; waiting for it", place)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _remove_others(place: Path) -> None:
    """Remove packs of other sources or an older format, and what killed processes left behind."""
    for left in place.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # another process may have it mapped, which NFS minds
    for left in place.glob(".*.lock"):
        left.unlink()
    for old in place.glob("[!.]*"):
        log.info("%s: removed, its sources changed", old)
        # half removed, it must not be taken for a whole one
        shutil.rmtree(old.rename(place / f".{old.name}.old.tmp"), ignore_errors=True)


# Opening


def _describe(signature: str | None, checksums: dict[str, str]) -> dict[str, Any]:
    """What meta.json says; its digest is of the content alone, the same wherever the features lie."""
    content = json.dumps([_FORMAT, sorted(checksums.items())])
    digest = hashlib.sha256(content.encode()).hexdigest()[:32]
    return {"format": _FORMAT, "signature": signature, "crc32": checksums, "digest": digest}


def _open(path: Path, signature: str | None, check: bool = True) -> Pack:
    """Map a pack, its files checked against their checksums; FileNotFoundError: there is none at `path`."""
    again = f"remove {path}, and it is made again"
    try:
        meta = _meta(path, signature, again)
        for name in _ARRAYS:
            if check and _checksum(path / name) != meta["crc32"][name]:
                raise ValueError(f"{path / name}: damaged, its content is not what was written; {again}")
        return Pack(*(np.asarray(np.load(path / name, mmap_mode="r")) for name in _ARRAYS), meta["digest"])
    except FileNotFoundError as error:
        if not path.is_dir():
            raise
        raise ValueError(f"{error.filename}: missing; {again}") from error


def _meta(path: Path, signature: str | None, again: str) -> dict[str, Any]:
    try:
        meta = read_json(path / "meta.json")
        if sorted(meta["crc32"]) == sorted(_ARRAYS) and meta == _describe(signature, meta["crc32"]):
            return meta
    except (ValueError, TypeError, KeyError):
        pass
    raise ValueError(f"{path / 'meta.json'}: damaged, it does not describe this pack; {again}")


def _checksum(path: Path) -> str:
    """CRC-32 of a file's data and then of its header, which is written last."""
    crc = 0
    with open(path, "rb") as file:
        header = file.read(_HEADER)
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return f"{zlib.crc32(header, crc):08x}"
