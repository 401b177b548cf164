"""The flow's input frames: features normalized, spliced and selected in memory.

Only F-dimensional frames are held; a batch is spliced when it is drawn, on the device where it
is used.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from flowlid.config import FramesConfig
from flowlid.datadir import DataDir, read_matrix


class NoFrames(ValueError):
    """No utterance of a set has a frame of the kind asked for."""


def splice(feats: Tensor, context: int) -> Tensor:
    """Join each frame with its neighbours: row t is [x_{t-c}, ..., x_t, ..., x_{t+c}].

    Before the first frame and after the last one that frame itself is repeated, as Kaldi's
    `splice-feats --left-context=c --right-context=c` does.

    Args:
        feats: (T, F).
        context: c, frames on each side.

    Returns:
        (T, F (2c + 1)).
    """
    return _gather(feats, torch.arange(len(feats)), torch.tensor(0), torch.tensor(len(feats) - 1), context)


def cmvn_stats(feats: np.ndarray) -> np.ndarray:
    """Sufficient statistics of features in Kaldi's layout: (T, F) -> (2, F + 1) float64.

    Row 0 holds the sums and the number of frames, row 1 the sums of squares and 0, as
    `compute-cmvn-stats` writes them; statistics of several utterances add up.
    """
    feats = feats.astype(np.float64)
    stats = np.zeros((2, feats.shape[1] + 1))
    stats[0, :-1], stats[0, -1] = feats.sum(0), len(feats)
    stats[1, :-1] = np.square(feats).sum(0)
    return stats


def apply_cmvn(feats: np.ndarray, stats: np.ndarray, norm_vars: bool) -> np.ndarray:
    """Subtract the mean, and divide by the standard deviation if `norm_vars`: (T, F) -> (T, F) float32.

    Source: Kaldi's `apply-cmvn` (its floor of 1e-20 on the variance included).
    """
    mean = stats[0, :-1] / stats[0, -1]
    scale = 1.0
    if norm_vars:
        scale = 1.0 / np.sqrt(np.maximum(stats[1, :-1] / stats[0, -1] - mean**2, 1e-20))
    return ((feats - mean) * scale).astype(np.float32)


@dataclass
class FrameSet:
    """The selected frames of a data set, by utterance, spliced when drawn.

    Attributes:
        utts: U utterance ids.
        languages: U languages, as in utt2lang.
        speakers: U speakers, as in utt2spk.
        feats: (sum of T, F) normalized features of all frames, voiced or not.
        first, last: (U,) rows of `feats` where each utterance starts and ends (inclusive).
        index: (N,) rows of `feats` that were selected.
        utt_of: (N,) number of the utterance that each selected frame belongs to, ascending.
        context: frames spliced on each side.
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

    def __len__(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        """D = F (2c + 1)."""
        return self.feats.shape[1] * (2 * self.context + 1)

    def batch(self, chosen: Tensor) -> Tensor:
        """The spliced frames of these positions in 0..N-1: (n,) -> (n, D)."""
        utt = self.utt_of[chosen]
        return _gather(self.feats, self.index[chosen], self.first[utt], self.last[utt], self.context)

    def to(self, device: torch.device) -> "FrameSet":
        """The same frames on another device."""
        tensors = (self.feats, self.first, self.last, self.index, self.utt_of)
        return FrameSet(self.utts, self.languages, self.speakers, *(t.to(device) for t in tensors), self.context)

    def labels(self, classes: Sequence[str]) -> Tensor:
        """Class number of each utterance, -1 where its language is none of the classes: (U,)."""
        numbers = {name: number for number, name in enumerate(classes)}
        return torch.tensor([numbers.get(language, -1) for language in self.languages], device=self.feats.device)


def load_frames(
    data: DataDir,
    config: FramesConfig,
    global_stats: np.ndarray | None = None,
    subsample: bool = False,
    allow_pipes: bool = False,
    select: str = "speech",
    utts: Collection[str] | None = None,
) -> FrameSet:
    """Read a data directory's features and select its frames.

    The order is: normalization over all frames, splicing, then the voiced frames, so that the
    context of a voiced frame is what really stood beside it.

    `select` "nonspeech" takes those frames instead whose context holds no voiced frame, so that no speech
    gets in by splicing; an utterance without such a frame is left out. The normalization stays that over all
    frames, as the model knows it.

    Args:
        data: directory with feats.scp and utt2lang, vad.scp if `config.vad`, cmvn.scp if
            `config.cmvn` is "speaker".
        global_stats: (2, F + 1) statistics of the training set if `config.cmvn` is "global".
        subsample: whether to keep only every `config.subsampling`-th selected frame.
        allow_pipes: whether an scp entry may be a shell command.
        select: which frames: "speech" or "nonspeech".
        utts: only these utterances; by default all.

    Raises:
        NoFrames: there is no utterance with non-speech frames.
        ValueError: a missing file, an utterance without language, of another dimension, without
            voiced frame, or whose VAD has another length; features with NaN or Inf.
    """
    data.validate(require=_required(config))
    language, speaker = data.table("utt2lang"), data.table("utt2spk")
    kept, feats, index, utt_of, starts = [], [], [], [], [0]
    for utt, x, selected in _utterances(data, config, global_stats, select, utts, allow_pipes):
        selected = selected[:: config.subsampling if subsample else 1]
        feats.append(x)
        index.append(selected + starts[-1])
        utt_of.append(np.full(len(selected), len(kept)))
        starts.append(starts[-1] + len(x))
        kept.append(utt)
    if not kept:
        raise NoFrames(f"{data.path}: no utterance has {select} frames")
    return FrameSet(
        utts=kept,
        languages=[language[utt] for utt in kept],
        speakers=[speaker[utt] for utt in kept],
        feats=torch.from_numpy(np.concatenate(feats)),
        first=torch.tensor(starts[:-1]),
        last=torch.tensor(starts[1:]) - 1,
        index=torch.from_numpy(np.concatenate(index)),
        utt_of=torch.from_numpy(np.concatenate(utt_of)),
        context=config.context,
    )


def _utterances(
    data: DataDir,
    config: FramesConfig,
    global_stats: np.ndarray | None,
    select: str,
    utts: Collection[str] | None,
    allow_pipes: bool,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each utterance with a selected frame, its normalized features (T, F) and the frames that were selected."""
    choose = {"speech": _voiced, "nonspeech": _unvoiced}[select]
    speaker_stats = _speaker_stats(data, allow_pipes) if config.cmvn == "speaker" else {}
    dim = None
    for utt in sorted(data.table("feats.scp") if utts is None else utts):
        x = data.feats(utt, allow_pipes)
        dim = dim or x.shape[1]
        _check_dim(data, utt, x, dim, "where those before it have")
        selected = choose(data, utt, len(x), config, allow_pipes)
        stats = {"speaker": speaker_stats.get(data.table("utt2spk")[utt]), "global": global_stats}.get(config.cmvn)
        if stats is not None:
            _check_dim(data, utt, x, stats.shape[1] - 1, f"but the {config.cmvn} statistics (frames.cmvn) have")
        if len(selected):
            yield utt, _normalize(x, stats, config), selected


def global_cmvn(data: DataDir, allow_pipes: bool = False) -> np.ndarray:
    """Statistics of all frames of a data directory: (2, F + 1); ValueError: utterances of different dimensions."""
    total = 0
    for number, utt in enumerate(sorted(data.table("feats.scp"))):
        x = data.feats(utt, allow_pipes)
        if number:
            _check_dim(data, utt, x, total.shape[1] - 1, "where those before it have")
        total = total + cmvn_stats(x)
    return total


def moments_of(frames: FrameSet, batch_size: int = 65536) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the spliced, selected frames: (D,) and (D,), float32."""
    total = torch.zeros(frames.dim, dtype=torch.float64, device=frames.feats.device)
    square = torch.zeros_like(total)
    for chosen in torch.arange(len(frames), device=total.device).split(batch_size):
        x = frames.batch(chosen).double()
        total += x.sum(0)
        square += x.square().sum(0)
    mean = total / len(frames)
    return mean.float(), (square / len(frames) - mean**2).clamp_min(0).sqrt().float()


def _gather(feats: Tensor, rows: Tensor, first: Tensor, last: Tensor, context: int) -> Tensor:
    offsets = torch.arange(-context, context + 1, device=feats.device)
    neighbours = torch.clamp(rows.unsqueeze(1) + offsets, first.unsqueeze(-1), last.unsqueeze(-1))
    return feats[neighbours].flatten(1)


def _check_dim(data: DataDir, utt: str, x: np.ndarray, wanted: int, whose: str) -> None:
    if x.shape[1] != wanted:
        raise ValueError(
            f"{data.path}/feats.scp: utterance {utt}: {x.shape[1]} dimensions {whose} {wanted}; "
            "extract the features of all directories with one configuration (stage 2)"
        )


def _required(config: FramesConfig) -> list[str]:
    files = ["utt2spk", "spk2utt", "utt2lang", "feats.scp"]
    files += ["vad.scp"] if config.vad else []
    return files + (["cmvn.scp"] if config.cmvn == "speaker" else [])


def _voiced(data: DataDir, utt: str, length: int, config: FramesConfig, allow_pipes: bool) -> np.ndarray:
    if not config.vad:
        return np.arange(length)
    vad = _vad(data, utt, length, allow_pipes)
    if not vad.any():
        raise ValueError(
            f"{data.path}/vad.scp: utterance {utt} has no voiced frame; take it out of the directory "
            "(utils/fix_data_dir.py drops it once it is out of vad.scp), or set frames.vad: false"
        )
    return np.flatnonzero(vad)


def _unvoiced(data: DataDir, utt: str, length: int, config: FramesConfig, allow_pipes: bool) -> np.ndarray:
    vad = _vad(data, utt, length, allow_pipes)
    speech_near = maximum_filter1d(vad.astype(np.uint8), 2 * config.context + 1, mode="nearest")
    return np.flatnonzero(speech_near == 0)


def _vad(data: DataDir, utt: str, length: int, allow_pipes: bool) -> np.ndarray:
    vad = data.vad(utt, allow_pipes)
    if len(vad) != length:
        raise ValueError(
            f"{data.path}/vad.scp: utterance {utt}: {len(vad)} decisions for {length} frames of features; "
            "compute both from the same audio with the same frame shift (stage 2)"
        )
    return vad


def _speaker_stats(data: DataDir, allow_pipes: bool) -> dict[str, np.ndarray]:
    stats = {}
    for speaker, specifier in data.table("cmvn.scp").items():
        name = f"{data.path}/cmvn.scp: speaker {speaker}"
        stats[speaker] = read_matrix(specifier, name, allow_pipes).astype(np.float64)
        if stats[speaker].shape[0] != 2 or stats[speaker][0, -1] < 1:
            raise ValueError(f"{name}: no statistics of shape (2, F + 1) with a count; run stage 2 again")
    return stats


def _normalize(x: np.ndarray, stats: np.ndarray | None, config: FramesConfig) -> np.ndarray:
    if config.cmvn == "none":
        return x.astype(np.float32)
    return apply_cmvn(x, cmvn_stats(x) if config.cmvn == "utterance" else stats, config.norm_vars)
