"""Samples of an utterance, read through lhotse, with every way in which a file can be bad named."""

from pathlib import Path

import numpy as np
from lhotse import Recording
from lhotse.audio import AudioLoadingError, DurationMismatchError

from flowlid.datadir import command_output, is_pipe

_UNKNOWN = 0x7FFFF000  # bytes of samples from which on a RIFF header's length is taken for "unknown"

_OVERSHOOT = 0.5  # seconds that a segment may end after its recording, as in Kaldi's extract-segments


def read_audio(
    specifier: str,
    name: str,
    sampling_rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = False,
) -> np.ndarray:
    """Samples of one channel in [-1, 1], float32 of shape (n,).

    Args:
        specifier: a path, or "command |" whose output is an audio file, as in wav.scp.
        name: what errors call it: "data/x/wav.scp: utterance u1".
        sampling_rate: what the file must have, in Hz.
        start, end: part of the recording in seconds, as in segments; end None is the file's end.
        allow_pipes: whether a command may be run.

    Raises:
        ValueError: a command that may not run or that fails; a file that is missing, empty, cut off,
            unreadable, of another sampling rate or with several channels; a segment past its end.
    """
    try:
        recording = _open(specifier, name, allow_pipes)
        if recording.sampling_rate != sampling_rate:
            raise ValueError(
                f"{name}: {specifier}: sampled at {recording.sampling_rate} Hz, but conf/fbank.conf says "
                f"{sampling_rate}; resample the file, or change --sample-frequency"
            )
        if recording.num_channels != 1:
            raise ValueError(
                f"{name}: {specifier}: {recording.num_channels} channels; write the wanted channel to a file of its own"
            )
        if recording.num_samples == 0:
            raise ValueError(f"{name}: {specifier}: empty, not one sample; leave it out of the data directory")
        if start >= recording.duration or (end is not None and end > recording.duration + _OVERSHOOT):
            raise ValueError(
                f"{name}: its segment is {start} to {end} s, but {specifier} ends at {recording.duration} s; "
                "mend segments"
            )
        duration = None if end is None else min(end, recording.duration) - start
        return recording.load_audio(offset=start, duration=duration)[0]
    except (AudioLoadingError, DurationMismatchError, OSError, RuntimeError) as error:
        reason = _reason(error)
        raise ValueError(f"{name}: {specifier}: not readable as audio ({reason}); convert or remove it") from error


def riff_bytes_missing(path: str | Path) -> int:
    """How many bytes of samples a RIFF (WAV) file lacks of what its header promises; 0 for any other file.

    libsndfile reads a cut WAV without a word, as if it were whole and shorter.
    """
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
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


def _reason(error: Exception) -> str:
    """The line of an error that tells why; lhotse lists what each of its backends says, libsndfile first."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if line.startswith("Exception #0")), lines[0]).rpartition(">: ")[2]


def _open(specifier: str, name: str, allow_pipes: bool) -> Recording:
    if not is_pipe(specifier):
        if not Path(specifier).is_file():
            raise ValueError(f"{name}: no audio file {specifier}; mend the path, or run stage 0 and 1 again")
        if not Path(specifier).stat().st_size:
            raise ValueError(f"{name}: {specifier}: empty, not one byte; leave it out of the data directory")
        missing = riff_bytes_missing(specifier)
        if missing:
            raise ValueError(f"{name}: {specifier}: cut off, {missing} bytes are missing; fetch the file again")
        return Recording.from_file(specifier, recording_id=name)
    return Recording.from_bytes(command_output(specifier, name, allow_pipes), recording_id=name)
