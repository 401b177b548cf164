"""How the processes that train one flow communicate; the only user of torch's process groups.

`torchrun` starts the processes and tells each its rank. All of them hold the same flow; of each batch they
take a share, and add up what the shares gave, so that training goes as in one process with the whole batch.
In a single process the same calls change nothing.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from flowlid.evaluation.scoring import SetScores, score_frames
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet, batch_sums, moments_of_sums

T = TypeVar("T")
_BEAT = 5.0  # seconds
_SOURCE = re.compile(r"^\[\S+:\d+\] ")  # gloo's messages begin with a line of its source


class Lost(RuntimeError):
    """Another process has gone, or cannot be reached."""


class Processes:
    """The R processes of a training, seen from one of them.

    Every call but `share` and `alive` is one that all processes make, in the same order.

    Attributes:
        rank: 0 to R - 1; the first process, 0, writes the files.
        world_size: R.
        local_rank: the process's number on its own machine, and that of its GPU.
        local_world_size: the processes on its machine.
        signs: signs of life so far, which `launcher.together` watches.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, local_rank: int = 0, local_world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        self.local_rank, self.local_world_size = local_rank, local_world_size
        self.signs = 0

    @classmethod
    def from_environment(cls) -> "Processes":
        """From the variables that torchrun sets, RANK and others; a single process if it did not start this one."""
        if "RANK" not in os.environ:
            return cls()
        return cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def connect(self, device: torch.device, timeout: float) -> None:
        """Meet the others; `timeout` seconds limit each later call too, where the device's library keeps to it.

        Raises:
            Lost: they did not come.
        """
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        with self._heard():
            distributed.init_process_group(backend, timeout=timedelta(seconds=timeout))

    def disconnect(self) -> None:
        """Leave the group, after the last call."""
        if self.world_size > 1:
            distributed.destroy_process_group()

    def alive(self) -> None:
        """Note that this process is at work; for long work that makes no other call."""
        self.signs += 1

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch: the parts are whole, in order, and differ in length by one at most."""
        return batch.tensor_split(self.world_size)[self.rank]

    def sum_(self, *tensors: Tensor) -> None:
        """Replace tensors of one type and device by their sums over the processes: the same bits in all of them."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])  # one message, not one per tensor
        with self._heard():
            distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make each gradient the sum of the processes' own."""
        self.sum_(*(parameter.grad for parameter in parameters if parameter.grad is not None))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance over all processes' x (n, D), differentiable: (D,) and (D,).

        With n_r frames, mean m_r and sum of squares s_r = sum (x - m_r)^2 of each process,
        m = sum n_r m_r / N and v = sum (s_r + n_r (m_r - m)^2) / N: no small difference of large numbers.
        """
        own = x.sum(0) / max(len(x), 1)  # a share may be empty
        parts = torch.cat([x.new_tensor([len(x)]), own, (x - own).square().sum(0)])
        rows = parts.new_zeros(self.world_size, len(parts)).index_copy(
            0, torch.tensor([self.rank], device=x.device), parts.unsqueeze(0)
        )
        counts, means, squares = _Sum.apply(rows, self).split([1, len(own), len(own)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        return mean, (squares + counts * (means - mean).square()).sum(0) / total

    def copy_first(self, module: nn.Module) -> None:
        """Give every process the parameters and buffers that the first one has."""
        if self.world_size > 1:
            for tensor in module.state_dict().values():
                with self._heard():
                    distributed.broadcast(tensor, 0)

    def on_rank0(self, compute: Callable[[], T]) -> T:
        """What `compute()` gives in the first process, which alone calls it; numbers, names and CPU tensors."""
        if self.world_size == 1:
            return compute()
        value: list[T | None] = [None]
        with self.first_alone():
            if self.first:
                value = [compute()]
        with self._heard():
            distributed.broadcast_object_list(value, 0, device=torch.device("cpu"))
        return value[0]

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.sum_(torch.zeros(1))

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """A block that the others enter when the first process has left it, however long that takes.

        For reading input: an error in it is reported once, and what the first process prepares is there for all.
        Meanwhile a thread of the first process tells the others, every few seconds, that it is not done yet.
        """
        if self.world_size == 1:
            yield
        elif self.first:
            done = threading.Event()
            thread = threading.Thread(target=self._beat, args=(done,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()
            self._tell(1)
        else:
            while not self._tell(0):
                pass
            yield

    def _beat(self, done: threading.Event) -> None:
        with suppress(Lost):  # the next call of all finds it too
            while not done.wait(_BEAT):
                self._tell(0)

    def _tell(self, word: int) -> int:
        """The first process's word, in all of them."""
        said = torch.tensor([word])
        with self._heard():
            distributed.broadcast(said, 0)
        return int(said)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        self.alive()
        try:
            yield
        except RuntimeError as error:
            told = _SOURCE.sub("", str(error)).partition("\n")[0].partition(". This is typically")[0]
            raise Lost(told) from error
        self.alive()


class _Sum(torch.autograd.Function):
    """The sum over the processes; each one's loss depends on it, so that its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        total = x.clone()
        processes.sum_(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        ctx.processes.sum_(total)
        return total, None


def score_together(
    flow: Flow, frames: FrameSet, processes: Processes, each: Callable[[Tensor, Tensor], None] | None = None
) -> SetScores:
    """Score a set as `score_frames` does, each of the processes a part of its frames; all get the whole.

    `each` is called for the frames of its own part only.
    """
    if processes.world_size == 1:
        return score_frames(flow, frames, each=each)
    own = replace(frames, index=processes.share(frames.index), utt_of=processes.share(frames.utt_of))
    scores = score_frames(flow, own, progress=lambda done, total: processes.alive(), each=each)
    for values in (scores.frames, scores.logp, scores.logdet, scores.decided):
        processes.sum_(torch.from_numpy(values))  # which it shares the memory of
    return scores


def moments_together(
    frames: FrameSet, processes: Processes, device: torch.device, batch_size: int = 65536
) -> tuple[Tensor, Tensor]:
    """`moments_of`, to the bit, each of the processes adding up a part of the batches; all get the whole."""
    numbers = processes.share(torch.arange(-(-len(frames) // batch_size)))
    sums = torch.zeros(-(-len(frames) // batch_size), 2, frames.dim, dtype=torch.float64, device=device)
    if len(numbers):
        own = slice(int(numbers[0]) * batch_size, (int(numbers[-1]) + 1) * batch_size)
        part = replace(frames, index=frames.index[own], utt_of=frames.utt_of[own])
        sums[numbers] = batch_sums(part, batch_size, device, processes.alive)
    processes.sum_(sums)
    return moments_of_sums(sums, len(frames))
