"""Whitening of the frames before the first coupling."""

import torch
from torch import Tensor

from flowlid.flow.transforms import Transform

_RIDGE = 1e-4  # added to the variances: far below what filterbanks leave a dim (0.004), enough for a dim that is a sum


class Whitening(Transform):
    """z = W (x - mean), frozen: W is lower triangular and makes the covariance of the start's frames the identity.

        logdet = sum_i log |w_ii|

    With C = L L' (Cholesky), W = L^(-1): z_i is what x_i has beyond its best linear prediction from the dims before
    it, in units of that error's standard deviation. So a flow starts at the Gaussian of full covariance, and couplings
    are left with what is not linear.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("weight", torch.eye(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) @ self.weight.tril().t(), self._logdet().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.linalg.solve_triangular(self.weight.tril().t(), z, upper=True, left=False)
        return x + self.mean, -self._logdet().expand(len(z))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Start from the mean and covariance of the frames x (N, D).

        Raises:
            ValueError: fewer than 2 D frames, from which no covariance of D dims can be told.
        """
        frames, dim = x.shape
        if frames < 2 * dim:
            raise ValueError(f"model.whitening: {frames} training frames are too few for {dim} dims; set it to false")
        x = x.double()
        mean = x.mean(0)
        identity = torch.eye(dim, dtype=x.dtype, device=x.device)
        covariance = (x - mean).t() @ (x - mean) / frames + _RIDGE * identity
        self.mean.copy_(mean)
        self.weight.copy_(torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), identity, upper=False))

    def _logdet(self) -> Tensor:
        return self.weight.diagonal().abs().log().sum()
