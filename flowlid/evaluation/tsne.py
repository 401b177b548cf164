"""Embedding of latents in two dims by t-SNE."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE

FEWEST_FOR_TSNE = 4  # frames
PERPLEXITY = 30.0


def perplexity_of(count: int, perplexity: float = PERPLEXITY) -> float:
    """The perplexity with which so many samples are embedded: lowered to (n - 1) / 3 where there are few."""
    return min(perplexity, (count - 1) / 3)


def tsne_embedding(z: ArrayLike, seed: int, perplexity: float = PERPLEXITY) -> NDArray[np.float32]:
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
    return TSNE(
        2, perplexity=perplexity_of(len(z), perplexity), init="pca", learning_rate="auto", random_state=seed
    ).fit_transform(z)
