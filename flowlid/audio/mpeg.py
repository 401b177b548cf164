"""MPEG audio: the frames of an MP3 or ADTS AAC file, counted by their headers.

An MP3 file says how many frames it has in a first frame of its own ("Xing" or "Info"), or not at all: then
libsndfile estimates, and reads no further than that. Of files that were joined it knows the first part alone.
"""

from dataclasses import dataclass, field
from typing import BinaryIO

_KBPS = {  # by (MPEG 1, layer), index 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_BIT_RATE = 9  # index of a bit rate whose frames hold a tag
_TAGS = (b"ID3", b"TAG", b"APE", b"LYR", b"3DI")  # how tags of ID3, APE and Lyrics begin
_ADTS, _ADTS_KIND = 7, b"\xff\xfe\xfd\xc0"  # bytes of an ADTS header; of them, what all frames of a file share
_DECODER_DELAY = 529  # samples, of layer 3


@dataclass(frozen=True)
class _Frame:
    """What the header of an MP3 frame says; frames of one recording have one `kind`."""

    kind: tuple[int, int, int, bool]  # version, layer, rate in Hz, mono
    length: int  # bytes


@dataclass
class _Frames:
    """The frames of a file: `audio` as (begin, end), and those that hold only a tag."""

    kind: tuple[int, int, int, bool]
    audio: list[tuple[int, int]] = field(default_factory=list)
    tags: list[tuple[int, int]] = field(default_factory=list)
    whole: bool = True  # nothing between the frames
    missing: int = 0  # bytes of the last frame


def is_adts(head: bytes) -> bool:
    """Whether a frame of ADTS AAC begins with these bytes."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


def layer(head: bytes) -> int | None:
    """Layer (3 for MP3) of the MPEG audio frame that begins with these bytes; None if none does."""
    frame = _parse(head[:4])
    return frame and frame.kind[1]


def mended(file: BinaryIO, size: int) -> bytes | None:
    """The file's sound with the number of its frames before it; None if it says so itself, so libsndfile reads it.

    All frame headers are read: a millisecond per 5 s of sound. Frames that hold only a tag are no sound.

    Raises:
        ValueError: fewer frames than the file promises, a last frame that breaks off, or frames of another rate.
    """
    data = file.read()
    found = _scan(data)
    if not found.audio:
        raise ValueError("no frame of MP3 in it; fetch the file again")
    promised = _promised(data, found)
    count = len(found.audio)
    if promised is not None and count < promised - _spare(data, found):
        raise ValueError(f"cut off, {promised - count} of {promised} frames are missing; fetch the file again")
    _check_last(found)
    if promised == count and found.whole and len(found.tags) == 1 and found.audio[-1][1] == len(data):
        if _promised_bytes(data, found) == len(data) - found.tags[0][0]:
            return None
    sound = b"".join(data[begin:end] for begin, end in found.audio)
    return _tag(data, found, len(sound)) + sound


def _spare(data: bytes, found: _Frames) -> int:
    """Frames that may be missing: some encoders count the tag's frame. But a disk may have left zeros for the last."""
    rest = data[found.audio[-1][1] :]
    return int(found.whole and (not rest or rest.strip(b"\0") != b""))


def check_layers(file: BinaryIO) -> None:
    """Raise ValueError for a file of layer 1 or 2 whose last frame breaks off."""
    _check_last(_scan(file.read()))


def check_adts(file: BinaryIO, size: int) -> None:
    """Raise ValueError for an ADTS AAC file whose last frame breaks off, or whose frames do not follow one another.

    A decoder looks for the next frame where there is none, and says nothing of what it passed over.
    """
    place, kind = file.tell(), b""
    while place < size:
        file.seek(place)
        head = file.read(_ADTS)
        if head[:3] in _TAGS:
            return
        if len(head) == _ADTS:
            own = bytes(byte & mask for byte, mask in zip(head, _ADTS_KIND, strict=False))
            kind = kind or own
            if not is_adts(head) or own != kind:
                file.seek(place)
                if not file.read().strip(b"\0"):
                    return
                raise ValueError(f"damaged: no frame of its AAC at byte {place}; fetch the file again")
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if len(head) == _ADTS else 0
        place += max(length, _ADTS)
    if place > size:
        raise ValueError(f"cut off, {place - size} bytes of its last frame are missing; fetch the file again")


def _check_last(found: _Frames) -> None:
    if found.missing:
        raise ValueError(f"cut off, {found.missing} bytes of its last frame are missing; fetch the file again")


def id3_length(head: bytes) -> int:
    """Bytes of an ID3 tag that begins with `head` (10 bytes); 0 for anything else."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + length + (10 if head[5] & 0x10 else 0)


def _parse(head: bytes) -> _Frame | None:
    """The frame that begins with these 4 bytes; None if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    bits = 1000 * _KBPS[version == 3, layer][index - 1]
    padding = head[2] >> 1 & 1
    if layer == 1:
        length = (12 * bits // hertz + padding) * 4
    else:
        length = (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding
    return _Frame((version, layer, hertz, head[3] >> 6 == 3), length)


def _scan(data: bytes) -> _Frames:
    place, parsed = _first(data), {}
    found = _Frames(_parse(data[place : place + 4]).kind, whole=place == 0)
    while place < len(data):
        head = data[place : place + 4]
        frame = parsed[head] if head in parsed else parsed.setdefault(head, _parse(head))
        if frame is not None and frame.kind == found.kind:
            end = place + frame.length
            if end > len(data):
                found.missing = end - len(data)
                break
            (found.tags if _is_tag(data, place) else found.audio).append((place, end))
            place = end
            continue
        if frame is not None and _follows(data, place + frame.length, frame.kind):
            _, _, hertz, mono = frame.kind
            channels = "one channel" if mono else "two channels"
            raise ValueError(f"changes at byte {place} to {hertz} Hz and {channels}; split it there")
        length = id3_length(data[place : place + 10]) or _junk(data, place, found.kind)
        if data[place : place + 3] not in _TAGS and data[place : place + length].strip(b"\0"):
            raise ValueError(f"damaged: no frame of MPEG audio at byte {place}; fetch the file again")
        place += length
        found.whole = found.whole and place >= len(data)
    return found


def _first(data: bytes) -> int:
    """Where the first frame is that another one follows."""
    place = -1
    while (place := data.find(b"\xff", place + 1)) >= 0:
        frame = _parse(data[place : place + 4])
        if frame is not None and _follows(data, place + frame.length, frame.kind):
            return place
    raise ValueError("no two frames of MPEG audio in it; fetch the file again")


def _junk(data: bytes, place: int, kind: tuple[int, int, int, bool]) -> int:
    """Bytes from `place` on up to the next frame of a kind that another one follows, or to the end."""
    begin = place
    while (place := data.find(b"\xff", place + 1)) >= 0:
        frame = _parse(data[place : place + 4])
        if frame is not None and frame.kind == kind and _follows(data, place + frame.length, kind):
            return place - begin
    return len(data) - begin


def _follows(data: bytes, place: int, kind: tuple[int, int, int, bool]) -> bool:
    after = _parse(data[place : place + 4])
    return place == len(data) or (after is not None and after.kind == kind)


def _side(version: int, mono: bool) -> int:
    """Bytes from a frame's begin to where a Xing tag would be."""
    return 4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17))


def _is_tag(data: bytes, place: int) -> bool:
    """Whether a frame holds the tag of an encoder, and no sound."""
    mono = data[place + 3] >> 6 == 3
    at = place + _side(data[place + 1] >> 3 & 3, mono)
    return data[at : at + 4] in (b"Xing", b"Info") or data[place + 36 : place + 40] == b"VBRI"


def _promised(data: bytes, found: _Frames) -> int | None:
    """Frames of sound that the first tag promises; None if there is no tag before the sound, or none in it."""
    if not found.tags or (found.audio and found.audio[0] < found.tags[0]):
        return None
    begin = found.tags[0][0]
    if data[begin + 36 : begin + 40] == b"VBRI":
        return int.from_bytes(data[begin + 50 : begin + 54], "big") or None
    at = begin + _side(found.kind[0], found.kind[3])
    if not data[at + 7] & 1:
        return None
    return int.from_bytes(data[at + 8 : at + 12], "big") or None


def _promised_bytes(data: bytes, found: _Frames) -> int:
    """Bytes from a first tag on that it promises; all there are, if it promises none."""
    begin = found.tags[0][0]
    at = begin + _side(found.kind[0], found.kind[3])
    return int.from_bytes(data[at + 12 : at + 16], "big") if data[at + 7] & 3 == 3 else len(data) - begin


def _tag(data: bytes, found: _Frames, length: int) -> bytes:
    """What makes a decoder read all frames of sound, of `length` bytes: a frame that says how many there are.

    The file's own one is taken, with the encoder's delay, where it has one. Otherwise the decoder would take
    off its own delay of 529 samples, which it does not where nothing is known: a silent frame makes up for that.
    """
    version, _, _, mono = found.kind
    at, count = _side(version, mono), len(found.audio)
    if _promised(data, found) is not None and data[found.tags[0][0] + 36 :][:4] != b"VBRI":
        frame, silent = bytearray(data[slice(*found.tags[0])]), b""
        delay = at + 12 + sum(size for bit, size in ((2, 4), (4, 100), (8, 4)) if frame[at + 7] & bit) + 21
        if frame[at + 7] & 2:
            frame[at + 12 : at + 16] = (len(frame) + length).to_bytes(4, "big")
        if len(frame) >= delay + 3:  # 12 bits of delay, 12 of padding: what comes last may be another part's
            frame[delay + 1 : delay + 3] = bytes((frame[delay + 1] & 0xF0, 0))
    else:
        head = bytearray(data[found.audio[0][0] : found.audio[0][0] + 4])
        head[1], head[2] = head[1] | 1, _BIT_RATE << 4 | head[2] & 0x0C
        silent = bytes(head) + bytes(_parse(bytes(head)).length - 4)
        frame = bytearray(silent)
        delay = (1152 if version == 3 else 576) - _DECODER_DELAY
        frame[at : at + 8] = b"Info\0\0\0\1"
        frame[at + 12 : at + 36] = b"LAME3.100".ljust(21, b"\0") + (delay << 12).to_bytes(3, "big")
        count += 1
    frame[at + 8 : at + 12] = count.to_bytes(4, "big")
    return bytes(frame) + silent
