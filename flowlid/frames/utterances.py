"""The flow's input frames of a few utterances in memory, prepared as those of a model's training set were."""

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flowlid.flow.checkpoint import Model
from flowlid.frames.floor import Floor, floor_of, floored
from flowlid.frames.frameset import FrameSet
from flowlid.frames.pack import Pack
from flowlid.frames.selection import select_frames
from flowlid.kaldi.cmvn import cmvn_stats, shift_and_scale


@dataclass(frozen=True)
class Utterance:
    """Features of an utterance that is in no data directory.

    Attributes:
        name: its noise (`frames.floor`) follows it, and errors call it so.
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
    config, pack = model.config.frames, _packed(utterances)
    names = [each.name for each in utterances]
    kept, index, utt_of = select_frames(pack, "voiced" if config.vad else "all")
    floor = floor_of(config, pack, names, kept)
    norm = _normalization(model, pack, floor)
    with warnings.catch_warnings():  # what is mapped is read-only
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return FrameSet(
            utts=names,
            languages=[""] * len(names),
            speakers=names,
            feats=torch.from_numpy(pack.feats),
            first=torch.from_numpy(np.concatenate([[0], pack.ends[:-1]])),
            last=torch.from_numpy(pack.ends - 1),
            index=torch.from_numpy(index),
            utt_of=torch.from_numpy(utt_of),
            context=config.context,
            digest="",
            norm=None if norm is None else torch.from_numpy(norm),
            floor=floor,
        )


def in_blocks(frames: FrameSet, length: int) -> tuple[FrameSet, np.ndarray]:
    """The frames of one utterance as those of its blocks of `length` frames, voiced or not, one after the other.

    Normalization, floor and context are still those of the whole, so that what is summed up over the blocks are the
    sums of the utterance.

    Returns:
        The frames, with each block that has a selected one as an utterance; and the numbers of these blocks, (B,).
    """
    block = (frames.index.numpy() - int(frames.first)) // length
    numbers, of = np.unique(block, return_inverse=True)
    count = len(numbers)
    floor = frames.floor
    if floor is not None:
        gain = None if floor.gain is None else np.repeat(floor.gain, count)
        floor = dataclasses.replace(floor, gain=gain, seeds=np.repeat(floor.seeds, count))
    cut = dataclasses.replace(
        frames,
        utts=[f"{frames.utts[0]}, block {number}" for number in numbers],
        languages=frames.languages * count,
        speakers=frames.speakers * count,
        first=frames.first.repeat(count),
        last=frames.last.repeat(count),
        utt_of=torch.from_numpy(of),
        norm=None if frames.norm is None else frames.norm.repeat(count, 1, 1),
        floor=floor,
    )
    return cut, numbers


def _packed(utterances: Sequence[Utterance]) -> Pack:
    """The utterances as a data directory's pack has them, in their own order; of a single one nothing is copied."""
    feats = utterances[0].feats if len(utterances) == 1 else np.concatenate([each.feats for each in utterances])
    ends = np.cumsum([len(each.feats) for each in utterances])
    voiced = np.flatnonzero(np.concatenate([each.voiced for each in utterances]))
    stats = np.stack([each.stats for each in utterances])
    return Pack(feats, ends, stats, voiced, np.searchsorted(ends, voiced, side="right"), "")


def _normalization(model: Model, pack: Pack, floor: Floor | None) -> np.ndarray | None:
    """Shift, and with `norm_vars` scale, of each utterance: (U, 1 or 2, F) float64."""
    config = model.config.frames
    if config.cmvn == "none":
        return None
    if config.cmvn == "global":
        stats = np.broadcast_to(model.global_stats, pack.stats.shape)
    else:
        stats = pack.stats if floor is None else np.stack([cmvn_stats(feats) for feats in floored(pack, floor)])
    shift, scale = shift_and_scale(stats, config.norm_vars)
    return np.stack([shift] if scale is None else [shift, scale], axis=1)
