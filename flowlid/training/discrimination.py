"""The cross-entropy of the classes given a frame, with balanced priors: the discriminative part of the loss.

Balanced means both that priors are flat and that classes count alike. The posterior of class k is that of flat priors,

    p(k | x) = p(x | k) / sum_j p(x | j) = softmax_k log p(z | k),

in which the flow's log-determinant cancels. And the N_k frames of class k, of N in all, weigh N / (K N_k) each, so that
a rare class counts as much as a frequent one:

    H = 1/N sum_t N / (K N_{y_t}) (-log p(y_t | x_t)) = 1/K sum_k mean over the frames of class k of -log p(k | x_t),

in nats per frame: 0 where every frame is certain, ln K where nothing is known. The weights are those of a whole set, so
that the sum over a batch, divided by its size, is an unbiased estimate of H, whatever classes the batch has.
"""

import torch
from torch import Tensor
from torch.nn import functional


def class_weights(frames: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The weight N / (K N_k) of a frame of each class, float64; K counts the classes that have frames, 0 is of others.

    Args:
        frames: of each utterance of the set (U,).
        labels: class of each utterance (U,); -1 is none, and does not count.
        classes: of the model.

    Returns:
        (classes,), on the device of `labels`.
    """
    seen = labels >= 0
    own = frames.to(labels.device)[seen].double()
    totals = torch.zeros(classes, dtype=torch.float64, device=labels.device).index_add_(0, labels[seen], own)
    present = totals > 0
    return torch.where(present, totals.sum() / (present.sum() * totals), 0.0)


def cross_entropy(logp: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted -log p(y | x) of each frame in nats: (n,).

    Args:
        logp: log p(z | k), or log p(x | k), of every class in nats (n, K).
        labels: class of each frame (n,).
        weights: of a frame of each class (K,), from `class_weights`.
    """
    return functional.cross_entropy(logp, labels, weights.to(logp.dtype), reduction="none")


class SetCrossEntropy:
    """H of a set that is scored batch by batch; frames of a language that is no class do not count.

    Args:
        frames: of each utterance of the whole set (U,).
        labels: class of each utterance (U,), or -1, on the device where it is scored.
        classes: of the model.
    """

    def __init__(self, frames: Tensor, labels: Tensor, classes: int) -> None:
        self._labels, self._weights = labels, class_weights(frames, labels, classes)
        self._seen = int(frames[labels.cpu() >= 0].sum())
        self.total = self._weights.new_zeros(())  # of several processes: to be added up

    def add(self, utts: Tensor, logp: Tensor) -> None:
        """Count frames of utterances (n,) with log p(z | k) (n, K)."""
        own = self._labels[utts]
        costs = cross_entropy(logp, own.clamp(min=0), self._weights)
        self.total += torch.where(own >= 0, costs, 0.0).sum()

    @property
    def value(self) -> float | None:
        """H, over the classes that the set has; None where it has fewer than two: one is right by deciding nothing."""
        return self.total.item() / self._seen if int((self._weights > 0).sum()) > 1 else None
