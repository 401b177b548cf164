#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Fit the open set of an experiment on its dev set, and say which utterances of other sets are of no known class.

Examples: steps/fit_openset.py --dev dev_en_es exp/dnf_120 data train_en_es test_en_es test_ru
          steps/fit_openset.py --background exp/nf4_120 --dev dev_4 exp/dnf4_120 data train_4 test_4 test_es
Reads EXP/score_<set>, and with --background those of that experiment too. Writes EXP/openset/openset.json, and for each
set EXP/openset_<set>/utt2pred (a class, or "unknown" at a false-rejection rate of 5% on the dev set), utt2typicality
(share of the dev set's utterances that are as strange), utt2surprise and result.json. Where no open set can be fitted,
a line says why.
"""

import argparse
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from flowlid import program
from flowlid.evaluation.openset import fit_openset, no_openset, read_openset
from flowlid.evaluation.rejection import JudgedSet, judge, write_judged
from flowlid.evaluation.reuse import MADE_FROM, digest, make_unless_up_to_date
from flowlid.evaluation.scored import ScoredSet, read_background, read_own
from flowlid.files import read_json, write_json
from flowlid.kaldi.datadir import DataDir

FORMAT = 2  # of what is written: an earlier flowlid's is made again
log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_overwrite_option(parser)
    parser.add_argument("--dev", default="", help="set that the open set is fitted on")
    parser.add_argument("--background", default="", help="experiment directory whose log-likelihoods are subtracted")
    parser.add_argument("exp", type=Path, help="experiment directory with score_<set>")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("train", help="the training set")
    parser.add_argument("sets", nargs="+", help="names of data directories")
    args = parser.parse_args()
    program.log_provenance()
    if args.background and Path(args.background).resolve() == args.exp.resolve():
        raise ValueError(f"{args.exp}: an experiment cannot be its own background; correct model.background")
    dev, model = read_own(args.exp, args.dev) if args.dev else None, digest(args.exp / "final.pt")
    reason = no_openset(dev)
    if reason:
        log.info("%s: no open set: %s", args.exp, reason)
        for stale in args.exp.glob("openset*"):
            shutil.rmtree(stale, ignore_errors=True)
        return

    def make(out: Path) -> None:
        name = Path(args.background).name or None
        openset = fit_openset(dev, name, background_of(args, args.dev, dev))
        write_json(out / "openset.json", openset.to_dict(model))

    inputs = {"files": digest(*scores_of(args, args.dev)), "background": args.background, "format": FORMAT}
    make_unless_up_to_date(args.exp / "openset", inputs, make, args.overwrite == "true")
    known = known_set(args)
    for name in args.sets:
        judge_set(args, name, known, model)


def known_set(args: argparse.Namespace) -> str:
    """The set of seen languages that unseen ones are told apart from: the first test set that has no other, or dev."""
    tests = [name for name in args.sets if name != args.dev]
    for path in (args.exp / f"score_{name}" / "result.json" for name in tests):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; score the set first (stage 4)")
    unseen = {name: read_json(args.exp / f"score_{name}" / "result.json")["unseen"] for name in tests}
    return next((name for name in tests if not unseen[name]), args.dev)


def judge_set(args: argparse.Namespace, name: str, known: str, model: str) -> None:
    """Write who of a set is rejected, and how well its unseen languages are told apart from the known set."""
    openset = args.exp / "openset" / "openset.json"

    def judged(name: str) -> JudgedSet:
        scored, speakers = read_own(args.exp, name), DataDir(args.data / name).table("utt2spk")
        own = [speakers[utt] for utt in scored.utts]
        return judge(read_openset(openset, model), name, scored, own, background_of(args, name, scored))

    def make(out: Path) -> None:
        train = set(DataDir(args.data / args.train).table("utt2spk").values())
        say(name, write_judged(out, judged(name), judged(known), train))

    files = [openset, *scores_of(args, name), *scores_of(args, known)]
    files += [args.data / each / "utt2spk" for each in (args.train, name, known)]
    make_unless_up_to_date(args.exp / f"openset_{name}", {"files": digest(*files)}, make, args.overwrite == "true")


def scores_of(args: argparse.Namespace, name: str) -> list[Path]:
    """What tells whether a set was scored again."""
    return [Path(exp) / f"score_{name}" / MADE_FROM for exp in (args.exp, args.background) if exp]


def background_of(args: argparse.Namespace, name: str, scored: ScoredSet) -> np.ndarray | None:
    """The background's log-likelihood per frame of a set's utterances, (U,); None if there is no background."""
    return read_background(Path(args.background) / f"score_{name}", scored) if args.background else None


def say(name: str, found: dict[str, Any]) -> None:
    """Log what was found of a set."""
    said = [f"{found['rejected']['share']:.3f} of seen languages rejected"] if found["seen"] else []
    if found["unseen"]:
        said += [f"{found['accepted']['share']:.3f} of unseen languages accepted"]
        said += [f"AUROC {found['auroc']['all']['share']:.3f} against {found['against']}"]
    log.info("%s: %s", name, ", ".join(said))


if __name__ == "__main__":
    program.run(main)
