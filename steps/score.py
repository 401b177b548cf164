#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Score data sets under the flow of one experiment: frames, utterances, trials.

Examples: steps/score.py exp/dnf_120 data test_en_es test_es_co
          steps/score.py --part 2/4 exp/dnf_120 data test_en_es     (the second of four jobs)
          steps/score.py --merge 4 exp/dnf_120 data test_en_es      (when all four have ended)
Writes into EXP/score_<set>: utt2loglik (log p(x|y) per frame of each class), utt2lang, utt2pred, utt2llr (the two
best classes' log-likelihood ratio per frame), trials and scores (utterance, language, detection log-likelihood
ratio of the whole utterance, not calibrated), mean_latents.{ark,scp} (mean latent of each utterance), blocks.{ark,scp}
(of each second the mean log p(x|y) of each class, and the mean latent), and result.json.
Sets that are up to date are skipped. Scores that several jobs made are those of one job, bit for bit, on processors
of one kind.
"""

import argparse
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowlid import program
from flowlid.evaluation.parts import Part, gather_archives, gather_scores, part_place, precision_of, score_part
from flowlid.evaluation.reuse import digest, made_from, make_unless_up_to_date
from flowlid.evaluation.scored import ARCHIVES
from flowlid.evaluation.scoring import archives_in, frames_digest, score_set, write_scores
from flowlid.flow.checkpoint import Model, load_model
from flowlid.frames.agreement import check_labels
from flowlid.frames.frameset import FrameSet, load_model_frames
from flowlid.kaldi.datadir import DataDir, check_names

ACCURACIES = {"frame_accuracy": "frame", "utt_accuracy": "utterance"}
log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8192, help="frames scored at once")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--part", metavar="J/N", type=program.part_of_jobs, help="score the J-th of N parts of each set")
    how.add_argument("--merge", metavar="N", type=int, help="put the N parts of each set together")
    args = parser.parse_args()
    provenance = program.log_provenance()
    model = load_model(args.exp / "final.pt")
    inputs = {"model": digest(args.exp / "final.pt")}
    if not args.merge:
        model = model.to(program.choose_device(args.device))
        inputs["precision"] = model.flow.precision
    check_labels(model, args.data)
    check_names(args.data / name for name in (model.config.data.train, *args.sets))
    for name in args.sets:
        data = DataDir(args.data / name)
        frames = load_model_frames(model, data, args.allow_pipes == "true")
        own = {**inputs, "frames": frames_digest(frames), "frame_shift": data.frame_shift, "archives": list(ARCHIVES)}
        if args.merge:
            merge(args, name, model, frames, own, provenance)
        else:
            score(args, name, model, frames, own, provenance)


def score(
    args: argparse.Namespace,
    name: str,
    model: Model,
    frames: FrameSet,
    inputs: dict[str, Any],
    provenance: dict[str, str],
) -> None:
    """Score one set, or a part of it."""
    place, shift, overwrite = args.exp / f"score_{name}", inputs["frame_shift"], args.overwrite == "true"
    if not args.part:

        def make(out: Path) -> None:
            with program.progress_bar(name, len(frames)) as show:
                say(name, score_set(out, place, model, frames, shift, provenance, args.batch_size, show))

        make_unless_up_to_date(place, inputs, make, overwrite)
        return
    part = Part(*args.part)
    part_of_set = part_place(args.exp, name, part)
    if not overwrite and made_from(place) == inputs:
        log.info("%s: up to date", place.name)
        shutil.rmtree(part_of_set, ignore_errors=True)  # of a run that was killed
        return

    def make_part(out: Path) -> None:
        words = f"{name}, part {part.number} of {part.count}"
        with program.progress_bar(words, len(frames), hidden=part.number > 1) as show:  # one speaks for all
            found = score_part(out, part_of_set, model.flow, frames, part, shift, args.batch_size, show)
        log.info("%s: %d utterances", words, found)

    made = {**inputs, "part": str(part), "batch_size": args.batch_size}
    make_unless_up_to_date(part_of_set, made, make_part, overwrite)


def merge(
    args: argparse.Namespace,
    name: str,
    model: Model,
    frames: FrameSet,
    inputs: dict[str, Any],
    provenance: dict[str, str],
) -> None:
    """Put the parts of one set together, if it was not up to date before they were made."""
    place = args.exp / f"score_{name}"
    places = [part_place(args.exp, name, Part(number, args.merge)) for number in range(1, args.merge + 1)]
    if not any(part.exists() for part in places) and inputs.items() <= (made_from(place) or {}).items():
        log.info("%s: up to date", place.name)
        shutil.rmtree(places[0].parent, ignore_errors=True)
        return
    precision = precision_of(places, {**inputs, "batch_size": args.batch_size})

    def make(out: Path) -> None:
        with archives_in(out, place) as keep:
            for utt, mean, blocks in gather_archives(places):
                keep(utt, mean, blocks)
        shift, scores = inputs["frame_shift"], gather_scores(places)
        say(name, write_scores(out, place, model, frames, shift, provenance, precision, scores))

    make_unless_up_to_date(place, {**inputs, "precision": precision}, make, overwrite=True)
    shutil.rmtree(places[0].parent)
    with suppress(OSError):  # other sets' parts are there
        places[0].parent.parent.rmdir()


def say(name: str, found: dict[str, Any]) -> None:
    """Log what was found of a set."""
    said = [f"LogLL {found['loglik']:.3f} nats per frame"] if found["loglik"] is not None else []
    said += [f"{words} accuracy {found[key]:.4f}" for key, words in ACCURACIES.items() if found[key] is not None]
    log.info("%s: %d utterances, %d frames: %s", name, found["utterances"], found["frames"], ", ".join(said))


if __name__ == "__main__":
    program.run(main)
