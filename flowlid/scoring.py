"""Log-likelihoods and decisions of a flow, by frame and by utterance."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowlid import metrics
from flowlid.flow import Flow
from flowlid.frames import FrameSet


@dataclass
class SetScores:
    """Sums over the frames of each utterance; U utterances, K classes; nats, float64.

    Attributes:
        frames: (U,) selected frames.
        logp: (U, K) sum of log p(z | y).
        logdet: (U,) sum of log |det dz/dx|.
        decided: (U, K) number of frames decided for each class.
    """

    frames: np.ndarray
    logp: np.ndarray
    logdet: np.ndarray
    decided: np.ndarray

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
    flow: Flow, frames: FrameSet, batch_size: int = 8192, progress: Callable[[int, int], None] | None = None
) -> SetScores:
    """Score every selected frame of a set under every class; `flow` and `frames` on one device.

    The decision for a frame is the class of highest log p(x | y). `progress(done, total)` is called
    after each batch.

    Raises:
        ValueError: frames of another dimension than the flow's; a log-likelihood that is not finite.
    """
    if frames.dim != flow.dim:
        raise ValueError(
            f"the frames have {frames.dim} dimensions, the model {flow.dim}; extract the features with the "
            "configuration that the model was trained on"
        )
    flow.eval()
    device, utts, classes = frames.feats.device, len(frames.utts), len(flow.base.means)
    logp = torch.zeros(utts, classes, dtype=torch.float64, device=device)
    decided = torch.zeros_like(logp)
    logdet = torch.zeros(utts, dtype=torch.float64, device=device)
    for chosen in torch.arange(len(frames), device=device).split(batch_size):
        p, det = flow.log_terms(frames.batch(chosen))
        utt = frames.utt_of[chosen]
        logp.index_add_(0, utt, p.double())
        logdet.index_add_(0, utt, det.double())
        decided.index_add_(0, utt, torch.nn.functional.one_hot(p.argmax(1), classes).double())
        if progress:
            progress(int(chosen[-1]) + 1, len(frames))
    scores = SetScores(_counts(frames.utt_of, utts), *(t.cpu().numpy() for t in (logp, logdet, decided)))
    bad = np.flatnonzero(~np.isfinite(scores.loglik).all(axis=1))
    if len(bad):
        raise ValueError(
            f"utterance {frames.utts[bad[0]]}: its log-likelihood under this model is not finite ({len(bad)} such); "
            "check its features"
        )
    return scores


def reference_class(scores: SetScores, labels: np.ndarray) -> np.ndarray:
    """The class an utterance's likelihood is reported under: its own, or the best one if it is unseen (-1)."""
    return np.where(labels >= 0, labels, scores.loglik.argmax(1))


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
    labels = np.array([classes.index(language) if language in classes else -1 for language in languages])
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


def _counts(utt_of: Tensor, utts: int) -> np.ndarray:
    return torch.bincount(utt_of, minlength=utts).cpu().numpy()
