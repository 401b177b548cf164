"""Recordings opened by their headers: what lhotse reads by itself, and NIST SPHERE and AAC through decoders."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import soundfile
from lhotse import Recording
from lhotse.audio import AudioLoadingError, AudioSource, DurationMismatchError

_UNKNOWN = 0x7FFFF000  # bytes of samples from which on a RIFF header's length is taken for "unknown"
_AAC = (".m4a", ".aac", ".mp4")
_TAIL = 64  # samples at the end of a FLAC file that are decoded to see that they are there


class MissingDecoder(ValueError):
    """A coded file, and no program installed that decodes it."""


def open_recording(path: str | Path, name: str, mono: bool = True) -> Recording:
    """The recording of an audio file, from its header.

    NIST SPHERE and WAV may have any suffix. Shorten-coded SPHERE and AAC become recordings whose source is a
    command: `sph2pipe` or `ffmpeg`, whichever is installed.

    Args:
        path: the file.
        name: id of the recording.
        mono: whether a file of several channels is an error.

    Raises:
        MissingDecoder: neither sph2pipe nor ffmpeg is installed, and the file needs one.
        ValueError: a file that is missing, empty, cut off, unreadable or not mono.
    """
    path = Path(path)
    check_file(path)
    header = sphere_header(path)
    if header is not None:
        recording = _sphere(path, name, header)
    elif path.suffix.lower() in _AAC:
        recording = _aac(path, name)
    else:
        recording = _plain(path, name)
    if mono and recording.num_channels != 1:
        raise ValueError(f"{path}: {recording.num_channels} channels; write the wanted channel to a file of its own")
    if recording.num_samples < 1:
        raise ValueError(f"{path}: empty, not one sample")
    return recording


def check_file(path: str | Path, name: str = "") -> None:
    """Raise ValueError, beginning with `name`, for a file that is missing, empty, or a WAV file that was cut off."""
    where = f"{name}: " if name else ""
    if not os.path.isfile(path):
        hint = "write / between folders" if "\\" in os.path.basename(path) else "correct the path"
        raise ValueError(f"{where}no audio file {path}; {hint}")
    if not os.path.getsize(path):
        raise ValueError(f"{where}{path}: empty, not one byte; fetch the file again, or leave it out")
    missing = riff_bytes_missing(path)
    if missing:
        raise ValueError(f"{where}{path}: cut off, {missing} bytes are missing; fetch the file again")


def sphere_header(path: str | Path) -> dict[str, str | int | float] | None:
    """Fields of a NIST SPHERE header, and its size in bytes as `header_size`; None if the file is not SPHERE.

    Line 1 is NIST_1A, line 2 the header's size, then `name -type value` to `end_head`; -i is a whole number, -r
    a real one, -sN a string of N characters.

    Raises:
        ValueError: a header that breaks off or cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(8) != b"NIST_1A\n":
            return None
        try:
            size = int(file.read(8))
            lines = file.read(size - 16).decode("latin-1").splitlines()
            fields: dict[str, str | int | float] = {"header_size": size}
            for line in lines[: lines.index("end_head")]:
                field, kind, value = line.split(None, 2)
                fields[field] = int(value) if kind == "-i" else float(value) if kind == "-r" else value.strip()
        except ValueError as error:
            raise ValueError(f"{path}: its SPHERE header cannot be read ({error}); fetch the file again") from error
    return fields


def riff_bytes_missing(path: str | Path) -> int:
    """How many bytes of samples a RIFF (WAV) file lacks of what its header promises; 0 for any other file.

    libsndfile reads a cut WAV without complaint, as if it were whole and shorter.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                # files that were written as a stream have 0xFFFFFFFF, 0x7FFFF000 (sox) or 0 for "unknown"
                return max(0, length - (size - file.tell())) if length < _UNKNOWN else 0
            file.seek(length + length % 2, 1)
    return 0


def _sphere(path: Path, name: str, header: dict[str, str | int | float]) -> Recording:
    try:
        rate, samples = int(header["sample_rate"]), int(header["sample_count"])
        channels, width = int(header.get("channel_count", 1)), int(header.get("sample_n_bytes", 2))
    except KeyError as error:
        raise ValueError(f"{path}: its SPHERE header has no {error}; fetch the file again") from error
    coding = str(header.get("sample_coding", "pcm"))
    if "shorten" in coding:
        source = AudioSource(
            type="command", channels=list(range(channels)), source=_shorten_command(path, coding, channels)
        )
    else:
        missing = int(header["header_size"]) + samples * channels * width - path.stat().st_size
        if missing > 0:
            raise ValueError(f"{path}: cut off, {missing} bytes are missing; fetch the file again")
        source = AudioSource(type="file", channels=list(range(channels)), source=str(path.absolute()))
    return Recording(name, [source], rate, samples, samples / rate)


def _shorten_command(path: Path, coding: str, channels: int) -> str:
    place = shlex.quote(str(path.absolute()))
    if shutil.which("sph2pipe"):
        return f"sph2pipe -f wav -p {'-c 1 ' if channels == 1 else ''}{place}"
    if shutil.which("ffmpeg"):
        return f"ffmpeg -nostdin -v error -i {place} -f wav -c:a pcm_s16le -"
    raise MissingDecoder(f"{path}: SPHERE coded as {coding}; install sph2pipe or ffmpeg to decode it")


def _aac(path: Path, name: str) -> Recording:
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        raise MissingDecoder(f"{path}: AAC; install ffmpeg (with ffprobe) to decode it, or convert it to WAV or FLAC")
    entries = ["-select_streams", "a:0", "-show_entries", "stream=sample_rate,channels,duration", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "error", *entries, str(path.absolute())], capture_output=True, check=False)
    try:
        stream = json.loads(done.stdout)["streams"][0]
        rate, duration = int(stream["sample_rate"]), float(stream["duration"])
    except (ValueError, LookupError, TypeError):
        reason = re.sub(rb"\s+", b" ", done.stderr).decode("utf-8", "replace").strip() or "no sound in it"
        raise ValueError(f"{path}: not readable as AAC ({reason}); fetch the file again") from None
    place = shlex.quote(str(path.absolute()))
    command = f"ffmpeg -nostdin -v error -i {place} -f wav -c:a pcm_s16le -"
    source = AudioSource(type="command", channels=list(range(int(stream["channels"]))), source=command)
    samples = round(duration * rate)
    return Recording(name, [source], rate, samples, samples / rate)


def _plain(path: Path, name: str) -> Recording:
    try:
        recording = Recording.from_file(path.absolute(), recording_id=name)
        if path.suffix.lower() == ".flac":  # a cut one has a sound header, but its end cannot be decoded
            with soundfile.SoundFile(path) as file:
                file.seek(max(0, recording.num_samples - _TAIL))
                if len(file.read(_TAIL)) < min(_TAIL, recording.num_samples):
                    raise ValueError(f"{path}: cut off, its last samples are missing; fetch the file again")
    except (AudioLoadingError, DurationMismatchError, OSError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{path}: not readable as audio ({reason_of(error)}); convert or remove it") from error
    return recording


def reason_of(error: Exception) -> str:
    """The line of an error that tells why; lhotse lists what each of its backends says, libsndfile first."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if line.startswith("Exception #0")), lines[0]).rpartition(">: ")[2]
