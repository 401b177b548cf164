"""A training state that is saved within an epoch: training goes on from it bit for bit, whenever it was cut off."""

import copy
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainers import STATE, equal, make_trainer, trained, weights, without_times

from flowlid.flow.checkpoint import load_payload, save_payload
from flowlid.frames.frameset import FrameSet
from flowlid.training import trainer as trainer_module
from flowlid.training.divergence import Watch
from flowlid.training.interruption import Progress, interruptible
from flowlid.training.processes import Lost, Processes
from flowlid.training.saving import Saves
from flowlid.training.trainer import Trainer

MakeFrames = Callable[..., FrameSet]
SETTINGS = {"batch_size": 40, "epochs": 2, "decay": "cosine", "warmup_steps": 8, "select": "dev_loglik"}  # of 15 steps


def bad_at(trainer: Trainer, steps: set[int]) -> Trainer:
    """The losses of these steps, counted over all epochs, are no numbers."""
    real = trainer._terms

    def terms(x: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        logp, *others = real(x, labels)
        return (logp * math.nan if trainer.step in steps and trainer.flow.training else logp), *others

    trainer._terms = terms
    return trainer


def saved_at_each_look(trainer: Trainer) -> list[dict[str, Any]]:
    """Train to the end, and save at each look; the states in order."""
    states: list[dict[str, Any]] = []
    trainer.saves = Saves(trainer.processes, lambda: states.append(copy.deepcopy(trainer.state_dict())), seconds=0)
    trained(trainer)
    return states


def reread(state: dict[str, Any], path: Path) -> dict[str, Any]:
    save_payload(path, "training state", {**STATE, "trainer": state})
    return load_payload(path, "training state")["trainer"]


@pytest.mark.parametrize(
    ("normalization", "block_frames", "looks", "bad"),
    [
        ("actnorm", 600, 1, set()),
        ("batchnorm", 600, 1, {4, 22, 28}),  # the third after a state was kept
        ("actnorm", 200, 1, {29}),  # in three blocks
        ("actnorm", 200, 4, {9, 26}),  # looks as on a GPU
    ],
)
def test_training_goes_on_from_any_step_bit_for_bit(
    normalization: str,
    block_frames: int,
    looks: int,
    bad: set[int],
    make_frames: MakeFrames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer_module, "_SNAPSHOT_STEPS", 3)

    def new(seed: int = 1) -> Trainer:
        made = make_trainer(
            make_frames, make_frames(seed=2), normalization, seed=seed, block_frames=block_frames, **SETTINGS
        )
        made.watch = Watch(made.watch.jump, torch.device("cpu"), looks)
        return bad_at(made, bad)

    whole, saving = trained(new()), new()
    states = saved_at_each_look(saving)
    assert len(states) == 2 * math.ceil(15 / looks)
    assert equal(weights(saving), weights(whole)), "saving changes nothing"
    assert sum(record["recoveries"] for record in whole.history) == len(bad)
    for state in states[:: max(1, len(states) // 6)] + states[-1:]:
        other = new(seed=77)
        torch.manual_seed(5)
        other.load_state_dict(reread(state, tmp_path / "checkpoint.pt"))
        list(other.epochs())
        assert equal(weights(other), weights(whole)), state["step"]
        assert without_times(other.history) == without_times(whole.history), state["step"]
        assert other.selected_epoch == whole.selected_epoch
        assert other.optimizer.state_dict()["param_groups"] == whole.optimizer.state_dict()["param_groups"]


def test_the_time_of_an_epoch_is_that_of_all_its_parts(make_frames: MakeFrames) -> None:
    state = saved_at_each_look(make_trainer(make_frames, epochs=1))[2]
    state["run"]["seconds"] += 1000
    other = make_trainer(make_frames, epochs=1)
    other.load_state_dict(state)
    (record,) = other.epochs()
    assert 1000 < record["seconds"] < 1100 and record["frames_per_second"] < 1


def test_a_state_is_saved_when_it_is_time_and_not_before(make_frames: MakeFrames) -> None:
    trainer, saved = make_trainer(make_frames, epochs=2), []
    trainer.start()
    trainer.saves = Saves(trainer.processes, lambda: saved.append(trainer.step), seconds=1000)
    trainer.saves._last -= 1000
    list(trainer.epochs())
    assert saved == [1]  # and for as long again nothing


def told_in(trainer: Trainer, step: int, number: int) -> list[int]:
    """Have a signal come in a step; gives a list of the steps at which the state is saved."""
    saved: list[int] = []
    trainer.saves = Saves(trainer.processes, lambda: saved.append(trainer.step), progress=Progress())
    real = trainer._update

    def update(*arguments: object) -> None:
        real(*arguments)
        if trainer.step == step:
            signal.raise_signal(number)

    trainer._update = update
    return saved


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_training_after_a_step_that_is_saved(
    number: int, make_frames: MakeFrames, messages: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    saved = told_in(trainer, 8, number)
    with pytest.raises(SystemExit) as ended, interruptible("the same command") as progress:
        trainer.saves.progress, progress.epochs, progress.epoch = progress, 4, 1
        progress.step, progress.steps = 2, 6  # as the writer notes
        list(trainer.epochs())
    assert ended.value.code == 128 + number and saved == [8]
    assert messages.messages[-1] == "interrupted after epoch 1 of 4 and 2 of 6 steps; the same command continues"


def test_a_signal_outside_of_the_steps_ends_training_at_once(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, make_frames(seed=2))
    trainer.start()
    seen = told_in(trainer, -1, signal.SIGTERM)
    trainer._evaluate_dev = lambda: (signal.raise_signal(signal.SIGTERM), seen.append("later"))
    with pytest.raises(SystemExit) as ended, interruptible("the same command") as progress:
        trainer.saves.progress = progress
        list(trainer.epochs())
    assert ended.value.code == 143 and seen == []


@pytest.mark.parametrize("told", [True, False])
def test_a_process_that_misses_one_that_was_told_to_end_ends_for_the_signal_too(told: bool) -> None:
    with pytest.raises(SystemExit if told else Lost) as ended, interruptible("the same command") as progress:
        with progress.deferred():
            if told:
                signal.raise_signal(signal.SIGUSR1)
            raise Lost("Connection closed by peer")
    assert not told or ended.value.code == 128 + signal.SIGUSR1


def test_processes_agree_on_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what it wishes along with a step's sums; what all have summed is what each acts on."""
    first, second = Processes(0, 2), Processes(1, 2)
    done: list[str] = []
    monkeypatch.setattr(Processes, "wait", lambda self: done.append(f"waited {self.rank}"))
    progress = Progress()
    pair = [
        Saves(first, lambda: done.append("saved"), 1000),
        Saves(second, lambda: pytest.fail("the second process saved"), 0, progress),
    ]

    def step() -> None:
        summed = [saves.wishes(torch.zeros(2))[0] for saves in pair]
        total = summed[0] + summed[1]
        for part in summed:
            part.copy_(total)
        for saves in pair:
            saves.look()

    step()
    assert done == []  # the clock of the second process does not count
    pair[0]._last -= 1000
    step()
    step()
    assert done == ["saved"]
    progress.signal = signal.SIGUSR1  # the second alone has heard it
    with interruptible("") as own, pytest.raises(BaseException) as ended:
        pair[0].progress = own
        step()
    assert ended.value.args == (signal.SIGUSR1,) and done == ["saved", "saved", "waited 0"]
