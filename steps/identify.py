#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Identify recordings: which of a trained model's languages is spoken in each, and how probable it is.

Examples: steps/identify.py exp/dnf_120/model a.wav b.mp3
          steps/identify.py --json exp/dnf_120 recordings/          (all sound files below a directory)
          find /calls -name '*.flac' | steps/identify.py --csv exp/dnf_120 - > answers.csv
          steps/identify.py --candidates en,es --priors en=0.7,es=0.3 exp/dnf5_120 data/test_5
MODEL is the directory of an experiment, or its model directory, which can be copied to other machines. A FILE is a
sound file of any kind, a directory, a Kaldi data directory (with wav.scp), or "-": paths on stdin, one per line. The
answers come in that order, a line each: the language and its probability, "unknown", "no speech", or what is wrong with
the file; the others go on. Exit status 1 if anything could not be identified.
"""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path

from flowlid import program

log = logging.getLogger("flowlid")


def main() -> None:
    args = parse_arguments()
    from flowlid.audio.channels import read_channel  # here: --help and wrong options need no second for torch
    from flowlid.identify.formats import csv_header, csv_line, json_line, text_line
    from flowlid.identify.identifier import load
    from flowlid.identify.inputs import Inputs

    channel = read_channel(args.channel, "--channel")
    model = load(args.model, args.device, channel, args.allow_pipes == "true")
    decider = model.decider(args.candidates, args.priors, args.false_rejection)
    inputs, answered, failed = Inputs(args.files, sys.stdin), 0, 0
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    line_of = {"text": text_line, "json": json_line, "csv": partial(csv_line, classes=model.classes)}[args.form]
    if args.form == "csv":
        print(csv_header(model.classes))
    for answer in model.answers(inputs, decider):
        print(line_of(answer), flush=True)
        answered, failed = answered + (answer.error is None), failed + (answer.error is not None)
    skipped = f"; {inputs.skipped} other files in directories passed over" if inputs.skipped else ""
    log.info("%d answered, %d failed%s", answered, failed, skipped)
    if failed:
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    program.add_device_option(parser)
    program.add_pipes_option(parser)
    form = parser.add_mutually_exclusive_group()
    for name, words in (("json", "an object of JSON per line"), ("csv", "CSV, with a line of column names")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="text", help=words)
    parser.add_argument(
        "--candidates", type=names, default=[], metavar="A,B,...", help="the only languages that come into question"
    )
    parser.add_argument(
        "--priors",
        type=shares,
        metavar="A=P,B=Q,...",
        help="probability of each candidate beforehand; all alike without it",
    )
    words = "share of recordings like the dev set's that are called unknown; 0: none"
    parser.add_argument("--false-rejection", type=float, default=0.05, metavar="SHARE", help=words)
    parser.add_argument("--channel", default="", help='of files with several: a number from 0, or "mix" for their mean')
    parser.add_argument("model", metavar="MODEL", type=Path, help="exp/<name>, or a model directory")
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="sound file, directory, data directory, or - for a list on stdin"
    )
    return parser.parse_args()


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def shares(text: str) -> dict[str, float]:
    found = {}
    for each in text.split(","):
        name, _, share = each.partition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{each!r} is no language with its probability, as en=0.7 is") from None
    return found


if __name__ == "__main__":
    program.run(main)
