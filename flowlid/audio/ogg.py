"""Ogg (Vorbis, Opus, FLAC): whether the last page is there, and files of several streams one after the other."""

import io
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import soundfile

_FIRST, _LAST = 2, 4  # flags of a page: of its stream the first, the last


def mended(file: BinaryIO, size: int) -> bytes | None:
    """A WAV file of all streams of a chained file, one after the other; None if there is but one.

    libsndfile reads the first stream of a chained file alone. Only page headers are read, unless it is chained.

    Raises:
        ValueError: the file ends within a page, or a stream ends without a page that is marked as its last one;
            streams of different rates or channels.
    """
    starts, last, place, flags = [], True, 0, 0
    while place < size:
        file.seek(place)
        header = file.read(27)
        if header[:4] != b"OggS"[: len(header)]:
            if last and starts:
                break  # something else after the sound, such as a tag
            raise ValueError("damaged: a page of Ogg does not begin where it should; fetch the file again")
        lengths = file.read(header[26]) if len(header) == 27 else b""
        if len(header) < 27 or len(lengths) < header[26] or file.tell() + sum(lengths) > size:
            raise ValueError("cut off within a page of Ogg; fetch the file again")
        was_first, flags = flags & _FIRST, header[5]
        if flags & _FIRST and not was_first:
            if not last:
                raise ValueError("cut off: a stream in it has no last page; fetch the file again")
            starts.append(place)
        last = bool(flags & _LAST)
        place = file.tell() + sum(lengths)
    if not last:
        raise ValueError("cut off: the page that should be its last is not there; fetch the file again")
    return _joined(file, [*starts, place]) if len(starts) > 1 else None


def _joined(file: BinaryIO, places: list[int]) -> bytes:
    parts, kinds = [], set()
    for begin, end in pairwise(places):
        file.seek(begin)
        with soundfile.SoundFile(io.BytesIO(file.read(end - begin))) as part:
            kinds.add((part.samplerate, part.channels))
            samples = part.read(dtype="float32", always_2d=True)
            if len(samples) != part.frames:
                raise ValueError(f"cut off, {part.frames - len(samples)} samples are missing; fetch the file again")
            parts.append(samples)
    if len(kinds) > 1:
        raise ValueError(f"streams of different (rate, channels): {sorted(kinds)}; write each to a file of its own")
    out = io.BytesIO()
    soundfile.write(out, np.concatenate(parts), kinds.pop()[0], format="RF64", subtype="FLOAT")
    return out.getvalue()
