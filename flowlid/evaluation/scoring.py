"""Log-likelihoods and decisions of a flow, by frame and by utterance."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from flowlid.evaluation import metrics
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet

MARGINS = (0.01, 0.1, 0.5, 1.0)  # nats per frame between the best and the second best class


class NotFinite(ValueError):
    """A log-likelihood that is not finite."""


@dataclass
class WindowScores:
    """Sums over W windows of equal length, cut one after the other from each utterance's selected frames.

    Attributes:
        utt_of: (W,) number of the utterance that each window is of, ascending.
        logp: (W, K) sum of log p(z | y), nats, float64.
    """

    utt_of: np.ndarray
    logp: np.ndarray


@dataclass
class SetScores:
    """Sums over the frames of each utterance; U utterances, K classes; nats, float64.

    Attributes:
        frames: (U,) selected frames.
        logp: (U, K) sum of log p(z | y).
        logdet: (U,) sum of log |det dz/dx|.
        decided: (U, K) number of frames decided for each class.
        windows: length in frames -> sums over windows of that length; what is left of an utterance is in none.
    """

    frames: np.ndarray
    logp: np.ndarray
    logdet: np.ndarray
    decided: np.ndarray
    windows: dict[int, WindowScores] = field(default_factory=dict)

    @property
    def loglik(self) -> np.ndarray:
        """(U, K) sum of log p(x | y)."""
        return self.logp + self.logdet[:, None]

    @property
    def mean_loglik(self) -> np.ndarray:
        """(U, K) log p(x | y) per frame."""
        return self.loglik / self.frames[:, None]


@torch.no_grad()
def score_frames(
    flow: Flow,
    frames: FrameSet,
    batch_size: int = 8192,
    progress: Callable[[int, int], None] | None = None,
    windows: Collection[int] = (),
) -> SetScores:
    """Score every selected frame of a set under every class, on the flow's device.

    Batches run over the ends of utterances; of the set only a block is in memory. The decision for a frame is the
    class of highest log p(x | y). `progress(done, total)` is called after each batch. Windows of the lengths in
    `windows` (frames) are summed up on the way.

    Raises:
        NotFinite: a log-likelihood that is not finite.
        ValueError: frames of another dimension than the flow's.
    """
    if frames.dim != flow.dim:
        raise ValueError(
            f"the frames have {frames.dim} dimensions, the model {flow.dim}; extract the features with the "
            "configuration that the model was trained on"
        )
    flow.eval()
    device, utts, classes = next(flow.parameters()).device, len(frames.utts), len(flow.base.means)
    logp = torch.zeros(utts, classes, dtype=torch.float64, device=device)
    decided = torch.zeros_like(logp)
    logdet = torch.zeros(utts, dtype=torch.float64, device=device)
    sums = {length: _Windows(length, frames.counts.to(device), classes) for length in windows}
    done = 0
    for x, utt in frames.batches(batch_size, device):
        p, det = flow.log_terms(x)
        p = p.double()
        logp.index_add_(0, utt, p)
        logdet.index_add_(0, utt, det.double())
        decided.index_add_(0, utt, torch.nn.functional.one_hot(p.argmax(1), classes).double())
        for window in sums.values():
            window.add(done, utt, p)
        done += len(x)
        if progress:
            progress(done, len(frames))
    scores = SetScores(
        *(t.cpu().numpy() for t in (frames.counts, logp, logdet, decided)),
        windows={length: window.scores() for length, window in sums.items()},
    )
    bad = np.flatnonzero(~np.isfinite(scores.loglik).all(axis=1))
    if len(bad):
        raise NotFinite(
            f"utterance {frames.utts[bad[0]]}: its log-likelihood under this model is not finite ({len(bad)} such); "
            "check its features"
        )
    return scores


def class_numbers(languages: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Class of each utterance, -1 where its language is none of the classes: (U,)."""
    return np.array([classes.index(language) if language in classes else -1 for language in languages])


def reference_class(scores: SetScores, labels: np.ndarray) -> np.ndarray:
    """The class an utterance's likelihood is reported under: its own, or the best one if it is unseen (-1)."""
    return np.where(labels >= 0, labels, scores.loglik.argmax(1))


def llr_per_frame(scores: SetScores, labels: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of each utterance's two foremost classes, nats per frame: (U,).

    For two classes log p(x | first) - log p(x | second), whatever the utterance is. For more, its own class
    against the best other one (below 0: wrong), or, where its language is unseen (-1), the best against the
    second best.
    """
    mean = scores.mean_loglik
    if mean.shape[1] == 2:
        return mean[:, 0] - mean[:, 1]
    own = reference_class(scores, labels)
    others = mean.copy()
    np.put_along_axis(others, own[:, None], -np.inf, axis=1)
    return np.take_along_axis(mean, own[:, None], axis=1)[:, 0] - others.max(axis=1)


def small_margins(scores: SetScores, labels: np.ndarray) -> list[dict[str, float | int | None]]:
    """For each of `MARGINS` the utterances whose best class leads the second best by less, per frame.

    Returns:
        Objects of `nats`, `utterances`, `share` (of all) and `accuracy` (of those among them whose language
        was seen; None without one).
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
    column = reference_class(scores, labels)
    logp = np.take_along_axis(scores.logp, column[:, None], axis=1).sum() / scores.frames.sum()
    logdet = scores.logdet.sum() / scores.frames.sum()
    return {"loglik": float(logp + logdet), "logp": float(logp), "logdet": float(logdet)}


def frame_accuracy(scores: SetScores, labels: np.ndarray) -> float | None:
    """Share of the frames of seen languages that were decided right; None where no language was seen."""
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
        nothing = ("frame_accuracy", "utt_accuracy", "frame_confusion", "utt_confusion", "eer", "min_dcf", "cavg")
        return {**mean_terms(scores, np.zeros(len(labels), int)), **dict.fromkeys(nothing)}
    decisions = [classes[k] for k in scores.loglik.argmax(1)]
    seen = np.flatnonzero(labels >= 0)
    own = [languages[i] for i in seen], [decisions[i] for i in seen]
    return {
        **mean_terms(scores, labels),
        "frame_accuracy": frame_accuracy(scores, labels),
        "utt_accuracy": metrics.accuracy(*own) if len(seen) else None,
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
    true = np.repeat(languages, len(classes)).tolist()
    return metrics.confusion(true, classes * len(languages), weights=scores.decided.ravel())


class _Windows:
    """Sums over windows of `length` frames, added up batch by batch; one row more takes the frames of no window.

    Windows of an utterance, and frames of an utterance, stand one after the other: from its number of frames
    follows which window the n-th frame of the set is in.
    """

    def __init__(self, length: int, counts: Tensor, classes: int) -> None:
        self.length = length
        self.number = counts // length
        self.first_frame = counts.cumsum(0) - counts
        self.first_window = self.number.cumsum(0) - self.number
        self.total = int(self.number.sum())
        self.logp = torch.zeros(self.total + 1, classes, dtype=torch.float64, device=counts.device)

    def add(self, done: int, utt: Tensor, logp: Tensor) -> None:
        """Add the terms (n, K) of the frames that come after the first `done` ones of the set."""
        nth = (torch.arange(done, done + len(utt), device=utt.device) - self.first_frame[utt]) // self.length
        row = torch.where(nth < self.number[utt], self.first_window[utt] + nth, self.total)
        self.logp.index_add_(0, row, logp)

    def scores(self) -> WindowScores:
        number = self.number.cpu().numpy()
        return WindowScores(np.repeat(np.arange(len(number)), number), self.logp[: self.total].cpu().numpy())
