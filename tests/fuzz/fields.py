"""Where the numbers are in the binary headers of sound files, and a mutation of them."""

import re
from collections.abc import Callable, Sequence
from random import Random

from .mutations import Mutation

Field = tuple[int, int, str]  # offset, width in bytes, "little" or "big"


def set_field(fields: Callable[[bytes], Sequence[Field]]) -> Mutation:
    """A mutation that puts an edge value, or its bytes in the other order, into one of a file's binary fields."""

    def field(random: Random, data: bytes) -> bytes:
        known = [each for each in fields(data) if each[0] + each[1] <= len(data)]
        if not known:
            return data
        offset, width, order = random.choice(known)
        old, most = int.from_bytes(data[offset : offset + width], order), 256**width - 1
        swapped = int.from_bytes(data[offset : offset + width], "big" if order == "little" else "little")
        edges = (0, 1, most, most // 2, most // 2 + 1, old + 1, old - 1, 2 * old, old // 2, swapped)
        new = random.choice((*edges, random.randint(0, most))) % (most + 1)
        return data[:offset] + new.to_bytes(width, order) + data[offset + width :]

    return field


def riff(data: bytes) -> list[Field]:
    """Sizes of a WAV file and its chunks, and the fields of fmt."""
    return [(4, 4, "little"), *_chunks(data, 12, "little", {b"fmt ": (2, 2, 4, 4, 2, 2)})]


def aiff(data: bytes) -> list[Field]:
    return [(4, 4, "big"), *_chunks(data, 12, "big", {b"COMM": (2, 4, 2, 2, 8), b"SSND": (4, 4)})]


def _chunks(data: bytes, start: int, order: str, widths: dict[bytes, Sequence[int]]) -> list[Field]:
    fields = []
    while start + 8 <= len(data):
        fields.append((start + 4, 4, order))
        place = start + 8
        for width in widths.get(data[start : start + 4], ()):
            fields.append((place, width, order))
            place += width
        size = int.from_bytes(data[start + 4 : start + 8], order)
        start += 8 + size + size % 2
    return fields


def rf64(data: bytes) -> list[Field]:
    return [(4, 4, "little"), (16, 4, "little"), (20, 8, "little"), (28, 8, "little"), (36, 8, "little"), *riff(data)]


def w64(data: bytes) -> list[Field]:
    place = data.find(b"data\xf3\xac")
    widths = (8, 2, 2, 4, 4, 2, 2)
    fmt = [(56 + sum(widths[:number]), width, "little") for number, width in enumerate(widths)]
    return [(16, 8, "little"), (place + 16, 8, "little"), *fmt]


def au(data: bytes) -> list[Field]:
    return [(place, 4, "big") for place in range(4, 24, 4)]


def caf(data: bytes) -> list[Field]:
    place = data.find(b"data\0")
    return [(12, 8, "big"), (20, 8, "big"), *((at, 4, "big") for at in range(32, 52, 4)), (place + 4, 8, "big")]


def flac(data: bytes) -> list[Field]:
    """STREAMINFO: sizes of blocks and frames; rate, channels, bits and number of samples; a word of the MD5."""
    return [
        (5, 3, "big"),
        (8, 2, "big"),
        (10, 2, "big"),
        (12, 3, "big"),
        (15, 3, "big"),
        (18, 8, "big"),
        (26, 4, "big"),
    ]


def ogg(data: bytes) -> list[Field]:
    pages = [page.start() for page in re.finditer(b"OggS", data)]
    places = ((5, 1), (6, 8), (14, 4), (18, 4), (22, 4), (26, 1))
    return [(page + offset, width, "little") for page in pages for offset, width in places]


def mp3(data: bytes) -> list[Field]:
    """The first frame's header; flags, frames and bytes of its Xing header; headers of frames further on."""
    place = data.find(b"Xing")
    frames = [frame.start() for frame in re.finditer(rb"\xff[\xe2\xe3\xfa\xfb]", data)]
    return [(0, 4, "big"), *((place + at, 4, "big") for at in (4, 8, 12)), *((at, 4, "big") for at in frames)]
