"""Random batches for training, from a set that may be larger than memory."""

import bisect
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from flowlid.frames.augmentation import Augmentation
from flowlid.frames.frameset import Block, FrameSet, prefetch
from flowlid.frames.selection import ranges

_PIECE = 512  # consecutive frames that are read together where a set has several blocks
_PIECES = 64  # fewest pieces per block


class ShuffledBatches:
    """Every frame of a set once per epoch, in batches of nearly equal size; seed and epoch alone determine the order.

    A set of up to `block_frames` frames is one block: it is loaded once, stays on the device, and all its frames are
    drawn in random order. A larger one is cut into short pieces of consecutive frames; in each epoch its pieces, in
    random order, make blocks of equal size, and the frames of a block are drawn in random order while a thread loads
    the next block. Two blocks are in memory at a time, and the order of the pieces.

    Args:
        frames: the set.
        batch_size: most frames per batch.
        block_frames: most frames per block; at least a batch.
        seed: of the order.
        device: where batches are made.
        augmentation: of the frames of epochs 1, 2, ...; None: frames as they are.
    """

    def __init__(
        self,
        frames: FrameSet,
        batch_size: int,
        block_frames: int,
        seed: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._frames, self._seed, self._device = frames, seed, device
        self._augmentation = augmentation
        if augmentation is not None:
            self._frames = augmentation.plain
        self._whole: Block | None = None
        self._batch_size = batch_size
        self.blocks = math.ceil(len(frames) / max(block_frames, batch_size))
        self._bounds = [block * len(frames) // self.blocks for block in range(self.blocks + 1)]
        self._sizes = [high - low for low, high in itertools.pairwise(self._bounds)]

    def __len__(self) -> int:
        """Batches per epoch."""
        return sum(map(self._steps, self._sizes))

    @property
    def smallest(self) -> int:
        """Frames of the smallest batch."""
        return min((size // self._steps(size) for size in self._sizes if size), default=0)

    def epoch(self, epoch: int, share: tuple[int, int] = (0, 1), skip: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The batches of an epoch: their size, spliced frames (n, D), and numbers of their utterances in the set (n,).

        With several processes each draws the same batches and, by `share` (rank, processes), gets its part of each.
        The first `skip` batches are left out; a block that has no other is not loaded.
        """
        rank, processes = share
        before = [0, *itertools.accumulate(map(self._steps, self._sizes))]
        done = bisect.bisect_right(before, skip) - 1
        first = skip - before[done]
        for block, order in self._drawn(self._generator(epoch), done):
            for batch in order.tensor_split(self._steps(len(block)))[first:]:
                chosen = batch.tensor_split(processes)[rank]
                x, utts = block.batch(chosen), block.utt_of[chosen]
                if self._augmentation is not None:
                    x = self._augmentation(x, utts, epoch)
                yield len(batch), x, utts
            first = 0

    def _steps(self, frames: int) -> int:
        return math.ceil(frames / self._batch_size)

    def _generator(self, epoch: int) -> torch.Generator:
        digest = hashlib.sha256(f"{self._seed} {epoch}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def _drawn(self, generator: torch.Generator, done: int) -> Iterator[tuple[Block, Tensor]]:
        """The blocks of an epoch but the first `done`, with a random order of the frames of each."""
        pieces = self._pieces(generator) if self.blocks > 1 else None
        for size in self._sizes[:done]:
            torch.randperm(size, generator=generator)
        for block in [self._all()][done:] if pieces is None else prefetch(self._loads(*pieces, done)):
            order = torch.randperm(len(block), generator=generator)
            yield block, order.to(self._device)

    def _all(self) -> Block:
        if self._whole is None:
            self._whole = self._frames.block(torch.arange(len(self._frames)), self._device)
        return self._whole

    def _pieces(self, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Pieces in random order: the first frame of each, and where it would end if all were concatenated."""
        frames = len(self._frames)
        size = min(_PIECE, max(1, frames // self.blocks // _PIECES))
        first = torch.randperm(math.ceil(frames / size), generator=generator).numpy() * size
        return first, np.minimum(size, frames - first).cumsum()

    def _loads(self, first: np.ndarray, end: np.ndarray, done: int) -> Iterator[Callable[[], Block]]:
        start = np.concatenate([[0], end[:-1]])
        for low, high in itertools.islice(itertools.pairwise(self._bounds), done, None):
            own = slice(np.searchsorted(end, low, side="right"), np.searchsorted(end, high) + 1)
            cut = np.maximum(low - start[own], 0)  # a piece at the edge is shared with the block before
            begin, count = first[own] + cut, np.minimum(end[own], high) - start[own] - cut
            order = begin.argsort()  # so that the disk is read in order
            positions = torch.from_numpy(ranges(begin[order], count[order]))
            yield functools.partial(self._frames.block, positions, self._device)
