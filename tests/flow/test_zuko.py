"""A flow gives the log-likelihoods of the same flow built from zuko's parts, its weights copied there."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from flowlid.config import ModelConfig
from flowlid.flow.flow import Flow, build_flow
from flowlid.flow.transforms import ActNorm, AffineCoupling, Permutation, Standardization, Transform

zuko = pytest.importorskip("zuko")

_SLOPE = 1e-3  # zuko's default: it bounds log-scales softly by -log of it


def network(ours: nn.Sequential, activation: type[nn.Module]) -> nn.Module:
    linears = [layer for layer in ours if isinstance(layer, nn.Linear)]
    hidden = [layer.out_features for layer in linears[:-1]]
    theirs = zuko.nn.MLP(linears[0].in_features, linears[-1].out_features, hidden, activation).to(linears[0].weight)
    theirs.load_state_dict(ours.state_dict())
    return theirs


def affine(shift: Tensor, log_scale: Tensor) -> torch.distributions.Transform:
    """y = x exp(log_scale) + shift; zuko makes a / (1 + |a / log slope|) of its argument a, which is undone here."""
    argument = log_scale / (1 - (log_scale / math.log(_SLOPE)).abs())
    return zuko.transforms.DependentTransform(zuko.transforms.MonotonicAffineTransform(shift, argument, _SLOPE), 1)


def coupling(ours: AffineCoupling, dim: int) -> torch.distributions.Transform:
    scale, shift = network(ours.log_scale, nn.Tanh), network(ours.shift, nn.ReLU)
    mask, bound = torch.zeros(dim, dtype=torch.bool), ours.scale_bound
    mask[ours.kept] = True

    def meta(kept: Tensor) -> torch.distributions.Transform:
        return affine(shift(kept), bound * torch.tanh(scale(kept) / bound))

    return zuko.transforms.CouplingTransform(meta, mask)


def transform(ours: Transform, dim: int) -> torch.distributions.Transform:
    if isinstance(ours, Standardization):
        return affine(-ours.mean / ours.std, -ours.std.log())
    if isinstance(ours, ActNorm):
        return affine(ours.shift * ours.log_scale.exp(), ours.log_scale)
    if isinstance(ours, Permutation):
        return zuko.transforms.PermutationTransform(ours.order)
    assert isinstance(ours, AffineCoupling)
    return coupling(ours, dim)


def in_zuko(flow: Flow) -> torch.distributions.Distribution:
    (mean,) = flow.base.means
    steps = [transform(step, flow.dim) for step in flow.transform.transforms]
    return zuko.distributions.NormalizingFlow(
        zuko.transforms.ComposedTransform(*steps), zuko.distributions.DiagNormal(mean, torch.ones_like(mean))
    )


@pytest.fixture(params=[(7, 16), (120, 64)], ids=["7 dims", "120 dims"])
def flow(request: pytest.FixtureRequest, randomize: Callable[..., nn.Module]) -> Flow:
    dim, hidden = request.param
    ours = build_flow(ModelConfig(hidden=hidden), 1, torch.zeros(dim), torch.ones(dim))
    with torch.no_grad():
        for parameter in randomize(ours).parameters():
            parameter.mul_(0.5)  # ten blocks of larger ones make chaos of the roundings
    return ours.eval()


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-9), (torch.float32, 0.01)], ids=str)
def test_the_same_weights_give_the_same_log_likelihood(flow: Flow, dtype: torch.dtype, allowed: float) -> None:
    exact = copy.deepcopy(flow).double()
    z = torch.randn(1000, flow.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x, _ = exact.inverse(z)
    theirs = in_zuko(exact).log_prob(x)
    flow.set_precision("float32")
    ours = flow.to(dtype).log_prob(x.to(dtype)).squeeze(1)
    assert theirs.std() > 1
    assert float((ours.double() - theirs).abs().max()) < allowed
