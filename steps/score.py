#!/usr/bin/env python3
"""Score data sets under the flow of one experiment: frames, utterances, trials.

Example: steps/score.py exp/dnf_120 data test_en_es test_es_co
Writes into EXP/score_<set>: utt2loglik (log p(x|y) per frame of each class), utt2lang, utt2pred, utt2llr (the two
foremost classes' log-likelihood ratio per frame), trials and scores (utterance, language, detection log-likelihood
ratio of the whole utterance, not calibrated), and result.json.
"""

import logging
from pathlib import Path

import numpy as np

from flowlid import program
from flowlid.evaluation import metrics
from flowlid.evaluation.durations import how_sure, window_lengths
from flowlid.evaluation.scoring import SetScores, class_numbers, llr_per_frame, score_frames, summarize
from flowlid.files import atomic_directory, atomic_write, write_json
from flowlid.flow.checkpoint import Model, load_model
from flowlid.frames.frameset import FrameSet, load_model_frames
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8192, help="frames scored at once")
    parser.add_argument("--frame-shift", type=float, default=10.0, help="of the features in ms, for all durations")
    args = parser.parse_args()
    program.log_provenance()
    shift = args.frame_shift / 1000
    windows = set(window_lengths(shift).values())
    device = program.choose_device(args.device)
    model = load_model(args.exp / "final.pt").to(device)
    for name in args.sets:
        frames = load_model_frames(model, DataDir(args.data / name), args.allow_pipes == "true")
        with program.progress_bar(name, len(frames)) as show:
            scores = score_frames(model.flow, frames, args.batch_size, show, windows)
        write_scores(args.exp / f"score_{name}", name, model, frames, scores, shift)


def write_scores(out: Path, name: str, model: Model, frames: FrameSet, scores: SetScores, frame_shift: float) -> None:
    """Write a score directory, whole or not at all."""
    decides = model.config.model.type == "dnf"
    languages = sorted(set(frames.languages))
    total = int(scores.frames.sum())
    result = {
        "set": name,
        "classes": model.classes,
        "languages": languages,
        "unseen": [language for language in languages if language not in model.languages],
        "utterances": len(frames.utts),
        "frames": total,
        "hours": total * frame_shift / 3600,
        "precision": model.flow.precision,
        "provenance": program.provenance(),
        **summarize(scores, frames.languages, model.classes, decides),
        **how_sure(scores, frames, model.classes, frame_shift, decides),
    }
    with atomic_directory(out) as partial:
        write_lists(partial, model, frames, scores, decides)
        write_json(partial / "result.json", result)
    log.info(
        "%s: %d utterances, %d frames: LogLL %.3f nats a frame%s%s",
        name,
        len(frames.utts),
        total,
        result["loglik"],
        "" if result["frame_accuracy"] is None else f", frame accuracy {result['frame_accuracy']:.4f}",
        "" if result["utt_accuracy"] is None else f", utterance accuracy {result['utt_accuracy']:.4f}",
    )


def write_lists(out: Path, model: Model, frames: FrameSet, scores: SetScores, decides: bool) -> None:
    """The per-utterance files: log-likelihoods, and for a model that decides, decisions and trials."""
    mean = scores.mean_loglik
    with atomic_write(out / "utt2loglik") as file:
        for utt, row in zip(frames.utts, mean, strict=True):
            file.write(f"{utt} [ {' '.join(f'{value:.6f}' for value in row)} ]\n")
    write_table(out / "utt2lang", dict(zip(frames.utts, frames.languages, strict=True)))
    if not decides:
        return
    llr_of = llr_per_frame(scores, class_numbers(frames.languages, model.classes))
    with atomic_write(out / "utt2llr") as file:
        file.writelines(f"{utt} {value:.6f}\n" for utt, value in zip(frames.utts, llr_of, strict=True))
    with atomic_write(out / "utt2pred") as file:
        file.writelines(f"{u} {model.classes[k]}\n" for u, k in zip(frames.utts, mean.argmax(1), strict=True))
    llr = metrics.detection_llr(scores.loglik)
    with atomic_write(out / "trials") as trials, atomic_write(out / "scores") as file:
        for number, (utt, language) in enumerate(zip(frames.utts, frames.languages, strict=True)):
            for k, name in enumerate(model.classes):
                trials.write(f"{utt} {name} {'target' if name == language else 'nontarget'}\n")
                file.write(f"{utt} {name} {np.format_float_positional(llr[number, k], precision=6)}\n")


if __name__ == "__main__":
    program.run(main)
