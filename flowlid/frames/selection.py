"""Which frames of a pack are a set's: voiced ones, those without speech, every n-th, or so many of each class."""

from collections.abc import Iterator, Sequence

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


def limit_classes(
    index: np.ndarray, utt_of: np.ndarray, languages: Sequence[str], most: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most so many frames of each language, taken evenly from its utterances, and evenly over each utterance.

    All utterances of a language give the same number, as far as they have it; where the number does not divide, those
    that give one more are drawn. Of n frames an utterance gives m, those at floor((i n + o) / m), i = 0, ..., m - 1,
    with o drawn evenly from 0 to n - 1: each is as likely as another. What is chosen depends on the seed and the set
    alone.

    Args:
        index: the row in the pack of each of the set's frames (N,), by utterance.
        utt_of: the number of the utterance of each, 0 to U - 1 (N,), ascending.
        languages: of the U utterances.
        most: frames of each language.
        seed: of what is drawn.

    Returns:
        Numbers of the utterances that have a frame left, then the rows and the utterances' numbers among these, as
        `select_frames` gives them; the last two are mapped.
    """
    generator, names = np.random.default_rng(seed), np.asarray(languages)
    ends = np.searchsorted(utt_of, np.arange(len(names)), side="right")
    counts = np.diff(ends, prepend=0)
    taken = np.zeros_like(counts)
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        taken[own] = _even_shares(counts[own], most, generator)
    kept, offset = np.flatnonzero(taken), generator.integers(counts)

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(kept), _UTTERANCES):
            own = kept[start : start + _UTTERANCES]
            nth, utt = ranges(np.zeros_like(own), taken[own]), np.repeat(own, taken[own])
            place = (nth * counts[utt] + offset[utt]) // taken[utt]
            number = start + np.repeat(np.arange(len(own)), taken[own])
            yield np.stack([index[ends[utt] - counts[utt] + place], number], axis=1)

    rows, numbers = mapped(parts()).T
    return kept, rows, numbers


def _even_shares(counts: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """How many each of U utterances gives so that they give `most` in all, or all that they have: (U,) -> (U,)."""
    if counts.sum() <= most:
        return counts
    ascending = np.sort(counts)
    # what all give together if none gives more than the n-th shortest has
    given = ascending.cumsum() + ascending * np.arange(len(counts) - 1, -1, -1)
    full = np.searchsorted(given, most, side="right")  # so many of the shortest give all that they have
    level, more = divmod(most - ascending[:full].sum(), len(counts) - full)
    shares = np.minimum(counts, level)
    shares[generator.permutation(np.flatnonzero(counts > level))[:more]] += 1
    return shares


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
