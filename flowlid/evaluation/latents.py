"""Where speech lies in a flow's latent space."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE

from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet


@torch.no_grad()
def latents(flow: Flow, frames: FrameSet, chosen: np.ndarray, batch_size: int = 8192) -> np.ndarray:
    """Latents z of these frames, in their order: positions (n,) in 0..N-1 -> (n, D) float32.

    Args:
        flow: in evaluation mode afterwards.
        frames: the set.
        chosen: positions among the selected frames.
    """
    flow.eval()
    device = next(flow.parameters()).device
    parts = torch.from_numpy(chosen).split(batch_size)
    return np.concatenate([flow(frames.batch(part).to(device))[0].cpu().numpy() for part in parts])


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
        languages: of U groups of items, one group behind the other.
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


@torch.no_grad()
def mean_latents(flow: Flow, frames: FrameSet, batch_size: int = 8192) -> NDArray[np.float64]:
    """Mean latent z over the selected frames of each utterance: (U, D)."""
    flow.eval()
    device = next(flow.parameters()).device
    sums = torch.zeros(len(frames.utts), flow.dim, dtype=torch.float64, device=device)
    for x, utt in frames.batches(batch_size, device):
        sums.index_add_(0, utt, flow(x)[0].double())
    return sums.cpu().numpy() / frames.counts[:, None].numpy()


FEWEST_FOR_TSNE = 4  # frames


def tsne_embedding(z: ArrayLike, seed: int, perplexity: float = 30.0) -> NDArray[np.float32]:
    """Embed latents in two dims by t-SNE (van der Maaten and Hinton 2008), started from their PCA.

    Args:
        z: latents, shape (n, D), n >= 4, D >= 2.
        seed: of scikit-learn's random state.
        perplexity: lowered to (n - 1) / 3 where there are few samples.

    Returns:
        Shape (n, 2).

    Raises:
        ValueError: too few samples or dims, or NaN or Inf.
    """
    z = np.asarray(z)
    if z.ndim != 2 or z.shape[0] < FEWEST_FOR_TSNE or z.shape[1] < 2 or not np.isfinite(z).all():
        raise ValueError(f"t-SNE: needs finite latents (n, D) with n >= 4 and D >= 2, have shape {z.shape}")
    perplexity = min(perplexity, (len(z) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed).fit_transform(z)
