#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Control: score data sets by their non-speech frames alone, where only the channel tells the classes apart.

Example: steps/score_nonspeech.py exp/dnf_120 data test_en_es
Writes EXP/nonspeech_<set>/result.json: accuracy and balanced accuracy of the trained flow on those frames, and of a
linear classifier that was trained on the non-speech frames of the training set; and a warning where one is far above
chance. Where there is no such control (a normal flow, no VAD) the values are null, with the reason.
"""

import logging
from typing import Any

from flowlid import program
from flowlid.evaluation.nonspeech import no_control, nonspeech_control, training_means, why_not
from flowlid.files import atomic_directory, write_json
from flowlid.flow.checkpoint import load_model
from flowlid.kaldi.datadir import DataDir

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8192, help="frames scored at once")
    parser.add_argument("--frame-shift", type=float, default=10.0, help="of the features in ms, for hours")
    parser.add_argument("--max-train", type=int, default=5000, help="most training utterances of the linear classifier")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of them")
    args = parser.parse_args()
    program.log_provenance()
    device, pipes = program.choose_device(args.device), args.allow_pipes == "true"
    model = load_model(args.exp / "final.pt").to(device)
    sets = {name: DataDir(args.data / name) for name in args.sets}
    reasons = {name: why_not(model, data) for name, data in sets.items()}
    training = None
    if None in reasons.values():
        train_data = DataDir(args.data / model.config.data.train)
        training = training_means(model, train_data, args.max_train, args.seed, pipes)
    for name, data in sets.items():
        reason = reasons[name]
        result = no_control(reason) if reason else nonspeech_control(model, data, training, pipes, args.batch_size)
        frames = result["frames"]
        result["hours"] = None if frames is None else frames * args.frame_shift / 1000 / 3600
        with atomic_directory(args.exp / f"nonspeech_{name}") as partial:
            write_json(partial / "result.json", {"set": name, "classes": model.classes, **result})
        say(name, result)


def say(name: str, result: dict[str, Any]) -> None:
    """Log what the control found."""
    for scorer in ("flow", "linear"):
        judged = result[scorer]
        if judged and judged["balanced_accuracy"] is not None:
            words = "%s: non-speech frames alone, %s: balanced accuracy %.4f, chance %.4f"
            log.info(words, name, scorer, judged["balanced_accuracy"], result["chance"])
        elif judged and judged["accuracy"] is not None:
            log.info("%s: non-speech frames alone, %s: accuracy %.4f", name, scorer, judged["accuracy"])
    if result["reason"]:
        log.info("%s: not all of the control on non-speech frames: %s", name, result["reason"])
    if result["warning"]:
        log.warning("%s", result["warning"])


if __name__ == "__main__":
    program.run(main)
