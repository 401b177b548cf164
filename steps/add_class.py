#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Add a language to a trained discriminative flow, from a few minutes of speech: a model directory with one class more.

Example: steps/add_class.py exp/dnf_120 data it my_italian/ it_model
         steps/identify.py it_model a.wav
The flow stays as it is: the new class is the mean latent of the frames of the speech given, and the calibration (and
open set, if there is one) is fitted anew on the dev set and that speech. Reads EXP/final.pt and EXP/score_<dev>. FILEs
are as for steps/identify.py; those that cannot be used are named and left out. Says what became of the decisions on the
dev set.
"""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

from flowlid import program
from flowlid.audio.channels import read_channel
from flowlid.evaluation.calibrated import read_calibration
from flowlid.evaluation.openset import UNKNOWN
from flowlid.evaluation.scored import ScoredSet, read_own
from flowlid.files import atomic_directory, read_json
from flowlid.frames.utterances import frames_of
from flowlid.identify.added_class import extended, score_new, with_class, write_extended
from flowlid.identify.card import added_section, write_card
from flowlid.identify.carry import CALIBRATION, open_model
from flowlid.identify.inputs import Inputs
from flowlid.identify.recording import Heard, Listener
from flowlid.kaldi.datadir import DataDir

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_pipes_option(parser)
    parser.add_argument("--channel", default="", help='of files with several: a number from 0, or "mix" for their mean')
    parser.add_argument("--readme", type=Path, help='README of the recipe; its section "Licences" goes into the card')
    parser.add_argument("exp", type=Path, help="experiment directory, scored")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("language", help="name of the new class")
    parser.add_argument("files", metavar="FILE", nargs="+", help="speech in that language")
    parser.add_argument("out", type=Path, help="model directory to write")
    args = parser.parse_args()
    program.log_provenance()
    carried = open_model(args.exp)
    model, config = carried.model, carried.model.config
    check(args, model.classes, config.model.type, config.data.dev)
    before = read_own(args.exp, config.data.dev)
    if carried.background is not None:
        log.warning(
            "%s: its background flow has not heard %s: the new open set goes without it", args.exp, args.language
        )
    listener = Listener(model, str(args.exp), read_channel(args.channel, "--channel"), args.allow_pipes == "true")
    heard = list(speech(listener, args.files))
    if not heard:
        raise ValueError(f"{args.language}: no speech in {' '.join(args.files)}")
    result = read_json(args.exp / f"score_{config.data.dev}" / "result.json")
    model.flow.set_precision(result["precision"])
    new = score_new(model, frames_of(model, [each.utterance for each in heard]), listener.frame_shift)
    after, mean = with_class(before, new, model, args.language)
    card = write_card(args.exp, model, args.data, args.readme)
    card += added_section(args.language, int(new.frames.sum()) * listener.frame_shift, len(heard))
    model = extended(model, args.language, mean)
    speakers = DataDir(args.data / config.data.dev).table("utt2spk")
    known = DataDir(args.data / config.data.train).table("utt2spk").values()
    with atomic_directory(args.out) as place:
        write_extended(
            place, model, result["precision"], after, speakers, list(known), card, args.exp.name, bool(carried.openset)
        )
        say(args.language, before, after, place / CALIBRATION)


def check(args: argparse.Namespace, classes: list[str], kind: str, dev: str) -> None:
    if kind != "dnf":
        raise ValueError(
            f"{args.exp}: model.type is {kind}: only a discriminative flow (dnf) can be given another class"
        )
    if args.language in classes:
        raise ValueError(f"{args.language}: the model has this class already ({' '.join(classes)})")
    if len(args.language.split()) != 1 or args.language == UNKNOWN:
        raise ValueError(f"{args.language!r}: no name for a language: give one word, other than {UNKNOWN!r}")
    if not dev:
        raise ValueError(f"{args.exp}: no dev set (data.dev), without which the new model cannot be calibrated")
    if not (args.exp / "final.pt").is_file():
        raise ValueError(f"{args.exp}: a model directory, not an experiment, whose scores of the dev set are needed")
    if args.out.exists() and not (args.out / "model.json").is_file():
        raise ValueError(f"{args.out}: there already, and no model directory; give another name")


def speech(listener: Listener, files: list[str]) -> "list[Heard]":
    """The recordings that have speech; others are named."""
    found = []
    for source in Inputs(files, sys.stdin):
        try:
            if isinstance(source, tuple):
                raise ValueError(source[1])
            heard = listener.hear(source)
        except (ValueError, OSError) as error:
            log.warning("left out: %s", error)
            continue
        if heard.utterance.voiced.any():
            found.append(heard)
        else:
            log.warning("left out: %s: no speech", heard.name)
    return found


def say(language: str, before: ScoredSet, after: ScoredSet, calibration: Path) -> None:
    """Log how many utterances of the dev set, and of the new class, are decided correctly."""
    map_ = read_calibration(calibration, read_json(calibration)["model"])
    decided = np.array(after.classes)[map_.affine(after.mean_loglik, after.frames).argmax(1)]
    right = decided == np.array(after.languages)
    old = np.flatnonzero(before.labels >= 0)
    kept = (before.mean_loglik[old].argmax(1) == before.labels[old]).mean()
    new = right[len(before.utts) :]
    log.info("dev set: utterance accuracy %.4f of the old classes, %.4f before", right[old].mean(), kept)
    log.info("%s: %.4f of %d utterances, each by the mean of the others", language, new.mean(), len(new))


if __name__ == "__main__":
    program.run(main)
