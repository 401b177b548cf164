"""Trainers of small flows on made-up frames, to test with."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowlid.config import AugmentationConfig, FramesConfig, ModelConfig, TrainingConfig
from flowlid.flow.flow import build_flow
from flowlid.frames.augmentation import make_augmentation
from flowlid.frames.frameset import CPU, FrameSet, moments_of
from flowlid.training.trainer import Trainer

MakeFrames = Callable[..., FrameSet]
CLASSES = ["en", "es"]
TIMES = ("seconds", "frames_per_second")
STATE = {"config": {}, "data": "", "trainer": {}, "precision": "float32"}  # the parts of a checkpoint


def make_trainer(
    make_frames: MakeFrames,
    dev: FrameSet | None = None,
    normalization: str = "actnorm",
    kind: str = "dnf",
    seed: int = 1,
    augmentation: AugmentationConfig | None = None,
    **settings: object,
) -> Trainer:
    torch.manual_seed(seed)
    frames = make_frames()
    model = ModelConfig(type=kind, blocks=2, hidden=16, normalization=normalization)
    flow = build_flow(model, 2 if kind == "dnf" else 1, *moments_of(frames))
    config = TrainingConfig(
        **{"epochs": 4, "batch_size": 100, "learning_rate": 1e-2, "warmup_steps": 2, "decay": "none", **settings}
    )
    labels = frames.labels(CLASSES) if kind == "dnf" else torch.zeros(len(frames.utts), dtype=torch.long)
    changes = make_augmentation(augmentation or AugmentationConfig(), frames, FramesConfig(), config.seed, CPU)
    return Trainer(flow, frames, labels, config, None if dev is None else (dev, dev.labels(CLASSES)), None, changes)


def trained(trainer: Trainer) -> Trainer:
    trainer.start()
    list(trainer.epochs())
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return copy.deepcopy(trainer.flow.state_dict())


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key not in TIMES} for record in history]
