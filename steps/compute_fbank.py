#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Filterbank features and voice activity of one data directory (a split of one), as Kaldi computes them.

Example: steps/compute_fbank.py conf/fbank.conf conf/vad.conf data/train/split4utt/1 data/train/fbank/1
Writes OUT/feats.{ark,scp}, OUT/vad.{ark,scp} and OUT/utt2num_frames. An utterance that cannot be used is
named in the log and left out; steps/make_fbank.sh counts them.
"""

import logging
from collections import Counter
from pathlib import Path

import torch

from flowlid import program
from flowlid.features.extract import Job
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.vad import VadOptions
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.options import read_options
from flowlid.kaldi.tables import write_table

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
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


if __name__ == "__main__":
    program.run(main)
