"""Training frames with another voice, channel and noise: drawn for each utterance, anew in each epoch.

In the order of a recording: the voice (warp of the mel axis), the channel (tilt, equalization and gain), noise. They
change features as `FrameSet.block` gives them without normalization; `frames.cmvn` comes after them, with the
statistics of the recordings as they are.
"""

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flowlid.config import AugmentationConfig, FramesConfig
from flowlid.frames.frameset import FrameSet

_UNIT = math.log(10) / 10  # log-mel units of a dB
_KNEE = 0.8  # of the mel axis: up to it, it is stretched; beyond it runs straight to the last bin, which stays
_COSINES = (2, 3, 4)  # half periods of the equalization's cosines over the bins: the tilt is as good as one
_SPLITMIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_DRAWS = 8  # numbers per utterance: a multiple of the 4 that Philox gives at a time


@dataclass
class Drawn:
    """What the U utterances of a set get in an epoch.

    Attributes:
        source: (U, F) the place on the mel axis, in bins, that each bin's value is taken from.
        offset: (U, F) what is added in each bin.
        level: (U,) log of the noise's mean energy.
        key: (U,) int64 of the noise.
    """

    source: Tensor
    offset: Tensor
    level: Tensor
    key: Tensor


class Augmentation:
    """Changes batches of training frames; all frames of an utterance are changed alike in an epoch, but for noise.

    What an utterance gets depends on the seed, the epoch and its number in the set alone: neither on batches or
    processes, nor on where a training went on, nor on what else is switched on. Epochs count from 1; others (the
    start and the final statistics of a training) have frames as they are.

    Args:
        config: the ranges.
        frames: the training set; batches are of `plain`, the set without its normalization.
        cmvn: the configured normalization: that of each utterance is applied before warping, which is linear, so that
            the mean of a warped utterance is the warped mean.
        seed: of all draws.
        device: of the batches.
    """

    def __init__(
        self, config: AugmentationConfig, frames: FrameSet, cmvn: FramesConfig, seed: int, device: torch.device
    ) -> None:
        self._config, self._utterances, self._seed, self._device = config, len(frames.utts), seed, device
        self._bins, self._width = frames.feats.shape[1], 2 * frames.context + 1
        self._norm = None if frames.norm is None else frames.norm.to(device)
        self._first = cmvn.cmvn == "utterance"
        self.plain = replace(frames, norm=None)
        self._drawn: tuple[int, Drawn] | None = None  # the present epoch

    def __call__(self, x: Tensor, utts: Tensor, epoch: int) -> Tensor:
        """Spliced frames (n, D) of `plain`, of utterances (n,) -> changed and normalized (n, D)."""
        shape, x = x.shape, x.view(len(x), self._width, self._bins)
        if self._first:
            x = self._normalize(x, utts)
        if epoch >= 1:
            x = self._change(x, utts, self.drawn(epoch))
        if not self._first:
            x = self._normalize(x, utts)
        return x.reshape(shape)

    def drawn(self, epoch: int) -> Drawn:
        """What each utterance gets in an epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(epoch)
        return self._drawn[1]

    def _draw(self, epoch: int) -> Drawn:
        share = uniform(f"{self._seed} {epoch}", self._utterances)
        within = 2 * share - 1  # -1 to 1
        config = self._config
        cosines = np.cos(np.pi * np.outer(_COSINES, np.arange(self._bins) + 0.5) / self._bins)
        slope = np.linspace(-1, 1, self._bins)
        decibels = config.tilt * within[:, 1:2] * slope + config.gain * within[:, 2:3]
        decibels += config.equalization * within[:, 3:6] @ cosines
        low, high = config.noise_floor or (0.0, 0.0)
        found = warped(1 + config.warp * within[:, 0], self._bins), _UNIT * decibels, low + (high - low) * share[:, 6]
        key = torch.from_numpy((share[:, 7] * 2**53).astype(np.int64))
        return Drawn(*(torch.from_numpy(table).float().to(self._device) for table in found), key.to(self._device))

    def _change(self, x: Tensor, utts: Tensor, drawn: Drawn) -> Tensor:
        """(n, W, F) -> (n, W, F)."""
        config, plain = self._config, x
        if config.warp:
            x = interpolated(x, drawn.source[utts].unsqueeze(1))
        if config.tilt or config.equalization or config.gain:
            x = x + drawn.offset[utts].unsqueeze(1)
        if config.noise_floor is not None:
            level, key = (table[utts].view(-1, 1, 1) for table in (drawn.level, drawn.key))
            x = add_noise(x, level, *random_pairs(plain, key))
        return x

    def _normalize(self, x: Tensor, utts: Tensor) -> Tensor:
        """(x - shift) * scale, in float64 like `flowlid.kaldi.cmvn.apply_cmvn`."""
        if self._norm is None:
            return x
        norm = self._norm[utts].unsqueeze(2)
        x = x - norm[:, 0]
        return (x * norm[:, 1] if norm.shape[1] > 1 else x).float()


def make_augmentation(
    config: AugmentationConfig, frames: FrameSet, cmvn: FramesConfig, seed: int, device: torch.device
) -> Augmentation | None:
    """The configured augmentation; None where all of it is off."""
    return None if config == AugmentationConfig() else Augmentation(config, frames, cmvn, seed, device)


def interpolated(x: Tensor, source: Tensor) -> Tensor:
    """Values (n, W, F) at places (n, 1, F) from 0 to F - 1 between their bins, by cubic Hermite interpolation.

    A bin's slope is half the difference of its neighbours (Catmull and Rom 1974); the first and the last bin count as
    their own neighbours. Linear interpolation would smooth spectra more, which a density notices.
    """
    last = x.shape[2] - 1
    low = source.floor().clamp_(max=last - 1)
    t, low = source - low, low.long()
    a, b, c, d = (x.gather(2, (low + step).clamp_(0, last).expand_as(x)) for step in (-1, 0, 1, 2))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def add_noise(x: Tensor, level: Tensor, radius: Tensor, angle: Tensor) -> Tensor:
    """Log energies (n, W, F) of a signal and Gaussian noise of mean energy exp(level), which is (n, 1, 1).

    A bin's energy is |a + n|^2: |a|^2 = exp(x), and n = exp(level / 2) sqrt(-log radius) e^(2 pi i angle) is complex
    normal where radius and angle, (n, W, F), are uniform on 0 to 1 (Box and Muller 1958).
    """
    radius, angle = radius.log().neg_().sqrt_(), angle * (2 * math.pi)
    real = torch.exp((x - level) / 2) + radius * angle.cos()
    return level + (real.square() + (radius * angle.sin()).square()).log()


def random_pairs(x: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers in (0, 1] of each value, (n, W, F) each: a frame's follow its key (n, 1, 1), bins and values alone.

    So they are the same in whatever batch, block or context a frame is. They are the halves of the output function of
    SplitMix64 (Steele, Lea and Flood 2014) of key + value's 32 bits x F + bin.
    """
    z = x.view(torch.int32).long() * x.shape[2] + torch.arange(x.shape[2], device=x.device) + key
    for shift, factor in _SPLITMIX:
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor  # a logical shift
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return tuple(((half & 0xFFFFFFFF).double() + 0.5).mul_(2.0**-32).float() for half in (z >> 32, z))


def uniform(key: str, rows: int) -> np.ndarray:
    """Numbers from 0 to below 1, (rows, 8) float64: a row depends on the key and its number alone.

    Source: Philox4x64-10 (Salmon et al. 2011), a random function of a counter; the key is a digest.
    """
    digest = hashlib.sha256(f"augmentation {key}".encode()).digest()
    raw = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(rows * _DRAWS)
    return ((raw >> np.uint64(11)) * 2.0**-53).reshape(rows, _DRAWS)


def warped(factor: np.ndarray, bins: int) -> np.ndarray:
    """Where on the mel axis, in bins, each bin's value comes from: factors (U,) -> (U, F) of 0 to F - 1.

    Bin b has that of factor x b up to 0.8 (F - 1) / max(factor, 1); from there a straight line leads to the last bin,
    which stays in its place (the piecewise-linear warp of Kaldi's VTLN, on the mel axis).
    """
    last, b, factor = bins - 1, np.arange(bins), factor[:, None]
    knee = _KNEE * last / np.maximum(factor, 1)
    beyond = last - (last - b) * (last - factor * knee) / (last - knee)
    return np.where(b <= knee, factor * b, beyond)
