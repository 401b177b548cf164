"""Filterbanks and voice activity of a data directory: extracted in jobs, gathered, and given to other directories."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowlid.audio.samples import read_audio
from flowlid.features.fbank import FeatureExtractor
from flowlid.features.vad import VadOptions, energy_vad
from flowlid.files import LeftOut, atomic_write, read_text
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir, check_enough, fix_directory
from flowlid.kaldi.tables import read_table, write_table

log = logging.getLogger("flowlid")

AT_ONCE = 400_000  # samples that are read before their features are extracted together: short utterances gain
MISSING = 0.25  # seconds that a recording may be shorter than reco2dur says: coders pad and round


@dataclass(frozen=True)
class Found:
    """Filterbank (T, F), voiced frames (T,) as 0 and 1, both float32, and recorded rate in Hz of an utterance."""

    feats: np.ndarray
    vad: np.ndarray
    rate: int


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

    def write(self, out: Path) -> None:
        """Write feats.{ark,scp}, vad.{ark,scp}, utt2num_frames and left_out.tsv into the directory `out`."""
        out.mkdir(parents=True, exist_ok=True)
        frames, rates, left_out = {}, Counter(), LeftOut()
        with (
            ArkWriter(out / "feats.ark", out / "feats.scp") as write_feats,
            ArkWriter(out / "vad.ark", out / "vad.scp") as write_vad,
        ):
            for utt, found in self.run():
                if isinstance(found, Unusable):
                    left_out.add(found.reason, utt, found.detail)
                    continue
                write_feats(utt, found.feats)
                write_vad(utt, found.vad)
                frames[utt] = str(len(found.feats))
                rates[found.rate] += 1
        left_out.write(out / "left_out.tsv")
        _write_frame_shift(out, self.extract.options.frame_shift / 1000)
        (out / "utt2num_frames").unlink(missing_ok=True)
        if frames:  # a job may have none; `gather` judges the whole
            write_table(out / "utt2num_frames", frames)
        wanted = self.extract.options.sample_frequency
        for rate, count in sorted(rates.items()):
            if rate != wanted:
                log.info("resampled %d utterances from %d to %d Hz", count, rate, wanted)
        log.info("%s: features of %d of %d utterances", self.data.path, len(frames), len(self.data.utts))

    def run(self) -> Iterator[tuple[str, Found | Unusable]]:
        """Each utterance, in order, with what was found, or with why it cannot be used."""
        promised = self.data.table("reco2dur") if self.data.has("reco2dur") else {}
        read: dict[str, tuple[np.ndarray, int] | Unusable] = {}
        samples = 0
        for utt in self.data.utts:
            try:
                read[utt] = self.read(utt, promised)
                samples += len(read[utt][0])
            except ValueError as error:
                read[utt] = Unusable("unreadable", str(error))
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
        self, read: Mapping[str, tuple[np.ndarray, int] | Unusable]
    ) -> Iterator[tuple[str, Found | Unusable]]:
        """Features and voice activity of what was read of some utterances."""
        made = iter(self.extract.batch([got[0] for got in read.values() if not isinstance(got, Unusable)]))
        for utt, got in read.items():
            if isinstance(got, Unusable):
                yield utt, got
                continue
            feats, energy = next(made)
            vad = energy_vad(energy, self.vad)
            if not len(feats):
                least = self.extract.frame_samples
                why = "short", f"{len(got[0])} samples, less than one frame ({least}); remove it"
            elif not (np.isfinite(feats).all() and np.isfinite(energy).all()):
                why = "not finite", "NaN or Inf in its features; its samples are damaged, remove it"
            elif not vad.any():
                why = "no speech", "no voiced frame; remove it, or lower --vad-energy-threshold in conf/vad.conf"
            else:
                yield utt, Found(feats, vad.astype(np.float32), got[1])
                continue
            yield utt, Unusable(why[0], f"{self.name(utt)}: {why[1]}")

    def name(self, utt: str) -> str:
        """What errors call an utterance."""
        return f"{self.data.path}/wav.scp: utterance {utt}"


def gather(data: DataDir, jobs: Sequence[Path]) -> None:
    """Join what the jobs wrote into one data directory: its tables, frame_shift and left_out.tsv.

    Raises:
        ValueError: features of fewer than 95% of the utterances.
    """
    tables: dict[str, dict[str, str]] = {name: {} for name in ("vad.scp", "utt2num_frames", "feats.scp")}
    left_out = LeftOut()
    for out in jobs:
        for name, table in tables.items() if (out / "utt2num_frames").exists() else ():
            table.update(read_table(out / name))
        for line in read_text(out / "left_out.tsv").splitlines()[1:] if (out / "left_out.tsv").exists() else ():
            utt, reason, detail = line.split("\t")
            left_out.add(reason, utt, detail)
    utts, named = data.utts, {utt for utt, _, _ in left_out.rows}
    for utt in utts:
        if utt not in tables["feats.scp"] and utt not in named:
            left_out.add("not extracted", utt, "no job wrote it; see log/make_fbank.*.log")
    reasons = data.path / "left_out.tsv"
    for line in left_out.write(reasons):
        log.warning("%s: %s", data.path, line)
    check_enough(len(tables["feats.scp"]), len(utts), data.path, reasons)
    _write_frame_shift(data.path, float(read_text(jobs[0] / "frame_shift")))
    for name, table in tables.items():
        write_table(data.path / name, table)
    log.info("%s: features of %d of %d utterances", data.path, len(tables["feats.scp"]), len(utts))


def copy_features(pool: DataDir, data: DataDir) -> None:
    """Give `data` the features of `pool`, which holds its utterances, and cmvn.{ark,scp}: statistics of its speakers.

    Utterances without features in the pool are taken out of all tables of `data`.

    Raises:
        ValueError: the pool has features of fewer than 95% of the utterances.
    """
    utts = data.utts
    kept = [utt for utt in utts if utt in pool.table("feats.scp")]
    reasons = pool.path / "left_out.tsv"
    check_enough(len(kept), len(utts), data.path, reasons)
    by_speaker: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(()))
    for utt in kept:
        speaker = data.table("utt2spk")[utt]
        by_speaker[speaker] = by_speaker[speaker] + cmvn_stats(pool.feats(utt))
    with ArkWriter(data.path / "cmvn.ark", data.path / "cmvn.scp") as write:
        for speaker in sorted(by_speaker):
            write(speaker, by_speaker[speaker])
    _write_frame_shift(data.path, pool.frame_shift)
    for name in ("vad.scp", "utt2num_frames", "feats.scp"):
        table = pool.table(name)
        write_table(data.path / name, {utt: table[utt] for utt in kept})
    if len(kept) < len(utts):
        log.warning("%s: %d utterances without features taken out: %s", data.path, len(utts) - len(kept), reasons)
        fix_directory(data.path)
    frames = sum(int(pool.table("utt2num_frames")[utt]) for utt in kept)
    log.info("%s: %d utterances, %d frames, %d speakers", data.path, len(kept), frames, len(by_speaker))


def _write_frame_shift(path: Path, seconds: float) -> None:
    with atomic_write(path / "frame_shift") as file:
        file.write(f"{seconds:g}\n")
