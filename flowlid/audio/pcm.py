"""Containers that say how many bytes of samples follow: WAV, RF64, W64, AIFF, AU, CAF and NIST SPHERE.

libsndfile reads a cut file without complaint, as if it were whole and shorter. A program that writes into a
pipe, and a recorder that dies, leave a length of 0 or the largest number: such a file is read to its end.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

# Written for "unknown": ffmpeg 0xFFFFFFFF, arecord 0x80000000, sox 0x7FFFF000 (WAV) and 0x7F000000 (AIFF).
# Some take the header off, or whole frames only. Another length of this size is not believed of a file of less than
# a quarter of it.
_MARKS = (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x7FFFF000, 0x7F000000)
_HEADER = 512
_LARGEST_FRAME = 256  # bytes, of 32 channels in float64
_TAIL = 512  # bytes after the samples that are no chunk, such as a tag
_LARGEST = 2**47  # bytes: no file is larger, so a 64-bit length beyond it means "unknown", as -1 does
_TOO_SMALL = "damaged: its header says frames of {} bytes for {} channels of {} bits; fetch the file again"
_PLAIN = (1, 3, 0xFFFE)  # codes of WAV for PCM, float, and one of them
_PLAIN_AIFC = (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64")  # as many bytes as bits
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # per sample, by encoding


@dataclass
class Samples:
    """Where the samples of a file are: `promised` bytes from `start` on, in frames of `frame` bytes.

    `fields` are the places of the header that hold the length: (offset, struct format, what to add to the bytes
    of samples, by what to divide them). `last`: nothing may follow them in this format.
    """

    start: int
    promised: int
    frame: int
    fields: list[tuple[int, str, int, int]] = field(default_factory=list)
    last: bool = False

    def is_unknown(self, there: int) -> bool:
        """Whether what is promised is no length, where the file has `there` bytes of samples."""
        return _is_mark(self.promised) or (self.promised >= min(_MARKS) and there < self.promised // 4)


def mended(file: BinaryIO, size: int) -> bytes | None:
    """The whole file with the true length in its header, if the header has none; None if libsndfile reads it right.

    Args:
        file: a file of one of these formats, at its beginning.
        size: its bytes.

    Raises:
        ValueError: a frame or more is missing of what the header promises; much more follows that is no chunk; or
            a header that cannot be read.
    """
    magic = file.read(4)
    found = _PLACES[magic](file)
    if found is None:
        return None  # no samples: libsndfile says what is wrong
    there, frame = size - found.start, min(max(1, found.frame), _LARGEST_FRAME)
    chunks = found.fields[0][1][0] + "4sI" if magic in (b"RIFF", b"RIFX", b"FORM") else None
    if found.promised == 0 and there > 0:
        if chunks and _are_chunks(file, found.start, size, chunks):
            return None
    elif not found.is_unknown(there):
        _check(file, found, size, frame, chunks)
        return None
    if chunks:
        outer = 8 + struct.unpack(chunks[0] + "I", _read(file, 4, 4))[0]
        if outer - size >= frame and outer < min(_MARKS) - _HEADER:
            raise ValueError(f"cut off, {outer - size} bytes are missing; fetch the file again")
        if magic == b"RIFF" and found.promised:
            return None  # libsndfile takes what there is
    file.seek(0)
    data = bytearray(file.read())
    length = max(0, there) // frame * frame
    for offset, form, more, by in found.fields:
        value = min(length // by + more, 2 ** (8 * struct.calcsize(form)) - 1)
        struct.pack_into(form, data, offset, value)
    return bytes(data)


def _check(file: BinaryIO, found: Samples, size: int, frame: int, chunks: str | None) -> None:
    """That the bytes that are promised are there, and that what follows them is not sound too."""
    more = size - found.start - found.promised
    if -more >= frame:
        raise ValueError(f"cut off, {-more} bytes are missing; fetch the file again")
    end = found.start + found.promised + found.promised % 2
    if more <= max(_TAIL, found.promised // 10) or not (chunks or found.last):
        return
    if not (chunks and _are_chunks(file, end, size, chunks)):
        raise ValueError(
            f"damaged: its header promises {found.promised} bytes of samples, and {more} more follow them that are no "
            "chunk; write the file again"
        )


def _is_mark(length: int) -> bool:
    return length >= _LARGEST or any(abs(mark - length) <= _HEADER for mark in _MARKS)


def _chunks(file: BinaryIO, start: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, begin, length) of the chunks from `start` on, whose header has the struct format `form`."""
    header = struct.Struct(form)
    while True:
        file.seek(start)
        head = file.read(header.size)
        if len(head) < header.size:
            return
        name, length = header.unpack(head)
        if name == b"\0\0\0\0":  # padding
            return
        start += len(head)
        yield name, start, length
        start += length + (length % 2 if form[1:] == "4sI" else 0)


def _are_chunks(file: BinaryIO, start: int, size: int, form: str) -> bool:
    """Whether what follows is chunks up to the end of the file, and no samples."""
    ends = [(name, begin + length) for name, begin, length in _chunks(file, start, form)]
    return bool(ends) and all(name.strip().isalnum() for name, _ in ends) and size - 1 <= ends[-1][1] <= size + 1


def _riff(file: BinaryIO) -> Samples | None:
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    frame, long = 1, None
    for name, begin, length in _chunks(file, 12, order + "4sI"):
        if name == b"ds64":
            long = (begin + 8, struct.unpack("<Q", _read(file, begin + 8, 8))[0])
        elif name == b"fmt ":
            frame = _frame(_read(file, begin, 16), order)
        elif name == b"data":
            if long is not None and length == 0xFFFFFFFF:
                return Samples(begin, long[1], frame, [(long[0], "<Q", 0, 1), (long[0] + 8, "<Q", 0, max(1, frame))])
            return Samples(begin, length, frame, [(begin - 4, order + "I", 0, 1), (4, order + "I", begin - 8, 1)])
    return None


def _frame(description: bytes, order: str) -> int:
    """Bytes of a frame by a chunk "fmt " of WAV; ValueError where they do not hold the samples of all channels."""
    coding, channels, _, _, frame, bits = struct.unpack(order + "HHIIHH", description)
    if coding in _PLAIN and frame < channels * -(-bits // 8):
        raise ValueError(_TOO_SMALL.format(frame, channels, bits))
    return frame


def _aiff(file: BinaryIO) -> Samples | None:
    frame, frames, fields = 1, 0, [(4, ">I", 0, 1)]
    for name, begin, length in _chunks(file, 12, ">4sI"):
        if name == b"COMM":
            channels, count, bits = struct.unpack(">HIH", _read(file, begin, 8))
            frame = channels * -(-bits // 8)
            frames = count if length < 22 or _read(file, begin + 18, 4) in _PLAIN_AIFC else 0
            fields.append((begin + 2, ">I", 0, max(1, frame)))
        elif name == b"SSND":
            fields[0] = (4, ">I", begin, 1)
            promised = max(0, length - 8)
            if frames and promised and max(frames * frame, promised) < min(_MARKS):
                _check_count(frames * frame, promised)
            return Samples(begin + 8, promised, frame, [*fields, (begin - 4, ">I", 8, 1)])
    return None


def _check_count(bytes_of_frames: int, promised: int) -> None:
    """That two chunks of an AIFF file agree in how many bytes of samples there are; a bit more may be padding."""
    if not -_LARGEST_FRAME <= promised - bytes_of_frames <= max(_TAIL, promised // 10):
        raise ValueError(
            f"damaged: its header promises {bytes_of_frames} bytes of samples in COMM and {promised} in SSND; fetch "
            "the file again"
        )


def _au(file: BinaryIO) -> Samples | None:
    file.seek(0)
    order = ">" if file.read(4) == b".snd" else "<"
    start, length, encoding, _, channels = struct.unpack(order + "5I", _read(file, 4, 20))
    return Samples(start, length, channels * _AU_BYTES.get(encoding, 1), [(8, order + "I", 0, 1)], last=True)


def _caf(file: BinaryIO) -> Samples | None:
    frame = 1
    for name, begin, length in _chunks(file, 8, ">4sQ"):
        if name == b"desc":
            coding, _, frame, _, channels, bits = struct.unpack(">4s5I", _read(file, begin + 8, 24))
            if coding == b"lpcm" and frame < channels * -(-bits // 8):
                raise ValueError(_TOO_SMALL.format(frame, channels, bits))
        elif name == b"data":  # a count of edits comes before the samples
            promised = length if length >= _LARGEST else max(0, length - 4)
            return Samples(begin + 4, promised, frame, [(begin - 8, ">Q", 4, 1)])
    return None


def _w64(file: BinaryIO) -> Samples | None:
    frame, start = 1, 40
    while True:
        file.seek(start)
        head = file.read(24)
        if len(head) < 24:
            return None
        name, length = head[:4], struct.unpack("<Q", head[16:])[0]
        if name == b"fmt ":
            frame = _frame(_read(file, start + 24, 16), "<")
        elif name == b"data":
            promised = length if length >= _LARGEST else max(0, length - 24)
            return Samples(start + 24, promised, frame, [(start + 16, "<Q", 24, 1), (16, "<Q", start + 24, 1)])
        if length < 24:
            return None
        start += -(-length // 8) * 8


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    data = file.read(count)
    if len(data) < count:
        raise ValueError("cut off within its header; fetch the file again")
    return data


_PLACES = {
    b"RIFF": _riff, b"RIFX": _riff, b"RF64": _riff, b"BW64": _riff,
    b"FORM": _aiff, b".snd": _au, b"dns.": _au, b"caff": _caf, b"riff": _w64,
}  # fmt: skip
MAGIC = tuple(_PLACES)
