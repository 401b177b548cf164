"""The sums of an epoch while it is trained, and its record in train.jsonl."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flowlid.files import atomic_write
from flowlid.training.divergence import Step

SNAPSHOT = ("flow", "optimizer")  # parts of a trainer that training goes back to together


class Dev(NamedTuple):
    """What the development set gives after an epoch; None where there is no such set, or it has no such value."""

    loglik: float | None = None  # nats per frame
    accuracy: float | None = None  # of frames
    crossent: float | None = None  # nats per frame, classes weighted alike


@dataclass
class Epoch:
    """An epoch that is being trained: its good states (weights and optimizer), its recoveries, and sums over frames.

    `done` is its steps that were looked at, `seconds` the time that they took, `rate` the last one's learning rate.
    """

    number: int
    good: dict[str, Any]
    candidate: dict[str, Any] | None = None  # good if the next step shows it
    since_snapshot: int = 0
    in_a_row: int = 0
    recoveries: int = 0
    frames: int = 0
    logp: float = 0.0
    logdet: float = 0.0
    crossent: float = 0.0
    norm: float = 0.0
    done: int = 0
    seconds: float = 0.0
    rate: float = 0.0

    @classmethod
    def from_state(cls, state: dict[str, Any], present: dict[str, Any]) -> "Epoch":
        """An epoch from its `state_dict`; `present` is a snapshot of the weights and optimizer saved with it."""
        return cls(**state | {"candidate": present if state["candidate"] else None})

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the epoch depends on, after a look at the losses: a candidate is then the present state.

        So it is enough to say whether there is one.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"candidate": self.candidate is not None}

    def add(self, step: Step) -> None:
        """Count a step that was taken."""
        self.frames += step.frames
        self.logp += step.logp * step.frames
        self.logdet += step.logdet * step.frames
        self.crossent += step.crossent * step.frames
        self.norm += step.norm * step.frames
        self.in_a_row, self.since_snapshot = 0, self.since_snapshot + 1

    def record(self, weight: float | None, dev: Dev) -> dict[str, Any]:
        """Means over the frames of all steps that were taken, in nats per frame.

        Args:
            weight: of the cross-entropy in the loss; None for a flow of one class, which has none.
            dev: of the development set.

        Raises:
            ValueError: no step was taken.
        """
        if not self.frames:
            raise ValueError(f"epoch {self.number}: no step could be taken; lower training.learning_rate")
        totals = (self.logp, self.logdet, self.crossent, self.norm)
        logp, logdet, crossent, norm = (total / self.frames for total in totals)
        return {
            "epoch": self.number,
            "loss": -(logp + logdet) + (weight or 0.0) * crossent,
            "loglik": logp + logdet,
            "logp": logp,
            "logdet": logdet,
            "crossent": None if weight is None else crossent,
            **{f"dev_{name}": value for name, value in dev._asdict().items()},
            "learning_rate": self.rate,
            "grad_norm": norm,
            "recoveries": self.recoveries,
        }


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write train.jsonl: one line per epoch."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(record, allow_nan=False) + "\n" for record in history)


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """What the log says of an epoch."""
    dev = ""
    if record["dev_loglik"] is not None:
        dev = f", dev LogLL {record['dev_loglik']:.3f}"
    if record["dev_accuracy"] is not None:
        dev += f", dev frame accuracy {record['dev_accuracy']:.4f}"
    if record["dev_crossent"] is not None:
        dev += f", dev cross-entropy {record['dev_crossent']:.3f}"
    crossent = "" if record["crossent"] is None else f", cross-entropy {record['crossent']:.3f}"
    return (
        f"epoch {record['epoch']} of {epochs}: LogLL {record['loglik']:.3f} nats per frame (LogP {record['logp']:.3f}, "
        f"LogDet {record['logdet']:.3f}){crossent}{dev}; learning rate {record['learning_rate']:.2e}, gradient norm "
        f"{record['grad_norm']:.1f}, {record['frames_per_second']:.0f} frames per second"
    )
