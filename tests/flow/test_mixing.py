"""Mixing by an LU-parametrized matrix: its matrix and determinant by numpy and by zuko, its start, and float32."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zuko.transforms import LULinearTransform

from flowlid.flow.flow import real_nvp
from flowlid.flow.mixing import LUMixing
from flowlid.flow.transforms import Composition

Randomize = Callable[..., nn.Module]


def normals(count: int, dim: int, seed: int = 7) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def correlated(count: int, dim: int, condition: float) -> Tensor:
    """Gaussian frames whose covariance has eigenvalues from 1 down to 1 / condition, along axes of no dim."""
    axes = torch.linalg.qr(normals(dim, dim, seed=3)).Q
    return normals(count, dim) * torch.logspace(0, -np.log10(condition) / 2, dim, dtype=torch.float64) @ axes.t()


def test_it_multiplies_by_its_matrix_whose_determinant_it_gives(randomize: Randomize) -> None:
    mixing = randomize(LUMixing(6).double())
    weight, x = mixing.weight.detach().numpy(), normals(4, 6)
    z, logdet = mixing(x)
    np.testing.assert_allclose(z.detach(), x.numpy() @ weight.T, atol=1e-12)
    np.testing.assert_allclose(logdet.detach(), np.linalg.slogdet(weight).logabsdet, atol=1e-12)
    back, back_logdet = mixing.inverse(x)
    np.testing.assert_allclose(back.detach(), x.numpy() @ np.linalg.inv(weight).T, atol=1e-11)
    np.testing.assert_allclose(back_logdet.detach(), -logdet.detach())


def test_zuko_computes_the_same(randomize: Randomize) -> None:
    mixing, x = randomize(LUMixing(6).double()), normals(4, 6)
    factors, order = mixing.factors.detach(), mixing.order
    diagonal = mixing.sign * factors.diagonal().exp()
    lower = (factors.tril(-1) + torch.eye(6)) * diagonal  # zuko's diagonal is that of L
    theirs = LULinearTransform(lower + (factors / diagonal[:, None]).triu(1))
    z, logdet = mixing(x)
    torch.testing.assert_close(z.detach(), theirs(x)[:, order])
    torch.testing.assert_close(logdet.detach(), theirs.log_abs_det_jacobian(x, z))
    torch.testing.assert_close(mixing.inverse(z)[0].detach(), theirs.inv(z[:, order.argsort()]).detach())


def test_it_starts_as_a_rotation_that_torchs_seed_draws() -> None:
    def start(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return LUMixing(40).weight.detach().double()

    first, again, other = start(1), start(1), start(2)
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=0.1)
    torch.testing.assert_close(first @ first.t(), torch.eye(40, dtype=torch.float64), rtol=0, atol=1e-5)
    x = normals(9, 40)
    mixing = LUMixing(40).double()
    mixing.initialize(x)
    torch.testing.assert_close(mixing(x)[0].norm(dim=1), x.norm(dim=1), rtol=1e-5, atol=0)


def test_one_that_whitens_starts_with_latents_of_covariance_one() -> None:
    mixing, x = LUMixing(20, whitens=True).double(), correlated(3000, 20, condition=1e4)
    mixing.initialize(x)
    z, logdet = mixing(x)
    covariance = np.cov(z.detach().numpy().T, bias=True)
    np.testing.assert_allclose(covariance, np.eye(20), atol=1e-6)  # the rotation is one of float32
    expected = -0.5 * np.linalg.slogdet(np.cov(x.numpy().T, bias=True)).logabsdet
    np.testing.assert_allclose(logdet.detach(), expected, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 5])
def test_fewer_frames_than_dims_start_it_finite(count: int) -> None:
    mixing, x = LUMixing(8, whitens=True), normals(count, 8).float()
    mixing.initialize(x)
    assert torch.isfinite(mixing.weight).all()
    torch.testing.assert_close(mixing.inverse(mixing(x)[0])[0], x, rtol=0, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("dim", [120, 440])
def test_in_float32_it_inverts_and_its_logdet_is_that_of_float64(dim: int) -> None:
    """Axes whose variances are as far apart as those of spliced filterbanks: 1 to 60000."""
    x = correlated(2000, dim, condition=6e4)
    torch.manual_seed(1)
    mixing = LUMixing(dim, whitens=True)
    mixing.initialize(x)
    z, logdet = mixing(x.float())
    expected = np.linalg.slogdet(mixing.weight.double().numpy()).logabsdet
    assert abs(float(logdet[0]) - expected) < 1e-5 * abs(expected)
    assert float((mixing.inverse(z)[0].double() - x).norm() / x.norm()) < 1e-4
    again, again_logdet = mixing.double()(x)
    assert float((z.double() - again).norm() / again.norm()) < 1e-4
    assert float((logdet.double() - again_logdet).abs().max()) < 1e-5 * abs(expected)


@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm", "none"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-2)])
def test_ten_mixed_blocks_invert(
    normalization: str, dtype: torch.dtype, tolerance: float, randomize: Randomize
) -> None:
    chain = Composition(real_nvp(12, 10, 32, normalization=normalization, mixing="lu"))
    for transform in chain.transforms:
        if not isinstance(transform, LUMixing):  # they stay near a rotation in training
            randomize(transform)
    chain, x = chain.to(dtype).eval(), correlated(200, 12, condition=1e3).to(dtype)
    chain.initialize(x)
    z, logdet = chain(x)
    back, back_logdet = chain.inverse(z)
    assert (z - x).abs().max() > 1
    assert (back - x).abs().max() < tolerance
    assert (back_logdet + logdet).abs().max() < tolerance
