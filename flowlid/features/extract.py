"""Filterbanks and voice activity of a data directory, or of the part of one that is a job."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from flowlid.audio.channels import ChannelMeter
from flowlid.audio.samples import SilentChannel, read_audio
from flowlid.features.fbank import FeatureExtractor
from flowlid.features.marks import write_mark
from flowlid.features.pool import write_options, write_statistics
from flowlid.features.vad import VadOptions, energy_vad
from flowlid.files import write_tsv
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import Segment, write_table
from flowlid.left_out import LeftOut

log = logging.getLogger("flowlid")

AT_ONCE = 400_000  # samples that are read before their features are extracted together: short utterances gain
OF_THE_SOUND = ("allow_downsample", "allow_upsample", "channel")  # options that say what sound is taken
MISSING = 0.25  # seconds that a recording may be shorter than reco2dur says: coders pad and round


@dataclass(frozen=True)
class Found:
    """Filterbank (T, F), voiced frames (T,) as 0 and 1, both float32, and recorded rate in Hz of an utterance.

    `differ` says in what the channels of its recording do (`ChannelMeter.verdict`).
    """

    feats: np.ndarray
    vad: np.ndarray
    rate: int
    differ: str | None = None


@dataclass(frozen=True)
class Sound:
    """Samples (n,) of an utterance, the rate in Hz that they were recorded at, and in what the channels differ."""

    samples: np.ndarray
    rate: int
    differ: str | None


@dataclass(frozen=True)
class Unusable:
    """Why an utterance has no features: a short reason, and the detail with the fix."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Job:
    """A data directory and how features are extracted from its utterances."""

    data: DataDir
    extract: FeatureExtractor
    vad: VadOptions
    allow_pipes: bool

    def write(self, out: Path, inputs: str) -> None:
        """Write feats.{ark,scp}, vad.{ark,scp}, utt2num_frames, the options and left_out.tsv into the directory `out`.

        Utterances whose recordings have channels that differ are listed in channels.tsv, if there are any. The CMVN
        statistics of the utterances are in cmvn.npy, in their order: (U, 2, F + 1) float64. The mark of these `inputs`
        comes last (`marks`).
        """
        out.mkdir(parents=True, exist_ok=True)
        (out / "feats.scp").unlink(missing_ok=True)  # whoever counts its lines sees what is done of this time
        frames, rates, left_out, differ, stats = {}, Counter(), LeftOut(), [], []
        with (
            ArkWriter(out / "feats.ark", out / "feats.scp") as write_feats,
            ArkWriter(out / "vad.ark", out / "vad.scp") as write_vad,
        ):
            for utt, found in self.run():
                if isinstance(found, Unusable):
                    left_out.add(found.reason, self.source(utt), found.detail, utt)
                    continue
                write_feats(utt, found.feats)
                write_vad(utt, found.vad)
                stats.append(cmvn_stats(found.feats))
                frames[utt] = str(len(found.feats))
                rates[found.rate] += 1
                if found.differ:
                    differ.append((utt, found.differ))
        (out / "channels.tsv").unlink(missing_ok=True)
        if differ:
            write_tsv(out / "channels.tsv", differ)
        left_out.write(out / "left_out.tsv")
        write_options(out, self.extract.options.frame_shift / 1000, self.options())
        (out / "utt2num_frames").unlink(missing_ok=True)
        if frames:  # a job may have none; `gather` judges the whole
            write_table(out / "utt2num_frames", frames)
        write_mark(out, inputs, write_statistics(out, stats))
        wanted = self.extract.options.sample_frequency
        for rate, count in sorted(rates.items()):
            if rate != wanted:
                log.info("resampled %d utterances from %d to %d Hz", count, rate, wanted)
        log.info("%s: features of %d of %d utterances", self.data.path, len(frames), len(self.data.utts))

    def options(self) -> dict[str, str]:
        """All options that the features depend on, by name: "fbank.num-mel-bins", "vad.vad-frames-context"."""
        return {
            f"{program}.{field.name.replace('_', '-')}": str(getattr(options, field.name)).lower()
            for program, options in (("fbank", self.extract.options), ("vad", self.vad))
            for field in fields(options)
            if field.name not in OF_THE_SOUND
        }

    def run(self) -> Iterator[tuple[str, Found | Unusable]]:
        """Each utterance, in order, with what was found, or with why it cannot be used."""
        promised = self.data.table("reco2dur") if self.data.has("reco2dur") else {}
        read: dict[str, Sound | Unusable] = {}
        samples = 0
        for utt in self.data.utts:
            try:
                read[utt] = self.read(utt, promised)
                samples += len(read[utt].samples)
            except SilentChannel as error:
                read[utt] = Unusable("silent channel", str(error))
            except ValueError as error:
                read[utt] = Unusable("unreadable", str(error))
            if samples > AT_ONCE:
                yield from self.extract_all(read)
                read, samples = {}, 0
        yield from self.extract_all(read)

    def read(self, utt: str, promised: Mapping[str, str]) -> Sound:
        """The sound of an utterance; recordings last as long as `promised`."""
        recording, start, end, channel = self.data.segments().get(utt, Segment(utt))
        name, options = self.name(utt), self.extract.options
        rate, resampling = round(options.sample_frequency), (options.allow_downsample, options.allow_upsample)
        specifier = self.data.table("wav.scp")[recording]
        meter, of_several = ChannelMeter(), options.chosen_channel
        samples, recorded = read_audio(
            specifier, name, rate, start, end, self.allow_pipes, *resampling, channel, meter, of_several
        )
        if promised and end is None:  # decoders end well where a coded file was cut off
            seconds, whole = len(samples) / rate, float(promised[recording]) - start
            if seconds < whole - MISSING:
                raise ValueError(
                    f"{name}: {seconds:.2f} s of the {whole:.2f} s that reco2dur says; fetch the file again"
                )
        return Sound(samples, recorded, meter.verdict())

    def extract_all(self, read: Mapping[str, Sound | Unusable]) -> Iterator[tuple[str, Found | Unusable]]:
        """Features and voice activity of what was read of some utterances."""
        made = iter(self.extract.batch([got.samples for got in read.values() if not isinstance(got, Unusable)]))
        for utt, got in read.items():
            if isinstance(got, Unusable):
                yield utt, got
                continue
            feats, energy = next(made)
            vad = energy_vad(energy, self.vad)
            if not len(feats):
                least = self.extract.frame_samples
                why = "short", f"{len(got.samples)} samples, less than one frame ({least}); remove it"
            elif not (np.isfinite(feats).all() and np.isfinite(energy).all()):
                why = "not finite", "NaN or Inf in its features; its samples are damaged, remove it"
            elif not vad.any():
                why = "no speech", "no voiced frame; remove it, or lower --vad-energy-threshold in conf/vad.conf"
            else:
                yield utt, Found(feats, vad.astype(np.float32), got.rate, got.differ)
                continue
            yield utt, Unusable(why[0], f"{self.name(utt)}: {why[1]}")

    def source(self, utt: str) -> str:
        """What wav.scp says of an utterance's recording."""
        return self.data.table("wav.scp")[self.data.segments().get(utt, (utt,))[0]]

    def name(self, utt: str) -> str:
        """What errors call an utterance."""
        return f"{self.data.path}/wav.scp: utterance {utt}"
