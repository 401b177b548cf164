"""Filterbanks and voice activity of a data directory, read and computed utterance by utterance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from flowlid.audio.samples import read_audio
from flowlid.features.fbank import FeatureExtractor
from flowlid.features.vad import VadOptions, energy_vad
from flowlid.kaldi.datadir import DataDir

AT_ONCE = 400_000  # samples that are read before their features are extracted together: short utterances gain
MISSING = 0.25  # seconds that a recording may be shorter than reco2dur says: coders pad and round


@dataclass(frozen=True)
class Found:
    """Filterbank (T, F), voiced frames (T,) as 0 and 1, both float32, and recorded rate in Hz of an utterance."""

    feats: np.ndarray
    vad: np.ndarray
    rate: int


@dataclass(frozen=True)
class Job:
    """A data directory, and what becomes of its utterances."""

    data: DataDir
    extract: FeatureExtractor
    vad: VadOptions
    allow_pipes: bool

    def run(self) -> Iterator[tuple[str, Found | ValueError]]:
        """Each utterance, in order, with what was found, or with the error that names it and says why it is no use."""
        promised = self.data.table("reco2dur") if self.data.has("reco2dur") else {}
        read: dict[str, tuple[np.ndarray, int] | ValueError] = {}
        samples = 0
        for utt in self.data.utts:
            try:
                read[utt] = self.read(utt, promised)
                samples += len(read[utt][0])
            except ValueError as error:
                read[utt] = error
            if samples > AT_ONCE:
                yield from self.extract_all(read)
                read, samples = {}, 0
        yield from self.extract_all(read)

    def read(self, utt: str, promised: Mapping[str, str]) -> tuple[np.ndarray, int]:
        """Samples (n,) of an utterance and the rate they were recorded at; recordings last as long as `promised`."""
        recording, start, end = self.data.segments().get(utt, (utt, 0.0, None))
        name, options = self.name(utt), self.extract.options
        rate, resampling = round(options.sample_frequency), (options.allow_downsample, options.allow_upsample)
        specifier = self.data.table("wav.scp")[recording]
        samples, recorded = read_audio(specifier, name, rate, start, end, self.allow_pipes, *resampling)
        if promised and end is None:  # decoders end well where a coded file was cut off
            seconds, whole = len(samples) / rate, float(promised[recording])
            if seconds < whole - MISSING:
                raise ValueError(
                    f"{name}: {seconds:.2f} s of the {whole:.2f} s that reco2dur says; fetch the file again"
                )
        return samples, recorded

    def extract_all(
        self, read: Mapping[str, tuple[np.ndarray, int] | ValueError]
    ) -> Iterator[tuple[str, Found | ValueError]]:
        """Features and voice activity of what was read of some utterances."""
        made = iter(self.extract.batch([got[0] for got in read.values() if not isinstance(got, ValueError)]))
        for utt, got in read.items():
            if isinstance(got, ValueError):
                yield utt, got
                continue
            feats, energy = next(made)
            vad = energy_vad(energy, self.vad)
            if not len(feats):
                least = self.extract.frame_samples
                why = f"{len(got[0])} samples, less than one frame ({least}); remove it"
            elif not (np.isfinite(feats).all() and np.isfinite(energy).all()):
                why = "NaN or Inf in its features; its samples are not sound, remove it"
            elif not vad.any():
                why = "no voiced frame; remove it, or lower --vad-energy-threshold in conf/vad.conf"
            else:
                yield utt, Found(feats, vad.astype(np.float32), got[1])
                continue
            yield utt, ValueError(f"{self.name(utt)}: {why}")

    def name(self, utt: str) -> str:
        """What errors call an utterance."""
        return f"{self.data.path}/wav.scp: utterance {utt}"
