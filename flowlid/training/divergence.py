"""The likelihoods of training steps, judged and kept on the device, so that no step waits for the host."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_SMOOTHING = 0.9  # of the running mean of -LogLL that a jump is measured against


class Step(NamedTuple):
    """One step; likelihoods and cross-entropy in nats per frame."""

    frames: int
    logp: float
    logdet: float
    crossent: float
    norm: float  # of the gradient, before clipping
    mean_nll: float  # running mean of -LogLL before it; NaN where there was none

    @property
    def nll(self) -> float:
        return -(self.logp + self.logdet)


class Watch:
    """Judges steps: one whose likelihood, cross-entropy or gradient is not finite, or whose -LogLL jumps, is not taken.

    -LogLL alone is watched for jumps, whatever the weight of the cross-entropy in the loss: that is bounded by how
    unlikely the frames' own classes are, and a weight of 100 would make a jump of what a batch more or less is.

    After a bad step all following ones count as bad, until the host has called `read`: a host that looks rarely
    loses steps, but never a weight.

    Args:
        jump: a -LogLL this many nats above the running mean is a jump.
        device: where the likelihoods are.
        capacity: steps between two calls of `read`, at most.
    """

    def __init__(self, jump: float, device: torch.device, capacity: int) -> None:
        self.jump, self.capacity, self.pending = jump, capacity, 0
        self._rows = torch.zeros(capacity, 7, dtype=torch.float64, device=device)
        self._mean = torch.full((), math.nan, dtype=torch.float64, device=device)
        self._bad = torch.zeros((), dtype=torch.bool, device=device)

    @torch.no_grad()
    def judge(self, frames: int, terms: Tensor, norm: Tensor) -> Tensor:
        """Note a step's LogP, LogDet and cross-entropy (3,) and its gradient's norm (); 1 if it must not be taken."""
        row = torch.cat([terms.double(), norm.double().reshape(1), self._mean.reshape(1)])
        nll = -row[:2].sum()
        # a comparison with NaN, the mean before the first step, is false
        self._bad |= ~row[:4].isfinite().all() | (nll > self._mean + self.jump)
        mean = torch.where(self._mean.isnan(), nll, _SMOOTHING * self._mean + (1 - _SMOOTHING) * nll)
        self._mean.copy_(torch.where(self._bad, self._mean, mean))
        self._rows[self.pending, 0] = frames
        self._rows[self.pending, 1:] = torch.cat([row, self._bad.double().reshape(1)])
        self.pending += 1
        return self._bad.float()

    def read(self) -> tuple[list[Step], Step | None, int]:
        """The good steps since the last call, the bad one after them or None, and how many were lost after that."""
        rows = self._rows[: self.pending].tolist()
        steps = [Step(int(row[0]), *row[1:6]) for row in rows]
        good = [step for step, row in zip(steps, rows, strict=True) if not row[6]]
        bad = steps[len(good)] if len(good) < len(steps) else None
        lost = len(rows) - len(good) - (bad is not None)
        self.pending = 0
        self._bad.zero_()
        return good, bad, lost

    def trouble(self, step: Step) -> str | None:
        """What is wrong with a step, in words."""
        if not math.isfinite(step.nll):
            return f"-LogLL is {step.nll}"
        if not math.isfinite(step.crossent):
            return f"the cross-entropy is {step.crossent}"
        if step.nll > step.mean_nll + self.jump:
            return f"-LogLL jumped to {step.nll:.3f} nats per frame from a running mean of {step.mean_nll:.3f}"
        if not math.isfinite(step.norm):
            return "the gradient is not finite"
        return None

    @property
    def mean_nll(self) -> float | None:
        """Running mean of -LogLL of good steps; None before the first."""
        value = self._mean.item()
        return None if math.isnan(value) else value

    @mean_nll.setter
    def mean_nll(self, value: float | None) -> None:
        self._mean.fill_(math.nan if value is None else value)
