"""Accuracy against duration: decisions on windows of a set's utterances, and on whole ones, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowlid.evaluation.bootstrap import Estimate, estimate_recall
from flowlid.evaluation.decisions import SetScores, class_numbers, small_margins
from flowlid.frames.frameset import FrameSet

DURATIONS = (1, 2, 3, 5, 10)  # seconds of selected frames


def block_length(frame_shift: float) -> int:
    """Frames of a block, a second of selected speech: the nearest whole number. Longer windows are several blocks.

    Args:
        frame_shift: in seconds.

    Raises:
        ValueError: a frame shift so long that a block has no frame.
    """
    length = round(1 / frame_shift)
    if not length:
        raise ValueError(f"a frame shift of {frame_shift:g} s is too long for windows of 1 s")
    return length


def decision_statistics(
    scores: SetScores, frames: FrameSet, classes: Sequence[str], block: int, decides: bool
) -> dict[str, Any]:
    """What is reported of a set's decisions beside their accuracy: its interval, durations, margins.

    Args:
        scores: of `frames`, with their blocks.
        frames: the set.
        classes: the model's classes.
        block: frames of a block.
        decides: whether the model tells classes apart; if not, all are None.

    Returns:
        `utt_accuracy_interval` (`low`, `high`, `unit`, `units`; None without a seen language), `durations`
        (`accuracy_by_duration`) and `margins` (`decisions.small_margins`).
    """
    if not decides:
        return dict.fromkeys(("utt_accuracy_interval", "durations", "margins"))
    labels = class_numbers(frames.languages, classes)
    durations = accuracy_by_duration(scores, labels, frames.speakers, frames.utts, block)
    whole = durations[-1]
    interval = None if whole["share"] is None else {key: whole[key] for key in ("low", "high", "unit", "units")}
    return {"utt_accuracy_interval": interval, "durations": durations, "margins": small_margins(scores, labels)}


def accuracy_by_duration(
    scores: SetScores,
    labels: np.ndarray,
    speakers: Sequence[str],
    utts: Sequence[str],
    block: int,
) -> list[dict[str, Any]]:
    """Share of windows of each duration, and of whole utterances, that are decided correctly.

    A window is decided by the sum of its own frames' log-likelihoods, as an utterance of that
    duration would be. Utterances of unseen languages are left out.

    Args:
        scores: of the set, with its blocks.
        labels: (U,) class of each utterance, -1 where it is unseen.
        speakers, utts: of each utterance.
        block: frames of a block.

    Returns:
        An object per duration: `seconds` and `frames` of a window (None: whole utterances), `windows`,
        `utterances` with at least one window, `remainders` (utterances with frames in no window: the end, or all of
        a short one) and the number of these frames, `frames_left_out`; and the fields of `Estimate` for the
        accuracy, None if there is no window.
    """
    rows, seen = [], labels >= 0
    for seconds in DURATIONS:
        windows, length = scores.blocks.joined(seconds), seconds * block
        own = seen[windows.utt_of]
        rest = scores.frames[seen] % length
        row = {"seconds": seconds, "frames": length, "remainders": int((rest > 0).sum())}
        row["frames_left_out"] = int(rest.sum())
        rows.append({**row, **_accuracy(windows.loglik[own], labels, speakers, utts, windows.utt_of[own])})
    whole = {"seconds": None, "frames": None, "remainders": 0, "frames_left_out": 0}
    return [*rows, {**whole, **_accuracy(scores.loglik[seen], labels, speakers, utts, np.flatnonzero(seen))}]


def _accuracy(
    sums: np.ndarray, labels: np.ndarray, speakers: Sequence[str], utts: Sequence[str], utt_of: np.ndarray
) -> dict[str, Any]:
    """Accuracy of W trials with log-likelihoods (W, K), each of an utterance utt_of (W,)."""
    counts = {"windows": len(sums), "utterances": len(np.unique(utt_of))}
    if not len(sums):
        return {**counts, **dict.fromkeys(Estimate.__dataclass_fields__)}
    right = sums.argmax(1) == labels[utt_of]
    found = estimate_recall(right, [speakers[n] for n in utt_of], [utts[n] for n in utt_of])
    return {**counts, **found.to_dict()}
