"""Whitening: what its start promises, and what it gives a flow."""

import pytest
import torch
from torch import Tensor

from flowlid.config import ModelConfig
from flowlid.flow.flow import build_flow
from flowlid.flow.whitening import Whitening


def correlated(count: int, dim: int, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) @ mixing + 5


def test_frames_of_the_start_with_a_little_noise_are_white() -> None:
    x = correlated(4000, 6)
    whitening = Whitening(6).double()
    whitening.initialize(x)
    z, _ = whitening(x)
    noise = 0.1 * whitening.weight @ whitening.weight.t()
    torch.testing.assert_close(torch.cov(z.t(), correction=0) + noise, torch.eye(6).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.mean(0), torch.zeros(6).double(), rtol=0, atol=1e-6)


def test_each_dim_depends_on_those_before_it() -> None:
    x = correlated(4000, 6)
    whitening = Whitening(6).double()
    whitening.initialize(x)
    other = x.clone()
    other[:, 3:] += 1
    assert torch.equal(whitening(other)[0][:, :3], whitening(x)[0][:, :3])


def test_a_fresh_flow_is_near_the_gaussian_of_full_covariance() -> None:
    x = correlated(4000, 6)
    mean, std = x.mean(0), x.std(0, correction=0)
    labels = torch.zeros(len(x), dtype=torch.long)
    gaussian = torch.distributions.MultivariateNormal(mean, torch.cov(x.t(), correction=0))
    below = {}
    for whitening in (True, False):
        flow = build_flow(ModelConfig(blocks=2, hidden=8, whitening=whitening), 1, mean, std).double()
        flow.initialize(x, labels)
        below[whitening] = (gaussian.log_prob(x) - flow.log_prob(x)[:, 0]).mean()
    assert 0 <= below[True] < 0.5 * below[False]


def test_a_dim_that_is_a_sum_of_others_stays_finite() -> None:
    x = correlated(500, 4)
    x = (x - x.mean(0)) / x.std(0)
    x = torch.cat([x, x[:, :2].sum(1, keepdim=True)], 1).float()
    whitening = Whitening(5)
    whitening.initialize(x)
    z, logdet = whitening(x)
    assert z.isfinite().all() and z.abs().max() < 20 and logdet.isfinite().all()


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.whitening: 11 training frames are too few for 6 dims"):
        Whitening(6).initialize(torch.randn(11, 6))
