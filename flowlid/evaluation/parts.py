"""A set scored in parts, by several jobs, and put together to the same bits as by one.

Each part has utterances of its own, one after the other. It passes all batches that hold their frames through the flow,
cut as for the whole set: rounding depends on what is in a batch. A batch on the border of two parts is computed twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowlid.evaluation.decisions import SetScores, WindowScores
from flowlid.evaluation.durations import block_length
from flowlid.evaluation.reuse import made_from
from flowlid.evaluation.scoring import Progress, archives_in, score_frames
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet
from flowlid.kaldi.arks import read_matrix, read_vector
from flowlid.kaldi.tables import read_table

_SUMS = ("frames", "logp", "logdet", "decided")
_AGAIN = "run stage 4 again with as many --score-jobs"


@dataclass(frozen=True)
class Part:
    """The `number`-th of `count` parts, from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def utterances(self, counts: np.ndarray) -> tuple[int, int]:
        """First utterance of the part and the one after its last, of U utterances with these numbers of frames (U,).

        Parts have about as many frames each; one is empty where there are fewer utterances than parts.
        """
        behind = counts.cumsum()
        shares = np.arange(1, self.count) * (int(behind[-1]) / self.count)
        cuts = [0, *np.searchsorted(behind, shares, side="right").tolist(), len(counts)]
        return cuts[self.number - 1], cuts[self.number]


def part_place(exp: Path, name: str, part: Part) -> Path:
    """Where a part of a set's scores is until all are put together."""
    return exp / ".parts" / name / f"{part.number}_of_{part.count}"


def score_part(
    out: Path,
    place: Path,
    flow: Flow,
    frames: FrameSet,
    part: Part,
    frame_shift: float,
    batch_size: int,
    progress: Progress | None = None,
) -> int:
    """Score the utterances of a part: sums.npz and the archives in `out`, and how many they are.

    Args:
        out: an empty directory.
        place: what `out` will be called.
        flow, frames, frame_shift, batch_size, progress: as for `scoring.score_set`; `frames` are of the whole set.
        part: which.

    Raises:
        NotFinite, ValueError: as `scoring.score_set`.
    """
    first, last = part.utterances(frames.counts.numpy())
    if first == last:
        return 0
    border, own = _around(frames, first, last, batch_size)
    names = set(border.utts[own])
    with archives_in(out, place) as keep:

        def keep_own(utt: str, mean: np.ndarray, blocks: np.ndarray) -> None:
            if utt in names:
                keep(utt, mean, blocks)

        scores = score_frames(flow, border, batch_size, progress, block_length(frame_shift), keep_own)
    arrays = {name: getattr(scores, name)[own] for name in _SUMS}
    found = scores.blocks
    kept = (found.utt_of >= own.start) & (found.utt_of < own.stop)
    arrays |= {"utt_of": found.utt_of[kept] - own.start + first, "loglik": found.loglik[kept]}
    np.savez(out / "sums.npz", **arrays)
    return last - first


def _around(frames: FrameSet, first: int, last: int, batch_size: int) -> tuple[FrameSet, slice]:
    """The frames of whole batches that hold those of utterances first..last-1; and these utterances among its own."""
    ends = frames.counts.cumsum(0)
    begin = int(ends[first - 1]) if first else 0
    start = begin // batch_size * batch_size
    end = min(-(-int(ends[last - 1]) // batch_size) * batch_size, len(frames))
    from_utt, to_utt = int(frames.utt_of[start]), int(frames.utt_of[end - 1]) + 1
    utts = slice(from_utt, to_utt)
    cut = replace(
        frames,
        utts=frames.utts[utts],
        languages=frames.languages[utts],
        speakers=frames.speakers[utts],
        first=frames.first[utts],
        last=frames.last[utts],
        index=frames.index[start:end],
        utt_of=frames.utt_of[start:end] - from_utt,
        norm=None if frames.norm is None else frames.norm[utts],
    )
    return cut, slice(first - from_utt, last - from_utt)


def precision_of(places: Sequence[Path], inputs: Mapping[str, Any]) -> str:
    """The precision that all parts were scored in.

    Args:
        places: of the parts, in order.
        inputs: what all were made from, but for the part and the precision.

    Raises:
        ValueError: a part is missing, of other inputs, or was scored in another precision; it is named.
    """
    precision = ""
    for number, place in enumerate(places, 1):
        part, made = f"part {number} of {len(places)} of {place.parent.name}", made_from(place)
        if made is None:
            raise ValueError(f"{place}: {part} is missing or not whole; {_AGAIN}")
        own = made.pop("precision", None)
        if made != {**inputs, "part": f"{number}/{len(places)}"}:
            raise ValueError(f"{place}: {part} was scored with another model, other data or other options; {_AGAIN}")
        precision = precision or own
        if own != precision:
            raise ValueError(
                f"{place}: {part} was scored in {own}, the first in {precision}; have all jobs run on machines of one "
                "kind, or set model.precision in the experiment"
            )
    return precision


def gather_scores(places: Sequence[Path]) -> SetScores:
    """The sums of all parts, whose places are given in order, as one set."""
    parts = [dict(np.load(place / "sums.npz")) for place in places if (place / "sums.npz").is_file()]
    utt_of, loglik = (np.concatenate([part[name] for part in parts]) for name in ("utt_of", "loglik"))
    sums = (np.concatenate([part[name] for part in parts]) for name in _SUMS)
    return SetScores(*sums, blocks=WindowScores(utt_of, loglik))


def gather_archives(places: Sequence[Path]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Utterances, their mean latents (D,) and their blocks (B, K + D), in order."""
    for place in places:
        if not (place / "mean_latents.scp").is_file():
            continue  # a part without utterances
        blocks = read_table(place / "blocks.scp")
        for utt, specifier in read_table(place / "mean_latents.scp").items():
            mean = read_vector(_beside(place, specifier), f"{place}: {utt}")
            yield utt, mean, read_matrix(_beside(place, blocks[utt]), f"{place}: {utt}")


def _beside(place: Path, specifier: str) -> str:
    """An array of a scp file in `place`, wherever that was moved since."""
    archive, _, offset = specifier.rpartition(":")
    return f"{place}/{Path(archive).name}:{offset}"
