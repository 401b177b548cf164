"""The flow's input frames: features stay on disk, mapped; blocks of them are normalized and spliced where used."""

import functools
import hashlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from flowlid.config import FramesConfig
from flowlid.flow.checkpoint import Model
from flowlid.frames.agreement import check_features
from flowlid.frames.floor import Floor, floor_of
from flowlid.frames.normalization import normalization
from flowlid.frames.pack import open_or_build
from flowlid.frames.selection import limit_classes, ranges, select_frames, voiced_counts
from flowlid.kaldi.cmvn import apply_cmvn
from flowlid.kaldi.datadir import DataDir

CPU = torch.device("cpu")
_BLOCK = 131072  # frames that a pass over a set loads at once
_ROWS = 4096  # normalized at once, so that their float64 copy stays in the processor's cache
_Result = TypeVar("_Result")


class NoFrames(ValueError):
    """No utterance of a set has a frame of the kind asked for."""


@dataclass
class Block:
    """Some frames of a set in memory, on the device where they are used.

    Attributes:
        feats: (R, F) stretches of rows with their context on both sides; the first and last rows of an utterance
            are repeated beyond its ends, as Kaldi's `splice-feats` does.
        start: (n,) the row of `feats` where each frame's window of 2c + 1 rows starts.
        utt_of: (n,) index in the set of the utterance that each frame belongs to.
        context: c, frames spliced on each side.
    """

    feats: Tensor
    start: Tensor
    utt_of: Tensor
    context: int

    def __len__(self) -> int:
        return len(self.start)

    def batch(self, chosen: Tensor | slice) -> Tensor:
        """The spliced frames [x_{t-c}, ..., x_t, ..., x_{t+c}] of these positions in 0..n-1: -> (m, F (2c + 1))."""
        rows, dim = self.feats.shape
        width = 2 * self.context + 1
        windows = self.feats.as_strided((rows - width + 1, width * dim), (dim, 1))  # rows follow one another
        return windows.index_select(0, self.start[chosen])


@dataclass
class FrameSet:
    """The selected frames of a data set, by utterance; its arrays are on the host, mapped, and not to be written to.

    Attributes:
        utts: U utterance ids.
        languages: U languages, as in utt2lang.
        speakers: U speakers, as in utt2spk.
        feats: (sum of T, F) features of all frames, voiced or not, not yet normalized.
        first, last: (U,) rows of `feats` where each utterance starts and ends (inclusive).
        index: (N,) rows of `feats` that were selected.
        utt_of: (N,) number of the utterance that each selected frame belongs to, ascending.
        context: c, frames spliced on each side.
        digest: checksum of features, normalization and selection.
        norm: (U, 1 or 2, F) float64, what is subtracted from the features of each utterance and, if there are two,
            what they are then multiplied by; None where features are used as they are.
        floor: what is done to the features before that; None: nothing.
    """

    utts: list[str]
    languages: list[str]
    speakers: list[str]
    feats: Tensor
    first: Tensor
    last: Tensor
    index: Tensor
    utt_of: Tensor
    context: int
    digest: str
    norm: Tensor | None = None
    floor: Floor | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        """D = F (2c + 1)."""
        return self.feats.shape[1] * (2 * self.context + 1)

    @functools.cached_property
    def counts(self) -> Tensor:
        """(U,) number of selected frames of each utterance."""
        return torch.bincount(self.utt_of, minlength=len(self.utts))

    def labels(self, classes: Sequence[str]) -> Tensor:
        """Class number of each utterance, -1 where its language is none of the classes: (U,)."""
        numbers = {name: number for number, name in enumerate(classes)}
        return torch.tensor([numbers.get(language, -1) for language in self.languages])

    def batch(self, chosen: Tensor) -> Tensor:
        """The spliced frames of a few positions in 0..N-1, on the host: (n,) -> (n, D)."""
        return self.block(chosen).batch(slice(None))

    def batches(self, size: int, device: torch.device = CPU) -> Iterator[tuple[Tensor, Tensor]]:
        """All frames in their order, `size` at a time: spliced (n, D), and the numbers of their utterances (n,)."""
        step = max(1, _BLOCK // size) * size
        parts = (torch.arange(start, min(start + step, len(self))) for start in range(0, len(self), step))
        for block in prefetch(functools.partial(self.block, part, device) for part in parts):
            for start in range(0, len(block), size):
                chosen = slice(start, start + size)
                yield block.batch(chosen), block.utt_of[chosen]

    def block(self, positions: Tensor, device: torch.device = CPU) -> Block:
        """The frames of these positions in 0..N-1, (n,), in their order; fast where they are consecutive.

        Uses one thread, so that it can run beside training.
        """
        chosen, context = positions.numpy(), self.context
        rows, utt = self.index.numpy()[chosen], self.utt_of.numpy()[chosen]
        gap = np.diff(rows)
        # a stretch continues as long as windows overlap or touch
        starts = np.flatnonzero((np.diff(utt) != 0) | (gap < 0) | (gap > 2 * context + 1)) + 1
        begin, end = np.concatenate([[0], starts]), np.concatenate([starts, [len(rows)]])
        first = rows[begin] - context
        length = rows[end - 1] + context + 1 - first
        source, own = ranges(first, length), utt[begin]
        np.maximum(source, np.repeat(self.first.numpy()[own], length), out=source)
        np.minimum(source, np.repeat(self.last.numpy()[own], length), out=source)
        feats, utt_of = np.take(self.feats.numpy(), source, axis=0), np.repeat(own, length)
        if self.floor is not None:
            self.floor.apply(feats, source - self.first.numpy()[utt_of], utt_of)
        if self.norm is not None:
            _normalize(feats, self.norm.numpy(), utt_of)
        start = rows - context + np.repeat(length.cumsum() - length - first, end - begin)
        return Block(*(torch.from_numpy(array).to(device) for array in (feats, start, utt)), context)


def load_frames(
    data: DataDir,
    config: FramesConfig,
    global_stats: np.ndarray | None = None,
    subsample: bool = False,
    allow_pipes: bool = False,
    select: str = "speech",
    utts: Collection[str] | None = None,
    seed: int = 1,
) -> FrameSet:
    """Map a data directory's features, packed first if they are not yet, and select its frames.

    The order is: level and floor, normalization over all frames, splicing, then the voiced frames, so that the context
    of a voiced frame is what was beside it in the recording. Which frames are voiced is what vad.scp says of the
    recording as it is.

    `select` "nonspeech" takes those frames instead whose context holds no voiced frame, so that no speech gets in by
    splicing; an utterance without such a frame is left out. The normalization is still that over all frames, as the
    model knows it.

    Args:
        data: directory with feats.scp and utt2lang, vad.scp if `config.vad` or `config.level` is set or `select` is
            "nonspeech", cmvn.scp if `config.cmvn` is "speaker" and there is neither level nor floor.
        config: context, subsampling, level, floor, normalization, and whether only voiced frames are taken.
        global_stats: (2, F + 1) statistics of the training set if `config.cmvn` is "global".
        subsample: whether to keep only every `config.subsampling`-th selected frame of an utterance, and of these at
            most `config.per_class` of each language (`limit_classes`), as for training.
        allow_pipes: whether an scp entry may be a shell command.
        select: which frames: "speech" or "nonspeech".
        utts: only these utterances; by default all.
        seed: of the choice of `config.per_class` frames.

    Raises:
        NoFrames: there is no utterance with non-speech frames.
        ValueError: a missing file, an utterance without language, of another dimension, without
            voiced frame, or whose VAD has another length; features with NaN or Inf; a damaged pack.
    """
    kind = select if select == "nonspeech" else "voiced" if config.vad else "all"
    data.validate(require=_required(config, kind))
    pack, names = open_or_build(data, allow_pipes), sorted(data.table("feats.scp"))
    if kind == "voiced" or config.level is not None:
        _check_voiced(data, names, voiced_counts(pack))
    numbers, step = None if utts is None else _numbers(data, names, utts), config.subsampling if subsample else 1
    kept, index, utt_of = select_frames(pack, kind, config.context, step, numbers)
    if not len(kept):
        raise NoFrames(f"{data.path}: no utterance has {select} frames")
    most = config.per_class if subsample else None
    if most is not None:
        languages = [data.table("utt2lang")[names[number]] for number in kept.tolist()]
        own, index, utt_of = limit_classes(index, utt_of, languages, most, seed)
        kept = kept[own]
    chosen = [names[number] for number in kept.tolist()]
    floor = floor_of(config, pack, chosen, kept)
    norm = normalization(data, config, pack, chosen, kept, global_stats, allow_pipes)
    digest = hashlib.sha256(f"{pack.digest} {kind} {config.context * (kind == 'nonspeech')} {step}".encode())
    digest.update(b"" if most is None else f" {most} {seed}".encode())
    digest.update(kept.data)
    digest.update(b"" if norm is None else norm.data)
    digest.update(b"" if floor is None else f"{config.level} {config.floor}".encode() + floor.seeds.data)
    return FrameSet(
        utts=chosen,
        languages=[data.table("utt2lang")[utt] for utt in chosen],
        speakers=[data.table("utt2spk")[utt] for utt in chosen],
        feats=_tensor(pack.feats),
        first=torch.from_numpy(np.where(kept, pack.ends[kept - 1], 0)),
        last=torch.from_numpy(pack.ends[kept] - 1),
        index=_tensor(index),
        utt_of=_tensor(utt_of),
        context=config.context,
        digest=digest.hexdigest()[:32],
        norm=None if norm is None else _tensor(norm),
        floor=floor,
    )


def load_model_frames(
    model: Model,
    data: DataDir,
    allow_pipes: bool = False,
    select: str = "speech",
    utts: Collection[str] | None = None,
) -> FrameSet:
    """The frames of a data directory, prepared like those that a model was trained on.

    Args:
        model: whose configuration and statistics are used.
        data: the directory.
        allow_pipes, select, utts: as for `load_frames`.

    Raises:
        ValueError: as `load_frames`, or features of another dimension.
    """
    config, stats = model.config.frames, model.global_stats
    check_features(model.config, data, allow_pipes)
    frames = load_frames(data, config, stats, allow_pipes=allow_pipes, select=select, utts=utts)
    if frames.dim != model.flow.dim:
        raise ValueError(
            f"{data.path}/feats.scp: {frames.feats.shape[1]} dimensions, but the model was trained on "
            f"{model.feature_dim}; extract both with one conf/fbank.conf"
        )
    return frames


def _normalize(feats: np.ndarray, norm: np.ndarray, utt_of: np.ndarray) -> None:
    """Normalize rows (R, F) in place; `utt_of` (R,) tells each one's utterance."""
    shift, scale = norm[:, 0], norm[:, 1] if norm.shape[1] > 1 else None
    for start in range(0, len(feats), _ROWS):
        own = slice(start, start + _ROWS)
        utt = utt_of[own]
        feats[own] = apply_cmvn(feats[own], shift[utt], None if scale is None else scale[utt])


def _required(config: FramesConfig, kind: str) -> list[str]:
    files = ["utt2spk", "spk2utt", "utt2lang", "feats.scp"]
    files += ["vad.scp"] * (kind != "all" or config.level is not None)
    return files + ["cmvn.scp"] * (config.cmvn == "speaker" and not config.floored)


def _check_voiced(data: DataDir, names: Sequence[str], counts: np.ndarray) -> None:
    if not counts.all():
        raise ValueError(
            f"{data.path}/vad.scp: utterance {names[counts.argmin()]} has no voiced frame; take it out of the "
            "directory (utils/fix_data_dir.py drops it once it is out of vad.scp), or set frames.vad: false and no "
            "frames.level"
        )


def _numbers(data: DataDir, names: Sequence[str], utts: Collection[str]) -> np.ndarray:
    number_of = {utt: number for number, utt in enumerate(names)}
    unknown = [utt for utt in utts if utt not in number_of]
    if unknown:
        raise ValueError(f"{data.path}/feats.scp: no utterance {unknown[0]!r}; run stage 2 again for {data.path}")
    return np.array(sorted({number_of[utt] for utt in utts}), np.int64)


def _tensor(array: np.ndarray) -> Tensor:
    """The same memory, which is not to be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def moments_of(frames: FrameSet, batch_size: int = 65536, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the spliced, selected frames: (D,) and (D,), float32."""
    return moments_of_sums(batch_sums(frames, batch_size, device), len(frames))


def batch_sums(
    frames: FrameSet, batch_size: int, device: torch.device, progress: Callable[[], None] = lambda: None
) -> Tensor:
    """Sums of the spliced, selected frames, and of their squares, over each batch: (B, 2, D) float64.

    `progress` is called after each.
    """
    sums = []
    for x, _ in frames.batches(batch_size, device):
        x = x.double()
        sums.append(torch.stack([x.sum(0), x.square_().sum(0)]))
        progress()
    return torch.stack(sums)


def moments_of_sums(sums: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (D,) and (D,) float32, from the `batch_sums` of so many frames, in their order."""
    total = torch.zeros_like(sums[0])
    for each in sums:
        total += each
    mean, square = total / frames
    return mean.float(), (square - mean**2).clamp_min(0).sqrt().float()


def prefetch(jobs: Iterable[Callable[[], _Result]]) -> Iterator[_Result]:
    """Results of the jobs in their order; a thread works on the next while one is used.

    An error in a job is raised where its result is taken. The thread ends with the iteration.
    """
    with ThreadPoolExecutor(1) as thread:
        current: Future[_Result] | None = None
        for job in jobs:
            following = thread.submit(job)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()
