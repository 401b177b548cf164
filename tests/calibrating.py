"""Scored sets that are made up, for the tests of calibrations."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flowlid.evaluation.scored import ScoredSet


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
