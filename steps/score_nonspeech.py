#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Non-speech check: decide data sets by their non-speech frames alone, where only the channel tells classes apart.

Example: steps/score_nonspeech.py exp/dnf_120 data test_en_es
Writes EXP/nonspeech_<set>/result.json: accuracy and balanced accuracy of the trained flow on those frames, and of a
linear classifier that was trained on the non-speech frames of the training set; and a mark: whether they tell the
classes apart, do not, or it cannot be told. Where the check cannot be made (a normal flow, no VAD) the values are null,
with the reason. Sets that are up to date are skipped.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from flowlid import program
from flowlid.evaluation.nonspeech import FAR_ABOVE, FEWEST, LinearClassifier, decide_nonspeech, load_nonspeech
from flowlid.evaluation.reuse import digest, make_unless_up_to_date
from flowlid.evaluation.scoring import frames_digest
from flowlid.files import write_json
from flowlid.flow.checkpoint import Model, load_model
from flowlid.frames.agreement import check_labels
from flowlid.kaldi.datadir import DataDir

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8192, help="frames scored at once")
    parser.add_argument("--max-train", type=int, default=5000, help="most training utterances of the linear classifier")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of them")
    program.add_part_of_sets_option(parser)
    args = parser.parse_args()
    program.log_provenance()
    device, pipes = program.choose_device(args.device), args.allow_pipes == "true"
    model = load_model(args.exp / "final.pt").to(device)
    check_labels(model, args.data)
    linear = LinearClassifier(model, args.data / model.config.data.train, args.max_train, args.seed, pipes)
    inputs = {"model": digest(args.exp / "final.pt"), "precision": model.flow.precision}
    inputs |= {"far_above": FAR_ABOVE, "fewest": FEWEST}
    for name in program.own_sets(args):
        decide(args, DataDir(args.data / name), model, linear, inputs)


def decide(
    args: argparse.Namespace, data: DataDir, model: Model, linear: LinearClassifier, inputs: dict[str, str]
) -> None:
    """Decide one set."""
    name, frames = data.path.name, load_nonspeech(model, data, args.allow_pipes == "true")
    inputs = {**inputs, "frames": frames_digest(frames), "frame_shift": data.frame_shift}
    count = 0
    if not isinstance(frames, str):
        count, inputs["training"] = len(frames), frames_digest(linear.training)

    def make(out: Path) -> None:
        with program.progress_bar(f"{name}, non-speech", count) as show:
            result = decide_nonspeech(model, data, frames, linear, args.batch_size, show)
        write_json(out / "result.json", result)
        say(name, result)

    make_unless_up_to_date(args.exp / f"nonspeech_{name}", inputs, make, args.overwrite == "true")


def say(name: str, result: dict[str, Any]) -> None:
    """Log what was decided."""
    for scorer in ("flow", "linear"):
        found = result[scorer]
        if found and found["balanced_accuracy"] is not None:
            words = "%s: non-speech frames alone, %s: balanced accuracy %.4f, chance %.4f"
            log.info(words, name, scorer, found["balanced_accuracy"], result["chance"])
        elif found and found["accuracy"] is not None:
            log.info("%s: non-speech frames alone, %s: accuracy %.4f", name, scorer, found["accuracy"])
    if result["reason"]:
        log.info("%s: non-speech check: %s", name, result["reason"])
    if result["mark"]:
        log.info("%s: non-speech frames alone tell the classes apart? %s", name, result["mark"])
    if result["warning"]:
        log.warning("%s", result["warning"])


if __name__ == "__main__":
    program.run(main)
