"""Does a flow decide better than the baselines that were trained and scored on the same utterances?"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from flowlid.config import BASELINES
from flowlid.evaluation.scored import read_decisions

Result = dict[str, Any]
log = logging.getLogger("flowlid")


def with_baselines(exp_dir: Path, results: Sequence[Result]) -> list[Result]:
    """`report.results.collect`'s results, with an entry `baselines` in each set: experiment -> `compare`, and `bits`.

    `bits` is the baseline's calibrated cross-entropy. A flow is compared with each baseline that was trained on its
    training set, has its classes, and has scored the same utterances of the set; the entry is None where there is none,
    or no language was seen.
    """
    baselines = [result for result in results if result["model"] in BASELINES]
    found = []
    for result in results:
        alike = [each for each in baselines if _task(each) == _task(result) and result["model"] == "dnf"]
        found.append({**result, "sets": _beside(exp_dir, result, alike)})
    return found


def _task(result: Result) -> tuple[str | None, list[str]]:
    return result["train"]["set"], result["classes"]


def _beside(exp_dir: Path, flow: Result, baselines: Sequence[Result]) -> dict[str, Result]:
    sets = {}
    for name, found in flow["sets"].items():
        compared, ours = {}, _decisions(exp_dir, flow, name) if baselines else {}
        for baseline in baselines if ours else ():
            theirs = _decisions(exp_dir, baseline, name)
            if theirs and theirs.keys() == ours.keys():
                test = compare(list(ours.values()), [theirs[utt] for utt in ours])
                compared[baseline["experiment"]] = {**test, "bits": _bits(baseline["sets"][name])}
            elif theirs:
                names = flow["experiment"], baseline["experiment"]
                log.warning("%s: %s and %s have scored different utterances, and are not compared", name, *names)
        sets[name] = {**found, "baselines": compared or None}
    return sets


def _decisions(exp_dir: Path, result: Result, name: str) -> dict[str, bool]:
    """Whether each utterance of a seen language was decided correctly; none of a set that was not scored."""
    if result["sets"].get(name, {}).get("utt_accuracy") is None:
        return {}
    languages, decided = read_decisions(exp_dir / result["experiment"] / f"score_{name}")
    return {utt: decided[utt] == language for utt, language in languages.items() if language in result["classes"]}


def _bits(found: Result) -> float | None:
    calibrated = found.get("calibrated")
    return calibrated["bits"]["share"] if calibrated and calibrated["bits"] else None


def compare(ours: ArrayLike, theirs: ArrayLike) -> Result:
    """McNemar's exact test of two models' decisions on the same utterances.

    Where both are right, or both wrong, nothing is told. Of the n others, b are right under the first model alone; if
    the models were equally good, b would be binomial with n trials and p = 1/2:

        p = P(|B - n/2| >= |b - n/2|)

    Utterances count as independent: with several of a speaker, p is smaller than it should be.

    Args:
        ours, theirs: whether each utterance is decided correctly, (U,).

    Returns:
        `utterances`, both accuracies (`accuracy`, `baseline`), how many are right under one model alone (`alone`,
        `baseline_alone`), and `p`, 1 where there are none.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.
    """
    ours, theirs = np.asarray(ours, bool), np.asarray(theirs, bool)
    alone, baseline_alone = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    differ = alone + baseline_alone
    return {
        "utterances": len(ours),
        "accuracy": float(ours.mean()),
        "baseline": float(theirs.mean()),
        "alone": alone,
        "baseline_alone": baseline_alone,
        "p": float(binomtest(alone, differ).pvalue) if differ else 1.0,
    }
