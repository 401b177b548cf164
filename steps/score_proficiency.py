#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Correlation of a model's values of utterances with human scores, for the data sets that have them (utt2score).

Example: steps/score_proficiency.py --expected "test_je*" exp/dnf_120 data test_timit test_je
Writes EXP/proficiency_<set>/result.json from EXP/score_<set>: LogLL per frame, log-likelihood ratio of the native
class, and a ridge regression on mean latents, each by Pearson's and Spearman's correlation with 95% intervals. Sets
without scores are skipped, and sets that are up to date; if a set was expected to have scores, the file, and so the
report, says that there are none.
"""

import argparse
import fnmatch
import logging
import shutil
from pathlib import Path

from flowlid import program
from flowlid.evaluation.proficiency import PREDICTORS, assess, human_scores, no_scores
from flowlid.evaluation.reuse import MADE_FROM, digest, make_unless_up_to_date
from flowlid.evaluation.scored import read_scored
from flowlid.files import write_json
from flowlid.kaldi.datadir import DataDir

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_overwrite_option(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    parser.add_argument("--expected", default="", help='sets that should have scores, or patterns: "test_je*"')
    parser.add_argument("exp", type=Path, help="experiment directory with score_<set>")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("sets", nargs="+", help="names of data directories")
    args = parser.parse_args()
    program.log_provenance()
    for name in args.sets:
        data, place = DataDir(args.data / name), args.exp / f"proficiency_{name}"
        if data.has("utt2score"):
            correlate(args, data, place)
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in args.expected.split()):
            say_there_are_none(args, name, place)
        elif place.exists():
            shutil.rmtree(place)  # of an earlier run, when the set had scores


def correlate(args: argparse.Namespace, data: DataDir, place: Path) -> None:
    """Write the correlations of a set that has scores."""
    name, score_dir = data.path.name, args.exp / f"score_{data.path.name}"

    def make(out: Path) -> None:
        scored = read_scored(score_dir)
        human = human_scores(data, scored.utts)
        result = assess(scored, [data.table("utt2spk")[utt] for utt in scored.utts], human, args.seed)
        write_json(out / "result.json", {"set": name, **result})
        for predictor in PREDICTORS:
            values = result[predictor]
            known = f"Pearson {values['pearson']:.3f}, Spearman {values['spearman']:.3f}" if values else "none"
            log.info("%s: %s: %s", name, predictor, result["reasons"].get(predictor, known))

    files = digest(score_dir / MADE_FROM, data.path / "utt2score", data.path / "utt2spk")
    make_unless_up_to_date(place, {"files": files, "seed": args.seed}, make, args.overwrite == "true")


def say_there_are_none(args: argparse.Namespace, name: str, place: Path) -> None:
    """Write and log that a set has no scores although it should."""
    reason = (
        f"no scores in the data directory of {name}: this copy of the corpus lacks them, or has them for some "
        "utterances only (the logs of stages 0 and 1 tell)"
    )
    log.warning("%s: %s", name, reason)

    def make(out: Path) -> None:
        write_json(out / "result.json", {"set": name, **no_scores(reason)})

    make_unless_up_to_date(place, {"reason": reason}, make, args.overwrite == "true")


if __name__ == "__main__":
    program.run(main)
