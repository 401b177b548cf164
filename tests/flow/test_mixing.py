"""Mixing by an LU-parametrized matrix: by numpy, by zuko, in float32, and within a flow."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zuko.transforms import LULinearTransform

from flowlid.flow.flow import real_nvp
from flowlid.flow.mixing import LUMixing
from flowlid.flow.transforms import AffineCoupling, Composition, SharedCoupling

Randomize = Callable[..., nn.Module]


def normals(count: int, dim: int, seed: int = 7) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_if_trained(mixing: LUMixing, seed: int = 3) -> LUMixing:
    """Away from the identity, as far as training takes it: factors of 0.5 / sqrt(D)."""
    dim = len(mixing.factors)
    with torch.no_grad():
        mixing.factors.copy_(0.5 * dim**-0.5 * normals(dim, dim, seed))
    return mixing


def test_it_multiplies_by_its_matrix_whose_determinant_it_gives(randomize: Randomize) -> None:
    mixing = randomize(LUMixing(6).double())
    factors, x = mixing.factors.detach().numpy(), normals(4, 6)
    lower, upper = np.tril(factors, -1) + np.eye(6), np.triu(factors, 1) + np.diag(np.exp(np.diag(factors)))
    weight = lower @ upper
    z, logdet = mixing(x)
    np.testing.assert_allclose(z.detach(), x.numpy() @ weight.T, atol=1e-12)
    np.testing.assert_allclose(logdet.detach(), np.linalg.slogdet(weight).logabsdet, atol=1e-12)
    back, back_logdet = mixing.inverse(x)
    np.testing.assert_allclose(back.detach(), x.numpy() @ np.linalg.inv(weight).T, rtol=1e-9, atol=1e-9)
    assert torch.equal(back_logdet, -logdet)


def test_zuko_computes_the_same(randomize: Randomize) -> None:
    mixing, x = randomize(LUMixing(6).double()), normals(4, 6)
    factors = mixing.factors.detach()
    diagonal = factors.diagonal().exp()
    lower = (factors.tril(-1) + torch.eye(6)) * diagonal  # zuko's diagonal is that of L
    theirs = LULinearTransform(lower + (factors / diagonal[:, None]).triu(1))
    z, logdet = mixing(x)
    torch.testing.assert_close(z.detach(), theirs(x))
    torch.testing.assert_close(logdet.detach(), theirs.log_abs_det_jacobian(x, z))
    torch.testing.assert_close(mixing.inverse(z)[0].detach(), theirs.inv(z).detach())


def test_it_starts_as_the_identity() -> None:
    x = normals(3, 5).float()
    z, logdet = LUMixing(5)(x)
    assert torch.equal(z, x) and torch.equal(logdet, torch.zeros(3))


@torch.no_grad()
@pytest.mark.parametrize("dim", [120, 440])
def test_in_float32_it_inverts_and_its_logdet_is_that_of_its_matrix_in_float64(dim: int) -> None:
    mixing, x = as_if_trained(LUMixing(dim)), normals(500, dim)
    z, logdet = mixing(x.float())
    back, back_logdet = mixing.inverse(z)
    weight = mixing.double()(torch.eye(dim, dtype=torch.float64))[0].t()
    assert float(torch.linalg.cond(weight)) > 3
    expected = torch.linalg.slogdet(weight).logabsdet
    assert float((logdet.double() - expected).abs().max()) < 1e-5
    assert torch.equal(back_logdet, -logdet)
    assert float((z.double() - x @ weight.t()).norm() / z.norm()) < 1e-6
    assert float((back.double() - x).norm() / x.norm()) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("coupling", ["separate", "shared"])
@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm", "none"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-2)])
def test_ten_mixed_blocks_invert(
    normalization: str, coupling: str, dtype: torch.dtype, tolerance: float, randomize: Randomize
) -> None:
    # gentler than test_transforms has them: nothing in a trained flow is stretched by e^2 in each of ten couplings
    chain = Composition(real_nvp(12, 10, 32, 2, normalization, scale_bound=0.5, mixing="lu", coupling=coupling))
    for number, transform in enumerate(chain.transforms):
        if isinstance(transform, LUMixing):
            as_if_trained(transform, seed=number)
        else:
            randomize(transform)
    chain, x = chain.to(dtype).eval(), normals(200, 12).to(dtype)
    chain.initialize(x)
    z, logdet = chain(x)
    back, back_logdet = chain.inverse(z)
    assert (z - x).abs().max() > 1
    assert (back - x).abs().max() < tolerance
    assert (back_logdet + logdet).abs().max() < tolerance


def test_a_flow_mixes_between_pairs_of_couplings_and_starts_where_one_without_mixing_does() -> None:
    x, chains = normals(300, 7).float(), []
    for mixing in ("none", "lu"):
        torch.manual_seed(1)
        chains.append(Composition(real_nvp(7, 5, 4, mixing=mixing)))
        chains[-1].initialize(x)
    for ours, plain in zip(chains[1](x), chains[0](x), strict=True):
        assert torch.equal(ours, plain)
    kinds = [type(t) for t in chains[1].transforms if isinstance(t, AffineCoupling | LUMixing)]
    pair = [AffineCoupling, AffineCoupling]
    assert kinds == [*pair, LUMixing, *pair, LUMixing, AffineCoupling]
    shared = real_nvp(7, 2, 4, coupling="shared")
    assert [type(t) for t in shared if isinstance(t, AffineCoupling)] == [SharedCoupling] * 2
