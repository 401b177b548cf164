"""The couplings' fast path on a CPU: the plain formulas, in float64 and differentiated by autograd, are the measure."""

import copy
import weakref
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from flowlid.config import ModelConfig
from flowlid.flow import cpu_coupling
from flowlid.flow.flow import Flow, build_flow
from flowlid.flow.transforms import AffineCoupling, SharedCoupling

Randomize = Callable[..., nn.Module]
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
COUPLINGS = {
    "bounded": {"dim": 7, "keeps_first": True, "hidden": 24, "scale_bound": 2.0},
    "unbounded": {"dim": 6, "keeps_first": False, "hidden": 24, "scale_bound": None},
    "one hidden layer": {"dim": 5, "keeps_first": True, "hidden": 32, "layers": 1, "scale_bound": 0.5},
    "three hidden layers": {"dim": 2, "keeps_first": False, "hidden": 16, "layers": 3, "scale_bound": 1.0},
    "shared": {"dim": 7, "keeps_first": True, "hidden": 24, "scale_bound": 2.0, "shared": True},
    "shared, unbounded": {"dim": 6, "keeps_first": False, "hidden": 24, "scale_bound": None, "shared": True},
    "shared, one hidden layer": {"dim": 5, "keeps_first": True, "hidden": 32, "layers": 1, "shared": True},
}
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 4e-2}  # relative, of a norm


def make_coupling(case: str) -> AffineCoupling:
    shared = COUPLINGS[case].get("shared", False)
    settings = {name: value for name, value in COUPLINGS[case].items() if name != "shared"}
    return (SharedCoupling if shared else AffineCoupling)(**settings)


def noise(count: int, dim: int, seed: int = 7) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def distance(ours: Tensor, reference: Tensor) -> float:
    return float((ours.double() - reference).norm() / reference.norm())


def results(coupling: nn.Module, x: Tensor, inverse: bool) -> dict[str, Tensor]:
    """Output, log-determinant and all gradients of a coupling, under a loss that weighs each output differently."""
    x = x.clone().requires_grad_()
    value, logdet = coupling.inverse(x) if inverse else coupling(x)
    weights = noise(len(x), x.shape[1], seed=3).abs().to(x)  # of one sign: nothing cancels
    ((value * weights).sum() + (logdet * weights[:, 0]).sum()).backward()
    found = {"value": value.detach(), "logdet": logdet.detach(), "x": x.grad}
    return found | {name: parameter.grad for name, parameter in coupling.named_parameters()}


@pytest.mark.parametrize("count", [1, 40, 2300])  # less than a piece of the batch, and several
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", COUPLINGS)
def test_values_and_gradients_are_those_of_the_plain_formulas_in_float64(
    case: str,
    precision: torch.dtype,
    inverse: bool,
    count: int,
    randomize: Randomize,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_coupling, "_PIECE", 900 * COUPLINGS[case]["hidden"])
    coupling = randomize(make_coupling(case))
    reference = copy.deepcopy(coupling).double()
    coupling.precision = precision
    x = noise(count, COUPLINGS[case]["dim"])
    assert cpu_coupling.can_run(coupling) and not cpu_coupling.can_run(reference)
    cpu_coupling.install(coupling)
    ours, theirs = results(coupling, x, inverse), results(reference, x.double(), inverse)
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    assert ours.keys() == theirs.keys() and len(ours) > 6
    # of one frame the error of bfloat16 does not average out
    allowed = TOLERANCE[precision] * (3 if count == 1 else 1)
    allowed *= 2 if "shared" in case else 1  # a rounding that switches a ReLU of the trunk moves scale and shift
    assert {
        name: distance(ours[name], theirs[name]) for name in ours if not distance(ours[name], theirs[name]) < allowed
    } == {}


@pytest.mark.parametrize("case", ["bounded", "shared"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_plain_formulas_compute_the_same(precision: torch.dtype, case: str, randomize: Randomize) -> None:
    coupling = randomize(make_coupling(case))
    coupling.precision = precision
    plain = results(coupling, noise(300, 7), inverse=False)
    coupling.zero_grad()
    cpu_coupling.install(coupling)
    fast = results(coupling, noise(300, 7), inverse=False)
    assert max(distance(fast[name], plain[name].double()) for name in fast) < TOLERANCE[precision]
    cpu_coupling.remove(coupling)
    again = coupling(noise(300, 7))
    assert torch.equal(again[0], plain["value"]) and torch.equal(again[1], plain["logdet"])


def runs_here(flow: Flow) -> bool:
    """Whether a pass through the flow, forward and back, computes its couplings by `cpu_coupling`."""
    calls, real = [], cpu_coupling._coupling
    with mock.patch.object(cpu_coupling, "_coupling", lambda *args, **named: calls.append(1) or real(*args, **named)):
        x = torch.zeros(2, flow.dim, dtype=flow.base.means.dtype)
        flow.inverse(flow(x)[0])
    assert len(calls) in (0, 2 * 10)
    return bool(calls)


def test_the_kernels_are_chosen_when_the_precision_is_set_and_follow_the_type(randomize: Randomize) -> None:
    flow = ten_blocks(randomize)
    assert not runs_here(flow)
    flow.set_precision("float32")
    assert runs_here(flow) and runs_here(copy.deepcopy(flow))
    assert not runs_here(copy.deepcopy(flow).double()) and runs_here(flow)
    assert not runs_here(flow.double()) and runs_here(flow.float())


def test_a_copy_has_couplings_of_its_own(randomize: Randomize) -> None:
    flow = ten_blocks(randomize)
    flow.set_precision("float32")
    other, x = copy.deepcopy(flow), noise(5, 24)
    before = flow(x)[0]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(flow(x)[0], before) and not torch.equal(other(x)[0], before)


def test_without_onednn_the_plain_formulas_run(randomize: Randomize, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    flow = ten_blocks(randomize)
    flow.set_precision("float32")
    assert not runs_here(flow)


@pytest.fixture
def bounded(randomize: Randomize) -> nn.Module:
    coupling = randomize(make_coupling("bounded"))
    cpu_coupling.install(coupling)
    return coupling


def test_no_frame_at_all_is_no_error(bounded: nn.Module) -> None:
    z, logdet = bounded(torch.zeros(0, 7))
    assert z.shape == (0, 7) and logdet.shape == (0,)


def test_what_is_kept_for_gradients_goes_with_the_result(bounded: nn.Module) -> None:
    for direction in (bounded, bounded.inverse):
        x = noise(10, 7).requires_grad_()
        value, logdet = direction(x)
        node = weakref.ref(value.grad_fn)
        (value.sum() + logdet.sum()).backward()
        del value, logdet
        assert node() is None  # without a cycle that only the collector could break, or could not


def test_scoring_keeps_nothing_for_gradients(bounded: nn.Module) -> None:
    with torch.no_grad():
        z, logdet = bounded(noise(10, 7))
    assert z.grad_fn is None and logdet.grad_fn is None


def ten_blocks(randomize: Randomize, dim: int = 24, hidden: int = 64) -> Flow:
    flow = build_flow(ModelConfig(type="dnf", hidden=hidden), 2, torch.zeros(dim), torch.ones(dim))
    randomize(flow)
    with torch.no_grad():
        flow.transform.transforms[0].mean.zero_()
        flow.transform.transforms[0].std.fill_(1)
    flow.initialize(noise(2000, dim), torch.arange(2000) % 2)
    return flow.eval()


@torch.no_grad()
def test_a_flow_in_bfloat16_is_near_float64_and_decides_as_float32(randomize: Randomize) -> None:
    flow = ten_blocks(randomize)
    # two classes that overlap: frames near the boundary are among these
    x = noise(5000, 24, seed=5)
    reference = copy.deepcopy(flow).double().log_prob(x.double())
    flow.set_precision("float32")
    single = flow.log_prob(x)
    flow.set_precision("bfloat16")
    low = flow.log_prob(x)
    assert flow.precision == "bfloat16" and low.dtype == torch.float32
    assert abs(float(low.double().mean() - reference.mean())) < 0.05
    assert not torch.equal(low, single)
    margin = (single[:, 0] - single[:, 1]).abs()
    assert margin.min() < 0.05 < margin.max()
    assert float((low.argmax(1) == single.argmax(1)).double().mean()) > 0.995


@torch.no_grad()
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_inverse_still_inverts(precision: str, randomize: Randomize) -> None:
    flow = ten_blocks(randomize)
    flow.set_precision(precision)
    x = noise(2500, 24)
    z, logdet = flow(x)
    back, back_logdet = flow.inverse(z)
    assert (z - x).abs().max() > 1
    error = (back - x).abs()
    assert error.mean() < 1e-4
    # a value that is off by a rounding of float32 may be rounded to the next bfloat16, and so on through ten couplings
    assert error.max() < {"float32": 1e-3, "bfloat16": 0.3}[precision]
    assert (back_logdet + logdet).abs().mean() < 1e-3


def test_a_step_of_training_can_be_compiled_whole(randomize: Randomize) -> None:
    # what a GPU runs: the plain formulas as one graph, forward and backward
    flow = ten_blocks(randomize)
    x = noise(30, 24)
    plain = flow.log_prob(x)
    torch._dynamo.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, plain)
    compiled.sum().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())
