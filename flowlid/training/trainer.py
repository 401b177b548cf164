"""Training a flow by likelihood and discrimination, so that it can be stopped at any moment and go on."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowlid.config import TrainingConfig
from flowlid.evaluation.decisions import frame_accuracy, mean_terms
from flowlid.flow.flow import Flow
from flowlid.flow.transforms import BatchNorm, refresh_batchnorm
from flowlid.frames.augmentation import Augmentation
from flowlid.frames.batches import ShuffledBatches
from flowlid.frames.frameset import FrameSet
from flowlid.training.discrimination import SetCrossEntropy, class_weights, cross_entropy
from flowlid.training.divergence import Step, Watch
from flowlid.training.epoch import SNAPSHOT, Dev, Epoch
from flowlid.training.processes import Processes, score_together
from flowlid.training.saved_state import check_state
from flowlid.training.saving import Saves
from flowlid.training.schedule import learning_rate

log = logging.getLogger("flowlid")

_FEWEST = 3  # frames of a batch whose normalized values depend on it
_START_FRAMES = 20000  # frames that the data-dependent start is computed from
_SNAPSHOT_STEPS = 50  # a good state is kept at least this often
_MAX_RECOVERIES = 10  # in a row; then training gives up
_STEPS_BETWEEN_LOOKS = 50  # on a GPU, where each look is a wait; fewer in short epochs


class Trainer:
    """Minimizes -log p(x_t | y_t) + w H in nats per frame, over voiced frames in a new random order each epoch.

    w is `config.discriminative`, and H the cross-entropy of p(y_t | x_t), in which all classes of the training set
    count alike (`discrimination`). With w = 0 the loss is the negative log-likelihood alone, and H only recorded.

    Everything that the next step depends on is in `state_dict`, in an epoch (where `saves` looks) as after one: on a
    CPU, training that was cut off and loaded again gives bit for bit what it would have given.

    A step whose loss or gradient is not finite, or whose -LogLL jumps by more than
    `config.jump` x D nats above its running mean, is not taken: weights and optimizer go back to
    the last good state and the learning rate is halved from there on.

    With several processes, each holds a trainer of the same arguments and draws the same order; it takes its share
    of each batch, and the shares' sums are added up: all that is said here holds of the whole batch, and every
    trainer has the same weights.

    Args:
        flow: on the device to use; in its random start, to be initialized with `start`.
        frames: training frames.
        labels: (U,) class of each utterance; all 0 for a normal flow.
        config: the `training` section.
        dev: development frames and their labels (-1: not a class), or None.
        processes: those that train together; by default this one alone.
        augmentation: of the training frames; None: they are used as they are.
    """

    def __init__(
        self,
        flow: Flow,
        frames: FrameSet,
        labels: Tensor,
        config: TrainingConfig,
        dev: tuple[FrameSet, Tensor] | None = None,
        processes: Processes | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.flow, self.frames, self.config, self.dev = flow, frames, config, dev
        device = next(flow.parameters()).device
        self.labels = labels.to(device)
        self.frame_weights = class_weights(frames.counts, self.labels, len(flow.base.means))
        order = config.batch_size, config.block_frames, config.seed
        self.shuffled = ShuffledBatches(frames, *order, device, augmentation)
        self.steps_per_epoch = len(self.shuffled)
        self._check_batches()
        self.optimizer = torch.optim.Adam(
            flow.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        # reading the losses makes a GPU wait, and costs nothing on a CPU
        looks = 1 if device.type == "cpu" else max(1, min(_STEPS_BETWEEN_LOOKS, self.steps_per_epoch // 10))
        self.watch = Watch(config.jump * flow.dim, device, looks)
        self.saves = Saves(self.processes)  # none within an epoch
        self.run: Epoch | None = None  # the epoch that is being trained
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None  # {"epoch", "value", "state"} of the selected epoch so far
        self.step = 0  # steps done or skipped
        self.rate_scale = 1.0
        if self.processes.world_size > 1:
            moments = self.processes.moments
            if device.type == "cuda":  # where the flow is compiled (`Flow.fuse_kernels`): this part communicates
                moments = torch.compiler.disable(moments)
            for module in flow.modules():
                if isinstance(module, BatchNorm):
                    module.moments = moments

    def _check_batches(self) -> None:
        """Raise ValueError for batches of one or two frames: a batch norm makes 0, or -1 and 1, of any such."""
        smallest = self.shuffled.smallest
        if smallest < _FEWEST and any(isinstance(module, BatchNorm) for module in self.flow.modules()):
            raise ValueError(
                f"training.batch_size: {self.config.batch_size} gives batches of {smallest} frames, which "
                "model.normalization: batchnorm makes all the same; give hundreds of frames, or take actnorm"
            )

    def start(self) -> None:
        """Give the flow its data-dependent start from a random part of the training frames.

        Raises:
            ValueError: a class without a frame.
        """
        self.flow.eval()
        self.processes.on_rank0(lambda: self.flow.initialize(*self._start_frames()))
        self.processes.copy_first(self.flow)

    def _start_frames(self) -> tuple[Tensor, Tensor]:
        """The first frames of a random order; of a class that is not among them, the first ones wherever they come."""
        kept, rare, left = [], {}, _START_FRAMES
        for _, x, labels in self._batches(-1, whole=True):
            if left:
                kept.append((x[:left], labels[:left]))
                x, labels, left = x[left:], labels[left:], max(0, left - len(x))
                seen = set(torch.cat([own for _, own in kept]).tolist())
                rare = {label: [] for label in range(len(self.flow.base.means)) if label not in seen}
            if not left:
                for label, parts in rare.items():
                    more = _START_FRAMES - sum(map(len, parts))
                    parts.append(x[labels == label][:more])
                if all(sum(map(len, parts)) == _START_FRAMES for parts in rare.values()):
                    break
        kept += [(x, labels.new_full((len(x),), label)) for label, parts in rare.items() for x in parts]
        return torch.cat([x for x, _ in kept]), torch.cat([own for _, own in kept])

    def epochs(self, progress: Callable[..., None] = lambda step, steps, loss: None) -> Iterator[dict[str, Any]]:
        """Train the epochs that are left; yields each epoch's record (a line of train.jsonl).

        `progress(step, steps, loss=...)` is called after each step of an epoch.

        Raises:
            ValueError: training diverged again and again, at the step that is named.
        """
        while len(self.history) < self.config.epochs:
            record = self._epoch(len(self.history) + 1, progress)
            self.run = None
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
            for _, x, labels in self._batches(0):
                logp, logdet, _ = self._terms(x, labels)
                totals += torch.stack([logp.double().sum(), logdet.double().sum()]).cpu()
                self.processes.alive()
        self.processes.sum_(totals)
        logp, logdet = (totals / len(self.frames)).tolist()
        refresh_batchnorm(self.flow, ((size, x) for size, x, _ in self._batches(0)))
        return {"loglik": logp + logdet, "logp": logp, "logdet": logdet}

    @property
    def selected_epoch(self) -> int:
        """The epoch whose weights `finish` puts in place."""
        return len(self.history) if self.best is None else self.best["epoch"]

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, history and counters, after a whole epoch or where `saves` looks."""
        return {
            **{part: getattr(self, part).state_dict() for part in SNAPSHOT},
            "history": self.history,
            "best": self.best,
            "step": self.step,
            "rate_scale": self.rate_scale,
            "running_nll": self.watch.mean_nll,
            "run": None if self.run is None else self.run.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same configuration and training frames; ValueError for anything else."""
        selects, weights = self.config.select != "last", list(self.flow.parameters())
        check_state(state, self.state_dict(), weights, self.steps_per_epoch, selects)
        for part in SNAPSHOT:
            getattr(self, part).load_state_dict(state[part])
        self.history, self.best = state["history"], state["best"]
        self.step, self.rate_scale, self.watch.mean_nll = state["step"], state["rate_scale"], state["running_nll"]
        self.run = None if state["run"] is None else Epoch.from_state(state["run"], self._snapshot())

    def _epoch(self, epoch: int, progress: Callable[..., None]) -> dict[str, Any]:
        # where it starts, so that its first step has something to go back to; or where it was cut off
        run = self.run = self.run or Epoch(epoch, self._snapshot())
        began = time.monotonic() - run.seconds
        self.flow.train()
        with self.saves.progress.deferred():
            batch = self._steps(run, began, progress)
        with torch.no_grad():  # no next step shows whether the last update was sound
            _, terms = self._loss(*batch)
        mean = self.watch.mean_nll
        last = Step(batch[0], *terms.tolist(), 0.0, math.nan if mean is None else mean)
        if self.watch.trouble(last) is not None:
            self._recover(run, run.done, last)
        seconds = time.monotonic() - began
        speed = {"seconds": round(seconds, 3), "frames_per_second": round(len(self.frames) / seconds, 1)}
        return run.record(self.config.discriminative if self.decides else None, self._evaluate_dev()) | speed

    def _steps(self, run: Epoch, began: float, progress: Callable[..., None]) -> tuple[int, Tensor, Tensor]:
        """Train what is left of an epoch, which would have begun at `began` in one go; gives its last batch."""
        batch = None
        for number, batch in enumerate(self._batches(run.number, run.done), run.done + 1):
            run.rate = learning_rate(self.config, self.step, self.steps_per_epoch) * self.rate_scale
            self.step += 1
            self._update(*batch, run.rate)
            self.processes.alive()
            if self.watch.pending == self.watch.capacity or number == self.steps_per_epoch:
                self._settle(run, number, progress)
                run.done, run.seconds = number, time.monotonic() - began
                self.saves.look()
        if batch is None:  # it was cut off after its last step
            batch = next(self._batches(run.number, run.done - 1))
        return batch

    def _update(self, size: int, x: Tensor, labels: Tensor, rate: float) -> None:
        """One step of Adam on a batch, which is not taken if `watch` finds the loss or the gradient bad."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self._loss(size, x, labels)
        loss.backward()
        self.processes.sum_gradients(self.flow.parameters())
        limit = math.inf if self.config.clip_norm is None else self.config.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.flow.parameters(), limit)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.found_inf = self.watch.judge(size, terms, norm)  # fused Adam: 1 is no step
        self.optimizer.step()

    def _settle(self, run: Epoch, number: int, progress: Callable[..., None]) -> None:
        """Take note of the steps up to `number` that were not looked at yet, and go back if one was bad."""
        good, bad, lost = self.watch.read()
        first = number - len(good) - lost - (bad is not None)
        for done, step in enumerate(good, first + 1):
            run.add(step)
            progress(done, self.steps_per_epoch, loss=step.nll + self.config.discriminative * step.crossent)
        if good and run.candidate is not None:  # its first loss was good: so were the weights
            run.good, run.candidate = run.candidate, None
        if bad is not None:
            self._recover(run, first + len(good) + 1, bad, lost)
        elif run.since_snapshot >= _SNAPSHOT_STEPS:
            run.candidate, run.since_snapshot = self._snapshot(), 0

    def _loss(self, size: int, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What this process's share x (n, D) adds to a batch's loss, to be differentiated, and the batch's mean terms.

        The shares' gradients add up to that of the batch's loss, as each is divided by the whole batch's size.

        Returns:
            The loss () and LogP, LogDet and cross-entropy (3,) in nats per frame of the batch.
        """
        own = torch.stack([term.sum() for term in self._terms(x, labels)]) / size
        terms = own.detach().clone()
        self.processes.sum_(terms, *self.saves.wishes(terms))
        return self.config.discriminative * own[2] - own[:2].sum(), terms

    def _terms(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """LogP of frames x (n, D) under each one's own class (n,), LogDet and weighted cross-entropy: (n,) each."""
        logp, logdet = self.flow.log_terms(x)
        trained = logp if self.config.discriminative else logp.detach()  # w = 0: no gradient, not one of zeros
        crossent = cross_entropy(trained, labels, self.frame_weights)
        return logp.gather(1, labels.unsqueeze(1)).squeeze(1), logdet, crossent

    def _snapshot(self) -> dict[str, Any]:
        return copy.deepcopy({part: getattr(self, part).state_dict() for part in SNAPSHOT})

    def _recover(self, run: Epoch, step: int, bad: Step, lost: int = 0) -> None:
        """Go back to the last good state, with half the learning rate."""
        run.candidate, run.recoveries, run.in_a_row = None, run.recoveries + 1, run.in_a_row + 1
        reason, where = self.watch.trouble(bad), f"epoch {run.number}, step {step} of {self.steps_per_epoch}"
        if run.in_a_row > _MAX_RECOVERIES:
            raise ValueError(
                f"training diverged at {where}: {reason}, and going back does not help; lower "
                "training.learning_rate or set training.clip_norm and model.scale_bound"
            )
        state = copy.deepcopy(run.good)
        for part in SNAPSHOT:
            getattr(self, part).load_state_dict(state[part])
        self.rate_scale *= 0.5
        log.warning(
            "%s: %s; went back to the last good state, learning rate now x %g of its plan%s",
            where,
            reason,
            self.rate_scale,
            f"; {lost} steps after it were not taken" if lost else "",
        )

    @property
    def decides(self) -> bool:
        """Whether there are classes to tell apart."""
        return len(self.flow.base.means) > 1

    def _evaluate_dev(self) -> Dev:
        if self.dev is None:
            return Dev()
        frames, labels = self.dev
        crossent = SetCrossEntropy(frames.counts, labels.to(self.labels.device), len(self.flow.base.means))
        scores = score_together(self.flow, frames, self.processes, crossent.add)
        self.processes.sum_(crossent.total)
        loglik, own = mean_terms(scores, labels.numpy())["loglik"], labels.numpy()
        return Dev(loglik, frame_accuracy(scores, own), crossent.value) if self.decides else Dev(loglik)

    def _select(self, record: dict[str, Any]) -> None:
        if self.config.select == "last":
            return
        value, low = record[self.config.select], self.config.select == "dev_crossent"
        if value is None:
            lacks = "frames of fewer than two classes" if low else "no frame of a class"
            raise ValueError(f"training.select: {self.config.select}: the development set has {lacks}")
        if self.best is None or (value < self.best["value"] if low else value > self.best["value"]):
            state = copy.deepcopy(self.flow.state_dict())
            self.best = {"epoch": record["epoch"], "value": value, "state": state}

    def _batches(self, epoch: int, skip: int = 0, whole: bool = False) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Frames of each batch but the first ones, and of this process's share (or all) x (n, D) and classes (n,)."""
        share = (0, 1) if whole else (self.processes.rank, self.processes.world_size)
        return ((size, x, self.labels[utts]) for size, x, utts in self.shuffled.epoch(epoch, share, skip))
