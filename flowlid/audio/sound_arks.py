"""Sounds in Kaldi archives: "x.ark:123" in wav.scp, as Kaldi's wav-copy, ESPnet and kaldiio write them.

kaldiio reads such an entry too, but of WAV only 8 and 16 bits, and of a cut one what is there; so only its layout
is followed here. Its pickles and numpy files are no sound, and are not read.
"""

import os
import re
from typing import BinaryIO

_ENTRY = re.compile(r"(.+):(\d+)")  # PATH:OFFSET


def entry(specifier: str) -> tuple[str, int] | None:
    """Path and offset of "PATH:OFFSET"; None for a path, also one that ends in a colon and digits."""
    match = _ENTRY.fullmatch(specifier.strip())
    return None if match is None or os.path.isfile(specifier) else (match[1], int(match[2]))


def read_entry(path: str, offset: int) -> bytes:
    """The sound file that begins at a byte of an archive: RIFF or FLAC as it is, or kaldiio's "AUDIO", length, file.

    Raises:
        ValueError: no sound there, or one that the archive's end cuts off.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        magic = file.read(5)
        if magic == b"AUDIO":
            length = int.from_bytes(file.read(file.read(1)[0] if file.tell() < size else 0), "little")
        elif magic[:4] == b"RIFF":
            file.seek(offset)
            length = _riff_length(file)
        elif magic[:4] == b"fLaC":
            file.seek(offset)
            length = size - offset  # a decoder knows where it ends
        else:
            raise ValueError(f"no WAV or FLAC at byte {offset} of the archive; correct wav.scp")
        data = file.read(length)
    if len(data) < length:
        raise ValueError(f"cut off, {length - len(data)} bytes are missing in the archive; fetch it again")
    return data


def _riff_length(file: BinaryIO) -> int:
    start = file.tell()
    length = 8 + int.from_bytes(file.read(8)[4:], "little")
    file.seek(start)
    return length
