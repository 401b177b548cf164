"""What the decisions of a set cost: as they were scored, calibrated, and at best."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from flowlid.evaluation.bootstrap import estimate_recall
from flowlid.evaluation.calibrated import PIECES
from flowlid.evaluation.calibration import (
    BETAS,
    Calibration,
    best_threshold,
    bits,
    class_mean,
    cllr,
    costs_in_bits,
    detection_costs,
    fit,
    min_cllr,
)
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.novelty import trust
from flowlid.evaluation.scored import ScoredSet
from flowlid.files import atomic_write, write_json

CONFIDENT = 0.9  # the probability from which on a decision counts as stated with confidence
Result = dict[str, Any]


def write_calibrated(out: Path, name: str, scored: ScoredSet, map_: Calibration, speakers: Sequence[str]) -> Result:
    """Write `utt2prob`, P(class | utterance) at flat priors, and `result.json` (`assess`) of a set into `out`."""
    posterior = map_(scored.mean_loglik, scored.frames, scored.mean_latents)
    with atomic_write(out / "utt2prob") as file:
        for utt, row in zip(scored.utts, np.exp(posterior), strict=True):
            file.write(f"{utt} [ {' '.join(f'{value:.9g}' for value in row)} ]\n")
    result = {"set": name, "classes": scored.classes, **assess(scored, map_, speakers)}
    write_json(out / "result.json", result)
    return result


def assess(scored: ScoredSet, map_: Calibration, speakers: Sequence[str]) -> Result:
    """Costs of a set's decisions as scored, calibrated, and at best; None where they do not apply.

    Args:
        scored: the set; utterances of unseen languages count only in `confident` and `trusted`.
        map_: the calibration.
        speakers: of each utterance, (U,).

    Returns:
        `log2_classes`; of whole utterances what `_stated` gives, and `bits_raw` (as scored), `bits_min` (of the map
        whose scale, power and offsets are fitted on the set itself), `bits_over` (an estimate of what `bits` is above
        that, with its interval), `cllr`, pair -> `raw`, `calibrated` and `min`, and `cost`, beta -> `raw`, `actual`,
        `min` and `over`, an estimate too; `pieces`, an object per duration: `seconds`, `pieces` and what `_stated`
        gives.
    """
    who = dict(zip(scored.utts, speakers, strict=True))
    labels, classes = class_numbers(scored.languages, scored.classes), len(scored.classes)
    stated, posterior = _stated(scored, map_, who)
    pieces = [(seconds, scored.pieces(seconds)) for seconds in PIECES]
    found = {
        "log2_classes": math.log2(classes),
        **stated,
        **dict.fromkeys(("bits_raw", "bits_min", "bits_over", "cllr", "cost")),
        "pieces": [
            {"seconds": seconds, "pieces": len(part.utts), **_stated(part, map_, who)[0]}
            for seconds, part in pieces
            if part.utts
        ],
    }
    seen = labels >= 0
    if not seen.any():
        return found
    own, posterior, frames, means = labels[seen], posterior[seen], scored.frames[seen], scored.mean_loglik[seen]
    raw, units = means * frames[:, None], _units(scored, who, seen)
    found |= {"bits_raw": bits(raw, own), "cllr": _pairs(raw, posterior, own, scored.classes)}
    if len(set(own.tolist())) < classes:
        return found
    best = _best(map_, scored, seen, own)
    over = costs_in_bits(posterior, own) - costs_in_bits(best, own)
    return found | {
        "bits_min": bits(best, own),
        "bits_over": estimate_recall(over, *units, own).to_dict(),
        "cost": {f"{beta:g}": _cost(raw, posterior, own, beta, units) for beta in BETAS},
    }


def _stated(scored: ScoredSet, map_: Calibration, who: dict[str, str]) -> tuple[Result, np.ndarray]:
    """What calibrated probabilities cost, and these: log P (U, K).

    The fields are `bits` (an estimate with its interval, averaged over the languages; None if none was seen),
    `accuracy` of the best class, `confident`, the utterances decided with a probability of 0.9 or more and the share of
    them that is `wrong`, and `trusted`, the share of which the calibration knows anything.
    """
    posterior = map_(scored.mean_loglik, scored.frames, scored.mean_latents)
    labels = class_numbers(scored.languages, scored.classes)
    decided = map_.affine(scored.mean_loglik, scored.frames).argmax(axis=1)
    seen, sure = labels >= 0, posterior.max(axis=1) >= math.log(CONFIDENT)
    cost = None
    if seen.any():
        own = labels[seen]
        cost = estimate_recall(costs_in_bits(posterior[seen], own), *_units(scored, who, seen), own).to_dict()
    right = decided == labels
    return {
        "bits": cost,
        "accuracy": float(right[seen].mean()) if seen.any() else None,
        "confident": {"utterances": int(sure.sum()), "wrong": float(1 - right[sure].mean()) if sure.any() else None},
        "trusted": float((trust(map_.novelty(scored.mean_latents, scored.frames)) > 0).mean()),
    }, posterior


def _best(map_: Calibration, scored: ScoredSet, seen: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log P of a set's seen utterances under the map whose scale, power and offsets cost them least."""
    means, frames, latents = scored.mean_loglik[seen], scored.frames[seen], scored.mean_latents[seen]
    believed = trust(map_.novelty(latents, frames))
    scale, power, offsets = fit(means, frames, labels, believed=believed, smooth=False)
    return replace(map_, scale=scale, power=power, offsets=offsets)(means, frames, latents)


def _units(scored: ScoredSet, who: dict[str, str], seen: np.ndarray) -> tuple[list[str], list[str]]:
    """Speaker and utterance of each of those that are seen, for the bootstrap."""
    utts = [utt for utt, known in zip(scored.utts, seen, strict=True) if known]
    return [who[utt] for utt in utts], utts


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


def _cost(
    raw: np.ndarray, loglik: np.ndarray, labels: np.ndarray, beta: float, units: tuple[list[str], list[str]]
) -> Result:
    actual = detection_costs(loglik, labels, beta)
    least = detection_costs(loglik, labels, beta, best_threshold(loglik, labels, beta))
    return {
        "raw": class_mean(detection_costs(raw, labels, beta), labels),
        "actual": class_mean(actual, labels),
        "min": class_mean(least, labels),
        "over": estimate_recall(actual - least, *units, labels).to_dict(),
    }
