"""Steps that must not be taken: training goes back to a good state, and loses no weight."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from trainers import STATE, equal, make_trainer, trained, weights, without_times

from flowlid.flow.checkpoint import load_payload, save_payload
from flowlid.frames.frameset import FrameSet
from flowlid.training.divergence import Watch
from flowlid.training.epoch import Dev
from flowlid.training.trainer import Trainer

MakeFrames = Callable[..., FrameSet]


def poison(trainer: Trainer, steps: set[int], change: Callable[[Tensor], Tensor]) -> list[dict[str, Tensor]]:
    """Change LogP of these calls of `trainer._terms` (from 1); gives a growing list of the weights at each call.

    An epoch of six steps makes seven calls: the last one is the check of the last update.
    """
    seen, real = [], trainer._terms

    def terms(x: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        seen.append(weights(trainer))
        logp, *others = real(x, labels)
        return (change(logp) if len(seen) in steps else logp), *others

    trainer._terms = terms
    return seen


def nan_gradient(logp: Tensor) -> Tensor:
    return logp + torch.sqrt(logp.sum() * 0)  # adds zero, with a derivative of inf x 0


TROUBLE = {
    "nan": (lambda logp: logp * math.nan, "-LogLL is nan"),
    "inf": (lambda logp: logp - math.inf, "-LogLL is inf"),
    "jump": (lambda logp: logp - 50, "-LogLL jumped to"),
    "gradient": (nan_gradient, "the gradient is not finite"),
}


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm"])
def test_a_bad_step_is_not_taken(
    kind: str, normalization: str, make_frames: MakeFrames, caplog: pytest.LogCaptureFixture
) -> None:
    change, words = TROUBLE[kind]
    trainer = make_trainer(make_frames, normalization=normalization)
    trainer.start()
    seen = poison(trainer, {11}, change)  # the fourth of six steps of epoch 2
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        first, second, third, _ = trainer.epochs()
    assert not equal(seen[7], seen[10])
    # back where epoch 2 began, but that the batch norms had seen its first batch when it was kept
    trainable = dict(trainer.flow.named_parameters())
    assert all(torch.equal(seen[11][name], seen[7][name]) for name in trainable)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.flow.state_dict().values())
    assert [first["recoveries"], second["recoveries"], third["recoveries"]] == [0, 1, 0]
    assert [first["learning_rate"], second["learning_rate"], third["learning_rate"]] == [1e-2, 5e-3, 5e-3]
    (warning,) = caplog.messages
    assert words in warning
    assert "epoch 2, step 4 of 6" in warning
    assert "learning rate now x 0.5 of its plan" in warning
    assert trainer.history[-1]["loss"] < first["loss"]


def test_the_optimizer_goes_back_with_the_weights(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, epochs=1)
    trainer.start()
    poison(trainer, {4}, TROUBLE["nan"][0])
    list(trainer.epochs())
    # three steps, undone, and two after the bad one
    assert {int(state["step"]) for state in trainer.optimizer.state.values()} == {2}


def test_one_good_state_serves_two_recoveries(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, epochs=2)
    trainer.start()
    poison(trainer, {11, 13}, TROUBLE["nan"][0])
    list(trainer.epochs())
    # the second epoch's last step went back to its start too, with the six steps of the first behind it
    assert {int(state["step"]) for state in trainer.optimizer.state.values()} == {6}


@pytest.mark.parametrize(
    ("batch_size", "bad", "words"),
    [
        (20, 35, "epoch 2, step 4 of 30: -LogLL is nan"),  # among looks at steps 4, 8, 12 ... of each epoch
        (20, 33, "epoch 2, step 2 of 30: -LogLL is nan"),
        (20, 61, "epoch 2, step 30 of 30: -LogLL is nan"),
    ],
)
def test_rare_looks_lose_steps_and_never_a_weight(
    batch_size: int, bad: int, words: str, make_frames: MakeFrames, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(make_frames, batch_size=batch_size)
    trainer.watch = Watch(trainer.watch.jump, torch.device("cpu"), 4)  # as on a GPU
    trainer.start()
    seen, told = poison(trainer, {bad}, TROUBLE["nan"][0]), []
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        records = list(trainer.epochs(lambda step, steps, loss: told.append((step, loss))))
    (warning,) = caplog.messages
    assert warning.startswith(words)
    number = bad - 31  # in the second epoch; the first made 30 steps and a check
    lost = min(30, math.ceil(number / 4) * 4) - number
    assert ("steps after it were not taken" in warning) == (lost > 0)
    assert warning.endswith(f"; {lost} steps after it were not taken" if lost else "of its plan")
    assert [record["recoveries"] for record in records] == [0, 1, 0, 0]
    assert all(math.isfinite(record["loss"]) for record in records)
    trainable = dict(trainer.flow.named_parameters())
    for call in range(bad, bad + lost):  # weights at the calls after the bad one: it and they changed nothing
        assert all(torch.equal(seen[call][name], seen[bad - 1][name]) for name in trainable)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.flow.state_dict().values())
    steps = [step for step, _ in told]
    assert steps[30 : 60 - 1 - lost] == [n for n in range(1, 31) if not number <= n <= number + lost]
    assert all(math.isfinite(loss) for _, loss in told)


def test_rare_looks_change_nothing_in_a_sound_training(make_frames: MakeFrames) -> None:
    often, rarely = (make_trainer(make_frames, batch_size=20) for _ in range(2))
    rarely.watch = Watch(rarely.watch.jump, torch.device("cpu"), 7)
    assert equal(weights(trained(often)), weights(trained(rarely)))
    assert without_times(often.history) == without_times(rarely.history)


@pytest.mark.parametrize("step", [1, 8])
def test_a_bad_first_step_of_an_epoch_is_not_the_end(
    step: int, make_frames: MakeFrames, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    seen = poison(trainer, {step}, TROUBLE["nan"][0])
    records = list(trainer.epochs())
    assert equal(seen[step], seen[step - 1])
    assert sum(record["recoveries"] for record in records) == 1
    assert "step 1 of 6" in caplog.text


def test_a_bad_last_update_of_an_epoch_is_undone(make_frames: MakeFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(make_frames, epochs=2)
    trainer.start()
    steps, real = [], trainer.optimizer.step

    def step() -> None:
        real()
        steps.append(None)
        if len(steps) == 6:
            next(iter(trainer.flow.parameters())).data.fill_(math.nan)

    monkeypatch.setattr(trainer.optimizer, "step", step)
    assert [record["recoveries"] for record in trainer.epochs()] == [1, 0]
    assert all(torch.isfinite(tensor).all() for tensor in trainer.flow.state_dict().values())


def test_recoveries_survive_a_checkpoint(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    poison(trainer, {2, 4}, TROUBLE["nan"][0])
    next(trainer.epochs())
    other = make_trainer(make_frames)
    other.load_state_dict(trainer.state_dict())
    assert next(other.epochs())["learning_rate"] == 0.25e-2


def test_the_selection_and_the_measure_of_a_jump_survive_a_checkpoint(
    make_frames: MakeFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = make_frames(seed=2)
    trainer = make_trainer(make_frames, dev, select="dev_loglik")
    trainer.start()
    monkeypatch.setattr(trainer, "_evaluate_dev", lambda: Dev(0.0, 1.0, 0.1))  # better than any epoch to come
    next(trainer.epochs())
    best = weights(trainer)
    save_payload(tmp_path / "checkpoint.pt", "training state", {**STATE, "trainer": trainer.state_dict()})

    other = make_trainer(make_frames, dev, select="dev_loglik")
    other.load_state_dict(load_payload(tmp_path / "checkpoint.pt", "training state")["trainer"])
    poison(other, {1}, TROUBLE["jump"][0])
    assert [record["recoveries"] for record in other.epochs()] == [1, 0, 0]
    assert other.selected_epoch == 1
    other.finish()
    assert equal(weights(other), best)


def test_training_that_fails_again_and_again_ends_with_the_step_and_the_fix(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, batch_size=20)
    trainer.start()
    poison(trainer, set(range(34, 1000)), TROUBLE["nan"][0])
    message = (
        r"training diverged at epoch 2, step 13 of 30: -LogLL is nan.*training\.learning_rate.*"
        r"training\.clip_norm.*model\.scale_bound"
    )  # steps 3 to 12 of epoch 2 were forgiven
    with pytest.raises(ValueError, match=message):
        list(trainer.epochs())


def test_an_epoch_of_bad_steps_alone_is_an_error(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    poison(trainer, set(range(8, 100)), TROUBLE["nan"][0])
    with pytest.raises(ValueError, match=r"epoch 2: no step could be taken; lower training\.learning_rate"):
        list(trainer.epochs())
