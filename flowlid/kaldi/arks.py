"""Kaldi archives: matrices and vectors, read one by one, written whole or not at all (the only user of kaldiio).

Beside an archive x.ark that is written here lies x.ark.crc: a line "OFFSET CRC32" for each array. Where it lies there,
an array is checked when it is read: a bit that a disk flipped would give other features without a word.
"""

import functools
import io
import os
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from kaldiio.matio import read_matrix_or_vector, write_array

from flowlid.files import atomic_write
from flowlid.wording import brief

_SPECIFIER = re.compile(r"(.+?)(?::(\d+))?(?:\[([\d:,]*)\])?")  # PATH[:OFFSET][[ROWS[,COLUMNS]]]
_MAGIC = re.compile(rb"\0B(FM|FV|DM|DV|CM|CM2|CM3) ")
AGAIN = "run stage 2 again (run.sh --stage 2 --stop-stage 2 --overwrite true), or whatever made it"
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
            f"{name}: {brief(specifier)} is a command, and commands are not run; "
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
        raise ValueError(f"{name}: {specifier}: NaN or Inf in row {row}; check its audio and {AGAIN}")
    return matrix


def read_vector(specifier: str, name: str, allow_pipes: bool = False) -> np.ndarray:
    """Read the float32 vector, (T,) for a VAD decision, that a line of an scp file points to.

    Args and errors are those of `read_matrix`; a matrix is refused.
    """
    vector = _read(specifier, name, allow_pipes)
    if vector.ndim != 1:
        raise ValueError(f"{name}: {specifier}: a matrix where a vector is wanted; point it to a vector")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name}: {specifier}: NaN or Inf in it; {AGAIN}")
    return vector


class ArkWriter:
    """Write matrices and vectors into an archive, its checksums and its scp file; all appear at the end, or none.

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
        self._crc.write(f"{self._ark.tell()} ")
        record = io.BytesIO()
        write_array(record, array)
        self._ark.write(record.getbuffer())
        self._crc.write(f"{zlib.crc32(record.getbuffer()):08x}\n")
        self._written.add(utt)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, traceback)

    @contextmanager
    def _open(self) -> Iterator["ArkWriter"]:
        # The archive is renamed before the scp file, which never exists without it.
        with (
            atomic_write(self._scp_path) as self._scp,
            atomic_write(self._ark_path, "wb") as self._ark,
            atomic_write(_checksums_path(str(self._ark_path))) as self._crc,
        ):
            yield self
            for file in (self._crc, self._ark, self._scp):
                file.flush()
            self._scp_path.unlink(missing_ok=True)  # old offsets must never meet the new archive


def _checksums_path(ark: str) -> str:
    return f"{ark}.crc"


def _checksums(ark: str) -> dict[int, int] | None:
    """CRC-32 of the array at each offset of an archive; None if nobody wrote them. ValueError: the file is damaged."""
    path = _checksums_path(ark)
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return _read_checksums(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@functools.lru_cache(maxsize=8)  # archives are read one after the other, in the order of their utterances
def _read_checksums(path: str, *_version: int) -> dict[int, int]:
    try:
        with open(path, encoding="ascii") as file:
            pairs = (line.split() for line in file)
            return {int(offset): int(crc, 16) for offset, crc in pairs}
    except ValueError as error:
        raise ValueError(f"{path} is damaged") from error


class _Bounded:
    """A file for kaldiio that refuses to read past its end, where kaldiio would return a shorter vector.

    `crc` is the CRC-32 of what was read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.crc = 0
        self._file = file
        start = file.tell()
        self._left = file.seek(0, io.SEEK_END) - start
        file.seek(start)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError
        self._left -= size
        content = self._file.read(size)
        self.crc = zlib.crc32(content, self.crc)
        return content


def _read(specifier: str, name: str, allow_pipes: bool) -> np.ndarray:
    if is_pipe(specifier):
        output = command_output(specifier, name, allow_pipes)
        path, start, ranges, source = specifier, 0, None, lambda: io.BytesIO(output)
    else:
        match = _SPECIFIER.fullmatch(specifier.strip())
        if match is None:
            raise ValueError(f"{name}: {brief(specifier)} is not PATH:OFFSET; {AGAIN}")
        path, start, ranges = match[1], int(match[2] or 0), match[3]
        source = _opener(path, name)
    try:
        with source() as file:
            file.seek(start)
            array, crc = _decode(file)
        if not is_pipe(specifier):
            _check(path, start, crc)
    except (OSError, OverflowError) as error:
        raise ValueError(f"{name}: {path}: cannot be read ({error}); check the disk") from error
    except ValueError as error:
        raise ValueError(f"{name}: {specifier}: {error}; {AGAIN}") from error
    if ranges is not None:
        array = _cut(array, ranges, f"{name}: {specifier}")
    if array.size == 0:
        raise ValueError(f"{name}: {specifier}: empty; remove the utterance, or {AGAIN}")
    return array


def _opener(path: str, name: str) -> Callable[[], BinaryIO]:
    if not os.path.isfile(path):
        looked = "" if os.path.isabs(path) else f" (looked for {brief(Path.cwd() / path, 300)})"
        raise ValueError(f"{name}: no archive {brief(Path(path), 300)}{looked}; {AGAIN}, or correct its path")
    return lambda: open(path, "rb")


def _check(path: str, start: int, crc: int) -> None:
    """Raise ValueError if an array's CRC-32 is not the one that was written beside the archive, if any was."""
    wanted = _checksums(path)
    if wanted is not None and wanted.get(start) != crc:
        raise ValueError(f"damaged: the array at byte {start} is not what was written (by {_checksums_path(path)})")


def _decode(file: BinaryIO) -> tuple[np.ndarray, int]:
    """The matrix or vector at the file's position, as a new float32 array, and the CRC-32 of its bytes.

    ValueError says what is wrong.
    """
    start = file.tell()
    head = file.read(6)
    if not _MAGIC.match(head):
        if head.lstrip().startswith(b"["):
            raise ValueError("a text archive; only binary ones are read")
        raise ValueError(f"no Kaldi matrix or vector at byte {start}" if head else f"cut before byte {start}")
    file.seek(start)
    bounded = _Bounded(file)
    try:
        # A damaged header of a compressed matrix may overflow: the caller finds the Inf.
        with np.errstate(all="ignore"):
            return np.array(read_matrix_or_vector(bounded), dtype=np.float32, order="C"), bounded.crc
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
