#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Filterbank features and voice activity of one data directory (a split of one), as Kaldi computes them.

Example: steps/compute_fbank.py conf/fbank.conf conf/vad.conf data/train/split4utt/1 data/train/fbank/1
Writes OUT/feats.{ark,scp}, OUT/vad.{ark,scp}, OUT/utt2num_frames, OUT/frame_shift (seconds) and OUT/left_out.tsv,
which names the utterances that cannot be used, and why. OUT/channels.tsv lists those in whose recordings channels
differ, if there are any; OUT/cmvn.npy has the statistics of each utterance. OUT/done.json comes last: where it is,
and neither options nor tables nor audio nor what is in OUT has changed since, nothing is made again.
steps/gather_fbank.py joins what the jobs of steps/make_fbank.sh wrote.
"""

import logging
from pathlib import Path

import torch

from flowlid import program
from flowlid.features.extract import Job
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.marks import inputs_digest, is_done
from flowlid.features.vad import VadOptions
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.options import read_options

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
    torch.set_num_threads(1)  # a job is the work of one core; batches are too small for threads to speed them up

    job = Job(
        data=DataDir(args.data),
        extract=FeatureExtractor(read_options(args.fbank_config, FbankOptions)),
        vad=read_options(args.vad_config, VadOptions),
        allow_pipes=args.allow_pipes == "true",
    )
    job.data.validate(require=("utt2spk", "spk2utt", "wav.scp"))
    files = (args.fbank_config, args.vad_config, __file__)
    inputs = inputs_digest(files, [job.data.path], args.out, job.allow_pipes)
    if is_done(args.out, inputs):
        log.info("%s: finished already, from the same inputs", args.out)
        return
    job.write(args.out, inputs)


if __name__ == "__main__":
    program.run(main)
