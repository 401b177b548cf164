#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Score data sets under the flow of one experiment: frames, utterances, trials.

Example: steps/score.py exp/dnf_120 data test_en_es test_es_co
Writes into EXP/score_<set>: utt2loglik (log p(x|y) per frame of each class), utt2lang, utt2pred, utt2llr (the two
best classes' log-likelihood ratio per frame), trials and scores (utterance, language, detection log-likelihood
ratio of the whole utterance, not calibrated), mean_latents.{ark,scp} (mean latent of each utterance), and result.json.
Sets that are up to date are skipped.
"""

import argparse
import logging
from pathlib import Path

from flowlid import program
from flowlid.evaluation.reuse import digest, make_unless_up_to_date
from flowlid.evaluation.scoring import frames_digest, score_set
from flowlid.flow.checkpoint import Model, load_model
from flowlid.frames.agreement import check_labels
from flowlid.frames.frameset import load_model_frames
from flowlid.kaldi.datadir import DataDir, check_names

ACCURACIES = {"frame_accuracy": "frame", "utt_accuracy": "utterance"}
log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8192, help="frames scored at once")
    args = parser.parse_args()
    provenance = program.log_provenance()
    device = program.choose_device(args.device)
    model = load_model(args.exp / "final.pt").to(device)
    check_labels(model, args.data)
    inputs = {"model": digest(args.exp / "final.pt"), "precision": model.flow.precision}
    check_names(args.data / name for name in (model.config.data.train, *args.sets))
    for name in args.sets:
        score(args, name, model, inputs, provenance)


def score(
    args: argparse.Namespace, name: str, model: Model, inputs: dict[str, str], provenance: dict[str, str]
) -> None:
    """Score one set."""
    data, place = DataDir(args.data / name), args.exp / f"score_{name}"
    frames = load_model_frames(model, data, args.allow_pipes == "true")

    def make(out: Path) -> None:
        with program.progress_bar(name, len(frames)) as show:
            found = score_set(out, place, model, frames, data.frame_shift, provenance, args.batch_size, show)
        said = [f"LogLL {found['loglik']:.3f} nats per frame"]
        said += [f"{words} accuracy {found[key]:.4f}" for key, words in ACCURACIES.items() if found[key] is not None]
        log.info("%s: %d utterances, %d frames: %s", name, found["utterances"], found["frames"], ", ".join(said))

    inputs = {**inputs, "frames": frames_digest(frames), "frame_shift": data.frame_shift}
    make_unless_up_to_date(place, inputs, make, args.overwrite == "true")


if __name__ == "__main__":
    program.run(main)
