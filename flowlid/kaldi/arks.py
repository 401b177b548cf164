"""Kaldi archives: matrices and vectors, read one by one, written whole or not at all (the only user of kaldiio)."""

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from kaldiio.matio import read_matrix_or_vector, write_array

from flowlid.files import atomic_write

_SPECIFIER = re.compile(r"(.+?)(?::(\d+))?(?:\[([\d:,]*)\])?")  # PATH[:OFFSET][[ROWS[,COLUMNS]]]
_MAGIC = re.compile(rb"\0B(FM|FV|DM|DV|CM|CM2|CM3) ")
_OVERHANG = 3  # rows that a range may point past the end, as in Kaldi: its tools round times up


def is_pipe(specifier: str) -> bool:
    """Whether a Kaldi file specifier is a shell command ("gunzip -c a.gz |") and no file."""
    specifier = specifier.strip()
    return specifier.endswith("|") or specifier.startswith("|")


def ark_path(specifier: str) -> str | None:
    """The file that a Kaldi specifier points to; None for a shell command."""
    match = None if is_pipe(specifier) else _SPECIFIER.fullmatch(specifier.strip())
    return match and match[1]


def command_output(specifier: str, name: str, allow_pipes: bool) -> bytes:
    """What the command of a specifier "command |" writes.

    Raises:
        ValueError: commands are not allowed, or it ended with an error; `name` is named.
    """
    command = specifier.strip().strip("|").strip()
    if not allow_pipes:
        raise ValueError(
            f"{name}: {specifier!r} is a command, and commands are not run; "
            "give --allow-pipes true if you trust this data directory"
        )
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise ValueError(f"{name}: command {command!r} ended with {done.returncode}; run it by itself to see why")
    return done.stdout


def read_matrix(specifier: str, name: str, allow_pipes: bool = False) -> np.ndarray:
    """Read the float32 matrix, (T, F) for features, that a line of an scp file points to.

    `specifier` is "PATH:OFFSET", with an optional range of rows and columns "[0:99,0:39]" (both ends
    included), or a command "COMMAND |". A relative path starts at the working directory. Binary float,
    double and compressed matrices are read; kaldiio's pickles, numpy files and sounds are not.

    Args:
        specifier: the value of the key in the scp file.
        name: what errors call it: "data/x/feats.scp: utterance u1".
        allow_pipes: whether a command may be run.

    Raises:
        ValueError: a command that may not run or that fails; a missing, cut or damaged archive; no
            matrix; an empty one; NaN or Inf in it.
    """
    matrix = _read(specifier, name, allow_pipes)
    if matrix.ndim != 2:
        raise ValueError(f"{name}: {specifier}: a vector where a matrix is wanted; point it to a matrix")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise ValueError(f"{name}: {specifier}: NaN or Inf in row {row}; check its audio and run stage 2 again")
    return matrix


def read_vector(specifier: str, name: str, allow_pipes: bool = False) -> np.ndarray:
    """Read the float32 vector, (T,) for a VAD decision, that a line of an scp file points to.

    Args and errors are those of `read_matrix`; a matrix is refused.
    """
    vector = _read(specifier, name, allow_pipes)
    if vector.ndim != 1:
        raise ValueError(f"{name}: {specifier}: a matrix where a vector is wanted; point it to a vector")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name}: {specifier}: NaN or Inf in it; run stage 2 again")
    return vector


class ArkWriter:
    """Write matrices and vectors into an archive and its scp file; both appear at the end, or neither.

    Used as `with ArkWriter("a.ark", "a.scp") as writer: writer("u1", matrix)`. The scp file has
    "utt /absolute/path/a.ark:offset" lines in the order of writing. float64 is kept, any other type
    becomes float32. An exception inside the block leaves both files as they were. `place` is the archive's
    path in the scp file, if its directory is still to be renamed.

    Raises:
        ValueError: NaN, Inf, an empty array, three dimensions, a duplicate utterance, or a key with white space.
    """

    def __init__(self, ark_path: str | Path, scp_path: str | Path, place: str | Path | None = None) -> None:
        self._ark_path = Path(os.path.abspath(ark_path))
        self._place = self._ark_path if place is None else Path(os.path.abspath(place))
        self._scp_path = Path(scp_path)
        self._written: set[str] = set()

    def __enter__(self) -> "ArkWriter":
        self._context = self._open()
        return self._context.__enter__()

    def __call__(self, utt: str, array: np.ndarray) -> None:
        """Append one array of shape (T, F) or (T,) under the key `utt`."""
        array = np.asarray(array)
        array = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
        name = f"{self._ark_path}: utterance {utt!r}"
        if utt.split() != [utt]:
            raise ValueError(f"{name}: an utterance needs a name without white space; rename it")
        if utt in self._written:
            raise ValueError(f"{name}: written twice; give each utterance its own name")
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(f"{name}: shape {array.shape}; a matrix or a vector with at least one value is needed")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: NaN or Inf in it; check its audio, or remove it with utils/subset_data_dir.py")
        self._ark.write(f"{utt} ".encode())
        self._scp.write(f"{utt} {self._place}:{self._ark.tell()}\n")
        write_array(self._ark, array)
        self._written.add(utt)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, traceback)

    @contextmanager
    def _open(self) -> Iterator["ArkWriter"]:
        # The archive is renamed first: an scp file never exists without its archive.
        with atomic_write(self._scp_path) as self._scp, atomic_write(self._ark_path, "wb") as self._ark:
            yield self
            self._ark.flush()
            self._scp.flush()
            self._scp_path.unlink(missing_ok=True)  # old offsets must never meet the new archive


class _Bounded:
    """A file for kaldiio that refuses to read past its end, where kaldiio would return a shorter vector."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.tell()
        self._left = file.seek(0, io.SEEK_END) - start
        file.seek(start)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError
        self._left -= size
        return self._file.read(size)


def _read(specifier: str, name: str, allow_pipes: bool) -> np.ndarray:
    if is_pipe(specifier):
        output = command_output(specifier, name, allow_pipes)
        path, offset, ranges, source = specifier, None, None, lambda: io.BytesIO(output)
    else:
        match = _SPECIFIER.fullmatch(specifier.strip())
        if match is None:
            raise ValueError(f"{name}: {specifier!r} is not PATH:OFFSET; run stage 2 again")
        path, offset, ranges = match.groups()
        source = _opener(path, name)
    try:
        with source() as file:
            file.seek(int(offset or 0))
            array = _decode(file)
    except (OSError, OverflowError) as error:
        raise ValueError(f"{name}: {path}: cannot be read ({error}); check the disk") from error
    except ValueError as error:
        raise ValueError(f"{name}: {specifier}: {error}; remove {path} and run stage 2 again") from error
    if ranges is not None:
        array = _cut(array, ranges, f"{name}: {specifier}")
    if array.size == 0:
        raise ValueError(f"{name}: {specifier}: empty; remove the utterance, or run stage 2 again")
    return array


def _opener(path: str, name: str) -> Callable[[], BinaryIO]:
    if not os.path.isfile(path):
        where = "" if os.path.isabs(path) else f" (from {os.getcwd()})"
        raise ValueError(f"{name}: no archive {path}{where}; run stage 2 again")
    return lambda: open(path, "rb")


def _decode(file: BinaryIO) -> np.ndarray:
    """The matrix or vector at the file's position, as a new float32 array; ValueError says what is wrong."""
    start = file.tell()
    head = file.read(6)
    if not _MAGIC.match(head):
        if head.lstrip().startswith(b"["):
            raise ValueError("a text archive; only binary ones are read")
        raise ValueError(f"no Kaldi matrix or vector at byte {start}" if head else f"cut before byte {start}")
    file.seek(start)
    try:
        # A damaged header of a compressed matrix may overflow: the caller finds the Inf.
        with np.errstate(all="ignore"):
            return np.array(read_matrix_or_vector(_Bounded(file)), dtype=np.float32, order="C")
    except EOFError:
        raise ValueError(f"cut: the array at byte {start} goes on past the end of the file") from None
    except (AssertionError, ValueError):
        raise ValueError(f"damaged: the array at byte {start} has a wrong header") from None


def _cut(array: np.ndarray, ranges: str, name: str) -> np.ndarray:
    """Rows and columns of Kaldi's range "first:last,first:last", both ends included; "" or ":" is all."""
    parts = ranges.split(",")
    slices = []
    for axis, part in enumerate(parts[: array.ndim]):
        first, _, last = part.partition(":")
        if part in ("", ":"):
            slices.append(slice(None))
        elif first and last.isdigit() and int(first) <= int(last):
            if int(first) >= array.shape[axis] or int(last) >= array.shape[axis] + (_OVERHANG if axis == 0 else 0):
                raise ValueError(f"{name}: range [{ranges}] outside an array of shape {array.shape}; correct it")
            slices.append(slice(int(first), int(last) + 1))
        else:
            raise ValueError(f"{name}: [{ranges}] is not a range of rows and columns such as [0:99,0:39]; correct it")
    if len(parts) > array.ndim:
        raise ValueError(f"{name}: range [{ranges}] has more parts than the array has dimensions; correct it")
    return np.ascontiguousarray(array[tuple(slices)])
