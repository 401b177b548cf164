"""Invertible maps from data x to latents z, each with the log-determinant of its Jacobian.

Every transform has two directions, both returning a value and a log-determinant of shape (N,):

    z, logdet = transform(x)            log |det dz/dx|
    x, logdet = transform.inverse(z)    log |det dx/dz|

A flow's density follows from the change of variables, log p(x) = log p(z) + log |det dz/dx|.
`initialize(x)` gives a transform its data-dependent start; it is called once, before training.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Transform(nn.Module):
    """A bijection of R^D; x, z are (N, D), logdet is (N,)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Start from statistics of the frames x (N, D); most transforms have nothing to do."""


class Standardization(Transform):
    """z = (x - mean) / std, frozen: part of the model, never trained.

    Args:
        mean: (D,) mean of the training frames.
        std: (D,) standard deviation of the training frames.

    Raises:
        ValueError: a dimension with no spread, or a value that is not finite.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        flat = (~(torch.isfinite(mean) & torch.isfinite(std) & (std > 0))).nonzero().flatten().tolist()
        if flat:
            raise ValueError(
                f"the training frames do not vary (or are not finite) in dimensions {flat[:10]}: "
                "the features are constant there; check feats.scp and conf/fbank.conf"
            )
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) / self.std, (-self.std.log().sum()).expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * self.std + self.mean, self.std.log().sum().expand(len(z))


class Permutation(Transform):
    """z[i] = x[order[i]]: the dims in another order.

    Args:
        order: indices 0..D-1, each once.
    """

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order))
        self.register_buffer("back", self.order.argsort())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.order), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.index_select(1, self.back), z.new_zeros(len(z))


class AffineCoupling(Transform):
    """RealNVP's coupling: one half of the dims is kept, and scales and shifts the other half.

        z[kept] = x[kept]
        z[moved] = x[moved] * exp(s(x[kept])) + t(x[kept]),   logdet = sum_i s_i

    s is a network with tanh, t one with ReLU between its linear layers; both start at zero, so
    that a fresh coupling is the identity. With `scale_bound` b the log-scale is b tanh(s / b):
    nearly s where it is small, never beyond ±b, so that no single frame can blow up the loss.

    The matrix products of the networks may run in another precision (`precision`); all else is in that of x.
    `Flow.set_precision` has `cpu_coupling` compute the same in fewer passes over memory where it can.

    Args:
        dim: D, 2 or more; the first half has one dim more where D is odd.
        keeps_first: whether the first half is kept, or the second.
        hidden: units of each hidden layer.
        layers: number of hidden layers of each network.
        scale_bound: b in nats, or None for an unbounded log-scale.

    Source: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", arXiv 1605.08803.
    """

    def __init__(
        self, dim: int, keeps_first: bool, hidden: int, layers: int = 2, scale_bound: float | None = 2.0
    ) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"a coupling of {dim} dims has nothing to keep or to move: 2 or more are needed")
        first, second = slice(None, (dim + 1) // 2), slice((dim + 1) // 2, None)
        self.kept, self.moved = (first, second) if keeps_first else (second, first)
        kept, moved = (len(range(dim)[part]) for part in (self.kept, self.moved))
        self.scale_bound = scale_bound
        self.precision = torch.float32
        self._make_networks(kept, hidden, moved, layers)

    def _make_networks(self, kept: int, hidden: int, moved: int, layers: int) -> None:
        self.log_scale = _network(kept, hidden, moved, layers, nn.Tanh)
        self.shift = _network(kept, hidden, moved, layers, nn.ReLU)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(x[:, self.kept])
        z = x.clone()
        z[:, self.moved] = x[:, self.moved] * log_scale.exp() + shift
        return z, log_scale.sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(z[:, self.kept])
        x = z.clone()
        x[:, self.moved] = (z[:, self.moved] - shift) * (-log_scale).exp()
        return x, -log_scale.sum(1)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = (_run(network, kept, self.precision) for network in (self.log_scale, self.shift))
        if self.scale_bound is not None:
            log_scale = self.scale_bound * torch.tanh(log_scale / self.scale_bound)
        return log_scale, shift


class SharedCoupling(AffineCoupling):
    """An affine coupling whose s and t share their hidden layers: a trunk with ReLU, then a linear layer for each.

    It has about half the products of two separate networks. Its arguments are those of `AffineCoupling`.
    """

    def _make_networks(self, kept: int, hidden: int, moved: int, layers: int) -> None:
        self.trunk = nn.Sequential(*_hidden_layers(kept, hidden, layers, nn.ReLU))
        self.log_scale, self.shift = (nn.Sequential(_zeros(hidden, moved)) for _ in "st")

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        return super()._scale_and_shift(_run(self.trunk, kept, self.precision))


class ActNorm(Transform):
    """z = (x + shift) * exp(log_scale), started so that its first frames get mean 0 and variance 1.

    Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", arXiv 1807.03039.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.log_scale.exp()
        return torch.addcmul(self.shift * scale, x, scale), self.log_scale.sum().expand(len(x))  # in one pass

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() - self.shift, (-self.log_scale.sum()).expand(len(z))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        self.shift.copy_(-x.mean(0))
        self.log_scale.copy_(-x.std(0, correction=0).clamp_min(1e-3).log())


class BatchNorm(Transform):
    """Batch normalization as a bijection: z = (x - m) / sqrt(v + eps) * exp(log_scale) + shift.

    In training mode m and v are the batch's mean and (biased) variance, and running averages
    follow them; in evaluation mode, and in `inverse` always, they are the running ones.
    Call `refresh` before a model is saved: a running average trails the weights, and a model
    saved with one (or with the last batch's statistics) is not the model that was trained.

    logdet = sum_i (log_scale_i - log(v_i + eps) / 2)

    `moments` gives m and v of a batch (N, D). Where several processes hold a part of each batch, it is set to
    their `Processes.moments`: m and v are those of the whole batch.

    Source: Dinh et al., arXiv 1605.08803, section 3.7 and appendix E.
    """

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.moments: Callable[[Tensor], tuple[Tensor, Tensor]] = _moments
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            mean, var = self.moments(x)
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach(), self.momentum)
                self.running_var.lerp_(var.detach(), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        z = (x - mean) * (var + self.eps).rsqrt() * self.log_scale.exp() + self.shift
        return z, self._logdet(var).expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        var = self.running_var
        x = (z - self.shift) * (-self.log_scale).exp() * (var + self.eps).sqrt() + self.running_mean
        return x, (-self._logdet(var)).expand(len(z))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        self.running_mean.copy_(x.mean(0))
        self.running_var.copy_(x.var(0, correction=0))

    def _logdet(self, var: Tensor) -> Tensor:
        return (self.log_scale - 0.5 * (var + self.eps).log()).sum()


class Composition(Transform):
    """Transforms one after the other; the log-determinants add up."""

    def __init__(self, transforms: Iterable[Transform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logdet = x.new_zeros(len(x))
        for transform in self.transforms:
            x, step = transform(x)
            logdet = logdet + step
        return x, logdet

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        logdet = z.new_zeros(len(z))
        for transform in reversed(self.transforms):
            z, step = transform.inverse(z)
            logdet = logdet + step
        return z, logdet

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        for transform in self.transforms:
            transform.initialize(x)
            x, _ = transform(x)


def refresh_batchnorm(flow: nn.Module, batches: Iterable[tuple[int, Tensor]]) -> None:
    """Set the running statistics of every `BatchNorm` in a flow to those of the whole training set.

    The batches pass in training mode: n_b, the frames of a batch, and x (n, D), the part of them that this
    process has. With mean m_b and variance v_b of each batch, a layer gets the law of total variance's
    m = E[m_b] and v = E[v_b] + Var[m_b].
    Weights stay as they are; `flow` is left in evaluation mode.
    """
    norms = [module for module in flow.modules() if isinstance(module, BatchNorm)]
    sums = [(torch.zeros_like(n.running_mean).double(), torch.zeros_like(n.running_mean).double()) for n in norms]
    momenta = [norm.momentum for norm in norms]
    frames = 0
    for norm in norms:
        norm.momentum = 1.0
    flow.train()
    with torch.no_grad():
        for size, x in batches if norms else ():
            flow(x)
            frames += size
            for norm, (first, second) in zip(norms, sums, strict=True):
                mean = norm.running_mean.double()
                first.add_(mean * size)
                second.add_((norm.running_var.double() + mean**2) * size)
    for norm, momentum, (first, second) in zip(norms, momenta, sums, strict=True):
        norm.momentum = momentum
        norm.running_mean.copy_(first / frames)
        norm.running_var.copy_(second / frames - (first / frames) ** 2)
    flow.eval()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.var(0, correction=0)


def _network(inputs: int, hidden: int, outputs: int, layers: int, activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(*_hidden_layers(inputs, hidden, layers, activation), _zeros(hidden, outputs))


def _hidden_layers(inputs: int, hidden: int, layers: int, activation: type[nn.Module]) -> list[nn.Module]:
    sizes = pairwise([inputs] + [hidden] * layers)
    return [module for fan_in, fan_out in sizes for module in (nn.Linear(fan_in, fan_out), activation())]


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts at zero; it draws as many random numbers as any other."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _run(network: nn.Sequential, x: Tensor, precision: torch.dtype) -> Tensor:
    """The network's output in the type of x, its products in `precision`; float64 stays float64."""
    if precision == torch.float32 or x.dtype == torch.float64:
        return network(x)
    h = x.to(precision)
    for layer in network:
        h = F.linear(h, layer.weight.to(precision), layer.bias.to(precision)) if hasattr(layer, "weight") else layer(h)
    return h.to(x.dtype)
