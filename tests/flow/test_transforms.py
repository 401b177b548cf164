"""Transforms: one table for all, log-determinants against autograd, and what each one promises of its own."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from flowlid.flow.flow import real_nvp
from flowlid.flow.mixing import LUMixing
from flowlid.flow.transforms import (
    ActNorm,
    AffineCoupling,
    BatchNorm,
    Composition,
    Permutation,
    SharedCoupling,
    Standardization,
    Transform,
    refresh_batchnorm,
)
from flowlid.flow.whitening import Whitening

Randomize = Callable[..., nn.Module]

CASES: dict[str, Callable[[int], Transform]] = {
    "standardization": lambda dim: Standardization(torch.zeros(dim), torch.ones(dim)),
    "whitening": Whitening,
    "permutation": lambda dim: Permutation([*range(1, dim), 0]),
    "coupling": lambda dim: AffineCoupling(dim, True, hidden=7),
    "coupling without bound": lambda dim: AffineCoupling(dim, True, hidden=7, scale_bound=None),
    "coupling of one hidden layer, tight bound": lambda dim: AffineCoupling(dim, False, 7, layers=1, scale_bound=0.3),
    "shared coupling": lambda dim: SharedCoupling(dim, True, hidden=7),
    "shared coupling of one hidden layer": lambda dim: SharedCoupling(dim, False, 7, layers=1, scale_bound=None),
    "LU mixing": LUMixing,
    "actnorm": ActNorm,
    "batchnorm": BatchNorm,
    "composition": lambda dim: Composition(
        [ActNorm(dim), AffineCoupling(dim, False, 5), CASES["standardization"](dim), BatchNorm(dim)]
    ),
    "real_nvp, actnorm": lambda dim: Composition(real_nvp(dim, 3, 7, normalization="actnorm")),
    "real_nvp, batchnorm": lambda dim: Composition(real_nvp(dim, 3, 7, normalization="batchnorm")),
    "real_nvp, none": lambda dim: Composition(real_nvp(dim, 3, 7, normalization="none", scale_bound=None)),
    "real_nvp, LU mixing": lambda dim: Composition(real_nvp(dim, 4, 7, mixing="lu")),
    "real_nvp, shared": lambda dim: Composition(real_nvp(dim, 3, 7, coupling="shared")),
}
every_case = pytest.mark.parametrize("case", CASES)
both_directions = pytest.mark.parametrize("direction", ["forward", "inverse"])


def frames(count: int, dim: int, seed: int = 7) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobian_logdet(function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """log |det J| at each row, by autograd: (N, D) -> (N,)."""
    rows = [jacobian(lambda row: function(row.unsqueeze(0))[0].squeeze(0), row) for row in x]
    return torch.stack([torch.linalg.slogdet(matrix).logabsdet for matrix in rows])


@every_case
@both_directions
@pytest.mark.parametrize("dim", [2, 5, 6])
def test_logdet_is_that_of_the_autograd_jacobian(case: str, direction: str, dim: int, randomize: Randomize) -> None:
    transform = randomize(CASES[case](dim).double()).eval()
    function = transform if direction == "forward" else transform.inverse
    x = frames(4, dim)
    value, logdet = function(x)
    assert value.shape == (4, dim)
    assert logdet.shape == (4,)
    if case != "permutation":
        assert logdet.abs().min() > 1e-3  # random weights: nothing is an identity here
    torch.testing.assert_close(logdet, jacobian_logdet(function, x), rtol=0, atol=1e-10)


@every_case
def test_inverse_undoes_forward(case: str, randomize: Randomize) -> None:
    transform = randomize(CASES[case](5).double()).eval()
    x = frames(50, 5)
    z, logdet = transform(x)
    back, back_logdet = transform.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(back_logdet, -logdet, rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm", "none"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
def test_ten_blocks_invert(normalization: str, dtype: torch.dtype, tolerance: float, randomize: Randomize) -> None:
    chain = Composition(real_nvp(12, 10, 32, normalization=normalization))
    chain = randomize(chain).to(dtype).eval()
    x = frames(200, 12).to(dtype)  # standardized, as a flow's first transform makes them
    chain.initialize(x)  # normalizations fit what reaches them, as they do in training
    z, logdet = chain(x)
    back, back_logdet = chain.inverse(z)
    assert (z - x).abs().max() > 1
    assert (back - x).abs().max() < tolerance
    assert (back_logdet + logdet).abs().max() < tolerance


@every_case
def test_every_parameter_gets_a_gradient(case: str, randomize: Randomize) -> None:
    # evaluation mode: in training mode a batch norm cancels the shift of the coupling before it
    transform = randomize(CASES[case](5)).eval()
    z, logdet = transform(frames(20, 5).float())
    parameters = dict(transform.named_parameters())
    assert bool(parameters) == (case not in ("standardization", "whitening", "permutation"))
    if parameters:
        (z.square().sum() - logdet.sum()).backward()
    assert [name for name, p in parameters.items() if p.grad is None or not p.grad.abs().max() > 1e-6] == []


@every_case
def test_all_state_is_saved(case: str, randomize: Randomize) -> None:
    saved, loaded = randomize(CASES[case](5), seed=1).eval(), randomize(CASES[case](5), seed=2).eval()
    if case == "permutation":
        loaded = Permutation(range(5))
    x = frames(9, 5).float()
    assert not torch.equal(saved(x)[0], loaded(x)[0])
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for ours, theirs in ((saved(x), loaded(x)), (saved.inverse(x), loaded.inverse(x))):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


@settings(max_examples=40)
@given(
    dim=st.integers(2, 9),
    blocks=st.integers(1, 4),
    count=st.integers(1, 5),
    normalization=st.sampled_from(["actnorm", "batchnorm", "none"]),
    bound=st.sampled_from([None, 0.5, 2.0]),
    seed=st.integers(0, 1000),
)
def test_real_nvp_of_any_size(
    dim: int, blocks: int, count: int, normalization: str, bound: float | None, seed: int, randomize: Randomize
) -> None:
    chain = real_nvp(dim, blocks, 4, layers=1, normalization=normalization, scale_bound=bound)
    assert sum(isinstance(t, AffineCoupling) for t in chain) == blocks
    whole = randomize(Composition(chain).double(), seed).eval()
    x = frames(count, dim, seed)
    z, logdet = whole(x)
    assert z.shape == (count, dim) and logdet.shape == (count,)
    back, back_logdet = whole.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-7)
    torch.testing.assert_close(back_logdet, -logdet, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dim", [2, 5, 6])
@pytest.mark.parametrize("keeps_first", [True, False])
@pytest.mark.parametrize("kind", [AffineCoupling, SharedCoupling])
def test_a_coupling_keeps_its_half_and_moves_each_other_dim_alone(
    kind: type[AffineCoupling], dim: int, keeps_first: bool, randomize: Randomize
) -> None:
    halves = list(range((dim + 1) // 2)), list(range((dim + 1) // 2, dim))
    kept, moved = halves if keeps_first else halves[::-1]
    coupling = randomize(kind(dim, keeps_first, hidden=6).double())
    x = frames(3, dim)
    for value in (coupling(x)[0], coupling.inverse(x)[0]):
        assert torch.equal(value[:, kept], x[:, kept])
        assert (value[:, moved] != x[:, moved]).all()
    matrix = jacobian(lambda row: coupling(row.unsqueeze(0))[0].squeeze(0), x[0])
    block = matrix[moved][:, moved]
    assert torch.equal(block, torch.diag(block.diagonal()))
    assert matrix[moved][:, kept].abs().max() > 0


@pytest.mark.parametrize("kind", [AffineCoupling, SharedCoupling])
def test_a_fresh_coupling_is_the_identity(kind: type[AffineCoupling]) -> None:
    x = frames(3, 5).float()
    z, logdet = kind(5, True, hidden=6)(x)
    assert torch.equal(z, x)
    assert torch.equal(logdet, torch.zeros(3))


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_couplings_of_a_real_nvp_move_the_odd_and_the_even_dims_in_turn(blocks: int, randomize: Randomize) -> None:
    flow = Composition(real_nvp(7, blocks, 4, normalization="none")).double()
    couplings = [t for t in flow.transforms if isinstance(t, AffineCoupling)]
    for number, coupling in enumerate(couplings):
        randomize(coupling, seed=number)
        x = frames(3, 7)
        moved = (flow(x)[0] != x).any(0)
        assert moved[1::2].all() == (number % 2 == 0) and moved[0::2].all() == (number % 2 == 1)
        assert moved.any() and not moved.all()
        for parameter in coupling.parameters():
            nn.init.zeros_(parameter)


def test_the_bound_holds_for_an_absurd_frame_and_is_nearly_the_network_for_an_ordinary_one() -> None:
    coupling = AffineCoupling(2, True, hidden=3, scale_bound=2.0)
    free = AffineCoupling(2, True, hidden=3, scale_bound=None)
    for value, each in ((50.0, coupling), (50.0, free)):
        nn.init.constant_(each.log_scale[-1].bias, value)
    x = torch.tensor([[1e6, 1.0]])
    assert coupling(x)[1].item() == pytest.approx(2.0)
    assert free(x)[1].item() == pytest.approx(50.0)
    nn.init.constant_(coupling.log_scale[-1].bias, 0.1)
    assert coupling(x)[1].item() == pytest.approx(2 * np.tanh(0.05))  # 0.09992


@pytest.mark.parametrize("dim", [2, 7])
def test_a_flow_of_one_dim_is_refused_and_two_are_enough(dim: int) -> None:
    assert sum(isinstance(t, AffineCoupling) for t in real_nvp(dim, 2, 4, normalization="none")) == 2
    with pytest.raises(ValueError, match="2 or more are needed"):
        real_nvp(1, 2, 4)


def test_standardization_is_the_numpy_one_and_frozen() -> None:
    x = 5 + 3 * frames(100, 4).numpy()
    standardization = Standardization(torch.from_numpy(x.mean(0)), torch.from_numpy(x.std(0)))
    z, logdet = standardization(torch.from_numpy(x))
    np.testing.assert_allclose(z.numpy().mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.numpy().var(0), 1, atol=1e-12)
    np.testing.assert_allclose(logdet.numpy(), -np.log(x.std(0)).sum())
    assert list(standardization.parameters()) == []


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_standardization_refuses_a_dim_without_spread(bad: float) -> None:
    std = torch.ones(5)
    std[[1, 3]] = bad
    with pytest.raises(ValueError, match=r"dimensions \[1, 3\].*fbank\.conf"):
        Standardization(torch.zeros(5), std)


def test_actnorm_starts_at_mean_0_and_variance_1() -> None:
    x = torch.tensor([3.0, -1.0, 100.0]) + torch.tensor([2.0, 0.1, 30.0]) * frames(500, 3).float()
    actnorm = ActNorm(3)
    actnorm.initialize(x)
    z = actnorm(x)[0].detach().double().numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.var(0), 1, atol=1e-5)


def test_actnorm_of_a_constant_dim_starts_finite() -> None:
    actnorm = ActNorm(2)
    actnorm.initialize(torch.tensor([[1.0, 5.0], [2.0, 5.0]]))
    assert torch.isfinite(actnorm.log_scale).all()


def test_every_actnorm_of_a_chain_starts_from_what_reaches_it(randomize: Randomize) -> None:
    x = 3 + frames(400, 6)
    chain = randomize(Composition(real_nvp(6, 3, 5)).double())
    chain.initialize(x)
    for transform in chain.transforms:
        x = transform(x)[0]
        if isinstance(transform, ActNorm):
            np.testing.assert_allclose(x.detach().numpy().mean(0), 0, atol=1e-9)
            np.testing.assert_allclose(x.detach().numpy().var(0), 1, atol=1e-9)


def test_batchnorm_is_torchs_in_both_modes(randomize: Randomize) -> None:
    norm = randomize(BatchNorm(4).double())
    x = 2 + 3 * frames(30, 4)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    # torch's running variance divides by n - 1, that of a density by n
    wanted_var = 0.9 * var + 0.1 * x.var(0, correction=0)
    for training in (False, True):
        expected = nn.functional.batch_norm(x, mean, var, norm.log_scale.exp(), norm.shift, training, 0.1, norm.eps)
        torch.testing.assert_close(norm.train(training)(x)[0], expected)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, wanted_var)


def test_batchnorm_in_training_is_the_map_with_the_batchs_own_statistics(randomize: Randomize) -> None:
    norm = randomize(BatchNorm(4).double())
    x = 2 + 3 * frames(30, 4)
    z, logdet = norm.train()(x)
    norm.running_mean.copy_(x.mean(0))
    norm.running_var.copy_(x.var(0, correction=0))
    held, held_logdet = norm.eval()(x)
    torch.testing.assert_close(z, held)
    torch.testing.assert_close(logdet, held_logdet)
    torch.testing.assert_close(logdet[:3], jacobian_logdet(norm, x[:3]))


def test_batchnorm_in_training_ignores_and_moves_the_running_statistics() -> None:
    norm, x = BatchNorm(2), torch.tensor([[0.0, 10.0], [2.0, 10.0], [4.0, 10.0], [6.0, 10.0]])
    z, _ = norm.train()(x)
    # mean 3, variance 5 and no variance at all: z = (x - 3) / sqrt(5) and 0
    np.testing.assert_allclose(z.detach()[:, 0], (np.array([0, 2, 4, 6]) - 3) / np.sqrt(5), rtol=1e-5)
    np.testing.assert_allclose(z.detach()[:, 1], 0)
    np.testing.assert_allclose(norm.running_mean, [0.3, 1.0], rtol=1e-6)
    np.testing.assert_allclose(norm.running_var, [1.4, 0.9], rtol=1e-6)


def test_refresh_gives_the_statistics_of_all_frames_and_leaves_weights(randomize: Randomize) -> None:
    x = torch.tensor([5.0, -2.0, 0.0, 1.0]) + 3 * frames(100, 4).float()
    standardization = Standardization(torch.full((4,), 2.0), torch.full((4,), 4.0))
    chain = Composition([standardization, *real_nvp(4, 2, 5, normalization="batchnorm")])
    randomize(chain.transforms[1:])
    first, second = (t for t in chain.transforms if isinstance(t, BatchNorm))
    before = {name: p.detach().clone() for name, p in chain.named_parameters()}
    batches = x.split([50, 30, 17, 3])  # unequal: each frame counts once, not each batch
    refresh_batchnorm(chain, ((len(part), part) for part in batches))

    apart, coupling, coupling_after, back = (chain.transforms[n] for n in (1, 2, 4, 5))
    with torch.no_grad():
        parts = [coupling(apart(standardization(part)[0])[0])[0] for part in batches]
        reaches = torch.cat(parts).double().numpy()
        np.testing.assert_allclose(first.running_mean, reaches.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(first.running_var, reaches.var(0), rtol=1e-5)
        # what reaches the second layer in training: each batch normalized by its own statistics
        scale, shift = first.log_scale.exp().numpy(), first.shift.numpy()
        parts = [p.double().numpy() for p in parts]
        normed = [(p - p.mean(0)) / np.sqrt(p.var(0) + first.eps) * scale + shift for p in parts]
        reaches = back(coupling_after(torch.from_numpy(np.concatenate(normed)).float())[0])[0].double().numpy()
    np.testing.assert_allclose(second.running_mean, reaches.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.running_var, reaches.var(0), rtol=1e-4)

    assert all(torch.equal(p, before[name]) for name, p in chain.named_parameters())
    assert not any(module.training for module in chain.modules())
    assert {first.momentum, second.momentum} == {0.1}


def test_loglik_after_refresh_is_near_trainings_and_without_it_is_not(randomize: Randomize) -> None:
    x = 3 + 2 * frames(1000, 6).float()
    chain = randomize(Composition(real_nvp(6, 4, 8, normalization="batchnorm")))
    batches = x.split(200)

    @torch.no_grad()
    def loglik(training: bool) -> float:
        terms = [chain.train(training)(part) for part in batches]
        return sum(float((logdet - 0.5 * z.square().sum(1)).sum()) for z, logdet in terms) / len(x)

    as_saved_without = loglik(training=False)
    trained = loglik(training=True)
    refresh_batchnorm(chain, ((len(part), part) for part in batches))
    assert loglik(training=False) == pytest.approx(trained, abs=0.1)
    assert abs(as_saved_without - trained) > 1


def test_refresh_of_a_flow_without_batchnorm_only_ends_training() -> None:
    chain = Composition(real_nvp(4, 2, 5))
    refresh_batchnorm(chain, ())
    assert not chain.training
