"""The flow's input frames of a few utterances in memory, prepared as those of a model's training set were."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flowlid.flow.checkpoint import Model
from flowlid.frames.frameset import FrameSet
from flowlid.kaldi.cmvn import shift_and_scale


@dataclass(frozen=True)
class Utterance:
    """Features of an utterance that is in no data directory.

    Attributes:
        name: what errors call it.
        feats: (T, F) float32, not normalized.
        voiced: (T,) bool.
        stats: (2, F + 1) its CMVN statistics (`kaldi.cmvn.cmvn_stats`).
    """

    name: str
    feats: np.ndarray
    voiced: np.ndarray
    stats: np.ndarray


def frames_of(model: Model, utterances: Sequence[Utterance]) -> FrameSet:
    """The frames of utterances, as `frameset.load_model_frames` gives those of a data directory; without languages.

    Where `frames.cmvn` is "speaker", each utterance is a speaker of its own.

    Args:
        model: whose configuration and statistics are used.
        utterances: each with a voiced frame.
    """
    config = model.config.frames
    feats = utterances[0].feats if len(utterances) == 1 else np.concatenate([each.feats for each in utterances])
    with warnings.catch_warnings():  # a long recording's are mapped read-only
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        rows = torch.from_numpy(feats)
    lengths = np.array([len(each.feats) for each in utterances])
    ends = lengths.cumsum()
    selected = np.concatenate([each.voiced if config.vad else np.ones_like(each.voiced) for each in utterances])
    index = np.flatnonzero(selected)
    names = [each.name for each in utterances]
    return FrameSet(
        utts=names,
        languages=[""] * len(names),
        speakers=names,
        feats=rows,
        first=torch.from_numpy(ends - lengths),
        last=torch.from_numpy(ends - 1),
        index=torch.from_numpy(index),
        utt_of=torch.from_numpy(np.searchsorted(ends, index, side="right")),
        context=config.context,
        digest="",
        norm=_normalization(model, utterances),
    )


def _normalization(model: Model, utterances: Sequence[Utterance]) -> torch.Tensor | None:
    """Shift, and with `norm_vars` scale, of each utterance: (U, 1 or 2, F)."""
    config = model.config.frames
    if config.cmvn == "none":
        return None
    own = [model.global_stats if config.cmvn == "global" else each.stats for each in utterances]
    shift, scale = shift_and_scale(np.stack(own), config.norm_vars)
    return torch.from_numpy(np.stack([shift] if scale is None else [shift, scale], axis=1))
