"""The learning rate of each step."""

import math

from flowlid.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """The planned rate of a step, counted from 0 over all epochs.

    A linear warm-up of `warmup_steps` (at most half of all steps), then a half cosine to zero, or a constant.
    """
    total = config.epochs * steps_per_epoch
    warmup = min(config.warmup_steps, total // 2)
    if step < warmup:
        return config.learning_rate * ((step + 1) / (warmup + 1))
    if config.decay == "cosine":
        return config.learning_rate * (0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))
    return config.learning_rate
