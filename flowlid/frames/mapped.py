"""Directories of arrays that are made once, by one process, and mapped into memory by all.

<place>/<what>-<signature>/ holds a file of bare numbers for each array, and meta.json with their types and shapes. The
signature follows what they were made from, so that such a directory never changes: another one takes its place.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from flowlid.files import atomic_directory, read_json, write_json

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
log = logging.getLogger("flowlid")


class Arrays(contextlib.ExitStack):
    """Arrays that grow by rows, each in a file of its own in the directory `place`, with a checksum of all.

    One that never gets a row is an empty one of int64.
    """

    def __init__(self, place: Path, names: Sequence[str]) -> None:
        super().__init__()
        self._files = {name: self.enter_context(open(place / name, "wb")) for name in names}
        self._digests = {name: hashlib.sha256() for name in names}
        self._kinds: dict[str, tuple[np.dtype, list[int]]] = dict.fromkeys(names, (np.dtype(np.int64), [0]))

    def add(self, name: str, rows: np.ndarray) -> None:
        """Put rows (n, ...) behind those that the array has."""
        content = np.ascontiguousarray(rows).data
        self._files[name].write(content)
        self._digests[name].update(content)
        self._kinds[name] = (rows.dtype, [self._kinds[name][1][0] + len(rows), *rows.shape[1:]])

    def finish(self) -> dict[str, Any]:
        """Flush all to the disk; returns what meta.json says of the arrays."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        arrays = {name: {"type": str(kind), "shape": shape} for name, (kind, shape) in self._kinds.items()}
        digests = "".join(digest.hexdigest() for digest in self._digests.values())
        return {"arrays": arrays, "digest": hashlib.sha256(digests.encode()).hexdigest()[:32]}


def made(
    place: Path | None, what: str, signature: str | None, write: Callable[[Path], dict[str, Any]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays in place/<what>-<signature>, mapped, and its meta.json; they are not to be written to.

    If they are not there, `write(directory)` makes them, with `Arrays`, and returns what meta.json says; they appear
    whole or not at all. What was made of another signature is removed. Processes that want the same wait for the
    first of them. Where `place` cannot be written to, or is None, the files are unlinked as soon as they are mapped.

    Raises:
        ValueError: a damaged file, or what `write` raises.
        OSError: the disk is full.
    """
    if place is None:
        return _for_once(what, write)
    path = place / f"{what}-{signature}"
    with contextlib.suppress(FileNotFoundError):  # not there, or removed by a process with newer sources
        return _map(path)
    try:
        place.mkdir(exist_ok=True)
        lock = open(place / ".lock", "ab")
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        log.warning("%s: cannot be written to; each program makes it anew, in %s", path, tempfile.gettempdir())
        return _for_once(what, write)
    with lock:
        _wait_for(lock, place)
        if not path.is_dir():
            _clean(place, what, signature)
            with atomic_directory(path) as new:
                _fill(new, write)
        return _map(path)


def _for_once(what: str, write: Callable[[Path], dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix=f"flowlid-{what}-") as scratch:
        _fill(Path(scratch), write)
        return _map(Path(scratch))


def _fill(new: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    try:
        write_json(new / "meta.json", write(new))
    except OSError as error:
        error.filename = error.filename or str(new)  # "No space left on device" alone does not tell where
        raise


def _wait_for(lock: IO[bytes], place: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another process is at work there; waiting for it", place)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _clean(place: Path, what: str, signature: str) -> None:
    """Remove what was made from other sources, what was made from that, and what killed processes left behind."""
    for left in place.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # another process may have it mapped, which NFS minds
    for old in place.glob(f"{what}[-_]*"):
        if not old.name.endswith(f"-{signature}"):
            log.info("%s: removed, its sources changed", old)
            # half removed, it must not be taken for a whole one
            shutil.rmtree(old.rename(place / f".{old.name}.old.tmp"), ignore_errors=True)


def _map(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    meta, arrays = read_json(path / "meta.json"), {}
    for name, array in meta["arrays"].items():
        kind, shape = np.dtype(array["type"]), tuple(array["shape"])
        if os.path.getsize(path / name) != int(np.prod(shape)) * kind.itemsize:
            raise ValueError(f"{path / name}: damaged, it is not of shape {shape}; remove {path}")
        # for reading only: a private mapping that may be written to must not be larger than the memory
        rows = np.memmap(path / name, kind, "r", shape=shape) if shape[0] else np.empty(shape, kind)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            arrays[name] = torch.from_numpy(rows)
    return arrays, meta
