"""The losses of training steps, judged and kept on the device, so that no step waits for the host."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_SMOOTHING = 0.9  # of the running mean of the loss that a jump is measured against


class Step(NamedTuple):
    """One step; likelihoods in nats per frame."""

    frames: int
    logp: float
    logdet: float
    norm: float  # of the gradient, before clipping
    mean_loss: float  # running mean of the losses before it; NaN where there was none

    @property
    def loss(self) -> float:
        return -(self.logp + self.logdet)


class Watch:
    """Judges steps: one whose loss or gradient is not finite, or whose loss jumps, must not be taken.

    After a bad step all following ones count as bad, until the host has called `read`: a host that looks rarely
    loses steps, but never a weight.

    Args:
        jump: a loss this many nats above the running mean is a jump.
        device: where the losses are.
        capacity: steps between two calls of `read`, at most.
    """

    def __init__(self, jump: float, device: torch.device, capacity: int) -> None:
        self.jump, self.capacity, self.pending = jump, capacity, 0
        self._rows = torch.zeros(capacity, 6, dtype=torch.float64, device=device)
        self._mean = torch.full((), math.nan, dtype=torch.float64, device=device)
        self._bad = torch.zeros((), dtype=torch.bool, device=device)

    @torch.no_grad()
    def judge(self, frames: int, terms: Tensor, norm: Tensor) -> Tensor:
        """Note a step's mean LogP and LogDet (2,) and its gradient's norm (); 1 if it must not be taken, else 0."""
        row = torch.cat([terms.double(), norm.double().reshape(1), self._mean.reshape(1)])
        loss = -row[:2].sum()
        # a comparison with NaN, the mean before the first step, is false
        self._bad |= ~row[:3].isfinite().all() | (loss > self._mean + self.jump)
        mean = torch.where(self._mean.isnan(), loss, _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss)
        self._mean.copy_(torch.where(self._bad, self._mean, mean))
        self._rows[self.pending, 0] = frames
        self._rows[self.pending, 1:] = torch.cat([row, self._bad.double().reshape(1)])
        self.pending += 1
        return self._bad.float()

    def read(self) -> tuple[list[Step], Step | None, int]:
        """The good steps since the last call, the bad one after them or None, and how many were lost after that."""
        rows = self._rows[: self.pending].tolist()
        steps = [Step(int(row[0]), *row[1:5]) for row in rows]
        good = [step for step, row in zip(steps, rows, strict=True) if not row[5]]
        bad = steps[len(good)] if len(good) < len(steps) else None
        lost = len(rows) - len(good) - (bad is not None)
        self.pending = 0
        self._bad.zero_()
        return good, bad, lost

    def trouble(self, step: Step) -> str | None:
        """What is wrong with a step, in words."""
        if not math.isfinite(step.loss):
            return f"the loss is {step.loss}"
        if step.loss > step.mean_loss + self.jump:
            return f"the loss jumped to {step.loss:.3f} nats per frame from a running mean of {step.mean_loss:.3f}"
        if not math.isfinite(step.norm):
            return "the gradient is not finite"
        return None

    @property
    def mean_loss(self) -> float | None:
        """Running mean of the loss of good steps; None before the first."""
        value = self._mean.item()
        return None if math.isnan(value) else value

    @mean_loss.setter
    def mean_loss(self, value: float | None) -> None:
        self._mean.fill_(math.nan if value is None else value)
