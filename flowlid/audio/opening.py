"""Sound files of any container opened so that their length is true, or an error that says what is wrong with them."""

import io
import os
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import soundfile

from flowlid.audio import decoders, flac, mpeg, ogg, pcm, sphere

Source = str | Path | bytes

_MENDED = {b"fLaC": flac.mended, b"OggS": ogg.mended, b"NIST": sphere.mended, **dict.fromkeys(pcm.MAGIC, pcm.mended)}
_EXTERNAL = {b"\x1a\x45\xdf\xa3": "WebM", b"\x30\x26\xb2\x75": "WMA", b"#!AM": "AMR"}
_DENSEST = 8192  # samples per byte; FLAC holds up to 65535 zeros in 12 bytes
_AAC = (".m4a", ".aac", ".mp4")


class _Memory(io.BytesIO):
    """Bytes in which libsndfile may seek to where a damaged header points to, without Python's printing an error."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def open_sound(source: Source, where: str) -> soundfile.SoundFile:
    """A file, or the bytes of one, opened by libsndfile; its `frames` are the true number of samples per channel.

    A length is believed where the container gives the exact one and all its bytes are there: WAV, AIFF, AU, CAF, W64
    and SPHERE by their bytes of samples, FLAC by its header, Ogg by its last page, MP3 by its first frame if it
    counts the frames that follow. Nothing of these is decoded. Where the length is missing, an estimate or that
    of a part, libsndfile is given a copy in memory that has the right one. AAC, MP4, WebM and Shorten are decoded
    by programs, to the end.

    Args:
        source: its path, or its bytes.
        where: what errors begin with.

    Raises:
        MissingDecoder: a program is needed that is not installed.
        ValueError: a file that is cut off, damaged or no sound.
    """
    try:
        if isinstance(source, bytes):
            size, data = len(source), _mended(io.BytesIO(source), len(source), source)
        else:
            status = os.stat(source)
            size, data = status.st_size, _mended_file(str(source), status.st_size, status.st_mtime_ns)
        found = source if data is None else data
        sound = soundfile.SoundFile(_Memory(found) if isinstance(found, bytes) else found)
        if sound.frames > _DENSEST * max(size, len(data or b"")):
            raise ValueError(f"damaged: its header promises {sound.frames} samples in {size} bytes; fetch it again")
        return sound
    except decoders.MissingDecoder:
        raise
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    except (RuntimeError, OSError, OverflowError, TypeError) as error:  # TypeError: .raw has no header with its rate
        raise ValueError(f"{where}: not readable as audio ({reason_of(error)}); convert or remove it") from error


def needs_ffmpeg(path: str | Path) -> str | None:
    """The kind of a file that is decoded by ffmpeg; None for one that is not."""
    with open(path, "rb") as file:
        start = _after_id3(file)
        return _external(file, start, path)


def reason_of(error: Exception) -> str:
    """What libsndfile says is wrong, without the path."""
    return str(error).strip().rpartition(": ")[2] or type(error).__name__


@lru_cache(maxsize=1)  # segments of one recording follow one another
def _mended_file(path: str, size: int, modified: int) -> bytes | None:
    with open(path, "rb") as file:
        return _mended(file, size, path)


def _mended(file: BinaryIO, size: int, source: Source) -> bytes | None:
    """What libsndfile has to read instead of the file, if that is not the file itself."""
    magic, start = file.read(4), 0
    if magic[:3] == b"ID3":
        start = _after_id3(file)
        magic = file.read(4)
        file.seek(start)
    if magic in _MENDED:
        if start:  # libsndfile would count it
            rest = file.read()
            return _MENDED[magic](io.BytesIO(rest), len(rest)) or rest
        if magic == b"NIST" and sphere.is_shorten(header := sphere.read_header(file)):
            return _decode_shorten(source, header)
        file.seek(0)
        return _MENDED[magic](file, size)
    kind = _external(file, start, source)
    if kind is not None:
        file.seek(start)
        if mpeg.is_adts(magic):
            mpeg.check_adts(file, size)
        elif mpeg.layer(magic):
            mpeg.check_layers(file)
        with nullcontext(source) if not isinstance(source, bytes) else decoders.as_file(source) as path:
            return decoders.decode(decoders.ffmpeg_command(path, kind), kind)
    file.seek(start)
    if mpeg.layer(magic) != 3 and not (isinstance(source, str) and source.lower().endswith(".mp3")):
        with soundfile.SoundFile(_Memory(source) if isinstance(source, bytes) else source) as sound:
            if sound.format != "MP3":  # it may begin with something else
                return None
    return mpeg.mended(file, size)


def _after_id3(file: BinaryIO) -> int:
    """Where the file goes on after the ID3 tags that it begins with; it is left there."""
    start = 0
    while True:
        file.seek(start)
        length = mpeg.id3_length(file.read(10))
        if not length:
            return file.seek(start)
        start += length


def _external(file: BinaryIO, start: int, source: Source) -> str | None:
    """The kind of a file whose samples only ffmpeg gives, by its first bytes; by its suffix for AAC."""
    file.seek(start)
    head = file.read(12)
    if head[4:8] == b"ftyp":
        return "MP4"
    if mpeg.is_adts(head) or (not isinstance(source, bytes) and str(source).lower().endswith(_AAC)):
        return "AAC"
    if mpeg.layer(head) in (1, 2):
        return "MPEG audio of layers 1 and 2"
    return _EXTERNAL.get(head[:4])


def _decode_shorten(source: Source, header: sphere.Header) -> bytes:
    coding, channels = str(header["sample_coding"]), int(header.get("channel_count", 1))
    with nullcontext(source) if not isinstance(source, bytes) else decoders.as_file(source) as path:
        data = decoders.decode(decoders.shorten_command(path, coding, channels), "Shorten")
    data = pcm.mended(io.BytesIO(data), len(data)) or data
    promised = sphere.sample_count(header)
    if promised is not None:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            if sound.frames < promised:
                raise ValueError(f"cut off, {promised - sound.frames} samples are missing; fetch the file again")
    return data
