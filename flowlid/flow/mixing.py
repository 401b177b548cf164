"""Mixing of all dims by a trained matrix, between pairs of couplings."""

import torch
from torch import Tensor, nn

from flowlid.flow.transforms import Transform


class LUMixing(Transform):
    """z = W x with W = L U, L and U trained triangular matrices; it starts as the identity.

        logdet = sum_i log u_ii

    L has ones on its diagonal, and that of U is stored as logarithms, so that W stays invertible whatever training
    does. Products and triangular solves run in the type of x: a rounding here would be one of the latents.

    Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", arXiv 1807.03039, section 3.2,
    there with a rotation as its start.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.zeros(dim, dim))  # L below the diagonal, U above it, log u_ii on it

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._triangles()
        return x @ (lower @ upper).t(), self._logdet().expand(len(x))  # one product per frame, not two

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._triangles()
        # frames are rows: x U' L' = z
        half = torch.linalg.solve_triangular(lower.t(), z, upper=True, left=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper.t(), half, upper=False, left=False), -self._logdet().expand(len(z))

    def _triangles(self) -> tuple[Tensor, Tensor]:
        diagonal = self.factors.diagonal()
        return self.factors.tril(-1) + torch.ones_like(diagonal).diag(), self.factors.triu(1) + diagonal.exp().diag()

    def _logdet(self) -> Tensor:
        return self.factors.diagonal().sum()
