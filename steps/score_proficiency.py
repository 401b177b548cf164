#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Correlation of a model's values of utterances with human scores, for the data sets that have them (utt2score).

Example: steps/score_proficiency.py --expected "test_je*" exp/dnf_120 data test_timit test_je
Writes EXP/proficiency_<set>/result.json: LogLL per frame, log-likelihood ratio of the native class, and a ridge
regression on mean latents, each by Pearson's and Spearman's correlation with 95% intervals. A set without scores is
passed over; where it was expected to have them, the file says that there are none, and so does the report.
"""

import fnmatch
import logging
import shutil
from pathlib import Path

from flowlid import program
from flowlid.evaluation.proficiency import PREDICTORS, assess, human_scores, no_scores
from flowlid.files import atomic_directory, write_json
from flowlid.flow.checkpoint import load_model
from flowlid.frames.frameset import load_model_frames
from flowlid.kaldi.datadir import DataDir

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8192, help="frames at once")
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    parser.add_argument("--expected", default="", help='sets that should have scores, or patterns: "test_je*"')
    args = parser.parse_args()
    program.log_provenance()
    sets = {name: DataDir(args.data / name) for name in args.sets}
    scored = {name: data for name, data in sets.items() if data.has("utt2score")}
    for name in sets.keys() - scored.keys():
        place = args.exp / f"proficiency_{name}"
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in args.expected.split()):
            say_there_are_none(place, name)
        elif place.exists():
            shutil.rmtree(place)  # of an earlier run, when the set had scores
    if not scored:
        return
    device = program.choose_device(args.device)
    model = load_model(args.exp / "final.pt").to(device)
    for name, data in scored.items():
        frames = load_model_frames(model, data, args.allow_pipes == "true")
        human = human_scores(data, frames.utts)
        result = assess(model, frames, human, args.batch_size, args.seed)
        write(args.exp / f"proficiency_{name}", name, result)
        for predictor in PREDICTORS:
            values = result[predictor]
            known = f"Pearson {values['pearson']:.3f}, Spearman {values['spearman']:.3f}" if values else "none"
            log.info("%s: %s: %s", name, predictor, result["reasons"].get(predictor, known))


def say_there_are_none(place: Path, name: str) -> None:
    """Write and log that a set has no scores although it should."""
    reason = (
        f"no scores in the data directory of {name}: this copy of the corpus lacks them, or has them for some "
        "utterances only (the logs of stages 0 and 1 tell)"
    )
    log.warning("%s: %s", name, reason)
    write(place, name, no_scores(reason))


def write(place: Path, name: str, result: dict[str, object]) -> None:
    """Write a set's result, whole or not at all."""
    with atomic_directory(place) as partial:
        write_json(partial / "result.json", {"set": name, **result})


if __name__ == "__main__":
    program.run(main)
