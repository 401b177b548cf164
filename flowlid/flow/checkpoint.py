"""Models and training states on disk: whole or absent, and loaded without running code from them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from flowlid.config import Config, config_from_dict
from flowlid.files import atomic_write
from flowlid.flow.flow import Flow, build_flow
from flowlid.wording import brief, some

_VERSION = 2
REMEDY = "remove it and train again (stage 3)"
_PARTS = {  # of what is in a file of each kind, those that are read before it is used
    "model": {"config": dict, "classes": list, "feature_dim": int, "state": dict},
    "training state": {"config": dict, "data": str, "trainer": dict, "precision": str},
}
_JOIN = "+"  # between the languages that a normal flow models as one class
# what torch.load raises for a file that it did not write, or for half of one
_UNREADABLE = (
    RuntimeError, UnpicklingError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError,
    AssertionError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


@dataclass
class Model:
    """A trained flow or baseline with what is needed to use it.

    Attributes:
        flow: in evaluation mode, on the CPU.
        config: the experiment's resolved configuration.
        classes: names of the K classes.
        feature_dim: F, the dimension of the features that it was trained on.
        global_stats: (2, F + 1) statistics if `config.frames.cmvn` is "global", else None.
        labels: of the training set (`frames.agreement.training_labels`); None: not known.
    """

    flow: Flow
    config: Config
    classes: list[str]
    feature_dim: int
    global_stats: np.ndarray | None = None
    labels: dict[str, Any] | None = None

    def to(self, device: torch.device) -> "Model":
        """Move the flow to a device, its products in the configured precision there."""
        self.flow.to(device).set_precision(self.config.model.precision)
        return self

    @property
    def languages(self) -> list[str]:
        """The languages that it was trained on."""
        return self.classes if self.config.model.decides else self.classes[0].split(_JOIN)


def save_model(path: str | Path, model: Model, in_bfloat16: Collection[str] = ()) -> None:
    """Write a trained model; all of its state is in the file, some of it in bfloat16."""
    stats, state = model.global_stats, model.flow.state_dict()
    payload = {
        "config": model.config.to_dict(),
        "classes": list(model.classes),
        "feature_dim": model.feature_dim,
        "global_stats": None if stats is None else torch.from_numpy(stats),
        "labels": model.labels,
        "state": {name: value.bfloat16() if name in in_bfloat16 else value for name, value in state.items()},
    }
    save_payload(path, "model", payload)


def load_model(path: str | Path) -> Model:
    """Read a trained model.

    Raises:
        ValueError: no model file, or a truncated one; the message names it and the fix.
        FileNotFoundError: no such file.
    """
    payload = load_payload(path, "model")
    try:
        return _model(payload, str(path))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path}: parts of the model are missing or do not fit; {REMEDY}") from error


def _model(payload: dict[str, Any], where: str) -> Model:
    config = config_from_dict(payload["config"], where)
    dim = payload["feature_dim"] * (2 * config.frames.context + 1)
    # placeholders: the mean and standard deviation are in the state
    flow = build_flow(config.model, len(payload["classes"]), torch.zeros(dim), torch.ones(dim))
    flow.load_state_dict(payload["state"])
    stats = payload["global_stats"]
    return Model(
        flow=flow.eval(),
        config=config,
        classes=payload["classes"],
        feature_dim=payload["feature_dim"],
        global_stats=None if stats is None else stats.numpy(),
        labels=payload.get("labels"),
    )


def save_payload(path: str | Path, kind: str, payload: dict[str, Any]) -> None:
    """Write tensors, numbers and names, marked with their kind ("model" or "training state"), atomically."""
    content = io.BytesIO()  # torch's own writer turns a full disk into a RuntimeError
    torch.save({"flowlid": kind, "version": _VERSION, **payload}, content)
    with atomic_write(path, "wb") as file:
        file.write(content.getbuffer())


def load_payload(path: str | Path, kind: str) -> dict[str, Any]:
    """Read what `save_payload` wrote; only tensors, numbers and names are ever unpickled.

    Raises:
        ValueError: another kind of file, a truncated one, one that holds code, or one that lacks a part.
        FileNotFoundError: no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such {kind}; train it first (stage 3)")
    content = io.BytesIO(Path(path).read_bytes())  # an OSError of the disk is not one of the content
    try:
        payload = torch.load(_checked(content), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(f"{path}: truncated, or no {kind} of flowlid; {REMEDY}") from error
    if not isinstance(payload, dict) or not _is(payload.get("flowlid"), kind):
        raise ValueError(f"{path}: no {kind} of flowlid; {REMEDY}")
    if not _is(payload.get("version"), _VERSION):
        raise ValueError(f"{path}: format {brief(payload.get('version'))}, this flowlid reads {_VERSION}; {REMEDY}")
    wrong = [name for name, kind_of in _PARTS[kind].items() if not isinstance(payload.get(name), kind_of)]
    if wrong:
        raise ValueError(f"{path}: {some(wrong)} of the {kind} missing or of another type; {REMEDY}")
    return payload


def _checked(content: io.BytesIO) -> io.BytesIO:
    """A zip file with the records of `content`, whose checksums must be theirs.

    torch reads damaged numbers without complaint, and past a damaged header others than those that were checked.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(content) as found, zipfile.ZipFile(copy, "w") as checked:
        for record in found.infolist():
            checked.writestr(record.filename, found.read(record))
    copy.seek(0)
    return copy


def _is(found: Any, wanted: str | int) -> bool:  # noqa: ANN401  (a damaged file may hold a tensor, which compares otherwise)
    return isinstance(found, type(wanted)) and found == wanted


def class_names(languages: Sequence[str], model_type: str) -> list[str]:
    """The classes that a training set gives: its languages, or all of them joined for a normal flow."""
    names = sorted(set(languages))
    bad = [name for name in names if _JOIN in name]
    if bad:
        raise ValueError(f"utt2lang: language {bad[0]!r}: {_JOIN!r} stands between languages; rename it")
    return [_JOIN.join(names)] if model_type == "nf" else names
