#!/usr/bin/env python3
"""Filterbank features and voice activity of one data directory (a split of one), as Kaldi computes them.

Example: steps/compute_fbank.py conf/fbank.conf conf/vad.conf data/train/split4utt/1 data/train/fbank/1
Writes OUT/feats.{ark,scp}, OUT/vad.{ark,scp} and OUT/utt2num_frames. An utterance that cannot be used is
named in the log and left out; steps/make_fbank.sh counts them.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from flowlid import program
from flowlid.audio import read_audio
from flowlid.datadir import ArkWriter, DataDir, write_table
from flowlid.features import FbankOptions, FeatureExtractor, VadOptions, energy_vad, read_options

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

    extract = FeatureExtractor(read_options(args.fbank_config, FbankOptions))
    vad_options = read_options(args.vad_config, VadOptions)
    data = DataDir(args.data)
    data.validate(require=("utt2spk", "spk2utt", "wav.scp"))
    segments, pipes = data.segments(), args.allow_pipes == "true"
    promised = data.table("reco2dur") if data.has("reco2dur") else {}
    args.out.mkdir(parents=True, exist_ok=True)
    frames, rates = {}, Counter()
    with (
        ArkWriter(args.out / "feats.ark", args.out / "feats.scp") as write_feats,
        ArkWriter(args.out / "vad.ark", args.out / "vad.scp") as write_vad,
    ):
        for utt in data.utts:
            try:
                feats, vad, rate = extract_utterance(data, segments, promised, utt, extract, vad_options, pipes)
            except ValueError as error:
                log.error("left out: %s", error)
                continue
            write_feats(utt, feats)
            write_vad(utt, vad.astype(np.float32))
            frames[utt] = str(len(feats))
            rates[rate] += 1
    (args.out / "utt2num_frames").unlink(missing_ok=True)
    if frames:  # a job may have none; steps/gather_fbank.py judges the whole
        write_table(args.out / "utt2num_frames", frames)
    for rate, count in sorted(rates.items()):
        if rate != extract.options.sample_frequency:
            log.info("resampled %d utterances from %d to %d Hz", count, rate, extract.options.sample_frequency)
    log.info("%s: features of %d of %d utterances", args.data, len(frames), len(data.utts))


def extract_utterance(
    data: DataDir,
    segments: Mapping[str, tuple[str, float, float]],
    promised: Mapping[str, str],
    utt: str,
    extract: FeatureExtractor,
    vad_options: VadOptions,
    allow_pipes: bool,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Filterbank (T, F), voiced frames (T,) and recorded rate of an utterance; ValueError names it if it is no use."""
    recording, start, end = segments.get(utt, (utt, 0.0, None))
    name = f"{data.path}/wav.scp: utterance {utt}"
    options = extract.options
    wanted, resampling = round(options.sample_frequency), (options.allow_downsample, options.allow_upsample)
    samples, rate = read_audio(data.table("wav.scp")[recording], name, wanted, start, end, allow_pipes, *resampling)
    if promised and end is None:  # decoders end well where a coded file was cut off
        seconds, whole = len(samples) / wanted, float(promised[recording])
        if seconds < whole - MISSING:
            raise ValueError(f"{name}: {seconds:.2f} s of the {whole:.2f} s that reco2dur says; fetch the file again")
    feats, energy = extract(samples)
    if not len(feats):
        raise ValueError(f"{name}: {len(samples)} samples, less than one frame ({extract.frame_samples}); remove it")
    if not (np.isfinite(feats).all() and np.isfinite(energy).all()):
        raise ValueError(f"{name}: NaN or Inf in its features; its samples are not sound, remove it")
    vad = energy_vad(energy, vad_options)
    if not vad.any():
        raise ValueError(f"{name}: no voiced frame; remove it, or lower --vad-energy-threshold in conf/vad.conf")
    return feats, vad, rate


if __name__ == "__main__":
    program.run(main)
