"""Where speech lies in a flow's latent space."""

import numpy as np
import torch

from flowlid.flow import Flow
from flowlid.frames import FrameSet


@torch.no_grad()
def latents(flow: Flow, frames: FrameSet, chosen: np.ndarray, batch_size: int = 8192) -> np.ndarray:
    """Latents z of these frames, in their order: positions (n,) in 0..N-1 -> (n, D) float32.

    Args:
        flow: in evaluation mode afterwards; on the device of `frames`.
        frames: the set.
        chosen: positions among the selected frames.
    """
    flow.eval()
    parts = torch.from_numpy(chosen).to(frames.feats.device).split(batch_size)
    return np.concatenate([flow(frames.batch(part))[0].cpu().numpy() for part in parts])


def frame_languages(frames: FrameSet) -> np.ndarray:
    """Language of each selected frame: (N,) of strings."""
    return np.array(frames.languages)[frames.utt_of.cpu().numpy()]


def random_frames(frames: FrameSet, most: int, seed: int) -> np.ndarray:
    """Positions of up to `most` random frames, ascending: (n,)."""
    count = min(most, len(frames))
    return np.sort(np.random.default_rng(seed).choice(len(frames), count, replace=False))


def balanced_frames(languages: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Positions of up to `each` random frames of every language, ascending: (N,) languages -> (n,)."""
    generator = np.random.default_rng(seed)
    parts = []
    for language in np.unique(languages):
        own = np.flatnonzero(languages == language)
        parts.append(generator.choice(own, min(each, len(own)), replace=False))
    return np.sort(np.concatenate(parts))
