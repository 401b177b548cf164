"""The moments of the training frames, added up by several processes, are those of one process to the bit."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowlid.frames.frameset import CPU, FrameSet, moments_of
from flowlid.training.processes import Processes, moments_together


def one_by_one(frames: FrameSet, batch_size: int) -> tuple[Tensor, Tensor]:
    """Sums over batch after batch, as a single loop has them."""
    total, square = torch.zeros(2, frames.dim, dtype=torch.float64)
    for x, _ in frames.batches(batch_size):
        total += x.double().sum(0)
        square += x.double().square().sum(0)
    mean = total / len(frames)
    return mean.float(), (square / len(frames) - mean**2).clamp_min(0).sqrt().float()


@pytest.mark.parametrize("batch_size", [7, 100, 65536])
@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_moments_do_not_depend_on_the_number_of_processes(
    number: int, batch_size: int, make_frames: Callable[..., FrameSet]
) -> None:
    frames = make_frames(context=1)
    expected = one_by_one(frames, batch_size)
    given: list[Tensor] = []

    class Collecting(Processes):
        def sum_(self, *tensors: Tensor) -> None:
            given.extend(tensor.clone() for tensor in tensors)

    class Summing(Processes):
        def sum_(self, *tensors: Tensor) -> None:
            for tensor in tensors:
                tensor.copy_(sum(given))

    for rank in range(number):
        moments_together(frames, Collecting(rank, number), CPU, batch_size)
    assert len(given) == number
    for rank in range(number):
        found = moments_together(frames, Summing(rank, number), CPU, batch_size)
        assert all(a.equal(b) for a, b in zip(found, expected, strict=True))
    assert all(a.equal(b) for a, b in zip(moments_of(frames, batch_size), expected, strict=True))
