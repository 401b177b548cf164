"""A class added to a trained flow from a few minutes of speech: the flow stays as it is, and gets one mean more.

Frames of all classes have one covariance in the latent space, so that under a class y with the mean mu_y

    log p(x | y) - log p(x | k) = (2 (mu_y - mu_k)' c - |mu_y|^2 + |mu_k|^2) / (2 v_c),

which is linear in c, the class part of the latent: the mean over an utterance's frames follows from its mean latent,
and what was scored before need not pass through the flow again.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from flowlid.evaluation.calibrated import FEWEST, fit_on
from flowlid.evaluation.durations import block_length
from flowlid.evaluation.openset import fit_openset
from flowlid.evaluation.reuse import digest
from flowlid.evaluation.scored import ScoredSet
from flowlid.evaluation.scoring import score_frames
from flowlid.files import write_json
from flowlid.flow.checkpoint import Model, save_model
from flowlid.frames.frameset import FrameSet
from flowlid.identify.carry import CALIBRATION, CARD, OPENSET, WEIGHTS, compact_weights, pinned, write_content

_LONGEST, _CUT = 10, 5  # seconds: a recording with more speech is cut into utterances of so many
_ADDED = "added"  # the speaker of what was given


def score_new(model: Model, frames: FrameSet, frame_shift: float) -> ScoredSet:
    """What the model finds in the recordings of a new class, cut into utterances of ten seconds at most."""
    block, found = block_length(frame_shift), []
    score_frames(model.flow, frames, block=block, keep=lambda utt, _mean, blocks: found.append((utt, blocks)))
    utts, parts, counts = [], [], []
    for (utt, blocks), count in zip(found, frames.counts.tolist(), strict=True):
        step = len(blocks) if len(blocks) <= _LONGEST else _CUT
        for start in range(0, len(blocks), step):
            utts.append(f"{_ADDED}-{len(utts)}-{utt}")
            parts.append(blocks[start : start + step])
            counts.append(min(count - start * block, step * block))
    classes, weights = (
        len(model.classes),
        [_weights(len(part), count, block) for part, count in zip(parts, counts, strict=True)],
    )
    means = np.stack([weight @ part for weight, part in zip(weights, parts, strict=True)])
    return ScoredSet(
        utts, [""] * len(utts), model.classes, np.array(counts), means[:, :classes], means[:, classes:], block, parts
    )


def _weights(blocks: int, count: int, block: int) -> np.ndarray:
    """Share of `count` frames that each block has: all are whole, but the last."""
    frames = np.full(blocks, float(block))
    frames[-1] = count - (blocks - 1) * block
    return frames / count


def with_class(dev: ScoredSet, new: ScoredSet, model: Model, language: str) -> tuple[ScoredSet, np.ndarray]:
    """A dev set with the utterances of a new class, scored under all classes, and the new class's mean, (class_dim,).

    An utterance of the new class is scored under the mean of the others, as if it were none that the mean is from.

    Raises:
        ValueError: fewer utterances of the new class than a calibration needs.
    """
    if len(new.utts) < FEWEST:
        raise ValueError(f"{language}: {len(new.utts)} recordings with speech; give {FEWEST}, or one of more than 10 s")
    base = model.flow.base
    known, variance = base.means.detach().double().numpy(), base.class_variance
    c = new.mean_latents[:, : base.class_dim].astype(float)
    total, count = new.frames @ c, new.frames.sum()
    mean = total / count
    others = (total - new.frames[:, None] * c) / (count - new.frames)[:, None]
    rows = [*[mean] * len(dev.utts), *others]
    both = [_joined(name, dev, new) for name in ("frames", "mean_loglik", "mean_latents")]
    blocks = [
        np.insert(own, len(known), _column(own[:, : len(known)], own[:, len(known) :], known, row, variance), axis=1)
        for own, row in zip([*dev.blocks, *new.blocks], rows, strict=True)
    ]
    loglik = [_column(m[None], z[None], known, row, variance)[0] for m, z, row in zip(*both[1:], rows, strict=True)]
    joined = dataclasses.replace(
        dev,
        utts=[*dev.utts, *new.utts],
        languages=[*dev.languages, *[language] * len(new.utts)],
        classes=[*dev.classes, language],
        frames=both[0],
        mean_loglik=np.column_stack([both[1], loglik]),
        mean_latents=both[2],
        blocks=[own.astype(np.float32) for own in blocks],
        unseen=[name for name in dev.unseen if name != language],
    )
    return joined, mean


def _joined(name: str, dev: ScoredSet, new: ScoredSet) -> np.ndarray:
    return np.concatenate([getattr(dev, name), getattr(new, name)])


def _column(loglik: np.ndarray, latents: np.ndarray, means: np.ndarray, new: np.ndarray, variance: float) -> np.ndarray:
    """Log-likelihoods (n,) under a class of the mean `new`, from those (n, K) under the classes of the means (K, d)."""
    c = latents[:, : len(new)].astype(float)
    return loglik[:, 0] + (2 * c @ (new - means[0]) - new @ new + means[0] @ means[0]) / (2 * variance)


def extended(model: Model, language: str, mean: np.ndarray) -> Model:
    """A model with one class more; its flow is that of `model`, changed in place."""
    base = model.flow.base
    added = torch.from_numpy(mean).to(base.means.dtype)[None]
    base.means = nn.Parameter(torch.cat([base.means.detach(), added]))
    return dataclasses.replace(model, classes=[*model.classes, language])


def write_extended(
    out: Path,
    model: Model,
    precision: str,
    dev: ScoredSet,
    speakers: Mapping[str, str],
    known_speakers: Sequence[str],
    card: str,
    name: str,
    unknown: bool,
) -> dict[str, Any]:
    """Write the model directory of an extended model into the directory `out`, calibrated anew.

    Args:
        out: an empty directory.
        model: with the new class.
        precision: of its products.
        dev: as `with_class` gives it.
        speakers: utterance -> speaker of the dev set as it was.
        known_speakers: those of the training set.
        card: text of card.md.
        name: of the experiment.
        unknown: whether an open set is fitted.

    Returns:
        The calibration.
    """
    model = pinned(model, precision)
    save_model(out / WEIGHTS, model, compact_weights(model))
    own = digest(out / WEIGHTS)
    who = [speakers.get(utt, _ADDED) for utt in dev.utts]
    found = fit_on(dev, [*known_speakers, _ADDED], who, own)
    write_json(out / CALIBRATION, found)
    if unknown:
        write_json(out / OPENSET, fit_openset(dev).to_dict(own))
    (out / CARD).write_text(card, encoding="utf-8")
    write_content(out, name, own)
    return found
