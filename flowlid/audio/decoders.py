"""Programs that decode what libsndfile cannot: `ffmpeg` (AAC, MP4, WebM, ...), `sph2pipe` (Shorten-coded SPHERE)."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MissingDecoder(ValueError):
    """A coded file, and no program installed that decodes it."""


def ffmpeg_command(path: str | Path, kind: str) -> str:
    """The command that writes a file's sound as a WAV file of 16 bits, and fails where the file is damaged."""
    if not shutil.which("ffmpeg"):
        raise MissingDecoder(f"{path}: {kind}; install ffmpeg to decode it, or convert it to WAV or FLAC")
    return f"ffmpeg -nostdin -xerror -v error -i {_place(path)} -vn -f wav -c:a pcm_s16le -"


def shorten_command(path: str | Path, coding: str, channels: int) -> str:
    """The command that writes a Shorten-coded SPHERE file as a WAV file."""
    if shutil.which("sph2pipe"):
        return f"sph2pipe -f wav -p {'-c 1 ' if channels == 1 else ''}{_place(path)}"
    if shutil.which("ffmpeg"):
        return f"ffmpeg -nostdin -xerror -v error -i {_place(path)} -f wav -c:a pcm_s16le -"
    raise MissingDecoder(f"{path}: SPHERE coded as {coding}; install sph2pipe or ffmpeg to decode it")


def decode(command: str, kind: str) -> bytes:
    """The WAV file that one of these commands writes.

    ffmpeg decodes what it can of a cut file and ends well: whatever it says is taken for damage.

    Raises:
        ValueError: the decoder failed or complained.
    """
    done = subprocess.run(shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0 or done.stderr or not done.stdout:
        reason = re.sub(rb"\s+", b" ", done.stderr).decode("utf-8", "replace").strip() or "no sound in it"
        raise ValueError(f"cut off or damaged: not readable as {kind} ({reason}); fetch the file again")
    return done.stdout


@contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """A path with these bytes, for decoders that must be able to seek."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.name


def _place(path: str | Path) -> str:
    return shlex.quote(os.path.abspath(path))
