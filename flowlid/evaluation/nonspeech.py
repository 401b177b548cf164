"""Is it the language or the channel? Decisions from the frames without speech, where no language can be heard.

Recordings of two corpora differ in microphone, room and noise. A classifier that tells them apart by their
silence needs no language to do so, and its accuracy on speech says little about languages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flowlid.evaluation.bootstrap import estimate_recall
from flowlid.evaluation.latents import balanced
from flowlid.evaluation.scoring import NotFinite, class_numbers, score_frames
from flowlid.flow.checkpoint import Model
from flowlid.frames.frameset import FrameSet, NoFrames, load_model_frames
from flowlid.kaldi.datadir import DataDir

FAR_ABOVE = 0.10  # by which the interval's lower end must lie above chance for a warning
FEWEST = 10  # utterances of each class that a warning takes
Training = tuple[np.ndarray, np.ndarray]
_FRAMES_AT_ONCE = 65536
_WORDS = {"flow": "under this flow", "linear": "by a linear classifier of their means"}


def why_not(model: Model, data: DataDir) -> str | None:
    """Why this model has no control on a set, or None."""
    if model.config.model.type != "dnf":
        return "a normal flow decides nothing"
    if not model.config.frames.vad:
        return "the experiment has frames.vad: false, so that no frame counts as non-speech"
    return None if data.has("vad.scp") else f"{data.path} has no vad.scp"


def no_control(reason: str) -> dict[str, Any]:
    """The entries of `nonspeech_control`, all None, with the reason."""
    nothing = ("utterances", "left_out", "frames", "chance", "flow", "linear", "warning")
    return {**dict.fromkeys(nothing), "reason": reason}


def nonspeech_control(
    model: Model, data: DataDir, training: Training | None, allow_pipes: bool = False, batch_size: int = 8192
) -> dict[str, Any]:
    """Decide a set's utterances from their non-speech frames: by the flow, and by a linear classifier.

    Args:
        model: that decides; its flow on the device to use.
        data: the set.
        training: means of the training set's non-speech frames (`training_means`), or None if it has none.
        allow_pipes: whether an scp entry may be a shell command.
        batch_size: frames scored at once.

    Returns:
        `utterances` with non-speech `frames`, those `left_out` for want of them, `chance`, what `judge` found of the
        `flow` and the `linear` classifier, the `warning` if one is far above chance, and the `reason` of what is
        None.

    Raises:
        ValueError: as `frameset.load_model_frames`.
    """
    try:
        frames = load_model_frames(model, data, allow_pipes, "nonspeech")
    except NoFrames as error:
        return no_control(str(error))
    labels, judged, reasons = class_numbers(frames.languages, model.classes), {}, []
    for scorer, decide in (
        ("flow", lambda: score_frames(model.flow, frames, batch_size).loglik.argmax(1)),
        ("linear", lambda: _by_linear(training, frames, model.classes)),
    ):
        try:
            judged[scorer] = judge(decide(), labels, frames.speakers, frames.utts)
        except (NotFinite, NoFrames) as error:
            judged[scorer] = None
            reasons.append(str(error))
    return {
        "utterances": len(frames.utts),
        "left_out": len(data.table("feats.scp")) - len(frames.utts),
        "frames": len(frames),
        "chance": chance(labels),
        **judged,
        "warning": warning(data.path.name, judged, labels),
        "reason": "; ".join(reasons) or None,
    }


def training_means(model: Model, data: DataDir, most: int, seed: int, allow_pipes: bool = False) -> Training | None:
    """Means (n, F) and classes (n,) of the non-speech of up to `most` random utterances, as many of each class.

    None where no utterance has non-speech frames.
    """
    utts, languages = zip(*sorted(data.table("utt2lang").items()), strict=True)
    chosen = balanced(languages, np.ones(len(utts), int), max(2, most // len(model.classes)), seed)
    try:
        frames = load_model_frames(model, data, allow_pipes, "nonspeech", [utts[n] for n in chosen])
    except NoFrames:
        return None
    return utterance_means(frames), class_numbers(frames.languages, model.classes)


def _by_linear(training: Training | None, frames: FrameSet, classes: Sequence[str]) -> np.ndarray:
    if training is None:
        raise NoFrames("the training set has no non-speech frames")
    return linear_decisions(*training, utterance_means(frames), classes)


def utterance_means(frames: FrameSet) -> np.ndarray:
    """Mean of each utterance's selected frames, normalized but not spliced: (U, F) float64."""
    total = torch.zeros(len(frames.utts), frames.feats.shape[1], dtype=torch.float64)
    for x, utt in replace(frames, context=0).batches(_FRAMES_AT_ONCE):
        total.index_add_(0, utt, x.double())
    return (total / frames.counts.unsqueeze(1)).numpy()


def linear_decisions(means: np.ndarray, labels: np.ndarray, tested: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Decide utterances by linear discriminant analysis, all classes equally likely beforehand.

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


def judge(decided: np.ndarray, labels: np.ndarray, speakers: Sequence[str], utts: Sequence[str]) -> dict[str, Any]:
    """Accuracy and balanced accuracy of decisions on utterances of seen languages.

    Args:
        decided: (U,) class that each utterance was given.
        labels: (U,) its true class, -1 where its language is unseen.
        speakers, utts: of each utterance.

    Returns:
        `accuracy` (None without a seen language), `balanced_accuracy`: the mean of the classes' recalls, and
        its 95% interval `low`, `high` from a bootstrap over `units` of `unit`; these are None for fewer than two
        classes.
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


def chance(labels: np.ndarray) -> float | None:
    """Balanced accuracy of one answer given to all: 1 / the number of classes that the set has.

    It is 1/K where every class is present. None for fewer than two.
    """
    present = len(set(labels[labels >= 0].tolist()))
    return 1 / present if present > 1 else None


def warning(name: str, judged: Mapping[str, Mapping[str, Any] | None], labels: np.ndarray) -> str | None:
    """Plain words where a set's non-speech tells its classes apart, None where it does not.

    It does where the lower end of an interval lies more than `FAR_ABOVE` above chance, in a set with at least
    `FEWEST` utterances of each of its seen languages: of a handful, chance alone gets all right now and then.

    Args:
        name: of the set.
        judged: by "flow" and "linear", what `judge` found, or None.
        labels: (U,) true class of each utterance, -1 where its language is unseen.
    """
    by_chance = chance(labels)
    if by_chance is None or np.bincount(labels[labels >= 0])[np.unique(labels[labels >= 0])].min() < FEWEST:
        return None
    sure = {scorer: found for scorer, found in judged.items() if found and found["low"] is not None}
    if not sure:
        return None
    best = max(sure, key=lambda scorer: sure[scorer]["low"])
    if sure[best]["low"] <= by_chance + FAR_ABOVE:
        return None
    return (
        f"Warning: on {name} the non-speech frames alone tell the seen classes apart (balanced accuracy "
        f"{sure[best]['balanced_accuracy']:.2f} {_WORDS[best]}, chance {by_chance:.2f}): the recordings of the "
        "classes differ in channel or noise, and the accuracy on speech may owe to that."
    )
