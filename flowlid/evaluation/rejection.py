"""What an open set makes of a set: who is rejected, and how well known and unknown utterances are told apart."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowlid.evaluation.bootstrap import Estimate, drawn_units, estimate_recall, percentile_interval, resample
from flowlid.evaluation.openset import RATE, UNKNOWN, OpenSet
from flowlid.evaluation.scored import ScoredSet
from flowlid.files import write_json
from flowlid.kaldi.tables import write_table

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedSet:
    """A scored set under an open set.

    Attributes:
        name: of the set.
        scored: the set, U utterances.
        speakers: of each utterance.
        typicality: (U,).
        threshold: surprise above which an utterance is rejected at `openset.RATE`.
        strangeness: "all" -> surprise (U,), and each statistic's name -> its deviation (U,).
    """

    name: str
    scored: ScoredSet
    speakers: Sequence[str]
    typicality: Array
    threshold: float
    strangeness: dict[str, Array]


def judge(
    openset: OpenSet, name: str, scored: ScoredSet, speakers: Sequence[str], background: ArrayLike | None = None
) -> JudgedSet:
    """A set's utterances under an open set; `background` as of `OpenSet.deviations`."""
    quantities = (scored.mean_loglik, scored.frames, scored.mean_latents, background)
    strangeness = {"all": openset.surprise(*quantities), **openset.deviations(*quantities)}
    return JudgedSet(name, scored, speakers, openset.typicality(*quantities), openset.threshold(), strangeness)


def write_judged(out: Path, judged: JudgedSet, known: JudgedSet, training_speakers: Collection[str]) -> dict[str, Any]:
    """Write `utt2typicality`, `utt2surprise`, `utt2pred` (with "unknown") and `result.json` of a set into `out`.

    Args:
        out: an empty directory.
        judged: the set.
        known: a set of seen languages, which unseen ones are told apart from.
        training_speakers: those of the training set.

    Returns:
        The content of result.json: `rate` and the `threshold` of the surprise; of the utterances of seen languages
        `seen`, how many `new_voices` (of speakers that are not in training), and the share `rejected`; of those of
        unseen languages `unseen` and the share `accepted`; `auroc`, "all" and each statistic alone -> an estimate, and
        the set `against` which. The shares are estimates with their intervals; None where there is no such utterance.
    """
    scored, rejected = judged.scored, judged.strangeness["all"] > judged.threshold
    for name, values in (("utt2typicality", judged.typicality), ("utt2surprise", judged.strangeness["all"])):
        write_table(out / name, {utt: f"{value:.6g}" for utt, value in zip(scored.utts, values, strict=True)})
    classes = [
        UNKNOWN if no else scored.classes[k] for no, k in zip(rejected, scored.mean_loglik.argmax(1), strict=True)
    ]
    write_table(out / "utt2pred", dict(zip(scored.utts, classes, strict=True)))
    seen = scored.labels >= 0
    speakers = np.array(judged.speakers, dtype=object)
    found = {
        "set": judged.name,
        "rate": RATE,
        "threshold": judged.threshold,
        "seen": int(seen.sum()),
        "new_voices": sum(speaker not in training_speakers for speaker in speakers[seen]),
        "rejected": _share(rejected[seen], judged, seen),
        "unseen": int((~seen).sum()),
        "accepted": _share(~rejected[~seen], judged, ~seen),
        "against": known.name,
        "auroc": None if seen.all() else {name: _auroc(known, judged, name).to_dict() for name in judged.strangeness},
    }
    write_json(out / "result.json", found)
    return found


def _share(which: NDArray[np.bool_], judged: JudgedSet, own: NDArray[np.bool_]) -> dict[str, Any] | None:
    if not own.any():
        return None
    numbers = np.flatnonzero(own)
    who = ([values[n] for n in numbers] for values in (judged.speakers, judged.scored.utts))
    return estimate_recall(which, *who).to_dict()


def _auroc(known: JudgedSet, strange: JudgedSet, statistic: str) -> Estimate:
    """That of the seen utterances of one set against the unseen ones of another."""
    parts = [(known, np.flatnonzero(known.scored.labels >= 0)), (strange, np.flatnonzero(strange.scored.labels < 0))]
    scores = np.concatenate([judged.strangeness[statistic][own] for judged, own in parts])
    speakers = [judged.speakers[n] for judged, own in parts for n in own]
    utts = [f"{number} {judged.scored.utts[n]}" for number, (judged, own) in enumerate(parts) for n in own]
    return estimate_auroc(scores, np.repeat([False, True], [len(own) for _, own in parts]), speakers, utts)


def estimate_auroc(
    scores: ArrayLike, positive: ArrayLike, speakers: Sequence[str], utts: Sequence[str], seed: int = 1
) -> Estimate:
    """Probability that a positive trial has a higher score than a negative one (ties count half), with its interval.

    Args:
        scores: of each trial, (n,).
        positive: whether it is positive, (n,); there are both kinds.
        speakers, utts: of each trial; the bootstrap draws speakers if there are enough of both kinds (`drawn_units`).
        seed: of the resamples.
    """
    order = np.argsort(np.asarray(scores, float), kind="stable")
    values, positive = np.asarray(scores, float)[order], np.asarray(positive, bool)[order]
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf) != 0)  # of equal scores
    few = any(drawn_units([speakers[n] for n in order[own]], utts)[0] == "utterances" for own in (positive, ~positive))
    unit, names = ("utterances", utts) if few else drawn_units(speakers, utts)
    units, number = np.unique(np.asarray(names), return_inverse=True)
    number = number[order]

    def area(drawn: Array) -> Array:
        """(r, G) units of each resample -> (r,)."""
        weights = drawn[:, number]
        above = np.add.reduceat(weights * positive, starts, axis=1)
        below = np.add.reduceat(weights * ~positive, starts, axis=1)
        pairs = above.sum(1) * below.sum(1)
        won = (above * (below.cumsum(1) - below / 2)).sum(1)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)

    (share,) = area(np.ones((1, len(units))))
    drawn = resample(np.ones(len(units), int), area, seed, numbers=3 * len(values))
    return Estimate(float(share), *percentile_interval(drawn), unit, len(units))
