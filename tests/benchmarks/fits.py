"""Training a flow of flowlid on an array of frames, by its own Trainer, and its log-likelihoods on others."""

import logging

import torch
from torch import Tensor

from flowlid.config import ModelConfig, TrainingConfig
from flowlid.flow.flow import Flow, build_flow
from flowlid.frames.frameset import FrameSet
from flowlid.training.epoch import epoch_line
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")

_SCORED = 5000  # frames at once


def one_utterance(x: Tensor) -> FrameSet:
    """Frames x (N, D) in memory, as a set of one utterance."""
    last = torch.tensor([len(x) - 1])
    return FrameSet(
        utts=["a"],
        languages=["x"],
        speakers=["a"],
        feats=x,
        first=torch.zeros_like(last),
        last=last,
        index=torch.arange(len(x)),
        utt_of=torch.zeros(len(x), dtype=torch.long),
        context=0,
        digest="in memory",
    )


def fit(train: Tensor, dev: Tensor, model: ModelConfig, training: TrainingConfig, device: torch.device) -> Flow:
    """A normal flow trained on frames (N, D), float32; the development frames may select the epoch."""
    torch.manual_seed(training.seed)
    flow = build_flow(model, 1, mean=train.mean(0), std=train.std(0)).to(device)
    flow.set_precision(model.precision)
    own = torch.zeros(1, dtype=torch.long)
    trainer = Trainer(flow, one_utterance(train), own, training, (one_utterance(dev), own))
    trainer.start()
    for record in trainer.epochs():
        log.info("%s", epoch_line(record, training.epochs))
    trainer.finish()
    return flow


@torch.no_grad()
def log_likelihoods(flow: Flow, x: Tensor) -> Tensor:
    """log p(x) in nats of each of the frames x (N, D): float64 (N,)."""
    device = flow.base.means.device
    return torch.cat([flow.log_prob(part.to(device)).squeeze(1).double().cpu() for part in x.split(_SCORED)])
