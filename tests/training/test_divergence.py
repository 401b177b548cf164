"""Judging steps on the device: what is bad, what is lost after it, and the running mean."""

import math

import pytest
import torch
from torch import Tensor

from flowlid.training.divergence import Step, Watch


def judge(watch: Watch, loss: float, norm: float = 1.0) -> int:
    return int(watch.judge(100, torch.tensor([-loss - 2, 2.0, 0.5]), torch.tensor(norm)))


def test_steps_after_a_bad_one_are_lost_until_someone_looks() -> None:
    watch = Watch(jump=5, device=torch.device("cpu"), capacity=10)
    assert [judge(watch, loss) for loss in (10, 9, 8, 30, 8, 7)] == [0, 0, 0, 1, 1, 1]
    good, bad, lost = watch.read()
    assert [step.nll for step in good] == [10, 9, 8]
    assert good[0] == Step(100, -12, 2, 0.5, 1, good[0].mean_nll) and math.isnan(good[0].mean_nll)
    assert good[1].mean_nll == 10 and good[2].mean_nll == pytest.approx(9.9)
    assert bad.nll == 30 and lost == 2
    assert watch.trouble(bad) == "-LogLL jumped to 30.000 nats per frame from a running mean of 9.710"
    assert watch.mean_nll == pytest.approx(0.9 * 9.9 + 0.1 * 8)
    assert judge(watch, 9) == 0
    assert [step.nll for step in watch.read()[0]] == [9]
    assert watch.read() == ([], None, 0)


@pytest.mark.parametrize(
    ("loss", "norm", "words"),
    [
        (math.nan, 1.0, "-LogLL is nan"),
        (math.inf, 1.0, "-LogLL is inf"),
        (3.0, math.inf, "the gradient is not finite"),
        (3.0, math.nan, "the gradient is not finite"),
        (8.1, 1.0, "-LogLL jumped to 8.100"),
    ],
)
@pytest.mark.parametrize("capacity", [1, 3])
def test_what_is_bad_is_named(loss: float, norm: float, words: str, capacity: int) -> None:
    watch = Watch(jump=5, device=torch.device("cpu"), capacity=capacity)
    watch.mean_nll = 3.0
    assert judge(watch, loss, norm) == 1
    good, bad, lost = watch.read()
    assert good == [] and lost == 0
    assert watch.trouble(bad).startswith(words)
    assert watch.mean_nll == 3.0


@pytest.mark.parametrize(("crossent", "bad"), [(math.nan, 1), (math.inf, 1), (1e6, 0)])
def test_a_cross_entropy_must_be_finite_and_may_jump(crossent: float, bad: int) -> None:
    watch = Watch(jump=5, device=torch.device("cpu"), capacity=1)
    watch.mean_nll = 3.0
    assert int(watch.judge(100, torch.tensor([-5.0, 2.0, crossent]), torch.tensor(1.0))) == bad
    step = watch.read()[1] if bad else None
    assert step is None or watch.trouble(step) == f"the cross-entropy is {crossent}"


def test_a_fall_and_a_first_loss_of_any_size_are_no_jump() -> None:
    watch = Watch(jump=5, device=torch.device("cpu"), capacity=3)
    assert watch.mean_nll is None
    assert [judge(watch, loss) for loss in (1e6, -1e6)] == [0, 0]


@pytest.mark.parametrize("capacity", [1, 7])
def test_fused_adam_takes_no_step_that_is_bad(capacity: int) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
    watch = Watch(jump=5, device=torch.device("cpu"), capacity=capacity)

    def step(loss: float) -> Tensor:
        weight.grad = torch.ones(3)
        optimizer.found_inf = watch.judge(1, torch.tensor([-loss, 0.0, 0.0]), torch.tensor(1.0))
        optimizer.step()
        if watch.pending == capacity:
            watch.read()
        return weight.detach().clone()

    first, bad, after = step(1.0), step(math.nan), step(1.0)
    assert torch.equal(first, bad) and (first < 1).all()
    assert torch.equal(after, first) == (capacity > 1)  # with rare looks the next step is lost too
