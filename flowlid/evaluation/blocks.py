"""Log-likelihoods and latents of each second of an utterance: what pieces of any length are put together from."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowlid.evaluation.decisions import WindowScores
from flowlid.frames.frameset import FrameSet

_HELD = 1024  # finished utterances whose sums wait on the device before they are written
Keep = Callable[[str, np.ndarray, np.ndarray], None]


class Blocks:
    """Sums over the blocks of each utterance, the last of which may be shorter; passed on when it is finished.

    Few sums are in memory at any time. The blocks of an utterance are consecutive, as its frames are: the number of
    frames of each utterance tells which block the n-th frame of the set is in.

    Args:
        frames: the set.
        length: of a block, in frames.
        classes: how many there are, K.
        dim: of the latent, D.
        device: of the flow.
        keep: called for each utterance, in order, with its name, the mean of its latents (D,), and of each of its
            blocks, of which the last has what frames are left, the mean log-likelihoods and latent (B, K + D), float32.
    """

    def __init__(
        self, frames: FrameSet, length: int, classes: int, dim: int, device: torch.device, keep: Keep | None
    ) -> None:
        self.utts, self.length, self.classes, self.keep = frames.utts, length, classes, keep
        counts = frames.counts.to(device)
        self.first_frame = counts.cumsum(0) - counts
        number = -(-counts // length)  # blocks of each utterance, with the last one
        self.first_block = number.cumsum(0) - number
        self.counts, self.ends = frames.counts.numpy(), frames.counts.cumsum(0).numpy()
        self.cuts = np.append(0, number.cumsum(0).cpu().numpy())  # first block of each utterance, and their number
        self.loglik: list[np.ndarray] = []
        self.first = 0  # number of the utterance that the first sum is of
        self.sums = torch.zeros(0, classes + dim, dtype=torch.float64, device=device)

    def add(self, done: int, utt: Tensor, values: Tensor) -> None:
        """Add log p(x | y) and z of frames, (n, K + D), of utterances (n,): the set's after the first `done` ones."""
        nth = torch.arange(done, done + len(utt), device=utt.device) - self.first_frame[utt]
        block, begin = self.first_block[utt] + nth // self.length, int(self.cuts[self.first])
        new = self.sums.new_zeros(int(block[-1]) + 1 - begin - len(self.sums), self.sums.shape[1])
        self.sums = torch.cat([self.sums, new]).index_add_(0, block - begin, values)
        finished = int(np.searchsorted(self.ends, done + len(utt), side="right"))
        if finished - self.first >= _HELD or finished == len(self.utts):
            cuts = self.cuts[self.first : finished + 1] - begin
            sums = self.sums[: cuts[-1]].cpu().numpy()
            for number, own in enumerate(np.split(sums, cuts[1:-1]), self.first):
                self._finish(number, own)
            self.sums, self.first = self.sums[cuts[-1] :].clone(), finished

    def _finish(self, number: int, sums: np.ndarray) -> None:
        frames = int(self.counts[number])
        self.loglik.append(sums[: frames // self.length, : self.classes])
        if self.keep:
            mean, own = sums[:, self.classes :].sum(axis=0) / frames, np.full((len(sums), 1), self.length)
            own[-1] = frames - (len(sums) - 1) * self.length
            self.keep(self.utts[number], mean.astype(np.float32), (sums / own).astype(np.float32))

    def scores(self) -> WindowScores:
        """Log-likelihoods of the blocks that are whole, once every frame was added."""
        utt_of = np.repeat(np.arange(len(self.loglik)), [len(own) for own in self.loglik])
        return WindowScores(utt_of, np.concatenate(self.loglik))
