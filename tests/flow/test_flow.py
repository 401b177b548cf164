"""Flows as densities: against scipy, against integrals, against their own samples."""

import logging
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm
from torch import Tensor, nn

from flowlid.config import ModelConfig
from flowlid.flow.bases import ClassGaussians
from flowlid.flow.flow import Flow, build_flow, real_nvp
from flowlid.flow.transforms import ActNorm, Composition

Randomize = Callable[..., nn.Module]

NORMALIZATIONS = ["actnorm", "batchnorm", "none"]


def normals(count: int, dim: int, seed: int = 3) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_flow(randomize: Randomize, dim: int, seed: int = 1, classes: int = 2, **settings: object) -> Flow:
    config = ModelConfig(**{"type": "dnf", "blocks": 4, "hidden": 8, **settings})
    flow = build_flow(config, classes, torch.zeros(dim), torch.ones(dim)).double()
    return randomize(flow, seed).eval()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("class_dim", [1, 2])
def test_a_density_integrates_to_one_and_its_samples_follow_it(
    normalization: str, class_dim: int, randomize: Randomize
) -> None:
    flow = random_flow(
        randomize, 2, normalization=normalization, class_dim=class_dim, class_variance=0.7, residual_variance=1.6
    )
    samples = [flow.sample([label] * 20000, torch.Generator().manual_seed(5)) for label in (0, 1)]
    low, high = torch.cat(samples).amin(0), torch.cat(samples).amax(0)
    low, high = low - 0.3 * (high - low), high + 0.3 * (high - low)
    x0, x1 = (torch.linspace(a, b, 300, dtype=torch.float64) for a, b in zip(low, high, strict=True))
    grid = torch.cartesian_prod(x0, x1)
    cell = (x0[1] - x0[0]) * (x1[1] - x1[0])
    with torch.no_grad():
        mass = torch.cat([flow.log_prob(part) for part in grid.split(50000)]).exp() * cell
    np.testing.assert_allclose(mass.sum(0), 1, atol=0.01)
    for label in (0, 1):  # an independent look at `sample`: share of samples below the line x0 + x1 = median
        sums = samples[label].sum(1)
        below = float(mass[grid.sum(1) < sums.median(), label].sum())
        assert below == pytest.approx(0.5, abs=0.02)  # standard error 0.0035


@pytest.mark.parametrize("class_dim", [2, 5])
def test_with_identity_transforms_the_dnf_is_scipys_gaussian(class_dim: int) -> None:
    config = ModelConfig(
        type="dnf", blocks=3, hidden=4, normalization="none",
        class_dim=class_dim, class_variance=2.5, residual_variance=0.3,
    )  # fmt: skip
    flow = build_flow(config, 3, torch.zeros(5), torch.ones(5)).double()
    means = normals(3, class_dim, seed=8)
    flow.base.means.data.copy_(means)
    x = 2 * normals(20, 5)
    variances = [2.5] * class_dim + [0.3] * (5 - class_dim)
    log_prob = flow.log_prob(x).detach().numpy()
    assert log_prob.shape == (20, 3)
    for label in range(3):
        mean = np.concatenate([means[label].numpy(), np.zeros(5 - class_dim)])
        expected = multivariate_normal(mean, np.diag(variances)).logpdf(x.numpy())
        np.testing.assert_allclose(log_prob[:, label], expected, rtol=1e-12)


@pytest.mark.parametrize("classes", [16, 17, 107])
def test_many_classes_are_scipys_gaussians_and_their_gradients_those_of_the_differences(classes: int) -> None:
    generator = torch.Generator().manual_seed(3)
    base = ClassGaussians(classes, 7, 5, class_variance=2.0, residual_variance=3.0).double()
    with torch.no_grad():
        base.means.normal_(generator=generator)
    z = torch.randn(9, 7, generator=generator, dtype=torch.float64)
    found = base.log_prob(z)
    for label in range(classes):
        mean = np.concatenate([base.means[label].detach().numpy(), np.zeros(2)])
        expected = multivariate_normal(mean, np.diag([2.0] * 5 + [3.0] * 2)).logpdf(z.numpy())
        np.testing.assert_allclose(found[:, label].detach(), expected, rtol=1e-10)
    weights = torch.randn(9, classes, generator=generator, dtype=torch.float64)
    (found * weights).sum().backward()
    expected = (weights[:, :, None] * (z[:, None, :5] - base.means.detach()) / 2.0).sum(0)
    np.testing.assert_allclose(base.means.grad, expected, atol=1e-10)


def test_the_standardization_counts() -> None:
    mean, std = torch.tensor([5.0, -3.0]), torch.tensor([0.1, 20.0])
    flow = build_flow(ModelConfig(type="nf", blocks=2, hidden=4, normalization="none"), 1, mean, std)
    x = torch.tensor([[5.05, 10.0], [4.8, -3.0]])
    expected = norm.logpdf(x.numpy(), [5, -3], [0.1, 20]).sum(1)
    np.testing.assert_allclose(flow.log_prob(x).detach()[:, 0], expected, rtol=1e-5)
    _, logdet = flow.log_terms(x)
    np.testing.assert_allclose(logdet.detach(), -math.log(0.1 * 20), rtol=1e-5)


def test_a_normal_flow_has_mean_0_and_variance_1_and_trains_no_mean() -> None:
    flow = build_flow(ModelConfig(type="nf", blocks=1, hidden=4), 1, torch.zeros(3), torch.ones(3))
    assert "base.means" not in dict(flow.named_parameters())
    flow.initialize(5 + torch.randn(50, 3), torch.zeros(50, dtype=torch.long))
    assert torch.equal(flow.base.means, torch.zeros(1, 3))
    z = torch.tensor([[0.5, -1.0, 2.0]])
    assert flow.base.log_prob(z).item() == pytest.approx(norm.logpdf([0.5, -1.0, 2.0]).sum())


@settings(max_examples=40)
@given(
    variance=st.floats(1e-3, 1e4),
    other=st.floats(1e-3, 1e4),
    class_dim=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_residual_variance_only_moves_loglik_between_logp_and_logdet(
    variance: float, other: float, class_dim: int, seed: int, randomize: Randomize
) -> None:
    """From v_r = 1 to v: r may grow by sqrt(v), LogP changes by -(d_r / 2) ln v, LogDet by +(d_r / 2) ln v."""
    dim = 6

    def rescaled(v: float) -> Flow:
        last = ActNorm(dim)
        chain = randomize(Composition([*real_nvp(dim, 2, 5), last]).double(), seed)
        with torch.no_grad():
            last.log_scale[class_dim:] += 0.5 * math.log(v)
        base = randomize(ClassGaussians(2, dim, class_dim, 0.8, residual_variance=v).double(), seed)
        return Flow(chain, base, dim)

    x = normals(7, dim, seed)
    with torch.no_grad():
        (logp, logdet), (other_logp, other_logdet) = rescaled(variance).log_terms(x), rescaled(other).log_terms(x)
    moved = 0.5 * (dim - class_dim) * math.log(other / variance)
    torch.testing.assert_close(other_logp + other_logdet[:, None], logp + logdet[:, None], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other_logp - logp, torch.full_like(logp, -moved), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other_logdet - logdet, torch.full_like(logdet, moved), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_samples_map_forward_to_the_base(normalization: str, randomize: Randomize) -> None:
    flow = random_flow(
        randomize, 5, classes=3, normalization=normalization, class_dim=3, class_variance=2.5, residual_variance=0.3
    )
    count, variances = 20000, np.array([2.5, 2.5, 2.5, 0.3, 0.3])
    for label in range(3):
        x = flow.sample(torch.full((count,), label), torch.Generator().manual_seed(label))
        z = flow(x)[0].detach().numpy()
        mean = np.concatenate([flow.base.means[label].detach().numpy(), [0, 0]])
        # six standard errors of a mean and of a variance
        assert (abs(z.mean(0) - mean) < 6 * np.sqrt(variances / count)).all()
        assert (abs(z.var(0) - variances) < 6 * variances * np.sqrt(2 / count)).all()
        assert abs(np.corrcoef(z.T) - np.eye(5)).max() < 6 / np.sqrt(count)


def test_samples_repeat_with_their_seed_and_follow_their_labels(randomize: Randomize) -> None:
    flow = random_flow(randomize, 4, classes=2, class_variance=1e-12, class_dim=4)
    first, again, other = (flow.sample([0, 1, 1], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    z = flow(first)[0]  # hardly any variance: each sample sits on its class mean
    torch.testing.assert_close(z, flow.base.means[[0, 1, 1]], rtol=0, atol=1e-4)


def test_log_prob_is_the_sum_of_its_terms_and_forward_gives_the_latents(randomize: Randomize) -> None:
    flow = random_flow(randomize, 5, classes=3, class_dim=2)
    x = normals(6, 5)
    logp, logdet = flow.log_terms(x)
    assert logp.shape == (6, 3) and logdet.shape == (6,)
    torch.testing.assert_close(flow.log_prob(x), logp + logdet[:, None])
    z, same = flow(x)
    torch.testing.assert_close(same, logdet)
    torch.testing.assert_close(flow.base.log_prob(z), logp)
    back, back_logdet = flow.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_logdet, -logdet)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_every_parameter_of_a_dnf_gets_a_gradient(normalization: str, randomize: Randomize) -> None:
    flow = random_flow(randomize, 5, classes=2, normalization=normalization, class_dim=3)
    flow.log_prob(normals(30, 5)).sum().neg().backward()
    silent = [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9]
    assert silent == []


def test_the_start_puts_class_means_at_the_class_averages_of_the_latents(randomize: Randomize) -> None:
    flow = random_flow(randomize, 4, classes=2, class_dim=3)
    x, labels = normals(100, 4), torch.arange(100) % 2
    x[labels == 1] += 4
    flow.initialize(x, labels)
    z = flow(x)[0].detach().numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)  # the last actnorm started from the same frames
    for label in (0, 1):
        np.testing.assert_allclose(
            flow.base.means[label].detach(), z[labels.numpy() == label, :3].mean(0), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm"])
def test_the_start_gives_the_latents_the_bases_variances(normalization: str) -> None:
    config = ModelConfig(
        type="dnf", blocks=2, hidden=4, normalization=normalization,
        class_dim=3, class_variance=2.5, residual_variance=1000.0,
    )  # fmt: skip
    flow = build_flow(config, 2, torch.zeros(5), torch.ones(5)).double().eval()
    x = 5 + 2 * normals(500, 5)
    flow.initialize(x, torch.arange(500) % 2)
    np.testing.assert_allclose(flow(x)[0].detach().numpy().var(0), [2.5, 2.5, 2.5, 1000, 1000], rtol=1e-4)


def test_the_start_names_a_class_without_frames() -> None:
    base = ClassGaussians(3, 4, 2)
    with pytest.raises(ValueError, match="class number 1 has no training frame"):
        base.initialize(torch.zeros(4, 4), torch.tensor([0, 0, 2, 2]))


@pytest.mark.parametrize("class_dim", [0, 7])
def test_class_dim_beyond_the_flow_is_refused(class_dim: int) -> None:
    with pytest.raises(ValueError, match=f"class_dim {class_dim} must be between 1 and the flow's 6 dims"):
        ClassGaussians(2, 6, class_dim)


def test_build_flow_refuses_a_class_dim_that_does_not_fit_the_frames() -> None:
    with pytest.raises(ValueError, match="class_dim 400 must be between 1 and the flow's 120 dims"):
        build_flow(ModelConfig(type="dnf", blocks=1, hidden=2, class_dim=400), 2, torch.zeros(120), torch.ones(120))


@pytest.mark.parametrize("variances", [(0.0, 1.0), (1.0, -1.0)])
def test_variances_must_be_positive(variances: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="variances must be positive"):
        ClassGaussians(2, 6, 3, *variances)


def test_build_flow_repeats_with_torchs_seed() -> None:
    def state(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build_flow(ModelConfig(blocks=1, hidden=4), 1, torch.zeros(3), torch.ones(3)).state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


class Recorder:
    """A transform that notes how it is compiled, in the place of a flow's on a GPU."""

    def __init__(self) -> None:
        self.modes: list[str] = []
        self.base = SimpleNamespace(means=SimpleNamespace(device=torch.device("cuda")))
        self.transform = SimpleNamespace(compile=lambda mode: self.modes.append(mode))


def test_kernels_are_fused_where_torch_can_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, device: zeros(*size))
    recorder = Recorder()
    Flow.fuse_kernels(recorder)
    assert recorder.modes == ["reduce-overhead"]


def test_without_a_compiler_the_kernels_run_one_by_one_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(function: Callable[[Tensor], Tensor]) -> None:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(torch, "compile", fail)
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        Flow.fuse_kernels(recorder)
    assert recorder.modes == []
    (warning,) = caplog.messages
    assert warning.startswith("the flow's kernels run one by one") and "Failed to find C compiler." in warning
