"""Samples of an utterance, read through lhotse, with every way in which a file can be bad named."""

from pathlib import Path

import numpy as np
from lhotse import Recording
from lhotse.audio import AudioLoadingError, DurationMismatchError

from flowlid.datadir import command_output, is_pipe
from flowlid.recordings import reason_of, riff_bytes_missing

_OVERSHOOT = 0.5  # seconds that a segment may end after its recording, as in Kaldi's extract-segments


def read_audio(
    specifier: str,
    name: str,
    sampling_rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = False,
    downsample: bool = False,
    upsample: bool = False,
) -> tuple[np.ndarray, int]:
    """Samples of one channel in [-1, 1], float32 of shape (n,), and the rate in Hz that they were recorded at.

    Args:
        specifier: a path, or "command |" whose output is an audio file, as in wav.scp.
        name: what errors call it: "data/x/wav.scp: utterance u1".
        sampling_rate: of the samples, in Hz.
        start, end: part of the recording in seconds, as in segments; end None is the file's end.
        allow_pipes: whether a command may be run.
        downsample, upsample: whether a file of a higher or of a lower rate is resampled, by lhotse.

    Raises:
        ValueError: a command that may not run or that fails; a file that is missing, empty, cut off,
            unreadable, of a sampling rate that may not be changed or with several channels; a segment past its end.
    """
    try:
        recording = _open(specifier, name, allow_pipes)
        rate = recording.sampling_rate
        if rate != sampling_rate and not (downsample if rate > sampling_rate else upsample):
            option = "--allow-downsample" if rate > sampling_rate else "--allow-upsample"
            raise ValueError(
                f"{name}: {specifier}: sampled at {rate} Hz, but conf/fbank.conf says {sampling_rate}; "
                f"resample the file, or change --sample-frequency, or set {option}=true there"
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
        if rate != sampling_rate:
            recording = recording.resample(sampling_rate)
        return recording.load_audio(offset=start, duration=duration)[0], rate
    except (AudioLoadingError, DurationMismatchError, OSError, RuntimeError) as error:
        reason = reason_of(error)
        raise ValueError(f"{name}: {specifier}: not readable as audio ({reason}); convert or remove it") from error


def _open(specifier: str, name: str, allow_pipes: bool) -> Recording:
    if not is_pipe(specifier):
        if not Path(specifier).is_file():
            raise ValueError(f"{name}: no audio file {specifier}; mend the path, or run stage 0 and 1 again")
        if not Path(specifier).stat().st_size:
            raise ValueError(f"{name}: {specifier}: empty, not one byte; leave it out of the data directory")
        missing = riff_bytes_missing(specifier)
        if missing:
            raise ValueError(f"{name}: {specifier}: cut off, {missing} bytes are missing; fetch the file again")
        if not specifier.lower().endswith(".sph"):  # lhotse hands these to sph2pipe, libsndfile reads the plain ones
            return Recording.from_file(specifier, recording_id=name)
        return Recording.from_bytes(Path(specifier).read_bytes(), recording_id=name)
    return Recording.from_bytes(command_output(specifier, name, allow_pipes), recording_id=name)
