"""Laws of which the true log-density is known: what a flow that was trained on draws of them is held against.

Each law has draws x (N, D) and log p(x) (N,), both in float64, and its entropy in nats where a formula gives it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowlid.config import ModelConfig
from flowlid.flow.flow import build_flow

_SEED = 11  # of a law's own constants, such as the matrix of a shear
_NORMAL = 0.5 * math.log(2 * math.pi * math.e)  # nats of a standard normal in one dim


class Law:
    """A density of D dims.

    Attributes:
        dim: D.
        entropy: in nats, or None: the mean of -log p(x) over draws estimates it.
    """

    def __init__(self, dim: int, entropy: float | None = None) -> None:
        self.dim, self.entropy = dim, entropy
        self.constants = torch.Generator().manual_seed(_SEED)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw x (count, D)."""
        raise NotImplementedError

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats: (N, D) -> (N,)."""
        raise NotImplementedError

    def _constant(self, *shape: int) -> Tensor:
        """A part of the law, drawn from a standard normal."""
        return _normal(shape, self.constants)


class ShearedGaussian(Law):
    """x = L U e with e ~ N(0, I) and unit triangular L and U: no volume changes, so the entropy is that of e."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim * _NORMAL)
        eye = torch.eye(dim, dtype=torch.float64)
        self.lower, self.upper = (1.5 * dim**-0.5 * self._constant(dim, dim) for _ in "LU")
        self.lower, self.upper = self.lower.tril(-1) + eye, self.upper.triu(1) + eye

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return _normal((count, self.dim), generator) @ (self.lower @ self.upper).T

    def log_prob(self, x: Tensor) -> Tensor:
        middle = torch.linalg.solve_triangular(self.lower, x.T, upper=False, unitriangular=True)
        return _standard(torch.linalg.solve_triangular(self.upper, middle, upper=True, unitriangular=True).T)


class Mixture(Law):
    """p(x) = sum_k w_k N(x; m_k, diag(s_k^2)): Gaussians that overlap, each with scales of its own."""

    def __init__(self, dim: int, parts: int = 4) -> None:
        super().__init__(dim)
        self.weights = torch.softmax(0.5 * self._constant(parts), 0)
        self.means = 2.5 * (2 * dim) ** -0.5 * self._constant(parts, dim)  # about 2.5 apart
        self.log_scales = 0.3 * self._constant(parts, dim)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        part = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return self.means[part] + self.log_scales[part].exp() * _normal((count, self.dim), generator)

    def log_prob(self, x: Tensor) -> Tensor:
        parts = zip(self.weights.log(), self.means, self.log_scales, strict=True)
        terms = [weight + _standard((x - mean) * (-scale).exp()) - scale.sum() for weight, mean, scale in parts]
        return torch.stack(terms).logsumexp(0)


class HeavyTails(Law):
    """Student's copula, so that large values come together, and marginals with power-law tails.

    u = C e / sqrt(g), e ~ N(0, I), g ~ chi^2 / v with v = 5 degrees of freedom, C C^T the correlations 0.6^|i - j|;
    then x_i = sinh(a_i asinh(u_i)), which grows as u_i^a_i: log p(x) = log t_v(u) - sum_i log dx_i/du_i.
    """

    degrees = 5

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        place = torch.arange(dim, dtype=torch.float64)
        self.root = torch.linalg.cholesky(0.6 ** (place - place[:, None]).abs())
        self.power = torch.linspace(0.8, 1.1, dim, dtype=torch.float64)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        chi = _normal((count, self.degrees), generator).square().mean(1, keepdim=True)
        u = _normal((count, self.dim), generator) @ self.root.T * chi.rsqrt()
        return torch.sinh(self.power * torch.asinh(u))

    def log_prob(self, x: Tensor) -> Tensor:
        bent = torch.asinh(x)
        u = torch.sinh(bent / self.power)
        slopes = torch.log(self.power) + torch.cosh(bent).log() - torch.cosh(bent / self.power).log()
        distance = torch.linalg.solve_triangular(self.root, u.T, upper=False).square().sum(0)
        v, dim = self.degrees, self.dim
        constant = math.lgamma((v + dim) / 2) - math.lgamma(v / 2) - 0.5 * dim * math.log(v * math.pi)
        student = constant - self.root.diagonal().log().sum() - 0.5 * (v + dim) * torch.log1p(distance / v)
        return student - slopes.sum(1)


class FrozenFlow(Law):
    """Draws of a RealNVP with random weights, in float64: a density that a flow can have."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        config = ModelConfig(blocks=4, hidden=32, normalization="none")
        start = torch.zeros(dim, dtype=torch.float64)
        self.flow = build_flow(config, 1, start, start + 1).double()
        with torch.no_grad():
            for parameter in self.flow.parameters():
                scale = 0.1 if parameter.ndim == 1 else 0.7 * parameter.shape[1] ** -0.5
                parameter.copy_(scale * self._constant(*parameter.shape))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return self.flow.sample(torch.zeros(count, dtype=torch.long), generator)

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x).squeeze(1)


class Autoregressive(Law):
    """x_i = 0.6 x_(i-1) + 0.5 sin(2 x_(i-2)) + s e_i, s = 0.5: each dim is Gaussian given those before it."""

    scale = 0.5

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim * (_NORMAL + math.log(self.scale)))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        x = self.scale * _normal((self.dim, count), generator)
        for i in range(self.dim):
            if i >= 1:
                x[i] += 0.6 * x[i - 1]
            if i >= 2:
                x[i] += 0.5 * torch.sin(2 * x[i - 2])
        return x.T.contiguous()

    def log_prob(self, x: Tensor) -> Tensor:
        noise = x.clone()
        noise[:, 1:] -= 0.6 * x[:, :-1]
        noise[:, 2:] -= 0.5 * torch.sin(2 * x[:, :-2])
        return _standard(noise / self.scale) - self.dim * math.log(self.scale)


LAWS: dict[str, Callable[[int], Law]] = {
    "sheared-gaussian": ShearedGaussian,
    "mixture": Mixture,
    "heavy-tails": HeavyTails,
    "frozen-flow": FrozenFlow,
    "autoregressive": Autoregressive,
}


def _standard(z: Tensor) -> Tensor:
    """log N(z; 0, I): (N, D) -> (N,)."""
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
