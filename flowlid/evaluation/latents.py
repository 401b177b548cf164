"""Latents of chosen frames: their moments, and samples for plots."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from flowlid.evaluation import metrics
from flowlid.files import write_json
from flowlid.flow.checkpoint import Model
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet

Progress = Callable[[int, int], None]


def analyse_set(
    out: Path, model: Model, frames: FrameSet, most: int, each: int, seed: int, progress: Progress
) -> tuple[int, int]:
    """Write moments.json and sample.npz of a set's latents into the directory `out`.

    Args:
        out: the directory.
        model: its flow on the device to use.
        frames: of the set.
        most: random frames that the moments are computed from.
        each: frames of each language in the sample.
        seed: of both choices.
        progress: called with the frames done and their total.

    Returns:
        Numbers of frames that moments and sample are of.
    """
    base, chosen, sample = model.flow.base, random_frames(frames, most, seed), balanced_frames(frames, each, seed)
    total = len(chosen) + len(sample)
    z = latents(model.flow, frames, chosen, progress=lambda done, _: progress(done, total))
    moments = metrics.latent_moments(z, frame_languages(frames, chosen).tolist(), base.class_dim)
    write_json(out / "moments.json", {"frames": len(chosen), "moments": moments})
    z = latents(model.flow, frames, sample, progress=lambda done, _: progress(len(chosen) + done, total))
    # a normal flow holds all of its languages to one mean
    means = base.means.detach().cpu().expand(len(model.languages), -1).numpy()
    languages = np.array(model.languages)
    np.savez(out / "sample.npz", z=z, language=frame_languages(frames, sample), means=means, languages=languages)
    return len(chosen), len(sample)


@torch.no_grad()
def latents(
    flow: Flow,
    frames: FrameSet,
    chosen: np.ndarray,
    batch_size: int = 8192,
    progress: Progress | None = None,
) -> np.ndarray:
    """Latents z of these frames, in their order: positions (n,) in 0..N-1 -> (n, D) float32.

    Args:
        flow: in evaluation mode afterwards.
        frames: the set.
        chosen: positions among the selected frames.
        batch_size: frames at once.
        progress: called after each batch with the frames done and their total.
    """
    flow.eval()
    device = next(flow.parameters()).device
    found = np.empty((len(chosen), flow.dim), np.float32)
    for start in range(0, len(chosen), batch_size):
        part = slice(start, start + batch_size)
        found[part] = flow(frames.batch(torch.from_numpy(chosen[part])).to(device))[0].cpu().numpy()
        if progress:
            progress(min(part.stop, len(chosen)), len(chosen))
    return found


def frame_languages(frames: FrameSet, chosen: np.ndarray) -> np.ndarray:
    """Language of each of these frames: positions (n,) in 0..N-1 -> (n,) of strings."""
    return np.array(frames.languages)[frames.utt_of.numpy()[chosen]]


def random_frames(frames: FrameSet, most: int, seed: int) -> np.ndarray:
    """Positions of up to `most` random frames, ascending: (n,)."""
    count = min(most, len(frames))
    return np.sort(np.random.default_rng(seed).choice(len(frames), count, replace=False))


def balanced_frames(frames: FrameSet, each: int, seed: int) -> np.ndarray:
    """Positions of up to `each` random frames of every language, ascending: (n,)."""
    return balanced(frames.languages, frames.counts.numpy(), each, seed)


def balanced(languages: Sequence[str], counts: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Positions, ascending, of up to `each` random items of every language.

    Args:
        languages: of U groups of items, one group after the other.
        counts: items of each group, (U,).
        each: most items of a language.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    languages, first = np.array(languages), counts.cumsum() - counts
    parts = []
    for language in np.unique(languages):
        own = np.flatnonzero(languages == language)
        end = counts[own].cumsum()  # were the groups of this language alone
        chosen = generator.choice(end[-1], min(each, end[-1]), replace=False)
        group = np.searchsorted(end, chosen, side="right")
        parts.append(chosen - end[group] + counts[own][group] + first[own][group])
    return np.sort(np.concatenate(parts))
