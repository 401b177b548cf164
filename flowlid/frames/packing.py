"""How a pack is written: in parts by any number of processes, on any machines, and joined by the one that ends last.

A pack grows in a directory of its own. Each part writes its rows into the one feats.npy there, where utt2num_frames
says that they belong, and all else into a directory "1", "2", ... that appears when everything is on the disk. A part
that was killed is written again, and the content is the same, however many parts there are.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowlid.files import atomic_directory, read_json, sync_tree, write_json
from flowlid.frames.checksums import joined
from flowlid.kaldi.cmvn import check_dim, cmvn_stats
from flowlid.kaldi.datadir import DataDir

FORMAT = 2  # of the files: those of another format are made again
ARRAYS = ("feats.npy", "ends.npy", "stats.npy", "voiced.npy", "utt_of.npy")
HEADER = 128  # bytes before the data of our .npy files
_BLOCK = 2**16  # bytes; what is not a whole block of the shared file is left to `join`
_AT_ONCE = 2**20  # rows that `join` copies at once
log = logging.getLogger("flowlid")


def number_of_parts(data: DataDir, parts: int) -> int:
    """How many parts a pack is written in where `parts` are wanted: none is empty.

    Without utt2num_frames it is one, since nothing tells where the others begin.
    """
    return max(1, min(parts, len(data.table("feats.scp")))) if data.has("utt2num_frames") else 1


def written(place: Path) -> set[int]:
    """The parts that are there of the pack that grows in `place`.

    The directory is listed: what machines that share files remember of a single name may be older.
    """
    return {int(name) for name in os.listdir(place) if name.isdecimal()} if place.is_dir() else set()


def write_part(data: DataDir, allow_pipes: bool, place: Path, part: int, parts: int) -> None:
    """Write part 1, 2, ... of `parts` of the pack that grows in the directory `place`.

    Memory stays that of one utterance and of the tables.

    Raises:
        ValueError: as `DataDir.feats` and `DataDir.vad`; utterances of different dimensions; a VAD of another length
            than its features; or, with several parts, utt2num_frames that is not the length of an utterance.
        OSError: the disk is full.
    """
    names = sorted(data.table("feats.scp"))
    first, last = (len(names) * number // parts for number in (part - 1, part))
    row = sum(_length(data, utt) for utt in names[:first]) if part > 1 else 0
    (place / "pack").mkdir(parents=True, exist_ok=True)
    with atomic_directory(place / str(part)) as new, contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(contextlib.closing(_Writer(new / name))) for name in ARRAYS[1:]}
        rows = _Rows(place / "pack" / "feats.npy", row)
        stack.callback(rows.close)
        for number, (x, voiced) in enumerate(_utterances(data, allow_pipes, names[first:last], parts), first):
            writers["stats.npy"].add(cmvn_stats(x)[np.newaxis])
            writers["voiced.npy"].add(voiced + rows.end)
            writers["utt_of.npy"].add(np.full(len(voiced), number))
            rows.add(x)
            writers["ends.npy"].add(np.array([rows.end]))
        for writer in writers.values():
            writer.finish()
        write_json(new / "part.json", {"utterances": [first, last], **rows.finish(new)})


def join(data: DataDir, place: Path, parts: int, signature: str | None) -> Path:
    """Put the parts that are in `place` together; returns the directory of the whole pack, below `place`.

    It may be repeated if it was killed.

    Raises:
        ValueError: parts that do not follow one another.
    """
    began, pack, checksums = time.monotonic(), place / "pack", {}
    checksums["feats.npy"], rows, utterances = _join_rows(data, place, parts)
    for name in ARRAYS[1:]:
        with contextlib.closing(_Writer(pack / name)) as writer:
            for part in range(1, parts + 1):
                array = np.load(place / str(part) / name, mmap_mode="r")
                for start in range(0, len(array), _AT_ONCE):
                    writer.add(array[start : start + _AT_ONCE])
            checksums[name] = writer.finish()
    write_json(pack / "meta.json", described(signature, {name: checksums[name] for name in ARRAYS}))
    sync_tree(pack)
    seconds = time.monotonic() - began
    log.info("%s: packed %d frames of %d utterances; joined in %.1f s", data.path, rows, utterances, seconds)
    return pack


def described(signature: str | None, checksums: dict[str, str]) -> dict[str, Any]:
    """What meta.json says; its digest is of the content alone, the same wherever the features lie."""
    content = json.dumps([FORMAT, sorted(checksums.items())])
    digest = hashlib.sha256(content.encode()).hexdigest()[:32]
    return {"format": FORMAT, "signature": signature, "crc32": checksums, "digest": digest}


def _join_rows(data: DataDir, place: Path, parts: int) -> tuple[str, int, int]:
    """Complete feats.npy; returns its checksum, its rows, and the number of utterances."""
    names, crc, row, dim = sorted(data.table("feats.scp")), 0, 0, None
    with open(place / "pack" / "feats.npy", "r+b") as file:
        for part in range(1, parts + 1):
            told = read_json(place / str(part) / "part.json")
            dim = dim or told["dim"]
            check_dim(data, names[told["utterances"][0]], told["dim"], dim, "where those before it have")
            if told["first"] != row:
                raise ValueError(f"{place / str(part)}: it begins at row {told['first']}, not {row}; remove {place}")
            width = 4 * dim
            for name, at in (("head", HEADER + row * width), ("tail", None)):
                content = (place / str(part) / name).read_bytes()
                file.seek(HEADER + told["end"] * width - len(content) if at is None else at)
                file.write(content)
            crc, row = joined(crc, told["crc"], (told["end"] - row) * width), told["end"]
        file.truncate(HEADER + row * width)
        header = _header((row, dim), np.dtype(np.float32))
        file.seek(0)
        file.write(header)
    return f"{zlib.crc32(header, crc):08x}", row, told["utterances"][1]


def _utterances(
    data: DataDir, allow_pipes: bool, names: Sequence[str], parts: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features (T, F) of each utterance and the numbers of its voiced frames; without vad.scp, of all."""
    dim, has_vad = None, data.has("vad.scp")
    for utt in names:
        x = data.feats(utt, allow_pipes)
        dim = dim or x.shape[1]
        check_dim(data, utt, x.shape[1], dim, "where those before it have")
        if parts > 1 and _length(data, utt) != len(x):
            raise ValueError(
                f"{data.path}/utt2num_frames: utterance {utt}: {_length(data, utt)} frames, but its features have "
                f"{len(x)}; correct the file, or remove it, and the features are packed in one part"
            )
        yield x, np.flatnonzero(_vad(data, utt, len(x), allow_pipes)) if has_vad else np.arange(len(x))


def _length(data: DataDir, utt: str) -> int:
    if utt not in data.table("utt2num_frames"):
        raise ValueError(f"{data.path}/utt2num_frames: no utterance {utt}; run utils/fix_data_dir.py {data.path}")
    return int(data.table("utt2num_frames")[utt])


def _vad(data: DataDir, utt: str, length: int, allow_pipes: bool) -> np.ndarray:
    vad = data.vad(utt, allow_pipes)
    if len(vad) != length:
        raise ValueError(
            f"{data.path}/vad.scp: utterance {utt}: {len(vad)} decisions for {length} frames of features; "
            "compute both from the same audio with the same frame shift (stage 2)"
        )
    return vad


# Files


class _Writer:
    """A .npy file that grows by rows; at the end, `finish` gives its checksum."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")
        self._file.write(bytes(HEADER))
        self._crc, self._rows, self._like = 0, 0, np.empty(0, np.int64)

    def add(self, rows: np.ndarray) -> None:
        """Append rows (n, ...)."""
        content = np.ascontiguousarray(rows).data.cast("B") if rows.size else b""
        self._file.write(content)
        self._crc = zlib.crc32(content, self._crc)
        self._rows, self._like = self._rows + len(rows), rows

    def finish(self) -> str:
        header = _header((self._rows, *self._like.shape[1:]), self._like.dtype)
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
        return f"{zlib.crc32(header, self._crc):08x}"

    def close(self) -> None:
        self._file.close()


class _Rows:
    """Rows of the shared feats.npy, of which other parts write the rows before and after at the same time.

    Only blocks that hold nothing else are written: where machines share files, one that writes a part of a block may
    undo what another one wrote beside it. `finish` leaves the bytes before the first and after the last to `join`.
    """

    def __init__(self, path: Path, row: int) -> None:
        self.first = self.end = row
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")
        self._dim, self._at, self._crc = 0, 0, 0
        self._head, self._pending = bytearray(), bytearray()  # bytes of the file from `_at` on, not written yet

    def add(self, x: np.ndarray) -> None:
        """Append rows (T, F), float32."""
        if not self._dim:
            self._dim, self._at = x.shape[1], HEADER + 4 * x.shape[1] * self.first
        content = np.ascontiguousarray(x, np.float32).data.cast("B")
        self._crc, self.end = zlib.crc32(content, self._crc), self.end + len(x)
        self._pending += content
        before = min(-self._at % _BLOCK, len(self._pending))
        self._head += self._pending[:before]
        whole = (len(self._pending) - before) // _BLOCK * _BLOCK
        if whole:
            self._file.seek(self._at + before)
            self._file.write(self._pending[before : before + whole])
        del self._pending[: before + whole]
        self._at += before + whole

    def finish(self, place: Path) -> dict[str, int]:
        """Flush; head and tail go into `place`. What part.json tells of the rows."""
        self._file.flush()
        os.fsync(self._file.fileno())
        (place / "head").write_bytes(self._head)
        (place / "tail").write_bytes(self._pending)
        return {"first": self.first, "end": self.end, "dim": self._dim, "crc": self._crc}

    def close(self) -> None:
        self._file.close()


def _header(shape: tuple[int, ...], kind: np.dtype) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind.str, "fortran_order": False, "shape": shape})
    assert header.tell() == HEADER, "numpy pads headers to a multiple of 64 bytes, with room for a longer shape"
    return header.getvalue()
