"""A recording as a model hears it: its features and voice activity, made with the options of the model's training."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowlid.audio.channels import Channel, ChannelMeter, pick
from flowlid.audio.headers import LARGEST
from flowlid.audio.samples import open_part, resample
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.vad import VadOptions, energy_vad
from flowlid.flow.checkpoint import Model
from flowlid.frames.pack import mapped
from flowlid.frames.utterances import Utterance
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.options import options_of

_PIECE = 60  # seconds of a recording that are in memory at once
_LONG = 600  # seconds from which its features are mapped from a temporary file


@dataclass(frozen=True)
class Source:
    """Where a recording is.

    Attributes:
        name: what answers call it: a path, or the name of an utterance.
        specifier: a path, or what else wav.scp may have.
        start, end: the part of it that is meant, in seconds; an end of None is the recording's.
        channel: which one, where a segments file names one.
        table: the wav.scp that it is from; "" if none.
    """

    name: str
    specifier: str
    start: float = 0.0
    end: float | None = None
    channel: Channel | None = None
    table: str = ""


@dataclass(frozen=True)
class Heard:
    """What a recording is to a model.

    Attributes:
        name: what answers call it.
        utterance: its features and voiced frames.
        seconds: how long it is.
        rate: in Hz, at which it was recorded.
        notes: what was done to it that the user should know.
    """

    name: str
    utterance: Utterance
    seconds: float
    rate: int
    notes: tuple[str, ...] = ()


class Listener:
    """Makes recordings into what a model hears.

    Args:
        model: whose options are used.
        where: what an error calls the model.
        channel: which one of recordings with several; None: they are refused.
        allow_pipes: whether a command in wav.scp is run.

    Raises:
        ValueError: the model does not know how its features were made.
    """

    def __init__(self, model: Model, where: str, channel: Channel | None = None, allow_pipes: bool = False) -> None:
        features = model.config.features
        if "fbank.num-mel-bins" not in features:
            raise ValueError(
                f"{where}: the model was trained on features of a data directory that stage 2 did not make, so that "
                "their options are not known; score data directories with steps/score.py, or train from the sound on"
            )
        of = {program: _options_of(features, program) for program in ("fbank", "vad")}
        self.extract = FeatureExtractor(options_of(of["fbank"], FbankOptions, where))
        self.vad = options_of(of["vad"], VadOptions, where)
        self.rate, self.frame_shift = round(self.options.sample_frequency), self.options.frame_shift / 1000
        self.channel, self.allow_pipes = channel, allow_pipes
        self.own_speaker = model.config.frames.cmvn == "speaker"

    @property
    def options(self) -> FbankOptions:
        return self.extract.options

    @property
    def band(self) -> tuple[float, float]:
        """Lowest and highest frequency of the mel bank in Hz."""
        high, nyquist = self.options.high_freq, self.options.sample_frequency / 2
        return self.options.low_freq, high if high > 0 else nyquist + high

    def hear(self, source: Source) -> Heard:
        """A recording, read in pieces: memory does not grow with its length.

        Raises:
            ValueError, OSError: it cannot be read, or used; the message names it and the fix.
        """
        where = f"{source.table}: utterance {source.name}" if source.table else ""
        with open_part(
            source.specifier, where, self.rate, source.start, source.end, self.allow_pipes, True, True,
            source.channel, self.channel,
        ) as part:  # fmt: skip
            meter, seconds = ChannelMeter(), part.count / part.rate
            own = source.name if source.table else Path(source.specifier).stem  # the same wherever the file is
            utterance = self._utterance(own, part.pieces(_PIECE, meter), seconds)
            notes = self._notes(part.rate, utterance)
        verdict = meter.verdict()
        return Heard(
            source.name, utterance, seconds, part.rate, (*notes, *([f"channels differ: {verdict}"] if verdict else []))
        )

    def hear_samples(self, samples: np.ndarray, rate: int, name: str = "samples") -> Heard:
        """Samples in memory.

        Args:
            samples: (n,), or (n, C) of several channels; floats in [-1, 1], or 16-bit integers.
            rate: in Hz.
            name: what the answer calls them.

        Raises:
            ValueError: another type or shape, NaN, Inf or values far beyond 1, a rate that cannot be resampled, or
                several channels and none chosen.
        """
        mono = self._checked(np.asarray(samples), name)
        resampled, step = resample(mono, rate, self.rate), _PIECE * self.rate
        pieces = (resampled[start : start + step] for start in range(0, max(1, len(resampled)), step))
        seconds = len(mono) / rate
        utterance = self._utterance(name, pieces, seconds)
        return Heard(name, utterance, seconds, rate, self._notes(rate, utterance))

    def _checked(self, samples: np.ndarray, name: str) -> np.ndarray:
        """Samples (n,), float32 in [-1, 1]."""
        if samples.ndim == 2 and samples.shape[1] > 1:
            if self.channel is None:
                raise ValueError(f'{name}: {samples.shape[1]} channels; load the model with channel=0, 1, ... or "mix"')
            if self.channel != "mix" and self.channel >= samples.shape[1]:
                raise ValueError(f"{name}: no channel {self.channel}, there are {samples.shape[1]}")
            samples = pick(samples, self.channel)
        elif samples.ndim == 2:
            samples = samples[:, 0]
        if samples.ndim != 1 or not (samples.dtype == np.int16 or np.issubdtype(samples.dtype, np.floating)):
            raise ValueError(
                f"{name}: an array of shape {samples.shape} and type {samples.dtype}; give (n,) or (n, channels) of "
                "floats in [-1, 1] or of 16-bit integers"
            )
        samples = samples.astype(np.float32) * np.float32(2**-15 if samples.dtype == np.int16 else 1)
        peak = float(np.abs(samples).max(initial=0.0))
        if not peak <= LARGEST:
            raise ValueError(f"{name}: samples up to {peak:g}, where full scale is 1; divide them by their full scale")
        return samples

    def _utterance(self, name: str, pieces: Iterable[np.ndarray], seconds: float) -> Utterance:
        energies, stats = [], [np.zeros((2, self.options.num_mel_bins + 1))]

        def parts() -> Iterator[np.ndarray]:
            for feats, energy in self._extracted(pieces):
                if not (np.isfinite(feats).all() and np.isfinite(energy).all()):
                    raise ValueError(f"{name}: NaN or Inf in its features; its samples are damaged, record it anew")
                energies.append(energy)
                stats.append(cmvn_stats(feats))
                yield feats

        join: Callable[[Iterator[np.ndarray]], np.ndarray] = mapped if seconds >= _LONG else _joined
        feats = join(parts())
        return Utterance(name, feats, energy_vad(np.concatenate(energies), self.vad), sum(stats))

    def _extracted(self, pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features and energies of each piece; a frame that reaches into the next one comes with that."""
        if not self.options.snip_edges:  # frames reach beyond the ends, where the recording is mirrored
            yield self.extract(np.concatenate(list(pieces)))
            return
        rest = np.zeros(0, np.float32)
        for piece in pieces:
            samples = np.concatenate([rest, piece])
            feats, energy = self.extract(samples)
            rest = samples[len(feats) * self.extract.shift_samples :]
            yield feats, energy

    def _notes(self, rate: int, utterance: Utterance) -> tuple[str, ...]:
        notes = []
        if rate != self.rate:
            notes.append(f"resampled from {rate} to {self.rate} Hz")
        if rate < self.rate:
            notes.append(f"nothing above {rate // 2} Hz, unlike what the model was trained on")
        if not len(utterance.feats):
            notes.append(f"shorter than a frame of {self.options.frame_length:g} ms")
        return tuple(notes)


def _options_of(features: dict[str, str], program: str) -> dict[str, str]:
    return {name.partition(".")[2]: value for name, value in features.items() if name.startswith(f"{program}.")}


def _joined(parts: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))
