#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Identify recordings: which of a trained model's languages is spoken in each, and how probable it is.

Examples: steps/identify.py exp/dnf_120/model a.wav b.mp3
          steps/identify.py --json exp/dnf_120 recordings/          (all sound files below a directory)
          find /calls -name '*.flac' | steps/identify.py --csv exp/dnf_120 - > answers.csv
          steps/identify.py --candidates en,es --priors en=0.7,es=0.3 exp/dnf5_120 data/test_5
          steps/identify.py --window 3 --rttm --textgrid grids --plot pictures exp/dnf_120/model long.wav > long.rttm
MODEL is the directory of an experiment, or its model directory, which can be copied to other machines. A FILE is a
sound file of any kind, a directory, a Kaldi data directory (with wav.scp), or "-": paths on stdin, one per line. The
answers come in that order, a line each: the language and its probability, "unknown", "no speech", or what is wrong with
the file; the others go on. Exit status 1 if anything could not be identified.

--window S answers along a long recording: the evidence of S seconds is decided together. Longer windows err less, and
miss shorter turns. Text and --json then have the segments, each of one language, with pauses of half a second or
more between them; --rttm has them as RTTM, with the language as the speaker; --csv has a line per tenth of a second
with the segment that it is in and the answer for the window around it. --textgrid writes the segments for Praat,
DIR/NAME.TextGrid, and --plot a picture of all of it over the spectrogram, DIR/NAME.png and .pdf.
"""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flowlid import program

if TYPE_CHECKING:
    from flowlid.identify.answer import Decider
    from flowlid.identify.identifier import Identifier
    from flowlid.identify.inputs import Inputs
    from flowlid.identify.windows import Timeline

log = logging.getLogger("flowlid")


def main() -> None:
    args = parse_arguments()
    from flowlid.audio.channels import read_channel  # here: --help and wrong options need no second for torch
    from flowlid.identify.identifier import load
    from flowlid.identify.inputs import Inputs

    channel = read_channel(args.channel, "--channel")
    model = load(args.model, args.device, channel, args.allow_pipes == "true")
    decider = model.decider(args.candidates, args.priors, args.false_rejection)
    inputs, answered, failed = Inputs(args.files, sys.stdin), 0, 0
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    results = whole_recordings if args.window is None else along_recordings
    for error, lines in results(args, model, inputs, decider):
        for line in lines:
            print(line)
        sys.stdout.flush()
        answered, failed = answered + (error is None), failed + (error is not None)
    skipped = f"; {inputs.skipped} other files in directories passed over" if inputs.skipped else ""
    log.info("%d answered, %d failed%s", answered, failed, skipped)
    if failed:
        sys.exit(1)


def whole_recordings(
    args: argparse.Namespace, model: "Identifier", inputs: "Inputs", decider: "Decider"
) -> Iterator[tuple[str | None, list[str]]]:
    """What is wrong with each recording, if anything, and its lines."""
    from flowlid.identify.formats import csv_header, csv_line, json_line, text_line

    line_of = {"text": text_line, "json": json_line, "csv": partial(csv_line, classes=model.classes)}[args.form]
    if args.form == "csv":
        print(csv_header(model.classes))
    for answer in model.answers(inputs, decider):
        yield answer.error, [line_of(answer)]


def along_recordings(
    args: argparse.Namespace, model: "Identifier", inputs: "Inputs", decider: "Decider"
) -> Iterator[tuple[str | None, Iterator[str]]]:
    """As `whole_recordings`, with the files of --textgrid and --plot."""
    from flowlid.identify.timelines import csv_header, csv_lines, json_lines, rttm_lines, text_lines

    forms = {"text": text_lines, "json": json_lines, "csv": partial(csv_lines, classes=model.classes)}
    lines_of = {**forms, "rttm": rttm_lines}[args.form]
    timelines = model.timelines(inputs, decider, args.window)
    if args.form == "csv":
        print(csv_header(model.classes))
    named = args.form == "rttm" or args.textgrid or args.plot
    called: dict[str, str] = {}  # name in files -> recording
    for timeline in timelines:
        if named and timeline.error is None:
            if timeline.id in called:
                words = (
                    f"in files it is called {timeline.id}, as {called[timeline.id]} is; give it in a call of its own"
                )
                timeline = dataclasses.replace(timeline, segments=(), error=f"{timeline.name}: {words}")
            else:
                called[timeline.id] = timeline.name
        if timeline.error is None:
            write_files(args, model, timeline)
        elif args.form == "rttm":
            log.error("%s", timeline.error)  # RTTM has no place for it
        yield timeline.error, lines_of(timeline)


def write_files(args: argparse.Namespace, model: "Identifier", timeline: "Timeline") -> None:
    """Those of --textgrid and --plot."""
    from flowlid.files import atomic_write
    from flowlid.identify.timelines import textgrid

    name = timeline.id.replace("/", "_")
    if args.textgrid:
        args.textgrid.mkdir(parents=True, exist_ok=True)
        with atomic_write(args.textgrid / f"{name}.TextGrid") as file:
            file.write(textgrid(timeline))
    if args.plot and len(timeline.feats):
        from flowlid.plots.timeline import timeline as draw

        args.plot.mkdir(parents=True, exist_ok=True)
        draw(
            timeline.feats,
            model.listener.frame_shift,
            model.listener.band,
            dict(zip(timeline.candidates, timeline.windows.probabilities.T, strict=True)),
            timeline.step,
            [(each.start, each.end, each.language) for each in timeline.segments],
            args.plot / name,
            timeline.id,
        )


def parse_arguments() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    program.add_device_option(parser)
    program.add_pipes_option(parser)
    form = parser.add_mutually_exclusive_group()
    forms = {
        "--json": "an object of JSON per line",
        "--csv": "CSV, with a line of column names",
        "--rttm": "segments as RTTM; needs --window",
    }
    for name, words in forms.items():
        form.add_argument(name, dest="form", action="store_const", const=name[2:], default="text", help=words)
    words = "answer along each recording, deciding so many seconds together, such as 3"
    parser.add_argument("--window", type=float, metavar="S", help=words)
    files = {"--textgrid": "segments as a Praat TextGrid per recording", "--plot": "a picture per recording"}
    for name, words in files.items():
        parser.add_argument(name, type=Path, metavar="DIR", help=f"{words}, in this directory; needs --window")
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
    args = parser.parse_args()
    if args.window is None and (args.form == "rttm" or args.textgrid or args.plot):
        parser.error("--rttm, --textgrid and --plot tell what is spoken when; give --window too, such as --window 3")
    return args


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def shares(text: str) -> dict[str, float]:
    found = {}
    for each in text.split(","):
        name, _, share = each.partition("=")
        if name.strip() in found:
            raise argparse.ArgumentTypeError(f"{name.strip()} has two probabilities; give it one")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{each!r} is no language with its probability, as en=0.7 is") from None
    return found


if __name__ == "__main__":
    program.run(main)
