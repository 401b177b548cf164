"""What a baseline says of frames, as tensors: on any device, and without the package that fitted it.

A baseline is a `Flow` without couplings, whose base is one of these. The weights come from scikit-learn
(`training.baselines`).
"""

import math

import torch
from torch import Tensor, nn

from flowlid.flow.bases import Base
from flowlid.flow.transforms import Standardization


class GaussianMixtures(Base):
    """One mixture of diagonal Gaussians per class.

        log p(z | y) = log sum_m w_ym N(z; mu_ym, diag v_ym)

    Args:
        classes: K.
        components: M Gaussians per class.
        dim: D.
    """

    def __init__(self, classes: int, components: int, dim: int) -> None:
        super().__init__()
        self.log_weights = _fitted(torch.full((classes, components), -math.log(components)))
        self.means = _fitted(torch.zeros(classes, components, dim))
        self.variances = _fitted(torch.ones(classes, components, dim))

    @property
    def classes(self) -> int:
        """K."""
        return len(self.means)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z | y) of every class in nats: (N, D) -> (N, K)."""
        terms, square = zip(self.log_weights, self.means, self.variances, strict=True), z.square()
        return torch.stack([self._class_log_prob(z, square, *term) for term in terms], dim=1)

    @staticmethod
    def _class_log_prob(z: Tensor, square: Tensor, log_weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
        # (z - mu)^2 / v multiplied out: the (N, M, D) array of all differences would not fit in memory
        constant = (means.square() / variances + (2 * math.pi * variances).log()).sum(1)
        distance = square @ (1 / variances).t() - 2 * z @ (means / variances).t() + constant
        return (log_weights - 0.5 * distance).logsumexp(1)


class SharedGaussians(Base):
    """One Gaussian per class with a full covariance that all share: what linear discriminant analysis fits.

        log p(z | y) = log N(z; mu_y, C),   W C W' = I

    Args:
        classes: K.
        dim: D.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.means = _fitted(torch.zeros(classes, dim))
        self.whitening = _fitted(torch.eye(dim))  # W: lower triangular, the inverse of C's Cholesky factor

    @property
    def classes(self) -> int:
        """K."""
        return len(self.means)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z | y) of every class in nats: (N, D) -> (N, K)."""
        constant = self.whitening.diagonal().log().sum() - 0.5 * z.shape[1] * math.log(2 * math.pi)
        white, means = z @ self.whitening.t(), self.means @ self.whitening.t()
        return constant - 0.5 * torch.stack([(white - mean).square().sum(1) for mean in means], dim=1)


class LogPosteriors(Base):
    """log p(y | x) at flat priors from a linear map of the standardized frame; not a density of x.

        log p(y | x) = log softmax_y(w_y' (x - mean) / std + b_y)

    Args:
        classes: K.
        mean, std: (D,) statistics of the training frames.
    """

    def __init__(self, classes: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.standardization = Standardization(mean, std)
        self.weights = _fitted(torch.zeros(classes, len(mean)))
        self.offsets = _fitted(torch.zeros(classes))

    @property
    def classes(self) -> int:
        """K."""
        return len(self.offsets)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(y | z) of every class in nats, of the frames as they are: (N, D) -> (N, K)."""
        return torch.log_softmax(self.standardization(z)[0] @ self.weights.t() + self.offsets, dim=1)


def _fitted(start: Tensor) -> nn.Parameter:
    return nn.Parameter(start, requires_grad=False)
