#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Fit the calibration of an experiment on its dev set, and state what it makes of the scores of other sets.

Example: steps/calibrate.py --dev dev_en_es exp/dnf_120 data train_en_es test_en_es test_es_co
Reads EXP/score_<set>. Writes EXP/calibration/calibration.json, and for each set EXP/calibrated_<set>/utt2prob (the
probability of each class at flat priors) and result.json. Where no calibration can be fitted, a line says why.
"""

import argparse
import logging
import shutil
from pathlib import Path

from flowlid import program
from flowlid.evaluation.calibrated import fit_on, no_calibration, read_calibration
from flowlid.evaluation.costs import write_calibrated
from flowlid.evaluation.reuse import MADE_FROM, digest, make_unless_up_to_date
from flowlid.evaluation.scored import read_own
from flowlid.files import write_json
from flowlid.kaldi.datadir import DataDir

FORMAT = 2  # of what is written: an earlier flowlid's is made again
log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_overwrite_option(parser)
    parser.add_argument("--dev", default="", help="set that the calibration is fitted on")
    parser.add_argument("exp", type=Path, help="experiment directory with score_<set>")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("train", help="the training set")
    parser.add_argument("sets", nargs="+", help="names of data directories")
    args = parser.parse_args()
    program.log_provenance()
    model = digest(args.exp / "final.pt")
    dev = read_own(args.exp, args.dev) if args.dev else None
    reason = no_calibration(dev)
    if reason:
        log.info("%s: not calibrated: %s", args.exp, reason)
        for stale in [args.exp / "calibration", *args.exp.glob("calibrated_*")]:
            shutil.rmtree(stale, ignore_errors=True)
        return
    speakers, known = DataDir(args.data / args.dev).table("utt2spk"), DataDir(args.data / args.train).table("utt2spk")

    def make(out: Path) -> None:
        found = fit_on(dev, known.values(), [speakers[utt] for utt in dev.utts], model)
        write_json(out / "calibration.json", found)
        log.info("calibrated on %s: scale %.4g, power %.3g of the duration", args.dev, found["scale"], found["power"])

    files = [
        args.exp / f"score_{args.dev}" / MADE_FROM,
        *(args.data / name / "utt2spk" for name in (args.dev, args.train)),
    ]
    make_unless_up_to_date(
        args.exp / "calibration", {"files": digest(*files), "format": FORMAT}, make, args.overwrite == "true"
    )
    for name in args.sets:
        calibrate(args, name, model)


def calibrate(args: argparse.Namespace, name: str, model: str) -> None:
    """Write the calibrated probabilities of one set, and what they cost."""
    score_dir, data = args.exp / f"score_{name}", DataDir(args.data / name)
    calibration = args.exp / "calibration" / "calibration.json"

    def make(out: Path) -> None:
        scored = read_own(args.exp, name)
        speakers = [data.table("utt2spk")[utt] for utt in scored.utts]
        found = write_calibrated(out, name, scored, read_calibration(calibration, model), speakers)
        if found["bits"]:
            words = "%s: %.3f bits (%.3f as scored, log2 K = %.3f)"
            log.info(words, name, found["bits"]["share"], found["bits_raw"], found["log2_classes"])

    files = digest(score_dir / MADE_FROM, calibration, data.path / "utt2spk")
    make_unless_up_to_date(
        args.exp / f"calibrated_{name}", {"files": files, "format": FORMAT}, make, args.overwrite == "true"
    )


if __name__ == "__main__":
    program.run(main)
