"""A training state from a file, compared with what a trainer writes before any of it is taken."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowlid.training.epoch import SNAPSHOT, Dev, Epoch

_MEASURED = {"seconds": 0.0, "frames_per_second": 0.0}  # what a trainer adds to an epoch's record
_UNKNOWN = ("crossent", "dev_loglik", "dev_accuracy", "dev_crossent")  # None of one class, or without dev set


def check_state(
    state: Any,  # noqa: ANN401  (from a file)
    own: Mapping[str, Any],
    parameters: Sequence[Tensor],
    steps_per_epoch: int,
    selects: bool,
) -> None:
    """Check that a trainer can go on from `state`; it costs a look at each tensor's shape.

    Args:
        state: what `Trainer.state_dict` may have given.
        own: what it gives of a trainer of the same configuration and frames before the first epoch.
        parameters: of the flow, in the optimizer's order.
        steps_per_epoch: of that trainer.
        selects: whether it keeps the best epoch's weights.

    Raises:
        ValueError: a part is missing, or of another type, shape or order.
    """
    if not isinstance(state, dict):
        raise ValueError("no dictionary")
    history = _history(state.get("history"))
    moments = {
        number: {"step": torch.zeros(()), "exp_avg": weight, "exp_avg_sq": weight}
        for number, weight in enumerate(parameters)
    }
    best, run = selects and history != [], state.get("run")
    begun = moments if history else {}  # of the optimizer where an epoch began
    wanted = {
        **own,
        "history": history,
        "running_nll": 0.0 if isinstance(state.get("running_nll"), float) else None,
        "best": {"epoch": 0, "value": 0.0, "state": own["flow"]} if best else None,
        "optimizer": _optimizer(state, own, moments, begun),
    }
    if isinstance(run, dict):
        good = {part: own[part] for part in SNAPSHOT} | {"optimizer": _optimizer(run.get("good"), own, moments, begun)}
        wanted["run"] = Epoch(len(history) + 1, good).state_dict()
    _check(state, wanted, "state")
    _check_counters(state, len(history), steps_per_epoch)
    if best and not 1 <= state["best"]["epoch"] <= len(history):
        raise ValueError("state/best/epoch is no epoch that was trained")


def _optimizer(
    state: Any,  # noqa: ANN401  (from a file)
    own: Mapping[str, Any],
    moments: dict[int, Any],
    begun: dict[int, Any],
) -> dict[str, Any]:
    """What the optimizer of `state` looks like: after any step it has moments; in the first epoch it may have none."""
    found = state.get("optimizer") if isinstance(state, dict) else None
    fresh = isinstance(found, dict) and found.get("state") == {}
    return {**own["optimizer"], "state": begun if fresh else moments}


def _check_counters(state: dict[str, Any], epochs: int, steps_per_epoch: int) -> None:
    """Check the numbers of a state whose parts are of the right types."""
    run = state["run"]
    if run is not None and (run["number"] != epochs + 1 or not 1 <= run["done"] <= steps_per_epoch):
        raise ValueError("state/run is not of the epoch after the last whole one")
    done = steps_per_epoch * epochs + (0 if run is None else run["done"])
    if state["step"] != done or not 0 < state["rate_scale"] <= 1:
        raise ValueError("state/step or state/rate_scale does not fit the epochs")


def _history(history: Any) -> list[dict[str, Any]]:  # noqa: ANN401  (from a file)
    """What records of so many epochs look like."""
    if not isinstance(history, list) or not all(isinstance(record, dict) for record in history):
        raise ValueError("state/history is no list of epochs")
    if [record.get("epoch") for record in history] != list(range(1, len(history) + 1)):
        raise ValueError("state/history lacks an epoch")
    record = Epoch(1, {}, frames=1).record(0.0, Dev(0.0, 0.0, 0.0)) | _MEASURED
    return [record | {key: None for key in _UNKNOWN if each.get(key) is None} for each in history]


def _check(found: Any, wanted: Any, where: str) -> None:  # noqa: ANN401  (anything that torch saves)
    """Check keys, lengths, shapes, and types; a number may be whole where a fraction is wanted, but not NaN or Inf."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or found.keys() != wanted.keys():
            raise ValueError(f"{where} has other parts")
        for key, part in wanted.items():
            _check(found[key], part, f"{where}/{key}")
    elif isinstance(wanted, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            raise ValueError(f"{where} has another length")
        for number, part in enumerate(wanted):
            _check(found[number], part, f"{where}/{number}")
    elif isinstance(wanted, Tensor):
        if not isinstance(found, Tensor) or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(f"{where} is of another shape")
    elif isinstance(wanted, float):
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise ValueError(f"{where} is no number")
    elif type(found) is not type(wanted):
        raise ValueError(f"{where} is of another type")
