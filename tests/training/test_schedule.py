"""The learning rate of each step."""

import math
from collections.abc import Callable

import pytest
from trainers import make_trainer, trained

from flowlid.config import TrainingConfig
from flowlid.frames.frameset import FrameSet
from flowlid.training.schedule import learning_rate

MakeFrames = Callable[..., FrameSet]


def rates(**settings: object) -> list[float]:
    """The planned rate of each step, six steps per epoch."""
    config = TrainingConfig(learning_rate=0.1, **{"decay": "none"} | settings)
    return [learning_rate(config, step, 6) for step in range(6 * config.epochs)]


def test_the_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    found = rates(epochs=4, warmup_steps=4, decay="cosine")  # 24 steps
    assert len(found) == 24
    assert found[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert found[14] == pytest.approx(0.05)  # half way from step 4 to step 24
    assert found[23] == pytest.approx(0.05 * (1 + math.cos(math.pi * 19 / 20)))  # 0.0006
    assert found[4:] == sorted(found[4:], reverse=True)


def test_the_learning_rate_stays_without_decay_and_a_long_warm_up_is_cut() -> None:
    assert rates(epochs=1, warmup_steps=0) == [0.1] * 6
    assert rates(epochs=1, warmup_steps=1000) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_the_optimizer_uses_the_planned_rate(make_frames: MakeFrames) -> None:
    trainer = trained(make_trainer(make_frames, epochs=2, decay="cosine", warmup_steps=3))
    planned = rates(epochs=2, decay="cosine", warmup_steps=3)
    assert [r["learning_rate"] for r in trainer.history] == pytest.approx([planned[5] / 10, planned[11] / 10])
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(planned[11] / 10)
