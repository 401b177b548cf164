"""Densities of the latents."""

import math

import torch
from torch import Tensor, nn

_FEW = 16  # classes whose distances are computed one by one


class Base(nn.Module):
    """Log-likelihoods of latents under K classes."""

    @property
    def classes(self) -> int:
        """K."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z | y) of every class in nats: (N, D) -> (N, K)."""
        raise NotImplementedError


class ClassGaussians(Base):
    """One Gaussian per class on the latent's first dims, one shared Gaussian on the others.

    z = [c; r] with c of `class_dim` dims and r of the `dim - class_dim` others:

        log p(z | y) = log N(c; mu_y, v_c I) + log N(r; 0, v_r I)

    v_c and v_r are variances, not standard deviations. With one class, zero mean and unit variance
    this is the standard normal of a plain (not discriminative) flow.

    Args:
        classes: K.
        dim: D.
        class_dim: dims of c, 1 to D; D leaves no residual part.
        class_variance: v_c.
        residual_variance: v_r.
        trained: whether the means mu are parameters; otherwise they are fixed at 0.

    Source: Cai et al., "Deep normalization for speaker vectors", arXiv 2004.04095.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        class_dim: int,
        class_variance: float = 1.0,
        residual_variance: float = 1.0,
        trained: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= class_dim <= dim:
            raise ValueError(f"class_dim {class_dim} must be between 1 and the flow's {dim} dims")
        if class_variance <= 0 or residual_variance <= 0:
            raise ValueError(f"variances must be positive, not {class_variance} and {residual_variance}")
        self.class_dim = class_dim
        self.class_variance, self.residual_variance = class_variance, residual_variance
        means = torch.zeros(classes, class_dim)
        if trained:
            self.means = nn.Parameter(means)
        else:
            self.register_buffer("means", means)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.means)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z | y) of every class in nats: (N, D) -> (N, K)."""
        c, r = z[:, : self.class_dim], z[:, self.class_dim :]
        distance = self._distances(c)
        per_class = -0.5 * (distance / self.class_variance + self._constant(c.shape[1], self.class_variance))
        residual = -0.5 * (
            r.square().sum(1) / self.residual_variance + self._constant(r.shape[1], self.residual_variance)
        )
        return per_class + residual.unsqueeze(1)

    def _distances(self, c: Tensor) -> Tensor:
        """Squared distance of each frame's class part from each mean: (N, C) -> (N, K)."""
        if len(self.means) <= _FEW:
            return torch.stack([(c - mean).square().sum(1) for mean in self.means], dim=1)
        # (c - mu)^2 multiplied out: time and memory (N, C) per class would be those of the couplings
        return c.square().sum(1, keepdim=True) - 2 * c @ self.means.t() + self.means.square().sum(1)

    @torch.no_grad()
    def initialize(self, z: Tensor, labels: Tensor) -> None:
        """Start trained means from the class averages of z (N, D); labels (N,) in 0..K-1.

        Raises:
            ValueError: a class without a frame.
        """
        if isinstance(self.means, nn.Parameter):
            for label in range(len(self.means)):
                chosen = z[labels == label, : self.class_dim]
                if not len(chosen):
                    raise ValueError(f"class number {label} has no training frame to start its mean from")
                self.means[label] = chosen.mean(0)

    def std(self, dim: int) -> Tensor:
        """Standard deviation of each of `dim` latent dims, the same for every class: (D,)."""
        variance = torch.full((dim,), self.residual_variance, dtype=self.means.dtype, device=self.means.device)
        variance[: self.class_dim] = self.class_variance
        return variance.sqrt()

    def sample(self, labels: Tensor, dim: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw one z of `dim` dims for each label: (N,) -> (N, D)."""
        noise = torch.randn(len(labels), dim, generator=generator, dtype=self.means.dtype, device=self.means.device)
        z = self.std(dim) * noise
        return torch.cat([self.means[labels] + z[:, : self.class_dim], z[:, self.class_dim :]], dim=1)

    @staticmethod
    def _constant(dims: int, variance: float) -> float:
        return dims * math.log(2 * math.pi * variance)
