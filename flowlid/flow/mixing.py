"""Mixing of all dims by a trained matrix, before the couplings split them."""

import torch
from torch import Tensor, nn

from flowlid.flow.transforms import Transform

_LEAST = 1e-6  # variance of standardized frames along an axis: less is taken for this much


class LUMixing(Transform):
    """z = W x with an invertible matrix W = P L U, P a fixed permutation of rows, L and U triangular and trained.

        logdet = sum_i log |u_ii|

    L has ones on its diagonal; the diagonal of U is stored as fixed signs and trained logarithms, so that W stays
    invertible whatever training does. W starts as a random rotation, which leaves white frames white; with `whitens`
    it starts at R C^(-1/2), C the covariance of the frames that reach it and R the rotation.

    Products and triangular solves run in the type of x: a rounding here would be one of the latents.

    Args:
        dim: D.
        whitens: whether it starts from the frames' covariance.

    Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", arXiv 1807.03039, section 3.2.
    """

    def __init__(self, dim: int, whitens: bool = False) -> None:
        super().__init__()
        self.whitens = whitens
        # L below the diagonal, U above it, log |u_ii| on it
        self.factors = nn.Parameter(torch.zeros(dim, dim))
        self.register_buffer("sign", torch.ones(dim, dtype=torch.int8))
        self.register_buffer("order", torch.arange(dim))  # row of L U that is each row of W
        self._start_at(torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64)).Q)

    @property
    def weight(self) -> Tensor:
        """W (D, D)."""
        lower, upper = self._triangles()
        return (lower @ upper).index_select(0, self.order)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.weight.t(), self.factors.diagonal().sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._triangles()
        z = z.index_select(1, self.order.argsort())
        # from the right, as frames are rows: x U' L' = z
        half = torch.linalg.solve_triangular(lower.t(), z, upper=True, left=False, unitriangular=True)
        x = torch.linalg.solve_triangular(upper.t(), half, upper=False, left=False)
        return x, -self.factors.diagonal().sum().expand(len(z))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        if self.whitens:
            variances, axes = torch.linalg.eigh(torch.cov(x.t().double(), correction=0))
            whitening = (axes * variances.clamp_min(_LEAST).rsqrt()) @ axes.t()
            self._start_at(self.weight.double() @ whitening)

    @torch.no_grad()
    def _start_at(self, weight: Tensor) -> None:
        """Take the factors of an invertible W (D, D)."""
        rows, lower, upper = torch.linalg.lu(weight)
        diagonal = upper.diagonal()
        self.factors.copy_(lower.tril(-1) + upper.triu(1) + diagonal.abs().log().diag())
        self.sign.copy_(diagonal.sign())
        self.order.copy_(rows.argmax(1))

    def _triangles(self) -> tuple[Tensor, Tensor]:
        lower = self.factors.tril(-1) + torch.eye(len(self.factors), dtype=self.factors.dtype, device=self.sign.device)
        return lower, self.factors.triu(1) + (self.sign * self.factors.diagonal().exp()).diag()
