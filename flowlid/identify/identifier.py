"""A trained model that identifies recordings.

Example:
    >>> model = load("exp/dnf_120/model")
    >>> answer = model.identify("a.wav")
    >>> answer.language, answer.probabilities
    ('en', {'en': 0.98, 'es': 0.02})
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from flowlid.audio.channels import Channel
from flowlid.evaluation.openset import RATE, UNKNOWN
from flowlid.evaluation.scoring import NotFinite, score_frames
from flowlid.flow.checkpoint import Model
from flowlid.frames.frameset import FrameSet
from flowlid.frames.utterances import frames_of, in_blocks
from flowlid.identify.answer import NO_SPEECH, Answer, Decider, Scores
from flowlid.identify.carry import Carried, open_model
from flowlid.identify.recording import Heard, Listener, Source
from flowlid.identify.windows import STEP, Blocks, Timeline, identify_blocks, segments_of
from flowlid.program import choose_device
from flowlid.wording import one_line

_FIRST, _MOST = 1024, 8192  # frames that are scored at once: few at first, so that there is an answer soon
log = logging.getLogger("flowlid")


def load(
    place: str | Path, device: str = "auto", channel: Channel | None = None, allow_pipes: bool = False
) -> "Identifier":
    """Load a model directory (exp/<name>/model), or the model of an experiment (exp/<name>).

    Args:
        place: the directory.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        channel: of recordings with several: a number from 0, or "mix" for their mean; None: they are refused.
        allow_pipes: whether commands in wav.scp are run.

    Raises:
        ValueError, OSError: no model, or one that cannot identify recordings; the message says why.
    """
    return Identifier(open_model(place), choose_device(device), channel, allow_pipes)


class Identifier:
    """A model, ready to identify recordings. Attributes: `classes`, and whether it `decides` between them."""

    def __init__(
        self, carried: Carried, device: torch.device, channel: Channel | None = None, allow_pipes: bool = False
    ) -> None:
        self.model: Model = carried.model.to(device)
        self.background = None if carried.background is None else carried.background.to(device)
        self.calibration, self.openset = carried.calibration, carried.openset
        self.classes = self.model.classes
        self.decides = self.model.config.model.decides
        self.listener = Listener(self.model, str(carried.place), channel, allow_pipes)
        if not self.decides:
            log.info("%s: a normal flow: it scores recordings, and decides nothing", carried.place)
        elif self.calibration is None:
            log.info("%s: it has no calibration: its probabilities are far too sure", carried.place)
        if self.model.config.frames.cmvn == "speaker":
            log.info("%s: frames.cmvn is speaker: each recording counts as a speaker of its own", carried.place)

    def decider(
        self, candidates: Sequence[str] = (), priors: Mapping[str, float] | None = None, rate: float = RATE
    ) -> Decider:
        """What decides between these candidates; args and errors are those of `Decider`."""
        if not self.decides and (candidates or priors):
            raise ValueError("a normal flow decides nothing: it takes no candidates and no priors")
        if self.openset is None and rate not in (0, RATE):
            raise ValueError(
                f"a false-rejection rate of {rate:g}: the model has no open set, so that nothing is unknown to it; "
                "stage 4 fits one on a dev set of 19 utterances or more"
            )
        return Decider(self.classes, self.calibration, self.openset, candidates, priors, rate)

    def identify(
        self,
        sound: str | Path | ArrayLike,
        rate: int | None = None,
        candidates: Sequence[str] = (),
        priors: Mapping[str, float] | None = None,
    ) -> Answer:
        """The answer for one recording.

        Args:
            sound: a path; or samples (n,) or (n, channels), floats in [-1, 1] or 16-bit integers.
            rate: of samples, in Hz.
            candidates: the only languages that come into question; by default all of the model's.
            priors: probability of each candidate before anything is heard; by default all are alike.

        Raises:
            ValueError, OSError: the recording cannot be read or used, or a candidate is not one of the model's.
        """
        decider = self.decider(candidates, priors)
        (answer,) = self._answers([self._heard(sound, rate)], decider)
        if answer.error is not None:
            raise ValueError(answer.error)
        return answer

    def identify_windows(
        self,
        sound: str | Path | ArrayLike,
        rate: int | None = None,
        window: float = 3.0,
        candidates: Sequence[str] = (),
        priors: Mapping[str, float] | None = None,
    ) -> Timeline:
        """What is spoken when in a long recording: its segments, and the answer for the window around each block.

        Args:
            window: seconds that are decided together: longer ones err less, and miss short turns.
            sound, rate, candidates, priors: as of `identify`.

        Raises:
            ValueError, OSError: as of `identify`; a window that is too short; a normal flow, which decides nothing.
        """
        timeline = self._timeline(self._heard(sound, rate), self.decider(candidates, priors), self._checked(window))
        if timeline.error is not None:
            raise ValueError(timeline.error)
        return timeline

    def timelines(
        self, inputs: Iterable[Source | tuple[str, str]], decider: Decider, window: float
    ) -> Iterator[Timeline]:
        """What is spoken when in each recording, in their order; what goes wrong with one is in its timeline.

        Args:
            inputs, decider: as of `answers`.
            window: as of `identify_windows`; ValueError if it cannot be used.
        """
        self._checked(window)
        found = map(self._hear, inputs)
        return (
            Timeline(heard.name, error=heard.error)
            if isinstance(heard, Answer)
            else self._timeline(heard, decider, window)
            for heard in found
        )

    def _checked(self, window: float) -> float:
        if not self.decides:
            raise ValueError("a normal flow decides nothing: it has no windows")
        if not STEP <= window < float("inf"):
            raise ValueError(f"a window of {window:g} s: give {STEP:g} or more, such as 3")
        return window

    def _timeline(self, heard: Heard, decider: Decider, window: float) -> Timeline:
        about = Answer(heard.name, calibrated=self.calibration is not None, seconds=heard.seconds, rate=heard.rate)
        try:
            blocks = self.blocks(heard)
        except NotFinite as error:
            return Timeline(heard.name, error=str(error))
        return Timeline(
            name=heard.name,
            id=heard.utterance.name,
            candidates=tuple(decider.candidates),
            segments=tuple(segments_of(blocks, decider, window, about)),
            windows=identify_blocks(blocks, decider, window),
            step=blocks.step,
            feats=heard.utterance.feats,
            seconds=heard.seconds,
            rate=heard.rate,
            notes=heard.notes,
        )

    def blocks(self, heard: Heard) -> Blocks:
        """A recording's blocks of about `windows.STEP` seconds; raises NotFinite."""
        shift = self.listener.frame_shift
        length = max(1, round(STEP / shift))
        count = -(-len(heard.utterance.feats) // length)
        if not heard.utterance.voiced.any():
            return Blocks(None, np.zeros(0, np.int64), count, length, shift)
        return Blocks(*self.score_blocks(heard, length), count, length, shift)

    def _heard(self, sound: str | Path | ArrayLike, rate: int | None) -> Heard:
        if isinstance(sound, str | Path):
            return self.listener.hear(Source(str(sound), str(sound)))
        if rate is None:
            raise ValueError("samples without their rate; give it in Hz")
        return self.listener.hear_samples(np.asarray(sound), rate)

    def answers(self, inputs: Iterable[Source | tuple[str, str]], decider: Decider) -> Iterator[Answer]:
        """The answer for each recording, in their order; what goes wrong with one is its answer.

        Short recordings are scored together.

        Args:
            inputs: the recordings; or the name of what gives none, and why.
            decider: as `decider` makes it.
        """
        waiting: list[Heard | Answer] = []
        frames, limit = 0, _FIRST
        for each in inputs:
            waiting.append(self._hear(each))
            frames += 0 if isinstance(waiting[-1], Answer) else int(waiting[-1].utterance.voiced.sum())
            if frames >= limit or frames == 0:
                yield from self._answers(waiting, decider)
                waiting, frames, limit = [], 0, min(2 * limit, _MOST)
        yield from self._answers(waiting, decider)

    def _hear(self, each: Source | tuple[str, str]) -> Heard | Answer:
        if isinstance(each, tuple):
            return _failed(*each)
        try:
            return self.listener.hear(each)
        except (ValueError, OSError) as error:
            return _failed(each.name, str(error))

    def _answers(self, heard: Sequence[Heard | Answer], decider: Decider) -> Iterator[Answer]:
        speaking = [each for each in heard if isinstance(each, Heard) and each.utterance.voiced.any()]
        found = iter(self._scored(speaking, decider))
        for each in heard:
            if isinstance(each, Answer):
                yield each
            elif each.utterance.voiced.any():
                yield next(found)
            else:
                about = {"seconds": each.seconds, "rate": each.rate, "notes": each.notes}
                yield Answer(each.name, NO_SPEECH, speech=0.0, **about)

    def _scored(self, heard: Sequence[Heard], decider: Decider) -> list[Answer]:
        if not heard:
            return []
        try:
            scores = self.score(heard)
        except NotFinite as error:
            if len(heard) == 1:
                return [_failed(heard[0].name, str(error))]
            return [answer for each in heard for answer in self._scored([each], decider)]
        rankings = decider.rankings(scores) if self.decides else [{}] * len(heard)
        typicality = decider.typicality(scores)
        answers = []
        for n, each in enumerate(heard):
            language, typical = next(iter(rankings[n]), None), None if typicality is None else float(typicality[n])
            if typical is not None and typical <= decider.rate:
                language = UNKNOWN
            answers.append(self._answer(each, language, rankings[n], scores.mean_loglik[n], typical))
        return answers

    def score(self, heard: Sequence[Heard]) -> Scores:
        """Scores of recordings with speech, as stage 4 has them; raises NotFinite."""
        utterances = [each.utterance for each in heard]
        found = _scores(self.model, frames_of(self.model, utterances))
        if self.background is None:
            return found
        other = _scores(self.background, frames_of(self.background, utterances))
        return dataclasses.replace(found, background=other.mean_loglik.max(1))

    def score_blocks(self, heard: Heard, length: int) -> tuple[Scores, np.ndarray]:
        """Scores of the blocks of a recording with speech, `length` frames each, that have a selected frame.

        Those of a longer part of the recording are the means over its blocks, weighted by their frames.

        Returns:
            The scores, and the numbers of these blocks from the start of the recording, (B,).
        """
        frames, numbers = in_blocks(frames_of(self.model, [heard.utterance]), length)
        found = _scores(self.model, frames)
        if self.background is None:
            return found, numbers
        other = _scores(self.background, in_blocks(frames_of(self.background, [heard.utterance]), length)[0])
        return dataclasses.replace(found, background=other.mean_loglik.max(1)), numbers

    def _answer(
        self,
        heard: Heard,
        language: str | None,
        probabilities: dict[str, float],
        mean: np.ndarray,
        typicality: float | None,
    ) -> Answer:
        return Answer(
            name=heard.name,
            language=language,
            probabilities=probabilities,
            calibrated=self.calibration is not None,
            speech=round(float(heard.utterance.voiced.sum() * self.listener.frame_shift), 3),
            seconds=heard.seconds,
            loglik=dict(zip(self.classes, mean.tolist(), strict=True)),
            typicality=typicality,
            rate=heard.rate,
            notes=heard.notes,
        )


def _scores(model: Model, frames: FrameSet) -> Scores:
    latents: list[np.ndarray] = []
    whole = int(frames.counts.max())  # the block of an utterance is all of it
    sums = score_frames(model.flow, frames, _MOST, block=whole, keep=lambda _utt, mean, _blocks: latents.append(mean))
    return Scores(sums.mean_loglik, sums.frames, np.stack(latents).astype(float))


def _failed(name: str, why: str) -> Answer:
    return Answer(name, error=one_line(why))
