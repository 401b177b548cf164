"""Samples of an utterance, with every way in which a file can be bad named.

libsndfile reads what `open_sound` opens; parts of another rate are resampled by lhotse.
"""

import math

import numpy as np
import soundfile
from lhotse.augmentation import Resample
from lhotse.utils import compute_num_samples

from flowlid.audio import sound_arks
from flowlid.audio.channels import MIX, Channel, ChannelMeter, pick
from flowlid.audio.headers import check_file, check_level
from flowlid.audio.opening import open_sound, reason_of
from flowlid.kaldi.arks import command_output, is_pipe

_STEP = np.float32(2**-15)  # of 16-bit samples
_UNLIKE = 2 * 10**7  # coefficients of a resampling filter: 160 MB; usual rates need some 10,000
_STRETCH = 32  # times as many samples: no speech is recorded at 500 Hz, but a damaged header may say so
_OVERSHOOT = 0.5  # seconds that a segment may end after its recording, as in Kaldi's extract-segments


class SilentChannel(ValueError):
    """The chosen channel is silent, and another one is not."""


def read_audio(
    specifier: str,
    name: str,
    sampling_rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = False,
    downsample: bool = False,
    upsample: bool = False,
    channel: Channel | None = None,
    meter: ChannelMeter | None = None,
    of_several: Channel | None = None,
) -> tuple[np.ndarray, int]:
    """Samples of one channel in [-1, 1], float32 of shape (n,), and the rate in Hz that they were recorded at.

    Args:
        specifier: a path, "PATH.ark:OFFSET", or "command |" whose output is an audio file, as in wav.scp.
        name: what errors call it: "data/x/wav.scp: utterance u1".
        sampling_rate: of the samples, in Hz.
        start, end: part of the recording in seconds, as in segments; end None is the file's end.
        allow_pipes: whether a command may be run.
        downsample, upsample: whether a file of a higher or of a lower rate is resampled, by lhotse.
        channel: which one of the file, or "mix" for the mean of all; None: not named.
        meter: is given the samples of all channels, if there are several.
        of_several: which one of a file that has several where `channel` names none; None: such a file is an error.

    Raises:
        SilentChannel: the channel, or the mean, is silent in this part of the file, and another channel is not.
        ValueError: a command that may not run or that fails; a file that is missing, empty, cut off,
            unreadable, far beyond full scale, of a sampling rate that may not be changed or with other channels;
            a segment past its end.
    """
    where = f"{name}: {specifier}"
    with open_sound(_source(specifier, name, allow_pipes), where) as sound:
        _check_header(sound, where, sampling_rate, downsample, upsample)
        if channel is None and sound.channels > 1:
            channel = of_several
        _check_channel(sound.channels, channel, where)
        if start * sound.samplerate >= sound.frames or (
            end is not None and end > sound.frames / sound.samplerate + _OVERSHOOT
        ):
            seconds = sound.frames / sound.samplerate
            raise ValueError(
                f"{name}: its segment is {start} to {end} s, but {specifier} ends at {seconds} s; correct segments"
            )
        samples = _read(sound, where, start, end)
        rate = sound.samplerate
        if samples.ndim > 1:
            samples = _choose(samples, channel, meter or ChannelMeter(), where)
        if rate != sampling_rate and len(samples):
            whole = compute_num_samples(sound.frames / rate, sampling_rate) / sampling_rate  # as lhotse counts
            wanted = (whole if end is None else min(end, sound.frames / rate)) - start
            samples = _resample(samples, rate, sampling_rate, wanted)
    return samples, rate


def _source(specifier: str, name: str, allow_pipes: bool) -> str | bytes:
    """The path, or the bytes of the sound file that a specifier stands for."""
    if is_pipe(specifier):
        return command_output(specifier, name, allow_pipes)
    entry = sound_arks.entry(specifier)
    if entry is None:
        check_file(specifier, name)
        return specifier
    check_file(entry[0], name)
    try:
        return sound_arks.read_entry(*entry)
    except ValueError as error:
        raise ValueError(f"{name}: {specifier}: {error}") from error


def _check_header(sound: soundfile.SoundFile, where: str, sampling_rate: int, downsample: bool, upsample: bool) -> None:
    rate = sound.samplerate
    if rate != sampling_rate and not (downsample if rate > sampling_rate else upsample):
        option = "--allow-downsample" if rate > sampling_rate else "--allow-upsample"
        raise ValueError(
            f"{where}: sampled at {rate} Hz, but conf/fbank.conf says {sampling_rate}; "
            f"resample the file, or change --sample-frequency, or set {option}=true there"
        )
    common = math.gcd(rate, sampling_rate)
    if rate * sampling_rate > _UNLIKE * common**2 or sampling_rate > _STRETCH * rate:
        raise ValueError(f"{where}: cannot be resampled from {rate} to {sampling_rate} Hz; resample it by itself")
    if sound.frames == 0:
        raise ValueError(f"{where}: empty, not one sample; leave it out of the data directory")


def _check_channel(channels: int, channel: Channel | None, where: str) -> None:
    if channel is None and channels > 1:
        raise ValueError(
            f"{where}: {channels} channels; say which one in conf/fbank.conf: --channel=0, 1, ..., "
            "or --channel=mix for their mean"
        )
    if channel not in (None, MIX) and channel >= channels:
        remedy = "correct --channel in conf/fbank.conf, or segments"
        raise ValueError(f"{where}: no channel {channel}, it has {channels}; {remedy}")


def _read(sound: soundfile.SoundFile, where: str, start: float, end: float | None) -> np.ndarray:
    """Samples (n,) or (n, C) of a part of a file."""
    rate = sound.samplerate
    seconds = sound.frames / rate
    first = compute_num_samples(start, rate) if start > 0 else 0
    wanted = compute_num_samples((seconds if end is None else min(end, seconds)) - start, rate)
    wanted = min(wanted, sound.frames - first)  # both may have been rounded up
    dtype = "int16" if sound.subtype == "PCM_16" else "float32"  # the same values, in two thirds of the time
    try:
        if first and sound.seekable():
            sound.seek(first)
            first = 0
        samples = sound.read(first + wanted, dtype=dtype)[first:]
    except (RuntimeError, MemoryError) as error:
        raise ValueError(
            f"{where}: cut off or damaged: not readable as audio ({reason_of(error)}); fetch the file again"
        ) from error
    if len(samples) < wanted:
        lacks = f"{wanted - len(samples)} of {wanted} samples are missing"
        raise ValueError(f"{where}: cut off, {lacks}; fetch the file again")
    if dtype == "int16":
        return np.multiply(samples, _STEP)
    check_level(samples, sound, where)
    return samples


def _choose(samples: np.ndarray, channel: Channel, meter: ChannelMeter, where: str) -> np.ndarray:
    meter.add(samples)
    if meter.silent(channel):
        what = "the mean of its channels" if channel == MIX else f"channel {channel}"
        raise SilentChannel(f"{where}: {what} is silent, another channel is not; choose that one with --channel")
    return np.ascontiguousarray(pick(samples, channel))


def _resample(samples: np.ndarray, rate: int, sampling_rate: int, seconds: float) -> np.ndarray:
    """Samples (n,) at another rate, as many as `seconds` have there."""
    resampled = Resample(rate, sampling_rate)(samples[np.newaxis])[0]
    lacking = compute_num_samples(seconds, sampling_rate) - len(resampled)
    return np.pad(resampled, (0, lacking), mode="reflect") if lacking > 0 else resampled[: len(resampled) + lacking]
