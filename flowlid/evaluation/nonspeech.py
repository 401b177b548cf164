"""Is it the language or the channel? Decisions from the frames without speech, where no language can be heard.

Recordings of two corpora differ in microphone, room and noise. A classifier that tells them apart by their
silence needs no language to do so, and its accuracy on speech says little about languages.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flowlid.evaluation.bootstrap import estimate_recall
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.latents import balanced
from flowlid.evaluation.scoring import NotFinite, score_frames
from flowlid.flow.checkpoint import Model
from flowlid.frames.frameset import FrameSet, NoFrames, load_model_frames
from flowlid.kaldi.datadir import DataDir

APART, NOT_APART, CANNOT_TELL = ("apart", "not apart", "cannot tell")
FAR_ABOVE = 0.10  # so far above chance an interval must be for "apart", and may at most be for "not apart"
FEWEST = 10  # utterances that a class needs to be judged
_FRAMES_AT_ONCE = 65536
_FIGURES = ("utterances", "left_out", "frames", "chance", "flow", "linear")
_WORDS = {"flow": "under this flow", "linear": "by a linear classifier of their means"}


def load_nonspeech(
    model: Model, data: DataDir, allow_pipes: bool = False, utts: Sequence[str] | None = None
) -> FrameSet | str:
    """The non-speech frames of a set, of some of its `utts` or of all, or the reason why there are none.

    Raises:
        ValueError: as `frameset.load_model_frames`.
    """
    if not model.config.model.decides:
        return "a normal flow decides nothing"
    if not model.config.frames.vad:
        return "the experiment has frames.vad: false, so that no frame counts as non-speech"
    if not data.has("vad.scp"):
        return f"{data.path} has no vad.scp"
    try:
        return load_model_frames(model, data, allow_pipes, "nonspeech", utts)
    except NoFrames as error:
        return str(error)


class LinearClassifier:
    """A linear classifier of utterances' mean non-speech frames, fitted on a training set when first needed.

    Args:
        model: whose classes and frames it uses.
        data: directory of the training set.
        most: training utterances at most, chosen at random, as many of each class.
        seed: of the choice.
        allow_pipes: whether an scp entry may be a shell command.
    """

    def __init__(self, model: Model, data: Path, most: int, seed: int, allow_pipes: bool = False) -> None:
        self.model, self.data, self.most, self.seed, self.allow_pipes = model, data, most, seed, allow_pipes

    @functools.cached_property
    def training(self) -> FrameSet | str:
        """The training utterances' non-speech frames, or why there are none."""
        data, classes = DataDir(self.data), self.model.classes
        utts, languages = zip(*sorted(data.table("utt2lang").items()), strict=True)
        chosen = balanced(languages, np.ones(len(utts), int), max(2, self.most // len(classes)), self.seed)
        found = load_nonspeech(self.model, data, self.allow_pipes, [utts[n] for n in chosen])
        return "the training set has no non-speech frames" if isinstance(found, str) else found

    @functools.cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (n, F) and class numbers (n,) of the training utterances; NoFrames if there are none."""
        if isinstance(self.training, str):
            raise NoFrames(self.training)
        return utterance_means(self.training), class_numbers(self.training.languages, self.model.classes)

    def decide(self, frames: FrameSet) -> np.ndarray:
        """Class of each utterance, (U,); raises as `linear_decisions`."""
        return linear_decisions(*self.means, utterance_means(frames), self.model.classes)


def decide_nonspeech(
    model: Model,
    data: DataDir,
    frames: FrameSet | str,
    linear: LinearClassifier,
    batch_size: int = 8192,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Decide a set's utterances from their non-speech frames: by the flow, and by a linear classifier.

    Args:
        model: that decides; its flow on the device to use.
        data: the set.
        frames: its non-speech frames, or why there are none (`load_nonspeech`).
        linear: the classifier.
        batch_size: frames scored at once.
        progress: called with the frames scored and their total.

    Returns:
        The content of result.json: `utterances` with non-speech `frames`, those `left_out` because they have none,
        `chance`, what `recall_with_interval` found of the `flow` and the `linear` classifier on the classes that are
        judged, the `mark` of both (None where the model or the set leaves nothing to decide), the `warning` if it is
        `APART`, the `reason` of what is None, left out or cannot be told, and `hours` of non-speech.
    """
    about = {"set": data.path.name, "classes": model.classes}
    seen = len(model.classes) > 1 and not set(model.classes).isdisjoint(data.table("utt2lang").values())
    if isinstance(frames, str):
        verdict = CANNOT_TELL if seen else None
        return {**about, **dict.fromkeys(_FIGURES), "mark": verdict, "warning": None, "reason": frames, "hours": None}
    labels = class_numbers(frames.languages, model.classes)
    judged = judged_labels(labels)
    found, reasons = _recalls(model, frames, judged, linear, batch_size, progress)
    reasons = _left_out(labels, judged, model.classes) + reasons
    verdict, why = mark(found, judged) if seen else (None, "no language of the set was in training")
    return {
        **about,
        "utterances": len(frames.utts),
        "left_out": len(data.table("feats.scp")) - len(frames.utts),
        "frames": len(frames),
        "chance": chance(judged),
        **found,
        "mark": verdict,
        "warning": warning(data.path.name, found, chance(judged)) if verdict == APART else None,
        "reason": "; ".join([*reasons, *([why] if why else [])]) or None,
        "hours": len(frames) * data.frame_shift / 3600,
    }


def _recalls(
    model: Model,
    frames: FrameSet,
    labels: np.ndarray,
    linear: LinearClassifier,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, dict[str, Any] | None], list[str]]:
    """What `recall_with_interval` finds of the flow and the linear classifier, or None, and the reasons for that."""
    found: dict[str, dict[str, Any] | None] = {}
    reasons = []
    for scorer, decide in (
        ("flow", lambda: score_frames(model.flow, frames, batch_size, progress).loglik.argmax(1)),
        ("linear", lambda: linear.decide(frames)),
    ):
        try:
            found[scorer] = recall_with_interval(decide(), labels, frames.speakers, frames.utts)
        except (NotFinite, NoFrames) as error:
            found[scorer] = None
            reasons.append(str(error))
    return found, reasons


def utterance_means(frames: FrameSet) -> np.ndarray:
    """Mean of each utterance's selected frames, normalized but not spliced: (U, F) float64."""
    total = torch.zeros(len(frames.utts), frames.feats.shape[1], dtype=torch.float64)
    for x, utt in replace(frames, context=0).batches(_FRAMES_AT_ONCE):
        total.index_add_(0, utt, x.double())
    return (total / frames.counts.unsqueeze(1)).numpy()


def linear_decisions(means: np.ndarray, labels: np.ndarray, tested: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Decide utterances by linear discriminant analysis, all classes equally likely a priori.

    Inputs are standardized, the covariance is shrunk (Ledoit and Wolf 2004).

    Args:
        means: of the training utterances, shape (n, F).
        labels: numbers of their classes, shape (n,).
        tested: means to decide, shape (m, F).
        classes: names of the K classes.

    Returns:
        Numbers of classes, shape (m,).

    Raises:
        NoFrames: a class with fewer than two training utterances.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        raise NoFrames(
            f"of {classes[counts.argmin()]} {counts.min()} training utterances have non-speech frames; two of each "
            "class are needed"
        )
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(len(classes), 1 / len(classes)))
    return make_pipeline(StandardScaler(), lda).fit(means, labels).predict(tested)


def recall_with_interval(
    decided: np.ndarray, labels: np.ndarray, speakers: Sequence[str], utts: Sequence[str]
) -> dict[str, Any]:
    """Accuracy and balanced accuracy of decisions on utterances of seen languages, and the latter's interval.

    Args:
        decided: (U,) class that each utterance was given.
        labels: (U,) its true class, -1 where its language is unseen.
        speakers, utts: of each utterance.

    Returns:
        `accuracy` (None without a seen language), `balanced_accuracy`: the mean of the classes' recalls, and
        its 95% interval `low`, `high` from a bootstrap that draws `units` of `unit`; these are None for fewer than
        two classes.
    """
    nothing = dict.fromkeys(("balanced_accuracy", "low", "high", "unit", "units"))
    seen = np.flatnonzero(labels >= 0)
    if not len(seen):
        return {"accuracy": None, **nothing}
    right = decided[seen] == labels[seen]
    accuracy = {"accuracy": float(right.mean())}
    if len(set(labels[seen].tolist())) < 2:
        return {**accuracy, **nothing}
    found = estimate_recall(right, [speakers[n] for n in seen], [utts[n] for n in seen], labels[seen]).to_dict()
    return {**accuracy, "balanced_accuracy": found.pop("share"), **found}


def judged_labels(labels: np.ndarray) -> np.ndarray:
    """Class numbers with -1 too for utterances of classes that have fewer than `FEWEST`: a handful proves nothing.

    As they are where fewer than two classes would be left.
    """
    kept = np.flatnonzero(np.bincount(labels[labels >= 0]) >= FEWEST)
    return np.where(np.isin(labels, kept), labels, -1) if len(kept) > 1 else labels


def chance(labels: np.ndarray) -> float | None:
    """Balanced accuracy of the same answer for all utterances: 1 / the number of classes in the set.

    It is 1/K where every class is present. None for fewer than two.
    """
    present = len(set(labels[labels >= 0].tolist()))
    return 1 / present if present > 1 else None


def mark(recalls: Mapping[str, Mapping[str, Any] | None], labels: np.ndarray) -> tuple[str, str | None]:
    """Whether a set's non-speech tells its classes apart, and if that cannot be told, why.

    `APART` if the lower end of an interval is more than `FAR_ABOVE` above chance; `NOT_APART` if the upper end of
    neither is; else `CANNOT_TELL`, as with fewer than two classes that have `FEWEST` utterances.

    Args:
        recalls: by "flow" and "linear", what `recall_with_interval` found of these labels, or None.
        labels: (U,) true class of each utterance, -1 where it does not count (`judged_labels`).
    """
    counts = np.bincount(labels[labels >= 0])
    if (counts >= FEWEST).sum() < 2:
        classes = "no class" if not (counts >= FEWEST).any() else "only one class"
        return CANNOT_TELL, f"{classes} has {FEWEST} or more utterances with non-speech frames; two are needed"
    limit = 1 / np.count_nonzero(counts) + FAR_ABOVE
    intervals = {scorer: (found["low"], found["high"]) for scorer, found in recalls.items() if found}
    if any(low is not None and low > limit for low, _ in intervals.values()):
        return APART, None
    for scorer in recalls:
        low, high = intervals.get(scorer, (None, None))
        if low is None:
            return CANNOT_TELL, f"{_WORDS[scorer]} there is no interval"
        if high > limit:
            return CANNOT_TELL, f"{_WORDS[scorer]} the interval, {low:.2f} to {high:.2f}, has {limit:.2f} in it"
    return NOT_APART, None


def warning(name: str, recalls: Mapping[str, Mapping[str, Any] | None], by_chance: float) -> str:
    """The sentence for a set that is marked `APART`, about the classifier with the higher lower end."""
    sure = {scorer: found for scorer, found in recalls.items() if found and found["low"] is not None}
    best = max(sure, key=lambda scorer: sure[scorer]["low"])
    return (
        f"Warning: on {name} the non-speech frames alone tell the seen classes apart (balanced accuracy "
        f"{sure[best]['balanced_accuracy']:.2f} {_WORDS[best]}, chance {by_chance:.2f}): the recordings of the "
        "classes differ in channel or noise, and the accuracy on speech may be due to that."
    )


def _left_out(labels: np.ndarray, judged: np.ndarray, classes: Sequence[str]) -> list[str]:
    """What is said of classes that are left out of the judgement."""
    numbers, counts = np.unique(labels[labels != judged], return_counts=True)
    few = ", ".join(f"{classes[number]} {count}" for number, count in zip(numbers, counts, strict=True))
    return [f"left out of the judgement, with fewer than {FEWEST} utterances: {few}"] if few else []
