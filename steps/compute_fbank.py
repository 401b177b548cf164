#!/usr/bin/env python3
"""Filterbank features and voice activity of one data directory (a split of one), as Kaldi computes them.

Example: steps/compute_fbank.py conf/fbank.conf conf/vad.conf data/train/split4utt/1 data/train/fbank/1
Writes OUT/feats.{ark,scp}, OUT/vad.{ark,scp} and OUT/utt2num_frames. An utterance that cannot be used is
named in the log and left out; steps/make_fbank.sh counts them.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flowlid import program
from flowlid.audio import read_audio
from flowlid.datadir import ArkWriter, DataDir, write_table
from flowlid.features import FbankOptions, FeatureExtractor, VadOptions, energy_vad, read_options

AT_ONCE = 400_000  # samples that are read before their features are extracted together: short utterances gain
MISSING = 0.25  # seconds that a recording may be shorter than reco2dur says: coders pad and round
log = logging.getLogger("flowlid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    program.add_pipes_option(parser)
    parser.add_argument("fbank_config", help="options of compute-fbank-feats")
    parser.add_argument("vad_config", help="options of compute-vad")
    parser.add_argument("data", help="data directory")
    parser.add_argument("out", type=Path, help="output directory")
    args = parser.parse_args()
    program.log_provenance()
    torch.set_num_threads(1)  # a job is one core's work: of so little at a time, threads would make none faster

    job = Job(
        data=DataDir(args.data),
        extract=FeatureExtractor(read_options(args.fbank_config, FbankOptions)),
        vad=read_options(args.vad_config, VadOptions),
        allow_pipes=args.allow_pipes == "true",
    )
    job.data.validate(require=("utt2spk", "spk2utt", "wav.scp"))
    args.out.mkdir(parents=True, exist_ok=True)
    frames, rates = {}, Counter()
    with (
        ArkWriter(args.out / "feats.ark", args.out / "feats.scp") as write_feats,
        ArkWriter(args.out / "vad.ark", args.out / "vad.scp") as write_vad,
    ):
        for utt, found in job.run():
            if isinstance(found, ValueError):
                log.error("left out: %s", found)
                continue
            write_feats(utt, found.feats)
            write_vad(utt, found.vad)
            frames[utt] = str(len(found.feats))
            rates[found.rate] += 1
    (args.out / "utt2num_frames").unlink(missing_ok=True)
    if frames:  # a job may have none; steps/gather_fbank.py judges the whole
        write_table(args.out / "utt2num_frames", frames)
    wanted = job.extract.options.sample_frequency
    for rate, count in sorted(rates.items()):
        if rate != wanted:
            log.info("resampled %d utterances from %d to %d Hz", count, rate, wanted)
    log.info("%s: features of %d of %d utterances", args.data, len(frames), len(job.data.utts))


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


if __name__ == "__main__":
    program.run(main)
