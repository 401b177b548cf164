"""Whitening of the frames before the first coupling."""

import torch
from torch import Tensor

from flowlid.flow.transforms import Transform

_NOISE = 0.1  # variance of the white noise that counts as part of the frames, which come standardized


class Whitening(Transform):
    """z = W (x - mean), frozen: W is lower triangular and makes frames of the start's covariance white.

        logdet = sum_i log |w_ii|

    With C = L L' (Cholesky), W = L^(-1): z_i is what x_i has beyond its best linear prediction from the dims before
    it, in units of that error's standard deviation. So couplings are left with what is not linear. C is the covariance
    of the frames with a little white noise on them: without it the faintest directions, which differ most from one
    voice or channel to another, would be blown up to the size of all others.
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
        covariance = (x - mean).t() @ (x - mean) / frames + _NOISE * identity
        self.mean.copy_(mean)
        self.weight.copy_(torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), identity, upper=False))

    def _logdet(self) -> Tensor:
        return self.weight.diagonal().abs().log().sum()
