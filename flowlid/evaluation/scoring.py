"""Log-likelihoods and mean latents of a set under a flow, and the files that keep them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowlid.evaluation import metrics
from flowlid.evaluation.blocks import Blocks, Keep
from flowlid.evaluation.decisions import SetScores, class_numbers, llr_per_frame, summarize
from flowlid.evaluation.durations import block_length, decision_statistics
from flowlid.evaluation.reuse import digest
from flowlid.evaluation.scored import ARCHIVES
from flowlid.files import atomic_write, write_json
from flowlid.flow.checkpoint import Model
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.tables import write_table

Progress = Callable[[int, int], None]


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

    Writes what `archives_in` and `write_scores` do.

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
    with archives_in(out, place) as keep:
        scores = score_frames(model.flow, frames, batch_size, progress, block_length(frame_shift), keep)
    return write_scores(out, place, model, frames, frame_shift, provenance, model.flow.precision, scores)


@contextmanager
def archives_in(out: Path, place: Path) -> Iterator[Keep]:
    """Write archives in the directory `out`, which will be called `place`: gives what takes an utterance's arrays.

    mean_latents.{ark,scp}: the mean latent (D,). blocks.{ark,scp}: of each second, the last of which has what frames
    are left, the mean log p(x | y) of every class and the mean latent (B, K + D).
    """
    files = {name: (out / f"{name}.ark", out / f"{name}.scp", place / f"{name}.ark") for name in ARCHIVES}
    with ArkWriter(*files["mean_latents"]) as write, ArkWriter(*files["blocks"]) as write_blocks:

        def keep(utt: str, mean: np.ndarray, blocks: np.ndarray) -> None:
            if np.isfinite(blocks).all():  # else scoring ends with an error that names the utterance
                write(utt, mean)
                write_blocks(utt, blocks)

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
    """Write what was found of a set, in one piece or in parts: all but the archives.

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
        "utterances_of": {language: frames.languages.count(language) for language in languages},
        "frames": total,
        "hours": total * frame_shift / 3600,
        "block": block_length(frame_shift),
        "precision": precision,
        "provenance": provenance,
        **summarize(scores, frames.languages, model.classes, decides),
        **decision_statistics(scores, frames, model.classes, block_length(frame_shift), decides),
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
    block: int | None = None,
    keep: Keep | None = None,
    each: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
) -> SetScores:
    """Score every selected frame of a set under every class, on the flow's device.

    A batch may hold parts of several utterances; only a block of the set is in memory. The decision for a frame is the
    class of highest log p(x | y).

    Args:
        flow: in evaluation mode afterwards.
        frames: of the set, of the flow's dimension (`frameset.load_model_frames` checks it).
        batch_size: frames scored at once.
        progress: called after each batch with the frames done and their total.
        block: frames of a block; None for no blocks.
        keep: needs `block`; called for each utterance, in order, with its name, the mean of its latents (D,), and of
            each of its blocks the mean log-likelihoods and the mean latent (B, K + D), float32 (`Blocks`).
        each: called for each batch with the utterances of its frames (n,) and their log p(z | y) (n, K), float64.

    Raises:
        NotFinite: a log-likelihood that is not finite.
    """
    flow.eval()
    device, utts, classes = next(flow.parameters()).device, len(frames.utts), flow.base.classes
    logp = torch.zeros(utts, classes, dtype=torch.float64, device=device)
    decided = torch.zeros_like(logp)
    logdet = torch.zeros(utts, dtype=torch.float64, device=device)
    blocks = Blocks(frames, block, classes, flow.dim, device, keep) if block else None
    done = 0
    for x, utt in frames.batches(batch_size, device):
        z, det = flow(x)
        p, det = flow.base.log_prob(z).double(), det.double()
        logp.index_add_(0, utt, p)
        logdet.index_add_(0, utt, det)
        decided.index_add_(0, utt, torch.nn.functional.one_hot(p.argmax(1), classes).double())
        if blocks:
            blocks.add(done, utt, torch.cat([p + det[:, None], z.double()], dim=1))
        done += len(x)
        if each:
            each(utt, p)
        if progress:
            progress(done, len(frames))
    scores = SetScores(
        *(t.cpu().numpy() for t in (frames.counts, logp, logdet, decided)),
        blocks=blocks.scores() if blocks else None,
    )
    bad = np.flatnonzero(~np.isfinite(scores.loglik).all(axis=1))
    if len(bad):
        raise NotFinite(
            f"utterance {frames.utts[bad[0]]}: its log-likelihood under this model is not finite ({len(bad)} such); "
            "check its features"
        )
    return scores
