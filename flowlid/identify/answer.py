"""The answer for a recording, and how it is decided from its log-likelihoods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from flowlid.evaluation.calibration import Calibration
from flowlid.evaluation.openset import RATE, UNKNOWN, OpenSet
from flowlid.wording import nearest

NO_SPEECH = "no speech"


@dataclass(frozen=True)
class Answer:
    """What a model says of a recording.

    Attributes:
        name: of the recording.
        language: the most probable candidate, `UNKNOWN`, or `NO_SPEECH`; None where the model is a normal flow, which
            decides nothing, or where there is an `error`.
        probabilities: of each candidate, the most probable first; they add up to 1. Empty without a decision.
        calibrated: whether these are calibrated; if not, they are far too sure.
        speech: seconds of speech, those of voiced frames.
        seconds: how long the recording is.
        loglik: class -> log p(x | class) per frame in nats.
        typicality: the recording's place among the dev set's, 0 to 1; None where the model has none.
        rate: in Hz, at which it was recorded.
        notes: what was done to it that the user should know, such as that it was resampled.
        error: why there is no answer.
    """

    name: str
    language: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    calibrated: bool = False
    speech: float | None = None
    seconds: float | None = None
    loglik: Mapping[str, float] = field(default_factory=dict)
    typicality: float | None = None
    rate: int | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def ranking(self) -> list[str]:
        """The candidates, the most probable first."""
        return list(self.probabilities)

    @property
    def probability(self) -> float | None:
        """That of the language; None where it is no candidate."""
        return self.probabilities.get(self.language) if self.language else None

    @property
    def runner_up(self) -> str | None:
        """The second of the candidates; of an unknown language the first, which is the nearest."""
        place = 0 if self.language == UNKNOWN else 1
        return self.ranking[place] if len(self.ranking) > place else None


@dataclass(frozen=True)
class Scores:
    """What a model finds in U recordings, or parts of them; K classes, D dims.

    Attributes:
        mean_loglik: (U, K) log p(x | class) per frame in nats.
        frames: (U,) how many that is the mean of.
        mean_latents: (U, D) mean latent of the frames.
        background: (U,) log p(x) per frame under the background flow; None where the model has none.
    """

    mean_loglik: NDArray[np.float64]
    frames: NDArray[np.int64]
    mean_latents: NDArray[np.float64]
    background: NDArray[np.float64] | None = None


class Decider:
    """Probabilities of a model's candidates, and what is none of them.

    Args:
        classes: of the model, K.
        calibration: None: the model has none.
        openset: tells what is unknown; None: the model cannot.
        candidates: the only languages that come into question; by default all.
        priors: probability of each candidate before anything is heard; by default all are alike.
        rate: share of the dev set's recordings that would be called unknown.

    Attributes: `candidates`, in the model's order, and their `log_priors`.

    Raises:
        ValueError: a candidate that the model does not have, fewer than two, a prior that is missing, too many or not
            above 0, a rate that is no share.
    """

    def __init__(
        self,
        classes: Sequence[str],
        calibration: Calibration | None,
        openset: OpenSet | None = None,
        candidates: Sequence[str] = (),
        priors: Mapping[str, float] | None = None,
        rate: float = RATE,
    ) -> None:
        self.classes, self.calibration, self.openset, self.rate = list(classes), calibration, openset, rate
        wanted = list(candidates) or (list(priors) if priors else self.classes)
        unknown = [name for name in (*wanted, *(priors or ())) if name not in self.classes]
        if unknown:
            raise ValueError(
                f"candidate {unknown[0]!r}: the model has no such class{nearest(unknown[0], self.classes)}"
            )
        if (candidates or priors) and len(set(wanted)) < 2:
            raise ValueError(f"candidates {','.join(wanted)}: name two or more, between which the model decides")
        self.candidates = [name for name in self.classes if name in wanted]
        given = priors if priors is not None else dict.fromkeys(self.candidates, 1.0)
        wrong = [name for name in self.candidates if not 0 < given.get(name, 0.0) < float("inf")]
        if wrong or len(given) != len(self.candidates):
            named = wrong[0] if wrong else next(name for name in given if name not in self.candidates)
            raise ValueError(f"prior of {named}: every candidate needs one above 0, and no other language has one")
        weights = np.array([given[name] for name in self.candidates])
        self.log_priors = np.log(weights / weights.sum())
        self._columns = [self.classes.index(name) for name in self.candidates]
        if not 0 <= rate < 1:
            raise ValueError(f"a false-rejection rate of {rate:g}: give a share from 0 (nothing is unknown) to below 1")

    def probabilities(self, scores: Scores) -> NDArray[np.float64]:
        """P(candidate | x), (U, candidates).

        softmax of log prior + calibrated log-likelihood; without a calibration of the sum over the frames.
        """
        if self.calibration is None:
            loglik = scores.mean_loglik * scores.frames[:, None]
        else:
            loglik = self.calibration(scores.mean_loglik, scores.frames, scores.mean_latents)
        return softmax(loglik[:, self._columns] + self.log_priors, axis=1)

    def evidence(self, scores: Scores, within: ArrayLike) -> NDArray[np.float64]:
        """What each block adds to the log-likelihoods of the window around it, (U, candidates).

        The calibrated log-likelihoods of a window of T frames are a sum over its frames (`calibration`); this is the
        share of a block's. Without a calibration it is the sum over the block's frames.

        Args:
            scores: of the blocks.
            within: (U,) frames of the window around each block.
        """
        frames = scores.frames[:, None]
        if self.calibration is None:
            return (scores.mean_loglik * frames)[:, self._columns]
        whole = self.calibration.affine(scores.mean_loglik, within)
        return (whole * frames / np.asarray(within)[:, None])[:, self._columns]

    def typicality(self, scores: Scores) -> NDArray[np.float64] | None:
        """Place of each among the dev set's recordings, (U,), 0 to 1; at `rate` or below it is unknown."""
        if self.openset is None:
            return None
        return self.openset.typicality(scores.mean_loglik, scores.frames, scores.mean_latents, scores.background)

    def rankings(self, scores: Scores) -> list[dict[str, float]]:
        """Of each: candidate -> probability, the most probable first.

        Where a calibration is not to be believed at all, all are alike: then the likelihoods decide on the order.
        """
        found, likelier = self.probabilities(scores), scores.mean_loglik
        if self.calibration is not None:
            likelier = self.calibration.affine(scores.mean_loglik, scores.frames)
        order = np.lexsort((-likelier[:, self._columns], -found), axis=1)
        rows = zip(found.tolist(), order.tolist(), strict=True)
        return [{self.candidates[k]: row[k] for k in ranks} for row, ranks in rows]
