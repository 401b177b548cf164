"""Channels of a sound file: which one is meant, and whether they hold the same sound.

Channels are numbered from 0, as Kaldi's; "mix" is the mean of all of them.
"""

import numpy as np

from flowlid.wording import brief

Channel = int | str  # a number from 0, or MIX
MIX = "mix"
# A channel so far below the loudest one holds nothing that could be used: speech at the usual -26 dB of full
# scale is 72 dB above the quantization noise of 16 bits, and a quiet room is 30 to 50 dB below speech.
_SILENT = 10.0 ** (-60 / 10)
_NO_SOUND = 10.0 ** (-120 / 10)  # power re full scale below which no channel has sound: half a step of 20 bits
# Correlation of two channels. Their mean has (1 + r) / 2 of the power of one of them (at equal levels): it loses
# 6 dB or more from -0.5 down, and 1.2 dB at 0.5. One talker in ordinary stereo gives 0.7 to 1, the two sides of a
# call about 0.
_OPPOSITE = -0.5
_SAME = 0.5


def read_channel(text: str, where: str) -> Channel | None:
    """The channel that a table or an option names: "" is None, "0", "1", ... a number, "mix" the mean of all.

    Raises:
        ValueError: anything else; the message begins with `where`.
    """
    text = text.strip()
    if not text or text == MIX:
        return text or None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ValueError(f'{where}: channel {brief(text)}; write a number from 0, or "{MIX}" for the mean of all')
    return int(text)


def pick(samples: np.ndarray, channel: Channel) -> np.ndarray:
    """One channel of samples (n, C), or the mean of all: (n,) in the samples' own type."""
    return samples.mean(axis=1, dtype=samples.dtype) if channel == MIX else samples[:, channel]


class ChannelMeter:
    """Compares the channels of a file, block by block; any length in little memory.

    What it measures are powers and correlations about each channel's mean, so a constant counts as silence.
    A million samples of two channels take about 10 ms.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum: np.ndarray | float = 0.0
        self._products: np.ndarray | float = 0.0

    def add(self, block: np.ndarray) -> None:
        """Take in a block (n, C) of samples in [-1, 1]; every block has the same C."""
        block = block.astype(np.float64, copy=False)
        self._count += len(block)
        self._sum = self._sum + block.sum(axis=0)
        self._products = self._products + block.T @ block

    def silent(self, channel: Channel) -> bool:
        """Whether a channel, or the mean of all, is 60 dB or more below the loudest one, or digital silence."""
        if not self._count:
            return False
        covariance = self._covariance()
        power = covariance.mean() if channel == MIX else covariance[channel, channel]
        loudest = covariance.diagonal().max()
        return bool(loudest > _NO_SOUND and power <= _SILENT * loudest)

    def verdict(self) -> str | None:
        """In what the channels differ, or None if they hold the same sound or none.

        "channel 0 is silent" (see `silent`; the mean of the others would do), "opposite phase" (a pair whose
        correlation is -0.5 or less: the mean cancels it) or "different sound" (less than 0.5: two talkers of a
        call, or distant microphones).
        """
        if not self._count:
            return None
        covariance = self._covariance()
        power = covariance.diagonal()
        if len(power) < 2 or power.max() <= _NO_SOUND:
            return None
        silent = [str(channel) for channel in range(len(power)) if self.silent(channel)]
        if silent:
            return f"channel{'s' * (len(silent) > 1)} {', '.join(silent)} {'are' if len(silent) > 1 else 'is'} silent"
        least = (covariance / np.sqrt(np.outer(power, power))).min()
        if least <= _OPPOSITE:
            return "opposite phase"
        return "different sound" if least < _SAME else None

    def _covariance(self) -> np.ndarray:
        """Of the channels, (C, C), in full scale squared."""
        mean = np.asarray(self._sum) / self._count
        return np.asarray(self._products) / self._count - np.outer(mean, mean)
