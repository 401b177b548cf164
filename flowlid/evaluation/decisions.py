"""Decisions and likelihoods of a set's utterances, from the sums that scoring gave."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowlid.evaluation import metrics

MARGINS = (0.01, 0.1, 0.5, 1.0)  # nats per frame between the best and the second best class


@dataclass
class WindowScores:
    """Sums over W windows of equal length, cut one after the other from each utterance's selected frames.

    Attributes:
        utt_of: (W,) number of the utterance that each window is of, ascending.
        loglik: (W, K) sum of log p(x | y), nats, float64.
    """

    utt_of: np.ndarray
    loglik: np.ndarray

    def joined(self, count: int) -> "WindowScores":
        """Windows of `count` of these each, one after the other; what is left of an utterance is in none."""
        _, first, number = np.unique(self.utt_of, return_index=True, return_counts=True)
        nth = np.arange(len(self.utt_of)) - np.repeat(first, number)
        kept = nth < np.repeat(number // count * count, number)
        loglik = self.loglik[kept].reshape(-1, count, self.loglik.shape[1]).sum(axis=1)
        return WindowScores(self.utt_of[kept][::count], loglik)


@dataclass
class SetScores:
    """Sums over the frames of each utterance; U utterances, K classes; nats, float64.

    Attributes:
        frames: (U,) selected frames.
        logp: (U, K) sum of log p(z | y).
        logdet: (U,) sum of log |det dz/dx|.
        decided: (U, K) number of frames decided as each class.
        blocks: sums over windows of a second; None where they were not asked for.
    """

    frames: np.ndarray
    logp: np.ndarray
    logdet: np.ndarray
    decided: np.ndarray
    blocks: WindowScores | None = None

    @property
    def loglik(self) -> np.ndarray:
        """(U, K) sum of log p(x | y)."""
        return self.logp + self.logdet[:, None]

    @property
    def mean_loglik(self) -> np.ndarray:
        """(U, K) log p(x | y) per frame."""
        return self.loglik / self.frames[:, None]


def class_numbers(languages: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Class of each utterance, -1 where its language is none of the classes: (U,)."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers.get(language, -1) for language in languages])


def reference_class(loglik: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class (U,) whose likelihood is reported: an utterance's own, or, if that is unseen (-1), the best one.

    Args:
        loglik: (U, K), sums or means.
        labels: (U,).
    """
    return np.where(labels >= 0, labels, loglik.argmax(1))


def llr_per_frame(scores: SetScores, labels: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of each utterance's two best classes, nats per frame: (U,).

    For two classes log p(x | first) - log p(x | second), whatever the true language. For more classes its own one
    against the best other (below 0: wrong), or, if its language is unseen (-1), the best against the second best.
    """
    mean = scores.mean_loglik
    if mean.shape[1] == 2:
        return mean[:, 0] - mean[:, 1]
    own = reference_class(scores.loglik, labels)
    others = mean.copy()
    np.put_along_axis(others, own[:, None], -np.inf, axis=1)
    return np.take_along_axis(mean, own[:, None], axis=1)[:, 0] - others.max(axis=1)


def small_margins(scores: SetScores, labels: np.ndarray) -> list[dict[str, float | int | None]]:
    """The utterances whose best class leads the second best by less than each of `MARGINS`, in nats per frame.

    Returns:
        Objects of `nats`, `utterances`, `share` (of all) and `accuracy` (of those whose language was
        seen; None without one).
    """
    best = np.sort(scores.mean_loglik, axis=1)[:, -2:]
    margin, right = best[:, 1] - best[:, 0], scores.loglik.argmax(1) == labels
    found = []
    for nats in MARGINS:
        close = margin < nats
        seen = close & (labels >= 0)
        accuracy = float(right[seen].mean()) if seen.any() else None
        found.append({"nats": nats, "utterances": int(close.sum()), "share": float(close.mean()), "accuracy": accuracy})
    return found


def mean_terms(scores: SetScores, labels: np.ndarray) -> dict[str, float]:
    """LogLL, LogP and LogDet of a set in nats per frame, under each utterance's `reference_class`."""
    column = reference_class(scores.loglik, labels)
    logp = np.take_along_axis(scores.logp, column[:, None], axis=1).sum() / scores.frames.sum()
    logdet = scores.logdet.sum() / scores.frames.sum()
    return {"loglik": float(logp + logdet), "logp": float(logp), "logdet": float(logdet)}


def frame_accuracy(scores: SetScores, labels: np.ndarray) -> float | None:
    """Share of the frames of seen languages that were decided correctly; None if no language was seen."""
    seen = labels >= 0
    if not seen.any():
        return None
    right = np.take_along_axis(scores.decided[seen], labels[seen, None], axis=1).sum()
    return float(right / scores.frames[seen].sum())


def summarize(scores: SetScores, languages: list[str], classes: list[str], decides: bool) -> dict[str, object]:
    """Everything that is reported of a set: likelihoods, decisions, detection costs.

    Args:
        scores: of the set.
        languages: language of each utterance.
        classes: the model's classes.
        decides: whether the model tells classes apart; if not (a normal flow), decisions are None.

    Returns:
        The entries of results.json that come from scoring; None for a value that does not apply.
    """
    labels = class_numbers(languages, classes)
    if not decides:
        nothing = ("frame_accuracy", "utt_accuracy", "utt_macro_accuracy", "frame_confusion", "utt_confusion")
        nothing += ("eer", "min_dcf", "cavg")
        return {**mean_terms(scores, np.zeros(len(labels), int)), **dict.fromkeys(nothing)}
    decisions = [classes[k] for k in scores.loglik.argmax(1)]
    seen = np.flatnonzero(labels >= 0)
    own = [languages[i] for i in seen], [decisions[i] for i in seen]
    return {
        **mean_terms(scores, labels),
        "frame_accuracy": frame_accuracy(scores, labels),
        "utt_accuracy": metrics.accuracy(*own) if len(seen) else None,
        "utt_macro_accuracy": metrics.macro_accuracy(*own) if len(set(own[0])) > 1 else None,
        "frame_confusion": _frame_confusion(scores, languages, classes),
        "utt_confusion": metrics.confusion(languages, decisions, classes=classes),
        **_detection(metrics.detection_llr(scores.loglik), labels, several=len(set(languages)) > 1),
    }


def _detection(llr: np.ndarray, labels: np.ndarray, several: bool) -> dict[str, float | None]:
    """EER and minimum DCF over all trials, Cavg over the classes; None where they do not apply.

    They need target and non-target trials, and those of several languages: in a set of one language
    the non-target scores are the target ones seen from the other side, and an error rate of them says nothing.
    """
    is_target = labels[:, None] == np.arange(llr.shape[1])
    target, nontarget = llr[is_target], llr[~is_target]
    both = several and len(target) > 0 and len(nontarget) > 0
    every_class = set(range(llr.shape[1])) == set(labels.tolist())
    return {
        "eer": metrics.eer(target, nontarget) if both else None,
        "min_dcf": metrics.min_dcf(target, nontarget) if both else None,
        "cavg": metrics.cavg(llr, labels) if every_class and llr.shape[1] > 1 else None,
    }


def _frame_confusion(scores: SetScores, languages: list[str], classes: list[str]) -> dict[str, dict[str, float]]:
    names, number = np.unique(languages, return_inverse=True)
    decided = np.zeros((len(names), len(classes)))
    np.add.at(decided, number, scores.decided)
    return metrics.confusion(np.repeat(names, len(classes)).tolist(), classes * len(names), weights=decided.ravel())
