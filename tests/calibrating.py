"""Scored sets that are made up, for the tests of calibrations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flowlid.evaluation.reuse import digest
from flowlid.evaluation.scored import ScoredSet
from flowlid.kaldi.tables import write_table


def dev_set(seed: int, count: int = 80, seconds: int = 4) -> tuple[ScoredSet, list[str]]:
    """Utterances of 4 s in two languages, of two speakers each, whose ratios are often right and far too large.

    Their latents have six dims.
    """
    generator = np.random.default_rng(seed)
    languages = ["en", "es"] * (count // 2)
    speakers = [f"{language}{number // 2 % 2}" for number, language in enumerate(languages)]
    blocks = []
    for language in languages:
        llr = (0.1 if language == "en" else -0.1) + generator.normal(0, 0.08) + generator.normal(0, 0.05, seconds)
        latents = generator.normal(size=6) + generator.normal(0, 0.5, (seconds, 6))
        blocks.append(np.column_stack([llr - 90, np.full(seconds, -90.0), latents]).astype(np.float32))
    means = np.stack([own.mean(axis=0) for own in blocks])
    utts = [f"u{number:03}" for number in range(count)]
    frames = np.full(count, 100 * seconds)
    return ScoredSet(
        utts, languages, ["en", "es"], frames, means[:, :2].astype(float), means[:, 2:], 100, blocks
    ), speakers


def scored_set(
    languages: Sequence[str], like: ScoredSet, kept: Sequence[int] | None = None, classes: Sequence[str] = ("en", "es")
) -> ScoredSet:
    """The utterances of another set that are kept, with other languages."""
    kept = range(len(like.utts)) if kept is None else kept
    return replace(
        like,
        utts=[like.utts[n] for n in kept],
        languages=list(languages),
        classes=list(classes),
        **{name: getattr(like, name)[list(kept)] for name in ("frames", "mean_loglik", "mean_latents")},
        blocks=[like.blocks[n] for n in kept],
    )


def write_calibrated_set(
    exp: Path,
    name: str,
    languages: Mapping[str, str],
    prob: Mapping[str, Sequence[float]],
    loglik: Mapping[str, Sequence[float]],
    classes: Sequence[str] = ("en", "es"),
) -> None:
    """What stage 4 leaves of a set, as far as voices are read from it: a calibration that moves nothing.

    Args:
        exp: the experiment's directory.
        name: of the set.
        languages, prob, loglik: utterance -> its language, P and log-likelihood per frame of each class.
        classes: of the model.
    """
    for place in ("calibration", f"calibrated_{name}", f"score_{name}"):
        (exp / place).mkdir(parents=True, exist_ok=True)
    (exp / "final.pt").write_bytes(b"a model")
    novelty = {"means": [[0.0]] * len(classes), "variances": [1.0], "between": 1.0, "within": 1.0, "spread": 1.0}
    calibration = {"model": digest(exp / "final.pt"), "classes": list(classes), "scale": 1.0, "power": 0.0}
    calibration |= {"offsets": [0.0] * len(classes), "novelty": novelty}
    (exp / "calibration/calibration.json").write_text(json.dumps(calibration))
    (exp / f"calibrated_{name}/result.json").write_text(json.dumps({"classes": list(classes)}))
    for path, table in ((f"calibrated_{name}/utt2prob", prob), (f"score_{name}/utt2loglik", loglik)):
        write_table(exp / path, {utt: f"[ {' '.join(map(str, row))} ]" for utt, row in table.items()})
    write_table(exp / f"score_{name}/utt2lang", languages)
    write_table(exp / f"score_{name}/utt2num_frames", dict.fromkeys(languages, "100"))
