"""Which frames of a pack are a set's: voiced ones, those without speech, or every n-th of them."""

from collections.abc import Iterator

import numpy as np

from flowlid.frames.pack import Pack, mapped

_UTTERANCES = 1000  # whose frames are selected at once


def select_frames(
    pack: Pack, kind: str, context: int = 0, step: int = 1, numbers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every `step`-th frame of a kind of each utterance; an utterance without any is left out.

    Args:
        pack: the frames.
        kind: "voiced", "all", or "nonspeech": those without a voiced frame up to `context` frames away.
        context: for "nonspeech".
        step: 1 takes all.
        numbers: of the utterances to take, ascending; by default all.

    Returns:
        Numbers of the utterances with a frame (U,); for each frame, in order, its row in the pack (N,), and the
        number of its utterance among those U (N,). The last two are mapped, not in memory.
    """
    if kind == "all" and len(pack.voiced) == len(pack.feats):
        kind = "voiced"
    if kind == "voiced" and step == 1 and numbers is None:
        kept = np.flatnonzero(voiced_counts(pack))
        if len(kept) == len(pack.ends):
            return kept, pack.voiced, pack.utt_of
    kept: list[np.ndarray] = []

    def parts() -> Iterator[np.ndarray]:
        done = 0
        for group in _groups(np.arange(len(pack.ends)) if numbers is None else numbers):
            rows, counts = _rows(pack, group, kind, context)
            if step > 1:
                rows = rows[ranges(np.zeros_like(counts), counts) % step == 0]
                counts = -(-counts // step)
            kept.append(group[counts > 0])
            counts = counts[counts > 0]
            yield np.stack([rows, done + np.repeat(np.arange(len(counts)), counts)], axis=1)
            done += len(counts)

    index, utt_of = mapped(parts()).T
    return np.concatenate(kept), index, utt_of


def voiced_counts(pack: Pack) -> np.ndarray:
    """Number of voiced frames of each utterance: (U,)."""
    return np.diff(np.searchsorted(pack.voiced, pack.ends), prepend=0)


def ranges(begin: np.ndarray, count: np.ndarray) -> np.ndarray:
    """begin[0], begin[0] + 1, ... (count[0] numbers), begin[1], ...: (n,) and (n,) -> (sum of counts,)."""
    return np.arange(count.sum()) + np.repeat(begin - count.cumsum() + count, count)


def _groups(numbers: np.ndarray) -> Iterator[np.ndarray]:
    return (numbers[start : start + _UTTERANCES] for start in range(0, max(1, len(numbers)), _UTTERANCES))


def _rows(pack: Pack, group: np.ndarray, kind: str, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the frames of a kind of these utterances, and how many each has."""
    start, end = np.where(group, pack.ends[group - 1], 0), pack.ends[group]
    if kind == "all":
        return ranges(start, end - start), end - start
    first, last = np.searchsorted(pack.voiced, start), np.searchsorted(pack.voiced, end)
    voiced, counts = pack.voiced[ranges(first, last - first)], last - first
    if kind == "voiced":
        return voiced, counts
    # Between voiced rows a and b, the rows a + context + 1 to b - context - 1 are without speech; beyond its ends an
    # utterance is without speech too.
    behind = counts.cumsum()
    a = np.insert(voiced, behind - counts, start - context - 1)
    b = np.insert(voiced, behind, end + context)
    gaps = np.maximum(b - a - 2 * context - 1, 0)
    return ranges(a + context + 1, gaps), np.add.reduceat(gaps, (behind - counts) + np.arange(len(group)))
