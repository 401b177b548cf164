"""What stages write and later ones read: models, checkpoints, packs, manifests."""

import gzip
import io
import json
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import soundfile
import torch

from flowlid.config import Config, DataConfig, ModelConfig, TrainingConfig
from flowlid.corpora.data_dirs import make_sets, read_manifests
from flowlid.corpora.sets import Sets, Values
from flowlid.flow.checkpoint import Model, load_model, save_model, save_payload
from flowlid.flow.flow import build_flow
from flowlid.frames.frameset import load_frames, moments_of
from flowlid.frames.pack import open_or_build
from flowlid.kaldi.datadir import DataDir
from flowlid.training.experiment import Inputs, begin
from flowlid.training.saving import Saves
from flowlid.training.trainer import Trainer

from .kaldi_files import _make_features
from .kinds import Kind, tone
from .mutations import BYTES, TEXT, Mutation

CONFIG = Config(
    data=DataConfig(train="train"),
    model=ModelConfig(type="dnf", blocks=2, hidden=4, layers=1),
    training=TrainingConfig(epochs=3, batch_size=50, warmup_steps=1),
)
CLASSES = ["fr", "pt"]


def _tensors(value: Any) -> Any:  # noqa: ANN401  (nested dictionaries and lists, with tensors)
    """The same with tensors as bytes."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), str(value.dtype), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _tensors(item) for key, item in value.items()}
    return [_tensors(item) for item in value] if isinstance(value, list | tuple) else value


def payload(random: Random, data: bytes) -> bytes:
    """A file of torch's, whole and with sound checksums, in which one value is another, or gone."""
    try:
        whole = torch.load(io.BytesIO(data), weights_only=True)
    except Exception:  # it was damaged before
        return data
    place = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = random.choice(keys)
        if isinstance(place[key], dict | list) and random.random() < 0.7:
            place = place[key]
            continue
        if random.random() < 0.3:
            del place[key]
        else:
            place[key] = random.choice(
                (None, -1, 0, 10**9, 1.5, float("nan"), "x", [], {}, [1], {"x": 1}, torch.zeros(3))
            )
        break
    content = io.BytesIO()
    torch.save(whole, content)
    return content.getvalue()


def _make_model(place: Path) -> None:
    torch.manual_seed(1)
    flow = build_flow(CONFIG.model, 2, torch.zeros(12), torch.ones(12))
    save_model(place / "final.pt", Model(flow, CONFIG, CLASSES, 4))


def _read_model(place: Path) -> dict[str, Any]:
    model = load_model(place / "final.pt")
    with torch.no_grad():
        terms = model.flow.log_terms(torch.ones(3, model.flow.dim))
    return _tensors({"config": model.config.to_dict(), "classes": model.classes, "dim": model.feature_dim,
                     "state": dict(model.flow.state_dict()), "terms": list(terms)})  # fmt: skip


@cache
def _inputs(place: Path) -> Inputs:
    """The frames of a training, made beside the cases, once."""
    data = place.parent / "train"
    data.mkdir(exist_ok=True)
    _make_features(data)
    frames = load_frames(DataDir(data), CONFIG.frames)
    return Inputs(CONFIG, None, frames, None, CLASSES, {}, "made up")


def _trainer(place: Path) -> Trainer:
    inputs = _inputs(place)
    torch.manual_seed(1)
    flow = build_flow(CONFIG.model, 2, *moments_of(inputs.frames))
    return Trainer(flow, inputs.frames, inputs.frames.labels(CLASSES), CONFIG.training)


def _make_checkpoint(place: Path) -> None:
    trainer = _trainer(place)
    trainer.start()

    def save() -> None:  # in the second epoch, whose steps are the rest
        if trainer.step == trainer.steps_per_epoch + 1:
            state = {"config": CONFIG.to_dict(), "data": "made up", "trainer": trainer.state_dict()}
            save_payload(place / "checkpoint.pt", "training state", {**state, "precision": "float32"})

    trainer.saves = Saves(trainer.processes, save, seconds=0)
    list(trainer.epochs())


def _read_checkpoint(place: Path) -> dict[str, Any]:
    """The state of a training that goes on, and of the epoch after it."""
    trainer = _trainer(place)
    begin(trainer, _inputs(place), place / "checkpoint.pt")
    before = _tensors(trainer.state_dict())
    return {"before": json.dumps(before, default=repr), "loss": [record["loss"] for record in trainer.epochs()]}


def _make_pack(place: Path) -> None:
    _make_features(place)
    open_or_build(DataDir(place))


def _read_pack(place: Path) -> dict[str, Any]:
    return {name: value if isinstance(value, str) else (value.shape, str(value.dtype), value.tobytes())
            for name, value in vars(open_or_build(DataDir(place))).items()}  # fmt: skip


def _make_manifests(place: Path) -> None:
    rows = (("a", "pt", "train"), ("b", "fr", "train"), ("c", "pt", "test"))
    recordings, supervisions = [], []
    for number, (speaker, language, part) in enumerate(rows):
        utt, path = f"x-{speaker}-1", place.parent / f"{number}.wav"
        soundfile.write(path, tone(0.5, number), 8000, subtype="PCM_16")
        source = {"type": "file", "channels": [0], "source": str(path)}
        recordings.append({"id": utt, "sources": [source], "sampling_rate": 8000, "num_samples": 4000, "duration": 0.5,
                           "channel_ids": [0]})  # fmt: skip
        supervisions.append({"id": utt, "recording_id": utt, "start": 0.0, "duration": 0.5, "channel": 0,
                             "language": language, "speaker": f"x-{speaker}", "gender": "f", "text": "olá",
                             "custom": {"corpus": "x", "part": part, "score": 3}})  # fmt: skip
    for kind, items in (("recordings", recordings), ("supervisions", supervisions)):
        text = "".join(json.dumps(item) + "\n" for item in items)
        (place / f"x_{kind}_all.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _read_manifests(place: Path) -> dict[str, Any]:
    """The data directories that stage 1 makes of manifests."""
    sets = Sets(place / "sets.yaml", {part: {"part": Values((part,))} for part in ("train", "test")})
    return make_sets(sets, *read_manifests(place))[0]


def _packed(mutation: Mutation) -> Mutation:
    """A mutation of the text that a gzip file holds."""

    def inside(random: Random, data: bytes) -> bytes:
        try:
            text = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):  # it was damaged before
            return data
        damaged = mutation(random, text)
        return data if damaged == text else gzip.compress(damaged, mtime=0)

    inside.__name__ = f"inside_{mutation.__name__}"
    return inside


_DAMAGED = " ".join(mutation.__name__ for mutation in BYTES)  # checksums tell
KINDS = [
    Kind("final.pt", _make_model, _read_model, {"final.pt": (*BYTES, *(5 * (payload,)))}, [("*", _DAMAGED)]),
    Kind("checkpoint.pt", _make_checkpoint, _read_checkpoint, {"checkpoint.pt": (*BYTES, *(5 * (payload,)))},
         [("*", _DAMAGED)]),
    Kind("pack", _make_pack, _read_pack, {"*.npy": BYTES, "meta.json": (*BYTES, *TEXT)}, [("*", "*")]),
    Kind("manifests", _make_manifests, _read_manifests, {"*.gz": (*BYTES, *map(_packed, TEXT))},
         [("*", "flip_bit flip_head flip_tail zeros noise cut as_text text_mode")]),
]  # fmt: skip
