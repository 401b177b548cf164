"""Log-likelihoods and mean latents of a set under a flow, and the files that keep them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowlid.evaluation import metrics
from flowlid.evaluation.decisions import SetScores, WindowScores, class_numbers, llr_per_frame, summarize
from flowlid.evaluation.durations import decision_statistics, window_lengths
from flowlid.evaluation.reuse import digest
from flowlid.files import atomic_write, write_json
from flowlid.flow.checkpoint import Model
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.tables import write_table

_HELD = 1024  # finished utterances whose mean latents wait on the device before they are written
Progress = Callable[[int, int], None]
KeepMean = Callable[[str, np.ndarray], None]


class NotFinite(ValueError):
    """A log-likelihood that is not finite."""


def frames_digest(frames: FrameSet | str) -> str:
    """Digest of all of a set that results depend on; or of the reason why it has no frames."""
    if isinstance(frames, str):
        return digest(frames)
    return digest(frames.digest, *frames.utts, *frames.languages, *frames.speakers)


def score_set(
    out: Path,
    place: Path,
    model: Model,
    frames: FrameSet,
    frame_shift: float,
    provenance: Mapping[str, str],
    batch_size: int,
    progress: Progress,
) -> dict[str, Any]:
    """Score a set, and write all that later steps need: it passes through the flow once.

    Writes `mean_latents.ark` and `.scp`, and what `write_scores` does.

    Args:
        out: an empty directory.
        place: what `out` will be called, score_SET.
        model: its flow on the device to use.
        frames: of the set.
        frame_shift: in seconds.
        provenance: what result.json says of the program that scored.
        batch_size: frames scored at once.
        progress: called with the frames done and their total.

    Returns:
        The content of result.json.

    Raises:
        NotFinite: a log-likelihood that is not finite.
        ValueError: a frame shift that makes no windows.
    """
    lengths = set(window_lengths(frame_shift).values())
    with mean_latents_in(out, place) as keep:
        scores = score_frames(model.flow, frames, batch_size, progress, lengths, keep)
    return write_scores(out, place, model, frames, frame_shift, provenance, model.flow.precision, scores)


@contextmanager
def mean_latents_in(out: Path, place: Path) -> Iterator[KeepMean]:
    """Write mean_latents.ark and .scp in the directory `out`, which will be called `place`: gives what takes a mean."""
    with ArkWriter(out / "mean_latents.ark", out / "mean_latents.scp", place / "mean_latents.ark") as write:

        def keep(utt: str, mean: np.ndarray) -> None:
            if np.isfinite(mean).all():  # else scoring ends with an error that names the utterance
                write(utt, mean)

        yield keep


def write_scores(
    out: Path,
    place: Path,
    model: Model,
    frames: FrameSet,
    frame_shift: float,
    provenance: Mapping[str, str],
    precision: str,
    scores: SetScores,
) -> dict[str, Any]:
    """Write what was found of a set, in one piece or in parts: all but the mean latents.

    Args and value are those of `score_set`, and the precision and the sums of the frames' scores.

    Writes `utt2loglik`, `utt2lang`, `utt2num_frames` (the selected ones), `result.json`, and, if the model decides,
    `utt2pred`, `utt2llr`, `trials` and `scores`.
    """
    decides, total = model.config.model.decides, len(frames)
    languages = sorted(set(frames.languages))
    result = {
        "set": place.name.removeprefix("score_"),
        "classes": model.classes,
        "languages": languages,
        "unseen": [language for language in languages if language not in model.languages],
        "utterances": len(frames.utts),
        "frames": total,
        "hours": total * frame_shift / 3600,
        "precision": precision,
        "provenance": provenance,
        **summarize(scores, frames.languages, model.classes, decides),
        **decision_statistics(scores, frames, model.classes, window_lengths(frame_shift), decides),
    }
    if not model.config.model.is_density:
        result |= dict.fromkeys(("loglik", "logp", "logdet"))
    _write_lists(out, model.classes, frames, scores, decides)
    write_json(out / "result.json", result)
    return result


def _write_lists(out: Path, classes: Sequence[str], frames: FrameSet, scores: SetScores, decides: bool) -> None:
    """The files of a line per utterance: log-likelihoods, and for a model that decides, decisions and trials."""
    utts, mean = frames.utts, scores.mean_loglik
    with atomic_write(out / "utt2loglik") as file:
        file.writelines(
            f"{utt} [ {' '.join(f'{value:.6f}' for value in row)} ]\n" for utt, row in zip(utts, mean, strict=True)
        )
    write_table(out / "utt2lang", dict(zip(utts, frames.languages, strict=True)))
    write_table(out / "utt2num_frames", {utt: str(int(n)) for utt, n in zip(utts, scores.frames, strict=True)})
    if not decides:
        return
    llr_of = llr_per_frame(scores, class_numbers(frames.languages, classes))
    with atomic_write(out / "utt2llr") as file:
        file.writelines(f"{utt} {value:.6f}\n" for utt, value in zip(utts, llr_of, strict=True))
    with atomic_write(out / "utt2pred") as file:
        file.writelines(f"{utt} {classes[k]}\n" for utt, k in zip(utts, mean.argmax(1), strict=True))
    llr = metrics.detection_llr(scores.loglik)
    with atomic_write(out / "trials") as trials, atomic_write(out / "scores") as file:
        for number, (utt, language) in enumerate(zip(utts, frames.languages, strict=True)):
            for k, name in enumerate(classes):
                trials.write(f"{utt} {name} {'target' if name == language else 'nontarget'}\n")
                file.write(f"{utt} {name} {np.format_float_positional(llr[number, k], precision=6)}\n")


@torch.no_grad()
def score_frames(
    flow: Flow,
    frames: FrameSet,
    batch_size: int = 8192,
    progress: Progress | None = None,
    windows: Collection[int] = (),
    keep_mean: KeepMean | None = None,
    each: Callable[[Tensor, Tensor], None] | None = None,
) -> SetScores:
    """Score every selected frame of a set under every class, on the flow's device.

    A batch may hold parts of several utterances; only a block of the set is in memory. The decision for a frame is the
    class of highest log p(x | y).

    Args:
        flow: in evaluation mode afterwards.
        frames: of the set, of the flow's dimension (`frameset.load_model_frames` checks it).
        batch_size: frames scored at once.
        progress: called after each batch with the frames done and their total.
        windows: lengths in frames of the windows to sum up.
        keep_mean: called for each utterance, in order, with its name and the mean of its latents (D,), float32.
        each: called for each batch with the utterances of its frames (n,) and their log p(z | y) (n, K), float64.

    Raises:
        NotFinite: a log-likelihood that is not finite.
    """
    flow.eval()
    device, utts, classes = next(flow.parameters()).device, len(frames.utts), flow.base.classes
    logp = torch.zeros(utts, classes, dtype=torch.float64, device=device)
    decided = torch.zeros_like(logp)
    logdet = torch.zeros(utts, dtype=torch.float64, device=device)
    sums = {length: _Windows(length, frames.counts.to(device), classes) for length in windows}
    means = _MeanLatents(frames, flow.dim, device, keep_mean) if keep_mean else None
    done = 0
    for x, utt in frames.batches(batch_size, device):
        z, det = flow(x)
        p = flow.base.log_prob(z).double()
        logp.index_add_(0, utt, p)
        logdet.index_add_(0, utt, det.double())
        decided.index_add_(0, utt, torch.nn.functional.one_hot(p.argmax(1), classes).double())
        for window in sums.values():
            window.add(done, utt, p)
        done += len(x)
        if means:
            means.add(done, utt, z)
        if each:
            each(utt, p)
        if progress:
            progress(done, len(frames))
    scores = SetScores(
        *(t.cpu().numpy() for t in (frames.counts, logp, logdet, decided)),
        windows={length: window.scores() for length, window in sums.items()},
    )
    bad = np.flatnonzero(~np.isfinite(scores.loglik).all(axis=1))
    if len(bad):
        raise NotFinite(
            f"utterance {frames.utts[bad[0]]}: its log-likelihood under this model is not finite ({len(bad)} such); "
            "check its features"
        )
    return scores


class _Windows:
    """Sums over windows of `length` frames, added up batch by batch; an extra row is for the frames of no window.

    The windows of an utterance are consecutive, as its frames are: the number of frames of each utterance tells
    which window the n-th frame of the set is in.
    """

    def __init__(self, length: int, counts: Tensor, classes: int) -> None:
        self.length = length
        self.number = counts // length
        self.first_frame = counts.cumsum(0) - counts
        self.first_window = self.number.cumsum(0) - self.number
        self.total = int(self.number.sum())
        self.logp = torch.zeros(self.total + 1, classes, dtype=torch.float64, device=counts.device)

    def add(self, done: int, utt: Tensor, logp: Tensor) -> None:
        """Add the terms (n, K) of the frames that come after the first `done` ones of the set."""
        nth = (torch.arange(done, done + len(utt), device=utt.device) - self.first_frame[utt]) // self.length
        row = torch.where(nth < self.number[utt], self.first_window[utt] + nth, self.total)
        self.logp.index_add_(0, row, logp)

    def scores(self) -> WindowScores:
        number = self.number.cpu().numpy()
        return WindowScores(np.repeat(np.arange(len(number)), number), self.logp[: self.total].cpu().numpy())


class _MeanLatents:
    """Mean latents of the utterances, passed on as they are finished: few sums are in memory at any time."""

    def __init__(
        self, frames: FrameSet, dim: int, device: torch.device, keep: Callable[[str, np.ndarray], None]
    ) -> None:
        self.utts, self.counts, self.ends = frames.utts, frames.counts.numpy(), frames.counts.cumsum(0).numpy()
        self.keep = keep
        self.first = 0  # number of the utterance that the first sum is of
        self.sums = torch.zeros(0, dim, dtype=torch.float64, device=device)

    def add(self, done: int, utt: Tensor, z: Tensor) -> None:
        """Add latents (n, D) of utterances (n,); `done` frames of the set have been added with them."""
        finished = int(np.searchsorted(self.ends, done, side="right"))
        last = min(finished, len(self.utts) - 1)
        new = self.sums.new_zeros(last + 1 - self.first - len(self.sums), self.sums.shape[1])
        self.sums = torch.cat([self.sums, new]).index_add_(0, utt - self.first, z.double())
        if finished - self.first >= _HELD or finished == len(self.utts):
            own = slice(self.first, finished)
            means = self.sums[: finished - self.first].cpu().numpy() / self.counts[own, None]
            for name, mean in zip(self.utts[own], means.astype(np.float32), strict=True):
                self.keep(name, mean)
            self.sums, self.first = self.sums[finished - self.first :].clone(), finished
