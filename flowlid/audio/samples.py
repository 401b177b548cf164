"""Samples of an utterance, with every way in which a file can be bad named.

What libsndfile reads directly (WAV, FLAC, plain SPHERE, ...) is opened once and read by it. Files of another
rate are resampled by lhotse, and those that libsndfile does not read go through lhotse's other decoders.
"""

import io

import numpy as np
import soundfile
from lhotse import Recording
from lhotse.audio import AudioLoadingError, DurationMismatchError
from lhotse.utils import compute_num_samples

from flowlid.audio.headers import check_file, reason_of
from flowlid.kaldi.arks import command_output, is_pipe

_STEP = np.float32(2**-15)  # of 16-bit samples
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
    data = command_output(specifier, name, allow_pipes) if is_pipe(specifier) else None
    if data is None:
        check_file(specifier, name)
    try:
        samples = _read_directly(specifier if data is None else io.BytesIO(data), sampling_rate, start, end)
        if samples is not None:
            return samples, sampling_rate
        recording = _open(specifier, name, data)
        rate = recording.sampling_rate
        _check_header(recording, f"{name}: {specifier}", sampling_rate, downsample, upsample)
        if start >= recording.duration or (end is not None and end > recording.duration + _OVERSHOOT):
            raise ValueError(
                f"{name}: its segment is {start} to {end} s, but {specifier} ends at {recording.duration} s; "
                "correct segments"
            )
        duration = None if end is None else min(end, recording.duration) - start
        if rate != sampling_rate:
            recording = recording.resample(sampling_rate)
        return recording.load_audio(offset=start, duration=duration)[0], rate
    except (AudioLoadingError, DurationMismatchError, OSError, RuntimeError) as error:
        reason = reason_of(error)
        raise ValueError(f"{name}: {specifier}: not readable as audio ({reason}); convert or remove it") from error


def _read_directly(source: str | io.BytesIO, sampling_rate: int, start: float, end: float | None) -> np.ndarray | None:
    """The samples (n,) of an utterance that needs nothing but decoding; None: look closer, or say what is wrong."""
    try:
        with soundfile.SoundFile(source) as file:
            seconds = file.frames / file.samplerate
            wanted = compute_num_samples((seconds if end is None else min(end, seconds)) - start, file.samplerate)
            sound = file.samplerate == sampling_rate and file.channels == 1 and file.seekable()
            if not sound or wanted < 1 or (end is not None and end > seconds + _OVERSHOOT):
                return None
            if start > 0:
                file.seek(compute_num_samples(start, file.samplerate))
            if file.subtype == "PCM_16":  # the same values, in two thirds of the time
                samples = np.multiply(file.read(wanted, dtype="int16"), _STEP)
            else:
                samples = file.read(wanted, dtype="float32")
            return samples if len(samples) == wanted else None
    except (RuntimeError, TypeError):  # TypeError: a file named .raw has no header to tell its rate
        return None


def _check_header(recording: Recording, where: str, sampling_rate: int, downsample: bool, upsample: bool) -> None:
    rate = recording.sampling_rate
    if rate != sampling_rate and not (downsample if rate > sampling_rate else upsample):
        option = "--allow-downsample" if rate > sampling_rate else "--allow-upsample"
        raise ValueError(
            f"{where}: sampled at {rate} Hz, but conf/fbank.conf says {sampling_rate}; "
            f"resample the file, or change --sample-frequency, or set {option}=true there"
        )
    if recording.num_channels != 1:
        raise ValueError(f"{where}: {recording.num_channels} channels; write the wanted channel to a file of its own")
    if recording.num_samples == 0:
        raise ValueError(f"{where}: empty, not one sample; leave it out of the data directory")


def _open(specifier: str, name: str, data: bytes | None) -> Recording:
    if data is None and not specifier.lower().endswith(".sph"):
        return Recording.from_file(specifier, recording_id=name)
    if data is None:  # lhotse hands these to sph2pipe, libsndfile reads the plain ones
        with open(specifier, "rb") as file:
            data = file.read()
    return Recording.from_bytes(data, recording_id=name)
