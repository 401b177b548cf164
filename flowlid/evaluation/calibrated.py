"""A model's calibration on its dev set, and what the decisions of a set cost before and after it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from flowlid.evaluation.bootstrap import estimate_recall
from flowlid.evaluation.calibration import (
    BETAS,
    Calibration,
    bits,
    cllr,
    costs_in_bits,
    detection_cost,
    fit,
    min_cllr,
    min_detection_cost,
)
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.scored import ScoredSet
from flowlid.files import atomic_write, read_json, write_json
from flowlid.wording import some

Result = dict[str, Any]


def no_calibration(dev: ScoredSet | None) -> str | None:
    """Why no calibration can be fitted on a dev set; None if one can."""
    if dev is None:
        return "the experiment has no dev set"
    if len(dev.classes) < 2:
        return "a normal flow decides nothing"
    missing = sorted(set(dev.classes) - set(dev.languages))
    return f"the dev set has no utterance of {some(missing)}" if missing else None


def fit_on(dev: ScoredSet, known_speakers: Collection[str], speakers: Sequence[str]) -> Result:
    """The calibration of a dev set, as it is stored.

    Args:
        dev: has utterances of every class; those of other languages do not count.
        known_speakers: those of the training set.
        speakers: of each utterance of the dev set.

    Returns:
        `classes`, `scale`, `power`, `offsets`, and of the dev set `utterances`, `speakers` and `new_speakers`, those
        that were not in training: without any, the calibration is one of known voices.
    """
    labels = class_numbers(dev.languages, dev.classes)
    seen = labels >= 0
    found = fit(dev.mean_loglik[seen], dev.frames[seen], labels[seen])
    own = {speaker for speaker, known in zip(speakers, seen, strict=True) if known}
    counts = {"utterances": int(seen.sum()), "speakers": len(own), "new_speakers": len(own - set(known_speakers))}
    return {"classes": dev.classes, **asdict(found), **counts}


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file calibration.json; ValueError if it is damaged."""
    content = read_json(path)
    try:
        return Calibration(float(content["scale"]), float(content["power"]), tuple(map(float, content["offsets"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no calibration ({error!r}); remove it and run stage 4 again") from error


def write_calibrated(out: Path, name: str, scored: ScoredSet, map_: Calibration, speakers: Sequence[str]) -> Result:
    """Write `utt2prob`, P(class | utterance) at flat priors, and `result.json` (`assess`) of a set into `out`."""
    loglik = map_(scored.mean_loglik, scored.frames)
    with atomic_write(out / "utt2prob") as file:
        for utt, row in zip(scored.utts, softmax(loglik, axis=1), strict=True):
            file.write(f"{utt} [ {' '.join(f'{value:.6f}' for value in row)} ]\n")
    result = {"set": name, "classes": scored.classes, **assess(scored, loglik, speakers)}
    write_json(out / "result.json", result)
    return result


def assess(scored: ScoredSet, loglik: np.ndarray, speakers: Sequence[str]) -> Result:
    """Costs of a set's log-likelihoods as they are, after calibration, and at best; None where they do not apply.

    Args:
        scored: the set; utterances of unseen languages do not count.
        loglik: calibrated, (U, K).
        speakers: of each utterance, (U,).

    Returns:
        `log2_classes`; `bits` (an estimate with its interval), `bits_raw` and `bits_min` (after a fit on the set
        itself), averaged over the languages of the set; `accuracy` after calibration; `cllr`, pair -> `raw`,
        `calibrated` and `min`; `cost`, beta -> `raw`, `actual` and `min`; `confident`, the utterances that were decided
        with a probability of 0.9 or more and the share of them that is `wrong`.
    """
    labels = class_numbers(scored.languages, scored.classes)
    seen, classes = labels >= 0, len(scored.classes)
    found: Result = {"log2_classes": math.log2(classes), "confident": _confident(loglik, labels)}
    if not seen.any():
        return {**found, **dict.fromkeys(("bits", "bits_raw", "bits_min", "accuracy", "cllr", "cost"))}
    own = labels[seen]
    raw, frames, loglik = scored.mean_loglik[seen] * scored.frames[seen, None], scored.frames[seen], loglik[seen]
    who = [[values[i] for i in np.flatnonzero(seen)] for values in (speakers, scored.utts)]
    every = len(set(own.tolist())) == classes
    best = fit(scored.mean_loglik[seen], frames, own, smooth=False)(scored.mean_loglik[seen], frames) if every else None
    return {
        **found,
        "bits": estimate_recall(costs_in_bits(loglik, own), *who, own).to_dict(),
        "bits_raw": bits(raw, own),
        "bits_min": None if best is None else bits(best, own),
        "accuracy": float((loglik.argmax(1) == own).mean()),
        "cllr": _pairs(raw, loglik, own, scored.classes),
        "cost": {f"{beta:g}": _cost(raw, loglik, own, beta) for beta in BETAS} if every else None,
    }


def _pairs(raw: np.ndarray, loglik: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Result]:
    found = {}
    for a, b in combinations(sorted(set(labels.tolist())), 2):
        ratios = [each[:, a] - each[:, b] for each in (raw, loglik)]
        before, after = ((ratio[labels == a], ratio[labels == b]) for ratio in ratios)
        found[f"{classes[a]} {classes[b]}"] = {
            "raw": cllr(*before),
            "calibrated": cllr(*after),
            "min": min_cllr(*after),
        }
    return found


def _cost(raw: np.ndarray, loglik: np.ndarray, labels: np.ndarray, beta: float) -> Mapping[str, float]:
    return {
        "raw": detection_cost(raw, labels, beta),
        "actual": detection_cost(loglik, labels, beta),
        "min": min_detection_cost(loglik, labels, beta),
    }


def _confident(loglik: np.ndarray, labels: np.ndarray) -> Result:
    sure = softmax(loglik, axis=1).max(axis=1) >= 0.9
    wrong = float((loglik.argmax(1) != labels)[sure].mean()) if sure.any() else None
    return {"utterances": int(sure.sum()), "wrong": wrong}
