#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Add copies of the training utterances to a corpus's manifests: with another speed, with noise, in other rooms.

Usage:   steps/augment_corpus.py [options] MANIFEST_DIR
Example: steps/augment_corpus.py --speed "0.9 1.1" data/manifests
         steps/augment_corpus.py --noise musan/musan_recordings_noise.jsonl.gz --snr "5 20" data/manifests

To be run between stages 0 and 1; lhotse does the work. From each utterance of --part it makes one copy of each kind:
UTT-sp0.9, UTT-noise, UTT-reverb, of the same speaker and language and with the same fields, but with train-sp0.9,
train-noise, train-reverb as part. Sets with `part: train` in sets.yaml stay as they are; one with copies is

    train_sp: {part: [train, train-sp0.9, train-sp1.1]}

Stage 1 refuses copies in dev and test sets, and in train sets if the original is in one of those. The copies are in
MANIFEST_DIR/augmented_*.jsonl.gz, their sounds in MANIFEST_DIR/../audio/augmented; the next call replaces all of them.
Noise and room impulse responses are lhotse manifests of recordings, of any sampling rate: `lhotse prepare musan` and
`lhotse prepare rir-noise` make such.
"""

import argparse
import logging
from pathlib import Path

from flowlid.corpora.augmented import noise, originals, read_sounds, reverberation, speed, write_copies
from flowlid.corpora.data_dirs import read_manifests
from flowlid.program import add_pipes_option, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")


def main() -> None:
    """Parse the command line and make the copies."""
    args = parse_arguments()
    kinds = [speed(factor) for factor in args.speed]
    if args.noise is not None:
        kinds.append(noise(read_sounds(args.noise), tuple(args.snr)))
    if args.rir is not None:
        kinds.append(reverberation(read_sounds(args.rir)))
    if not kinds:
        raise ValueError("nothing to do: give --speed, --noise or --rir")
    log_provenance()
    recordings, supervisions = read_manifests(args.manifest_dir)
    items = originals(supervisions, args.part)
    pipes = args.allow_pipes == "true"
    count = write_copies(items, recordings, kinds, args.manifest_dir, args.seed, args.nj, pipes)
    parts = ", ".join(f"{args.part}-{kind.suffix}" for kind in kinds)
    log.info("%d copies of %d utterances: part %s", count, len(items), parts)


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    add_pipes_option(parser)
    parser.add_argument("--speed", metavar='"F F"', type=numbers, default=[], help="factors of speed and pitch")
    parser.add_argument("--noise", metavar="FILE", type=Path, help="lhotse manifest of recordings of noise")
    parser.add_argument("--snr", metavar='"L H"', type=numbers, default=[5.0, 20.0], help="range of the SNR in dB")
    parser.add_argument("--rir", metavar="FILE", type=Path, help="lhotse manifest of impulse responses of rooms")
    parser.add_argument("--part", default="train", help="part of the corpus to copy")
    parser.add_argument("--seed", type=int, default=1, help="of what is chosen at random")
    parser.add_argument("--nj", type=int, default=4, help="copies made at a time")
    parser.add_argument("manifest_dir", metavar="MANIFEST_DIR", type=Path, help="lhotse manifests: data/manifests")
    args = parser.parse_args()
    if len(args.snr) != 2:
        raise ValueError('--snr: give the lowest and the highest, such as --snr "5 20"')
    return args


def numbers(text: str) -> list[float]:
    """The numbers of an option, separated by spaces."""
    return [float(word) for word in text.split()]


if __name__ == "__main__":
    run(main)
