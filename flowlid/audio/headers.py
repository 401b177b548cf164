"""Recordings by their headers: duration, rate and channels of a file, as lhotse's manifests have them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording
from lhotse.audio import AudioSource

from flowlid.audio import decoders, sphere
from flowlid.audio.opening import needs_ffmpeg, open_sound
from flowlid.kaldi.arks import command_output

MissingDecoder = decoders.MissingDecoder

_BLOCK = 2**20  # samples that are read at a time
_TAIL = 64  # samples at the end of a FLAC file that are decoded to see that they are there
# A float file's samples are in [-1, 1], with room above: decoders and mixing overshoot by some dB. No such room is
# 18 dB; 16-bit samples that were stored as they are reach 90 dB.
LARGEST = 8.0


def open_recording(path: str | Path, name: str, mono: bool = True) -> Recording:
    """The recording of an audio file; its length is true (see `open_sound`), and its last samples are there.

    Formats are told by their first bytes, not by suffix. Shorten-coded SPHERE, AAC, MP4 and WebM become recordings
    whose source is a command: `sph2pipe` or `ffmpeg`, whichever is installed. Cost per file: 0.1 ms for WAV,
    0.2 ms for FLAC, a millisecond per 5 s of MP3, 70 ms and more for what ffmpeg decodes; float files are read as a
    whole, to find their largest sample.

    Args:
        path: the file.
        name: id of the recording.
        mono: whether a file of several channels is an error.

    Raises:
        MissingDecoder: neither sph2pipe nor ffmpeg is installed, and the file needs one.
        ValueError: a file that is missing, empty, cut off, unreadable, not mono, or far beyond full scale.
    """
    path = Path(path)
    check_file(path)
    recording = _shorten(path, name) or _recording(path, name)
    if mono and recording.num_channels != 1:
        raise ValueError(f"{path}: {recording.num_channels} channels; write the wanted channel to a file of its own")
    if recording.num_samples < 1:
        raise ValueError(f"{path}: empty, not one sample")
    return recording


def check_file(path: str | Path, name: str = "") -> None:
    """Raise ValueError, beginning with `name`, for a file that is missing or empty, or has no name in UTF-8."""
    where, shown = f"{name}: " if name else "", str(path).encode(errors="backslashreplace").decode()
    if shown != str(path):  # no table could hold it
        raise ValueError(f"{where}{shown}: its name is not UTF-8; rename it (convmv -f latin1 -t utf8 does)")
    try:
        status = os.stat(path)
    except OSError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        hint = "write / between folders" if "\\" in os.path.basename(path) else "correct the path"
        looked = "" if os.path.isabs(path) else f" (looked for {os.path.abspath(path)})"
        raise ValueError(f"{where}no audio file {path}{looked}; {hint}")
    if not status.st_size:
        raise ValueError(f"{where}{path}: empty, not one byte; fetch the file again, or leave it out")


def blocks(recording: Recording) -> Iterator[np.ndarray]:
    """The samples of a recording in [-1, 1], as float32 blocks of shape (n, channels), to its true end.

    Raises:
        ValueError: a file that is cut off, unreadable, or far beyond full scale.
    """
    (source,) = recording.sources
    where = f"{recording.id}: {source.source}"
    data = source.source if source.type == "file" else command_output(source.source, recording.id, allow_pipes=True)
    with open_sound(data, where) as sound:
        left = sound.frames
        for block in sound.blocks(_BLOCK, frames=sound.frames, dtype="float32", always_2d=True):
            check_level(block, sound, where)
            left -= len(block)
            yield block
        if left:
            raise ValueError(f"{where}: cut off, {left} of {sound.frames} samples are missing; fetch the file again")


def check_level(samples: np.ndarray, sound: soundfile.SoundFile, where: str) -> None:
    """Raise ValueError for samples of a float file that are NaN or Inf, or more than 18 dB beyond full scale."""
    if sound.subtype not in ("FLOAT", "DOUBLE") or not samples.size:
        return
    peak = float(np.maximum(samples.max(), -samples.min()))
    if not np.isfinite(peak):
        raise ValueError(f"{where}: NaN or Inf among its samples; write the file again, or leave it out")
    if peak > LARGEST:
        raise ValueError(
            f"{where}: float samples up to {peak:g}, where full scale is 1; "
            "divide them by 32768 if they are 16-bit samples, or write the file as 16-bit PCM"
        )


def _shorten(path: Path, name: str) -> Recording | None:
    """The recording of a Shorten-coded SPHERE file whose header counts its samples; None for any other file."""
    with open(path, "rb") as file:
        if file.read(7) != b"NIST_1A":
            return None
        try:
            header = sphere.read_header(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if not sphere.is_shorten(header):
        return None
    channels, rate = int(header.get("channel_count", 1)), int(header["sample_rate"])
    command = decoders.shorten_command(path, str(header["sample_coding"]), channels)
    samples = sphere.sample_count(header)
    if samples is None:
        with open_sound(path, str(path)) as sound:
            samples = sound.frames
    source = AudioSource("command", list(range(channels)), command)
    return Recording(name, [source], rate, samples, samples / rate)


def _recording(path: Path, name: str) -> Recording:
    with open_sound(path, str(path)) as sound:
        rate, samples = sound.samplerate, sound.frames
        channels = list(range(sound.channels))
        if sound.format == "FLAC" or sound.subtype in ("FLOAT", "DOUBLE"):
            _check_samples(sound, path)
    kind = needs_ffmpeg(path)
    if kind is None:
        source = AudioSource("file", channels, str(path.absolute()))
    else:
        source = AudioSource("command", channels, decoders.ffmpeg_command(path, kind))
    return Recording(name, [source], rate, samples, samples / rate)


def _check_samples(sound: soundfile.SoundFile, path: Path) -> None:
    """That the end of a FLAC file can be decoded, and a float file's samples are of the right scale."""
    if sound.format == "FLAC":  # a cut one has a sound header
        try:
            sound.seek(max(0, sound.frames - _TAIL))
            left = min(_TAIL, sound.frames) - len(sound.read(_TAIL))
        except RuntimeError as error:
            raise ValueError(f"{path}: cut off, its end cannot be decoded ({error}); fetch the file again") from error
        if left:
            raise ValueError(f"{path}: cut off, its last samples are missing; fetch the file again")
        return
    for block in sound.blocks(_BLOCK, frames=sound.frames, dtype="float32", always_2d=True):
        check_level(block, sound, str(path))
