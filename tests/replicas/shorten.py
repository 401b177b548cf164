"""A small encoder of Shorten, the lossless code inside the SPHERE files of WSJ.

T. Robinson, "SHORTEN: simple lossless and near-lossless waveform compression", CUED/F-INFENG/TR.156, 1994.
"""

import numpy as np

BLOCK = 256
_S16_LOW_FIRST = 5  # type of the samples: 16 bits, low byte first
_DIFF1, _QUIT, _BLOCKSIZE = 1, 4, 5  # commands: a block of first differences, the end, a new length of block


class _Bits:
    """Bits, highest first."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def rice(self, value: int, width: int) -> None:
        """An unsigned number: value >> width zeros, a one, and its `width` low bits."""
        low = f"{value & ((1 << width) - 1):0{width}b}" if width else ""
        self.text.append("0" * (value >> width) + "1" + low)

    def long(self, value: int) -> None:
        """An unsigned number preceded by its width."""
        width = value.bit_length()
        self.rice(width, 2)
        self.rice(value, width)

    def to_bytes(self) -> bytes:
        """Filled up to words of 32 bits."""
        text = "".join(self.text)
        text += "0" * (-len(text) % 32)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def encode(samples: np.ndarray, version: int = 2) -> bytes:
    """Shorten stream, lossless: first differences in blocks of 256, each Rice-coded with its own width.

    Args:
        samples: (n,) int16, one channel.
        version: 1 or 2.
    """
    bits = _Bits()
    for value in (
        _S16_LOW_FIRST,
        1,
        BLOCK,
        0,
        0,
        0,
    ):  # channels, block, order of LPC, blocks of the mean, skipped bytes
        bits.long(value)
    before, length = 0, BLOCK
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK].astype(int)
        if len(block) != length:
            bits.rice(_BLOCKSIZE, 2)
            bits.long(len(block))
            length = len(block)
        steps = np.diff(block, prepend=before)
        before = int(block[-1])
        folded = np.where(steps < 0, ~(steps << 1), steps << 1)  # 0 -1 1 -2 2 ... to 0 1 2 3 4 ...
        width = max(1, int(np.mean(folded)).bit_length())
        bits.rice(_DIFF1, 2)
        bits.rice(width - 1, 3)
        for value in folded.tolist():
            bits.rice(value, width)
    bits.rice(_QUIT, 2)
    return b"ajkg" + bytes([version]) + bits.to_bytes()
