"""A checkpoint of which a part is missing or another's is refused by name, before any of it is taken."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainers import CLASSES, STATE, equal, make_trainer, trained, weights

from flowlid.config import config_from_dict
from flowlid.flow.checkpoint import load_payload, save_payload
from flowlid.frames.frameset import FrameSet
from flowlid.training.experiment import Inputs, begin
from flowlid.training.saving import Saves
from flowlid.training.trainer import Trainer

MakeFrames = Callable[..., FrameSet]


def drop(*path: str | int) -> Callable[[dict], None]:
    def change(state: Any) -> None:  # noqa: ANN401  (dictionaries and lists)
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return change


def put(value: object, *path: str | int) -> Callable[[dict], None]:
    def change(state: Any) -> None:  # noqa: ANN401  (dictionaries and lists)
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


def resumed(trainer: Trainer, state: dict[str, Any], folder: Path) -> None:
    """Have a trainer go on from a checkpoint, as steps/train.py does."""
    save_payload(folder / "checkpoint.pt", "training state", {**STATE, "trainer": state})
    config = config_from_dict({"data": {"train": "a"}, "model": {"type": "dnf"}}, "here")
    begin(trainer, Inputs(config, None, trainer.frames, None, CLASSES, {}, "made up"), folder / "checkpoint.pt")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (drop("flow"), "state has other parts"),
        (put([], "flow"), "state/flow has other parts"),
        (put(torch.zeros(3), "flow", "base.means"), "state/flow/base.means is of another shape"),
        (put(None, "flow", "base.means"), "state/flow/base.means is of another shape"),
        (drop("optimizer", "state", 0), "state/optimizer/state has other parts"),
        (put(1.5, "optimizer", "state", 0, "exp_avg"), "state/optimizer/state/0/exp_avg is of another shape"),
        (put([], "optimizer", "param_groups"), "state/optimizer/param_groups has another length"),
        (put("x", "optimizer", "param_groups", 0, "lr"), "state/optimizer/param_groups/0/lr is no number"),
        (put({}, "history"), "state/history is no list of epochs"),
        (drop("history", 0), "state/history lacks an epoch"),
        (drop("history", 1, "loss"), "state/history/1 has other parts"),
        (put(math.nan, "history", 1, "loss"), "state/history/1/loss is no number"),
        (put(None, "best"), "state/best has other parts"),
        (put(9, "best", "epoch"), "state/best/epoch is no epoch"),
        (put(10**9, "step"), "state/step or state/rate_scale does not fit the epochs"),
        (put(1.5, "rate_scale"), "state/step or state/rate_scale does not fit"),
        (put("x", "running_nll"), "state/running_nll is of another type"),
    ],
)
def test_parts_that_do_not_fit(
    change: Callable[[dict], None], what: str, make_frames: MakeFrames, tmp_path: Path
) -> None:
    settings = {"epochs": 2, "select": "dev_loglik"}
    state = trained(make_trainer(make_frames, make_frames(seed=2), **settings)).state_dict()
    save_payload(tmp_path / "whole.pt", "training state", {**STATE, "trainer": state})
    state = load_payload(tmp_path / "whole.pt", "training state")["trainer"]
    change(state)
    other = make_trainer(make_frames, make_frames(seed=2), seed=5, **settings)
    before = weights(other)
    message = rf"checkpoint\.pt: does not fit this training \({what}.*\); remove it and train again"
    with pytest.raises(ValueError, match=message):
        resumed(other, state, tmp_path)
    assert equal(weights(other), before)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put(None, "run"), "state/step or state/rate_scale does not fit the epochs"),
        (put([], "run"), "state/run is of another type"),
        (drop("run", "frames"), "state/run has other parts"),
        (drop("run", "good", "flow"), "state/run/good has other parts"),
        (put({}, "run", "good", "optimizer", "state"), "state/run/good/optimizer/state has other parts"),
        (
            put(torch.zeros(3), "run", "good", "flow", "base.means"),
            "state/run/good/flow/base.means is of another shape",
        ),
        (put("x", "run", "good"), "state/run/good has other parts"),
        (put(1, "run", "number"), "state/run is not of the epoch after the last whole one"),
        (put(0, "run", "done"), "state/run is not of the epoch"),
        (put(7, "run", "done"), "state/run is not of the epoch"),
        (put(4, "run", "done"), "state/step or state/rate_scale does not fit"),
        (put(math.inf, "run", "logp"), "state/run/logp is no number"),
        (put(None, "run", "candidate"), "state/run/candidate is of another type"),
    ],
)
def test_parts_of_an_epoch_that_do_not_fit(
    change: Callable[[dict], None], what: str, make_frames: MakeFrames, tmp_path: Path
) -> None:
    trainer, states = make_trainer(make_frames, epochs=2), []
    trainer.start()
    trainer.saves = Saves(trainer.processes, lambda: states.append(copy.deepcopy(trainer.state_dict())), seconds=0)
    list(trainer.epochs())
    state = states[8]  # after three of six steps of the second epoch
    other = make_trainer(make_frames, seed=5, epochs=2)
    before = weights(other)
    change(state)
    with pytest.raises(ValueError, match=rf"does not fit this training \({what}.*\); remove it and train again"):
        resumed(other, state, tmp_path)
    assert equal(weights(other), before)


@pytest.mark.parametrize("part", ["config", "data", "trainer", "precision"])
def test_a_checkpoint_without_a_part(part: str, tmp_path: Path) -> None:
    save_payload(tmp_path / "checkpoint.pt", "training state", {key: STATE[key] for key in STATE if key != part})
    message = rf"checkpoint\.pt: {part} of the training state missing or of another type; remove it and train again"
    with pytest.raises(ValueError, match=message):
        load_payload(tmp_path / "checkpoint.pt", "training state")
