"""A model's calibration, fitted on its dev set, as it is stored and read."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flowlid.evaluation.calibration import Calibration, fit
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.novelty import Novelty, fit_novelty, trust
from flowlid.evaluation.scored import ScoredSet
from flowlid.files import read_json
from flowlid.wording import some

FEWEST = 3  # utterances of a class, or new speakers of it, each of which is judged by the others
PIECES = (1, 3, 10)  # seconds: utterances are calibrated whole and in pieces
Result = dict[str, Any]


def no_calibration(dev: ScoredSet | None) -> str | None:
    """Why no calibration can be fitted on a dev set; None if one can."""
    if dev is None:
        return "the experiment has no dev set"
    if len(dev.classes) < 2:
        return "a normal flow decides nothing"
    few = [name for name in dev.classes if dev.languages.count(name) < FEWEST]
    return f"the dev set has fewer than {FEWEST} utterances of {some(few)}" if few else None


def fit_on(dev: ScoredSet, known_speakers: Collection[str], speakers: Sequence[str], model: str) -> Result:
    """The calibration of a dev set, as it is stored, fitted on its utterances and on pieces of them.

    What is new is judged by utterances that are left out, of speakers whom training did not have by all of a speaker,
    where there are three of them per class.

    Args:
        dev: has three utterances of every class; those of other languages do not count.
        known_speakers: those of the training set.
        speakers: of each utterance of the dev set.
        model: digest of the model that scored it.

    Returns:
        `model`, `classes`, `scale`, `power`, `offsets`, `novelty`, and of the dev set `utterances`, `speakers` and
        `new_speakers`, those that were not in training: without any, the calibration is one of known voices.
    """
    known, who = set(known_speakers), dict(zip(dev.utts, speakers, strict=True))
    parts, weights = _pieces_of(dev)
    labels = class_numbers(parts.languages, dev.classes)
    seen = labels >= 0
    labels, frames, weights = labels[seen], parts.frames[seen], weights[seen]
    utts = [utt for utt, heard in zip(parts.utts, seen, strict=True) if heard]
    groups = [utt if who[utt] in known else f"{who[utt]} {label}" for utt, label in zip(utts, labels, strict=True)]
    if min(Counter(label for _, label in set(zip(groups, labels.tolist(), strict=True))).values()) < FEWEST:
        groups = utts
    novelty, own = fit_novelty(parts.mean_latents[seen], frames, labels, groups, weights)
    scale, power, offsets = fit(parts.mean_loglik[seen], frames, labels, weights, trust(own))
    heard = {who[utt] for utt, language in zip(dev.utts, dev.languages, strict=True) if language in dev.classes}
    return {
        "model": model,
        "classes": dev.classes,
        "scale": scale,
        "power": power,
        "offsets": offsets,
        "novelty": {
            **{name: getattr(novelty, name) for name in ("between", "within", "spread")},
            **{name: getattr(novelty, name).tolist() for name in ("means", "variances")},
        },
        "utterances": sum(language in dev.classes for language in dev.languages),
        "speakers": len(heard),
        "new_speakers": len(heard - known),
    }


def _pieces_of(dev: ScoredSet) -> tuple[ScoredSet, np.ndarray]:
    """A set's utterances and pieces in one, and weights: an utterance's add up to 1, its durations weigh alike."""
    parts = [dev, *(dev.pieces(seconds) for seconds in PIECES)]
    counts = [Counter(part.utts) for part in parts]
    kinds = Counter(utt for count in counts for utt in count)
    weights = [1 / (count[utt] * kinds[utt]) for part, count in zip(parts, counts, strict=True) for utt in part.utts]
    arrays = ("frames", "mean_loglik", "mean_latents")
    whole = replace(
        dev,
        utts=[utt for part in parts for utt in part.utts],
        languages=[language for part in parts for language in part.languages],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
        blocks=[],
    )
    return whole, np.array(weights)


def read_calibration(path: Path, model: str) -> Calibration:
    """The calibration in a file calibration.json.

    Args:
        path: the file.
        model: digest of the model whose scores are to be calibrated.

    Raises:
        ValueError: it is damaged, or of another model.
    """
    content = read_json(path)
    try:
        measure = dict(content["novelty"])
        arrays = {name: np.array(measure.pop(name), float) for name in ("means", "variances")}
        novelty = Novelty(**arrays, **{name: float(value) for name, value in measure.items()})
        offsets = tuple(map(float, content["offsets"]))
        found, own = Calibration(float(content["scale"]), float(content["power"]), offsets, novelty), content["model"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no calibration ({error!r}); remove it and run stage 4 again") from error
    if own != model:
        raise ValueError(f"{path}: the calibration of another model ({own}, not {model}); run stage 4 again")
    return found
