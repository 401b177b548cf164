"""FLAC whose header does not say how many samples follow, as written into a pipe: counted by its last frame."""

import re
from typing import BinaryIO

_LARGEST = 2**36 - 1  # the most that the field for samples holds: written for "unknown" as 0 is
_BLOCKS = {1: 192, **{code: 576 << (code - 2) for code in range(2, 6)}, **{c: 256 << (c - 8) for c in range(8, 16)}}
_RATES = dict(enumerate((88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000), 1))  # Hz
_HEADER = 16  # bytes of a frame's header, at most
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_OVERHEAD = 1024  # bytes of a frame beside its samples, at most
_TAG = 128  # bytes of an ID3 tag at the end


def _table(polynomial: int, bits: int) -> list[int]:
    table, top, mask = [], 1 << (bits - 1), (1 << bits) - 1
    for value in range(256):
        crc = value << (bits - 8)
        for _ in range(8):
            crc = ((crc << 1) ^ polynomial if crc & top else crc << 1) & mask
        table.append(crc)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def mended(file: BinaryIO, size: int) -> bytes | None:
    """The whole file with the number of its samples in its header, if that is unknown; else None.

    Raises:
        ValueError: the file does not end with a whole frame, so it was cut off; or it ends after more samples than
            its header says, or its frames are of another rate.
    """
    head = file.read(42)
    if len(head) < 42 or head[4] & 0x7F != 0:
        return None  # libsndfile says what is wrong
    total = int.from_bytes(head[21:26], "big") & _LARGEST
    smallest, largest = int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")
    _check_rate(file, int.from_bytes(head[18:21], "big") >> 4)
    channels, bits = (head[20] >> 1 & 7) + 1, ((head[20] & 1) << 4 | head[21] >> 4) + 1
    longest = _OVERHEAD + largest * channels * (bits // 8 + 2)
    file.seek(max(len(head), size - longest))
    tail = file.read()
    if 0 < total < _LARGEST:
        more = _samples(tail, smallest, total)
        if more is not None:
            raise ValueError(f"damaged: its header promises {total} samples, it has {more}; fetch the file again")
        return None  # whether they are all there is seen when its end is decoded
    samples = _samples(tail, smallest)
    if samples is None:
        raise ValueError("cut off, its last frame is not whole; fetch the file again")
    file.seek(0)
    data = bytearray(file.read())
    data[21:26] = (int.from_bytes(data[21:26], "big") & ~_LARGEST | samples).to_bytes(5, "big")
    return bytes(data)


def _check_rate(file: BinaryIO, rate: int) -> None:
    """Raise ValueError if the first frame, which is behind the blocks of metadata, is of another rate."""
    place, last = 4, False
    while not last:
        file.seek(place)
        head = file.read(4)
        if len(head) < 4:
            return
        last = bool(head[0] & 0x80)
        place += 4 + int.from_bytes(head[1:], "big")
    file.seek(place)
    frame = file.read(_HEADER)
    if _SYNC.match(frame) and _frame_header(frame, 0, 0) and _RATES.get(frame[2] & 15, rate) != rate:
        raise ValueError(
            f"damaged: its header says {rate} Hz, its frames {_RATES[frame[2] & 15]}; fetch the file again"
        )


def _samples(data: bytes, block: int, beyond: int = 0) -> int | None:
    """Samples of a file up to the end of its last frame, if they are more than `beyond`; None if it is not whole.

    Args:
        data: the end of the file, as many bytes as its largest frame or more.
        block: the size of all blocks but the last, where it is fixed.
        beyond: a number of samples; frames up to there are not looked at closely.
    """
    if data[-_TAG : 3 - _TAG] == b"TAG":
        data = data[:-_TAG]
    for match in reversed(list(_SYNC.finditer(data))):
        header = _frame_header(data, match.start(), block)
        if header is not None and sum(header) > beyond and not _crc16(data, match.start()):
            return sum(header)
    return None


def _frame_header(data: bytes, begin: int, block: int) -> tuple[int, int] | None:
    """(samples before a frame, samples in it); None for bytes that are no header of a frame."""
    if len(data) < begin + _HEADER:
        return None
    code, rate, place = data[begin + 2] >> 4, data[begin + 2] & 15, begin + 4
    ones = 8 - (data[place] ^ 0xFF).bit_length()  # a number coded as UTF-8 codes characters
    if ones in (1, 8):
        return None
    number = data[place] & (0xFF >> (ones + 1))
    for byte in data[place + 1 : place + max(1, ones)]:
        number = number << 6 | byte & 0x3F
    place += max(1, ones)
    wide = {6: 1, 7: 2}.get(code, 0)
    length = int.from_bytes(data[place : place + wide], "big") + 1 if wide else _BLOCKS.get(code, 0)
    place += wide + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    crc = 0
    for byte in data[begin:place]:
        crc = _CRC8[crc ^ byte]
    if not length or crc != data[place]:
        return None
    return (number if data[begin + 1] & 1 else number * block), length


def _crc16(data: bytes, begin: int) -> int:
    """Check sum of the bytes from `begin` to the end: 0 for a whole frame."""
    crc = 0
    for byte in memoryview(data)[begin:]:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc
