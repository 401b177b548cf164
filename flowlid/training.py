"""Training a flow by maximum likelihood, so that it can be stopped at any moment and go on."""

import copy
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowlid.config import TrainingConfig
from flowlid.flow import Flow
from flowlid.frames import FrameSet
from flowlid.scoring import frame_accuracy, mean_terms, score_frames
from flowlid.transforms import refresh_batchnorm

log = logging.getLogger("flowlid")

_START_FRAMES = 20000  # frames that the data-dependent start is computed from
_SNAPSHOT_STEPS = 50  # a good state is kept at least this often
_MAX_RECOVERIES = 10  # in a row, before training gives up
_SMOOTHING = 0.9  # of the running mean of the loss that a jump is measured against


class Trainer:
    """Minimizes -log p(x_t | y_t) in nats per frame, over voiced frames in a new random order each epoch.

    Everything that the next epoch depends on is in `state_dict`: on a CPU, training that was cut
    off and loaded again gives bit for bit what it would have given.

    A step whose loss or gradient is not finite, or whose loss jumps by more than
    `config.jump` x D nats above its running mean, is not taken: weights and optimizer go back to
    the last good state and the learning rate is halved from there on.

    Args:
        flow: on the device of `frames`; in its random start, to be initialized with `start`.
        frames: training frames.
        labels: (U,) class of each utterance; all 0 for a normal flow.
        config: the `training` section.
        dev: development frames and their labels (-1: not a class), or None.
    """

    def __init__(
        self,
        flow: Flow,
        frames: FrameSet,
        labels: Tensor,
        config: TrainingConfig,
        dev: tuple[FrameSet, Tensor] | None = None,
    ) -> None:
        self.flow, self.frames, self.config, self.dev = flow, frames, config, dev
        self.frame_labels = labels[frames.utt_of]
        self.steps_per_epoch = math.ceil(len(frames) / config.batch_size)
        self.optimizer = torch.optim.Adam(flow.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None  # {"epoch", "value", "state"} of the selected epoch so far
        self.step = 0  # steps done or skipped
        self.rate_scale = 1.0
        self.running_loss: float | None = None

    def start(self) -> None:
        """Give the flow its data-dependent start from a random part of the training frames.

        Raises:
            ValueError: a class without a frame.
        """
        order = self._order(-1)
        labels = self.frame_labels[order]
        chosen = order[:_START_FRAMES]
        for label in range(len(self.flow.base.means)):  # of a rare class, the first ones wherever they come
            if not (labels[:_START_FRAMES] == label).any():
                chosen = torch.cat([chosen, order[labels == label][:_START_FRAMES]])
        self.flow.eval()
        self.flow.initialize(self.frames.batch(chosen), self.frame_labels[chosen])

    def epochs(self, progress: Callable[..., None] = lambda step, steps, loss: None) -> Iterator[dict[str, Any]]:
        """Train the epochs that are left; yields each epoch's record (a line of train.jsonl).

        `progress(step, steps, loss=...)` is called after each step of an epoch.

        Raises:
            ValueError: training diverged again and again, at the step that is named.
        """
        while len(self.history) < self.config.epochs:
            record = self._epoch(len(self.history) + 1, progress)
            self.history.append(record)
            self._select(record)
            yield record

    def finish(self) -> dict[str, float]:
        """Put the selected epoch's weights in place; LogLL, LogP, LogDet of them in training mode.

        One pass over the training frames in random batches: with batch normalization this is how
        training saw them, and it refreshes the statistics that the saved model will use.
        """
        if self.best is not None:
            self.flow.load_state_dict(self.best["state"])
        self.flow.train()
        totals = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for chosen in self._batches(0):
                logp, logdet = self._terms(chosen)
                totals += torch.tensor([float(logp.double().sum()), float(logdet.double().sum())])
        logp, logdet = (totals / len(self.frames)).tolist()
        refresh_batchnorm(self.flow, (self.frames.batch(chosen) for chosen in self._batches(0)))
        return {"loglik": logp + logdet, "logp": logp, "logdet": logdet}

    @property
    def selected_epoch(self) -> int:
        """The epoch whose weights `finish` puts in place."""
        return len(self.history) if self.best is None else self.best["epoch"]

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, history and counters after the last whole epoch."""
        return {
            "flow": self.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": self.best,
            "step": self.step,
            "rate_scale": self.rate_scale,
            "running_loss": self.running_loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same configuration and training frames."""
        self.flow.load_state_dict(state["flow"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.best = state["history"], state["best"]
        self.step, self.rate_scale, self.running_loss = state["step"], state["rate_scale"], state["running_loss"]

    def _epoch(self, epoch: int, progress: Callable[..., None]) -> dict[str, Any]:
        began = time.monotonic()
        self.flow.train()
        sums = {"logp": 0.0, "logdet": 0.0, "frames": 0, "grad_norm": 0.0}
        # where the epoch starts, so that its first step has something to go back to
        good, recoveries, in_a_row, since_snapshot = self._snapshot(), 0, 0, 0
        for number, chosen in enumerate(self._batches(epoch), 1):
            rate = self._learning_rate()
            self.step += 1
            logp, logdet = self._terms(chosen)
            terms = torch.stack([logp.mean(), logdet.mean()])
            loss = -terms.sum()
            reason = self._trouble(loss.item())
            if reason is None:
                # this loss shows that the weights are good: keep them before they change
                if since_snapshot >= _SNAPSHOT_STEPS:
                    good, since_snapshot = self._snapshot(), 0
                norm = self._update(loss, rate)
                reason = None if math.isfinite(norm) else "the gradient is not finite"
            if reason is not None:
                recoveries, in_a_row = recoveries + 1, in_a_row + 1
                self._recover(good, epoch, number, reason, in_a_row)
                continue
            in_a_row, since_snapshot = 0, since_snapshot + 1
            value = loss.item()
            self.running_loss = (
                value if self.running_loss is None else (_SMOOTHING * self.running_loss + (1 - _SMOOTHING) * value)
            )
            for key, amount in zip(("logp", "logdet"), terms.tolist(), strict=True):
                sums[key] += amount * len(chosen)
            sums["frames"] += len(chosen)
            sums["grad_norm"] += norm * len(chosen)
            progress(number, self.steps_per_epoch, loss=value)
        with torch.no_grad():  # the last update has no next step to show whether it was sound
            loss = -sum(term.mean() for term in self._terms(chosen))
        reason = self._trouble(loss.item())
        if reason is not None:
            recoveries += 1
            self._recover(good, epoch, number, reason, in_a_row + 1)
        return self._record(epoch, sums, recoveries, rate, time.monotonic() - began)

    def _record(
        self, epoch: int, sums: dict[str, float], recoveries: int, rate: float, seconds: float
    ) -> dict[str, Any]:
        if not sums["frames"]:
            raise ValueError(f"epoch {epoch}: no step could be taken; lower training.learning_rate")
        logp, logdet, norm = (sums[key] / sums["frames"] for key in ("logp", "logdet", "grad_norm"))
        dev_loglik, dev_accuracy = self._evaluate_dev()
        return {
            "epoch": epoch,
            "loss": -(logp + logdet),
            "loglik": logp + logdet,
            "logp": logp,
            "logdet": logdet,
            "dev_loglik": dev_loglik,
            "dev_accuracy": dev_accuracy,
            "learning_rate": rate,
            "grad_norm": norm,
            "recoveries": recoveries,
            "seconds": round(seconds, 3),
            "frames_per_second": round(len(self.frames) / seconds, 1),
        }

    def _terms(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """LogP under each frame's own class, and LogDet: (n,) and (n,)."""
        logp, logdet = self.flow.log_terms(self.frames.batch(chosen))
        return logp.gather(1, self.frame_labels[chosen].unsqueeze(1)).squeeze(1), logdet

    def _update(self, loss: Tensor, rate: float) -> float:
        """One step of Adam; returns the gradient's norm before clipping, and takes no step if it is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = math.inf if self.config.clip_norm is None else self.config.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.flow.parameters(), limit).item()
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        return norm

    def _trouble(self, loss: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if self.running_loss is not None and loss > self.running_loss + self.config.jump * self.flow.dim:
            return f"the loss jumped to {loss:.3f} nats a frame from a running mean of {self.running_loss:.3f}"
        return None

    def _snapshot(self) -> dict[str, Any]:
        return copy.deepcopy({"flow": self.flow.state_dict(), "optimizer": self.optimizer.state_dict()})

    def _recover(self, good: dict[str, Any], epoch: int, number: int, reason: str, in_a_row: int) -> None:
        where = f"epoch {epoch}, step {number} of {self.steps_per_epoch}"
        if in_a_row > _MAX_RECOVERIES:
            raise ValueError(
                f"training diverged at {where}: {reason}, and going back does not help; lower "
                "training.learning_rate or set training.clip_norm and model.scale_bound"
            )
        state = copy.deepcopy(good)
        self.flow.load_state_dict(state["flow"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate_scale *= 0.5
        log.warning(
            "%s: %s; went back to the last good state, learning rate now x %g of its plan",
            where,
            reason,
            self.rate_scale,
        )

    def _learning_rate(self) -> float:
        """Linear warm-up, then a half cosine to zero over all steps (or constant), times the recoveries' halvings."""
        config, total = self.config, self.config.epochs * self.steps_per_epoch
        warmup = min(config.warmup_steps, total // 2)
        if self.step < warmup:
            factor = (self.step + 1) / (warmup + 1)
        elif config.decay == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / (total - warmup)))
        else:
            factor = 1.0
        return config.learning_rate * factor * self.rate_scale

    def _evaluate_dev(self) -> tuple[float | None, float | None]:
        if self.dev is None:
            return None, None
        frames, labels = self.dev
        scores = score_frames(self.flow, frames)
        own = labels.cpu().numpy()
        decides = scores.logp.shape[1] > 1
        return mean_terms(scores, own)["loglik"], frame_accuracy(scores, own) if decides else None

    def _select(self, record: dict[str, Any]) -> None:
        if self.config.select == "last":
            return
        value = record[self.config.select]
        if value is None:
            raise ValueError(f"training.select: {self.config.select}: the development set has no frame of a class")
        if self.best is None or value > self.best["value"]:
            state = copy.deepcopy(self.flow.state_dict())
            self.best = {"epoch": record["epoch"], "value": value, "state": state}

    def _order(self, epoch: int) -> Tensor:
        """A random order of all frames that depends on the seed and the epoch alone."""
        digest = hashlib.sha256(f"{self.config.seed} {epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        return torch.randperm(len(self.frames), generator=generator).to(self.frames.feats.device)

    def _batches(self, epoch: int) -> tuple[Tensor, ...]:
        # of nearly equal size, so that no small last batch has statistics of its own
        return self._order(epoch).tensor_split(self.steps_per_epoch)


def fingerprint(frames: FrameSet) -> str:
    """What the training frames are, in a line: their number and a checksum of features, selection and languages."""
    digest = hashlib.sha256(" ".join(frames.utts + frames.languages).encode())
    for tensor in (frames.feats, frames.index):
        digest.update(tensor.cpu().numpy().tobytes())
    return f"{len(frames)} frames of {len(frames.utts)} utterances, sha256 {digest.hexdigest()[:16]}"
