"""What is spoken when in a long recording: the answer for each window, and segments of one language.

A recording is cut into blocks of about `STEP` seconds. The window around each is identified as a recording of its own
would be. Segments come of the blocks' own evidence (`Decider.evidence`) by `smoothing.best_path`: one ends where the
evidence changes, or where a pause of `PAUSE` seconds or more begins; shorter pauses are bridged. Each segment is then
identified as a whole, and is unknown where the open set takes it for none of the languages.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowlid.evaluation.openset import UNKNOWN
from flowlid.identify.answer import NO_SPEECH, Answer, Decider, Scores
from flowlid.identify.smoothing import best_path

STEP = 0.1  # seconds
PAUSE = 0.5  # seconds
TURN = 0.1  # windows between two choices of the language: chosen on the dev prompts (tests/benchmarks/diarize.py)
_AT_ONCE = 4096  # windows that are in memory

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Segment(Answer):
    """The answer for a part of a recording. Attributes: those of Answer, and `start` and `end` in seconds."""

    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class Windows:
    """The answers for the windows around the blocks of a recording; B blocks, C candidates.

    Attributes:
        languages: (B,) the most probable candidate, `UNKNOWN`, or `NO_SPEECH` where no frame is selected.
        probabilities: (B, C) of each candidate; NaN without speech.
        speech: (B,) seconds of speech in the window.
    """

    languages: list[str]
    probabilities: Array
    speech: Array

    @classmethod
    def silent(cls, count: int, candidates: int) -> "Windows":
        """Those of a recording of `count` blocks without speech."""
        return cls([NO_SPEECH] * count, np.full((count, candidates), np.nan), np.zeros(count))


@dataclass(frozen=True)
class Timeline:
    """What is spoken when in a recording.

    Attributes:
        name: of the recording.
        id: what files about it are called: the file's name without suffix, or the utterance.
        candidates: the languages that come into question, in the model's order.
        segments: in order of time; what lies between them is no speech.
        windows: around each block; None where there is an `error`.
        step: how long a block is, in seconds.
        feats: (T, F) log-mel energies of its frames, mapped from disk if it is long; None where there is an `error`.
        seconds: how long it is.
        rate: in Hz, at which it was recorded.
        notes: what was done to it that the user should know.
        error: why there is no answer.
    """

    name: str
    id: str = ""
    candidates: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    windows: Windows | None = None
    step: float = STEP
    feats: np.ndarray | None = None
    seconds: float | None = None
    rate: int | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


class Blocks:
    """The scores of the blocks of a recording that have a selected frame; B of them.

    Attributes:
        scores: of each; None where there is none.
        numbers: their places from the start of the recording, (B,), ascending.
        count: of all blocks, also those without a selected frame.
        length: of a block, in frames.
        frame_shift: in seconds.
    """

    def __init__(
        self, scores: Scores | None, numbers: NDArray[np.int64], count: int, length: int, frame_shift: float
    ) -> None:
        self.scores, self.numbers, self.count = scores, numbers, count
        self.frame_shift, self.step = frame_shift, length * frame_shift
        if scores is None:
            self._sums = np.zeros((1, 1))
            return
        weights = scores.frames[:, None]
        other = () if scores.background is None else (scores.background[:, None],)
        parts = np.concatenate([np.ones((len(weights), 1)), scores.mean_loglik, scores.mean_latents, *other], axis=1)
        self._sums = np.concatenate([np.zeros((1, parts.shape[1])), np.cumsum(parts * weights, axis=0)])

    def pooled(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> Scores:
        """Scores (U,) of the stretches from block number `first`, (U,), to before `last`; each has a selected frame."""
        begin, end = np.searchsorted(self.numbers, first), np.searchsorted(self.numbers, last)
        sums, classes = self._sums[end] - self._sums[begin], self.scores.mean_loglik.shape[1]
        frames = np.rint(sums[:, 0]).astype(np.int64)
        means = sums[:, 1:] / frames[:, None]
        dims = self.scores.mean_latents.shape[1]
        background = None if self.scores.background is None else means[:, -1]
        return Scores(means[:, :classes], frames, means[:, classes : classes + dims], background)

    def frames_within(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
        """Selected frames from block number `first` to before `last`, (U,)."""
        begin, end = np.searchsorted(self.numbers, first), np.searchsorted(self.numbers, last)
        return np.rint(self._sums[end, 0] - self._sums[begin, 0]).astype(np.int64)

    def half(self, window: float) -> int:
        """Blocks on each side of one that are in the window around it, as far as there are any."""
        return min(round(window / self.step) // 2, self.count)


def identify_blocks(blocks: Blocks, decider: Decider, window: float) -> Windows:
    """The answer for the window of `window` seconds around each block of a recording."""
    half, total = blocks.half(window), blocks.count
    found = Windows.silent(total, len(decider.candidates))
    for start in range(0, total, _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, total))
        frames = blocks.frames_within(numbers - half, numbers + half + 1)
        found.speech[numbers] = frames * blocks.frame_shift
        numbers = numbers[frames > 0]
        if len(numbers):
            scores = blocks.pooled(numbers - half, numbers + half + 1)
            rows = zip(numbers, decider.rankings(scores), _typicality(decider, scores), strict=True)
            for number, ranking, typical in rows:
                found.probabilities[number] = [ranking[name] for name in decider.candidates]
                found.languages[number] = UNKNOWN if typical <= decider.rate else next(iter(ranking))
    return found


def segments_of(blocks: Blocks, decider: Decider, window: float, about: Answer) -> list[Segment]:
    """The segments of a recording.

    Args:
        blocks: of the recording.
        decider: between the candidates.
        window: seconds that are decided together.
        about: what is the same for all segments (name, rate, calibrated), and the seconds of the recording.
    """
    numbers, half = blocks.numbers, blocks.half(window)
    if not len(numbers):
        return []
    within = blocks.frames_within(numbers - half, numbers + half + 1)
    evidence = decider.evidence(blocks.scores, within)
    path = best_path(evidence, numbers * blocks.step, decider.log_priors, TURN * window)
    labels, pause = np.array(decider.candidates, object)[path], round(PAUSE / blocks.step)
    runs = _runs(numbers, labels, pause)
    for (first, last), typical in zip(runs, _typicality(decider, _pooled(blocks, runs)), strict=True):
        if typical <= decider.rate:
            labels[first : last + 1] = UNKNOWN
    runs = _runs(numbers, labels, pause)  # unknown neighbours are one
    scores = _pooled(blocks, runs)
    rankings, typicality = decider.rankings(scores), decider.typicality(scores)
    segments = []
    for n, (first, last) in enumerate(runs):
        start, end = (round(edge * blocks.step, 3) for edge in _edges(numbers, first, last, pause))
        end = min(end, about.seconds)
        segments.append(
            Segment(
                name=about.name,
                language=str(labels[first]),
                probabilities=rankings[n],
                calibrated=about.calibrated,
                speech=round(float(scores.frames[n] * blocks.frame_shift), 3),
                seconds=round(end - start, 3),
                typicality=None if typicality is None else float(typicality[n]),
                rate=about.rate,
                start=start,
                end=end,
            )
        )
    return segments


def _typicality(decider: Decider, scores: Scores) -> Array:
    """That of each, (U,); infinite where the model has none."""
    found = decider.typicality(scores)
    return np.full(len(scores.frames), np.inf) if found is None else found


def _pooled(blocks: Blocks, runs: list[tuple[int, int]]) -> Scores:
    first, last = (blocks.numbers[list(places)] for places in zip(*runs, strict=True))
    return blocks.pooled(first, last + 1)


def _runs(numbers: NDArray[np.int64], labels: NDArray[np.object_], pause: int) -> list[tuple[int, int]]:
    """First and last block, by their places in `numbers`, of each stretch of one label without a pause."""
    ends = np.flatnonzero((np.diff(numbers) > pause) | (labels[1:] != labels[:-1])).tolist()
    return list(zip([0, *(end + 1 for end in ends)], [*ends, len(numbers) - 1], strict=True))


def _edges(numbers: NDArray[np.int64], first: int, last: int, pause: int) -> tuple[float, float]:
    """Where a run begins and ends, in blocks: two that are a short pause apart meet in its middle."""
    start, end = float(numbers[first]), float(numbers[last] + 1)
    if first and numbers[first] - numbers[first - 1] <= pause:
        start = (start + numbers[first - 1] + 1) / 2
    if last + 1 < len(numbers) and numbers[last + 1] - numbers[last] <= pause:
        end = (end + numbers[last + 1]) / 2
    return start, end
