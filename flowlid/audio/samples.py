"""Samples of an utterance, with every way in which a file can be bad named.

libsndfile reads what `open_sound` opens; parts of another rate are resampled by lhotse.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
    arguments = (specifier, name, sampling_rate, start, end, allow_pipes, downsample, upsample, channel, of_several)
    with open_part(*arguments) as part:
        (samples,) = part.pieces(None, meter or ChannelMeter())
        return samples, part.rate


@dataclass(frozen=True)
class Part:
    """A part of an open recording, whose samples come in pieces.

    Attributes:
        sound: the recording.
        where: what errors begin with.
        first, count: its samples, at the rate that they were recorded at.
        channel: which one is taken, or "mix"; None: there is one.
        sampling_rate: of the samples that `pieces` gives, in Hz.
        wanted: how many those are.
    """

    sound: soundfile.SoundFile
    where: str
    first: int
    count: int
    channel: Channel | None
    sampling_rate: int
    wanted: int

    @property
    def rate(self) -> int:
        """The rate in Hz that it was recorded at."""
        return self.sound.samplerate

    def pieces(self, seconds: int | None, meter: ChannelMeter) -> Iterator[np.ndarray]:
        """Samples (n,) of one channel, so many seconds at a time, or all at once: together the same samples.

        Where they are resampled, a piece is read with a second more on both sides, so that its ends are as they would
        be in the middle of the whole.

        Raises:
            SilentChannel, ValueError: as `read_audio`; the first of them after the last piece.
        """
        rate, step = self.rate, (seconds or 0) * self.rate or self.count
        margin = rate if self.rate != self.sampling_rate else 0
        for begin in range(0, max(self.count, 1), step or 1):
            first, end = max(0, begin - margin), min(self.count, begin + step + margin)
            samples = _read(self.sound, self.where, self.first + first, end - first)
            if samples.ndim > 1:
                meter.add(samples[begin - first : begin - first + step])
                samples = np.ascontiguousarray(pick(samples, self.channel))
            if rate != self.sampling_rate and len(samples):
                # `begin`, `first` and `step` are whole seconds but at the end of the part
                samples = Resample(rate, self.sampling_rate)(samples[np.newaxis])[0]
                if end == self.count:
                    samples = _of_length(samples, self.wanted - first // rate * self.sampling_rate)
                skipped = (begin - first) // rate * self.sampling_rate
                samples = samples[skipped : skipped + seconds * self.sampling_rate if seconds else None]
            yield samples
        if self.sound.channels > 1 and meter.silent(self.channel):
            what = "the mean of its channels" if self.channel == MIX else f"channel {self.channel}"
            raise SilentChannel(
                f"{self.where}: {what} is silent, another channel is not; choose that one with --channel"
            )


@contextmanager
def open_part(
    specifier: str,
    name: str,
    sampling_rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = False,
    downsample: bool = False,
    upsample: bool = False,
    channel: Channel | None = None,
    of_several: Channel | None = None,
) -> Iterator[Part]:
    """Open a recording, or a part of it. Args and errors are those of `read_audio`; a `name` may be empty."""
    where = f"{name}: {specifier}" if name else specifier
    with open_sound(_source(specifier, name, allow_pipes), where) as sound:
        _check_header(sound, where, sampling_rate, downsample, upsample)
        if channel is None and sound.channels > 1:
            channel = of_several
        _check_channel(sound.channels, channel, where)
        rate, seconds = sound.samplerate, sound.frames / sound.samplerate
        if start * rate >= sound.frames or (end is not None and end > seconds + _OVERSHOOT):
            raise ValueError(
                f"{name}: its segment is {start} to {end} s, but {specifier} ends at {seconds} s; correct segments"
            )
        first = compute_num_samples(start, rate) if start > 0 else 0
        count = compute_num_samples((seconds if end is None else min(end, seconds)) - start, rate)
        whole = compute_num_samples(seconds, sampling_rate) / sampling_rate  # as lhotse counts
        wanted = compute_num_samples((whole if end is None else min(end, seconds)) - start, sampling_rate)
        # both numbers of samples may have been rounded up
        yield Part(sound, where, first, min(count, sound.frames - first), channel, sampling_rate, wanted)


def resample(samples: np.ndarray, rate: int, sampling_rate: int) -> np.ndarray:
    """Samples (n,) in memory at another rate in Hz, float32; ValueError: rates too unlike each other."""
    check_rates(rate, sampling_rate, "the samples")
    whole = compute_num_samples(len(samples) / rate, sampling_rate)
    return samples if rate == sampling_rate else _of_length(Resample(rate, sampling_rate)(samples[None])[0], whole)


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
    check_rates(rate, sampling_rate, where)
    if sound.frames == 0:
        raise ValueError(f"{where}: empty, not one sample; leave it out of the data directory")


def check_rates(rate: int, sampling_rate: int, where: str) -> None:
    """Raise ValueError unless a recording of `rate` Hz can be resampled to `sampling_rate`."""
    common = math.gcd(rate, sampling_rate)
    if rate < 1 or rate * sampling_rate > _UNLIKE * common**2 or sampling_rate > _STRETCH * rate:
        raise ValueError(f"{where}: cannot be resampled from {rate} to {sampling_rate} Hz; resample it by itself")


def _check_channel(channels: int, channel: Channel | None, where: str) -> None:
    if channel is None and channels > 1:
        raise ValueError(
            f"{where}: {channels} channels; say which one in conf/fbank.conf: --channel=0, 1, ..., "
            "or --channel=mix for their mean (steps/identify.py has the option too)"
        )
    if channel not in (None, MIX) and channel >= channels:
        remedy = "correct --channel in conf/fbank.conf, or segments"
        raise ValueError(f"{where}: no channel {channel}, it has {channels}; {remedy}")


def _read(sound: soundfile.SoundFile, where: str, first: int, wanted: int) -> np.ndarray:
    """Samples (n,) or (n, C) of a file, so many from the `first` on."""
    dtype = "int16" if sound.subtype == "PCM_16" else "float32"  # the same values, in two thirds of the time
    try:
        if sound.seekable():
            if first != sound.tell():
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


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Samples (n,), cut or continued by their mirror image, as resampling may give one more or less."""
    lacking = length - len(samples)
    return np.pad(samples, (0, lacking), mode="reflect") if lacking > 0 else samples[:length]
