"""Baselines' log-likelihoods against scikit-learn's and scipy's, in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from flowlid.config import Config, config_from_dict
from flowlid.flow.baselines import GaussianMixtures, LogPosteriors, SharedGaussians
from flowlid.flow.checkpoint import Model, load_model, save_model
from flowlid.flow.flow import Flow, build_flow

N, D, K, M = 50, 4, 3, 5
KINDS = ("gmm", "lda", "lr")


def config(kind: str) -> Config:
    model = {"type": kind, **({"components": M} if kind == "gmm" else {})}
    return config_from_dict({"data": {"train": "a"}, "frames": {"context": 0}, "model": model}, "here")


def frames(seed: int = 1) -> Tensor:
    return 3 + 2 * torch.randn(N, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def baseline(kind: str, randomize: Callable[..., nn.Module]) -> Flow:
    """With weights that no fit gave it, but that are allowed: of mixtures that sum to one, and so on."""
    flow = randomize(build_flow(config(kind).model, K, torch.zeros(D), torch.ones(D)).double())
    if isinstance(flow.base, GaussianMixtures):
        flow.base.log_weights.copy_(flow.base.log_weights.log_softmax(1))
        flow.base.variances.exp_()
    if isinstance(flow.base, SharedGaussians):
        flow.base.whitening.copy_((0.3 * flow.base.whitening.tril(-1)) + torch.diag(torch.tensor([0.5, 1, 2, 1.5])))
    return flow.eval()


def test_a_mixture_is_scikit_learns(randomize: Callable[..., nn.Module]) -> None:
    flow, x = baseline("gmm", randomize), frames()
    (standardization,) = flow.transform.transforms
    # in the units of the frames: x = mean + std z
    mean, std, base = standardization.mean.numpy(), standardization.std.numpy(), flow.base
    expected = []
    for k in range(K):
        mixture = GaussianMixture(M, covariance_type="diag")
        mixture.weights_, mixture.means_ = base.log_weights[k].exp().numpy(), mean + std * base.means[k].numpy()
        mixture.precisions_cholesky_ = 1 / (std * base.variances[k].sqrt().numpy())
        expected.append(mixture.score_samples(x.numpy()))
    np.testing.assert_allclose(flow.log_prob(x).T, expected, rtol=1e-10)
    np.testing.assert_allclose(flow.float().log_prob(x.float()).T, expected, rtol=1e-4)


def test_shared_gaussians_are_scipys(randomize: Callable[..., nn.Module]) -> None:
    flow, x = baseline("lda", randomize), frames()
    (standardization,) = flow.transform.transforms
    factor = torch.diag(standardization.std) @ torch.linalg.inv(flow.base.whitening)
    means = standardization.mean + standardization.std * flow.base.means
    expected = [multivariate_normal(mean, (factor @ factor.T).numpy()).logpdf(x) for mean in means.numpy()]
    np.testing.assert_allclose(flow.log_prob(x).T, expected, rtol=1e-10)


def test_posteriors_sum_to_one_and_have_no_log_determinant(randomize: Callable[..., nn.Module]) -> None:
    flow, x = baseline("lr", randomize), frames()
    logp, logdet = flow.log_terms(x)
    assert torch.equal(logdet, torch.zeros(N, dtype=torch.float64))
    base = flow.base
    z = (x - base.standardization.mean) / base.standardization.std
    scores = (z.numpy()[:, None] * base.weights.numpy()).sum(2) + base.offsets.numpy()
    np.testing.assert_allclose(logp, scores - logsumexp(scores, axis=1, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(logp.exp().sum(1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_is_saved_and_loaded_as_a_flow(
    kind: str, randomize: Callable[..., nn.Module], tmp_path: Path
) -> None:
    model = Model(baseline(kind, randomize).float(), config(kind), ["en", "es", "it"], D)
    save_model(tmp_path / "final.pt", model)
    loaded = load_model(tmp_path / "final.pt").to(torch.device("cpu"))
    assert torch.equal(loaded.flow.log_prob(frames().float()), model.flow.log_prob(frames().float()))
    assert (loaded.flow.precision, loaded.flow.dim, loaded.languages) == ("float32", D, ["en", "es", "it"])
    assert not any(parameter.requires_grad for parameter in loaded.flow.parameters())


@pytest.mark.parametrize("base", [GaussianMixtures(K, M, D), SharedGaussians(K, D)])
def test_a_base_that_was_not_fitted_is_the_standard_normal(base: nn.Module) -> None:
    x = frames()
    expected = multivariate_normal(np.zeros(D)).logpdf(x)
    np.testing.assert_allclose(base.double().log_prob(x), np.stack([expected] * K, axis=1), rtol=1e-6)


def test_a_posterior_that_was_not_fitted_knows_nothing() -> None:
    found = LogPosteriors(K, torch.zeros(D), torch.ones(D)).log_prob(frames().float())
    np.testing.assert_allclose(found, -np.log(K), rtol=1e-6)
