"""Embedding of latents in two dims by t-SNE."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE

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
