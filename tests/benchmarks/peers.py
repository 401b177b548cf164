"""The flows that `flows.py` compares: ours and those of other libraries, each of the same structure and size.

Ten affine couplings of alternating halves, each with nets of two hidden layers, and a standard normal; actnorm
between the couplings where the library has one. Each peer is built from its library's own parts, as its documentation
does it, and scored by its own `log_prob` where it has one; the other libraries are imported only where they are used.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from flowlid.config import ModelConfig
from flowlid.flow.flow import build_flow
from flowlid.flow.precision import has_bfloat16_units

BLOCKS = 10


class Model(nn.Module):
    """A flow as the benchmark uses it."""

    fixed_products = 0  # products per frame with matrices that are not trained

    def start(self, x: Tensor) -> None:
        """Data-dependent start from frames x (N, D); peers take it from the first batch that they see in training."""
        with torch.no_grad():
            self.train().log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats: (N, D) -> (N,)."""
        raise NotImplementedError

    def log_prob_and_latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x) (N,) and z (N, D) from one pass; for flows that are given a mean per class."""
        z, logdet = self.latents_and_logdet(x)
        return logdet - 0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi)), z

    def latents_and_logdet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, D) -> z (N, D) and log |det dz/dx| (N,), by the library's own call."""
        raise NotImplementedError

    def latents(self, x: Tensor) -> Tensor:
        """x (N, D) -> z (N, D), without its log-determinant: what `log_prob` is checked against."""
        raise NotImplementedError

    def exact(self) -> "Model":
        """A copy that computes in float64."""
        return copy.deepcopy(self).double()


class Ours(Model):
    def __init__(self, dim: int, hidden: int, precision: str) -> None:
        super().__init__()
        config = ModelConfig(blocks=BLOCKS, hidden=hidden)
        self.flow = build_flow(config, 1, mean=torch.zeros(dim), std=torch.ones(dim))
        self.flow.set_precision(precision)

    def start(self, x: Tensor) -> None:
        self.flow.initialize(x, torch.zeros(len(x), dtype=torch.long, device=x.device))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x).squeeze(1)

    def latents_and_logdet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow(x)

    def latents(self, x: Tensor) -> Tensor:
        return self.flow(x)[0]


class NormflowsMasked(Model):
    """MaskedAffineFlow: one net for s and one for t, both over all dims, half of them multiplied by 0."""

    def __init__(self, dim: int, hidden: int) -> None:
        import normflows

        super().__init__()
        mask, flows = (torch.arange(dim) % 2).float(), []
        for block in range(BLOCKS):
            s, t = (normflows.nets.MLP([dim, hidden, hidden, dim]) for _ in "st")
            kept = 1 - mask if block % 2 else mask
            flows += [normflows.flows.MaskedAffineFlow(kept, t, s), normflows.flows.ActNorm(dim)]
        self.flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(dim, trainable=False), flows)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)

    def latents_and_logdet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow.inverse_and_log_det(x)

    def latents(self, x: Tensor) -> Tensor:
        return self.flow.inverse(x)


class NormflowsHalves(NormflowsMasked):
    """AffineCouplingBlock over halves of the dims, one net for s and one for t (its net gives t and s in turn)."""

    def __init__(self, dim: int, hidden: int) -> None:
        import normflows

        Model.__init__(self)
        flows = []
        for block in range(BLOCKS):
            nets = _Interleaved([normflows.nets.MLP([dim // 2, hidden, hidden, dim // 2]) for _ in "ts"])
            mode = ("channel", "channel_inv")[block % 2]
            flows += [normflows.flows.AffineCouplingBlock(nets, split_mode=mode), normflows.flows.ActNorm(dim)]
        self.flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(dim, trainable=False), flows)


class FreiaRnvp(Model):
    """RNVPCouplingBlock: two couplings, one of each half, each with one net for s and one for t."""

    block, blocks = "RNVPCouplingBlock", BLOCKS // 2

    def __init__(self, dim: int, hidden: int) -> None:
        from FrEIA import framework, modules

        super().__init__()
        self.flow = framework.SequenceINN(dim)
        for _ in range(self.blocks):
            self.flow.append(
                getattr(modules, self.block), subnet_constructor=lambda fan_in, out: _mlp(fan_in, hidden, out)
            )
            self.flow.append(modules.ActNorm)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_prob_and_latents(x)[0]

    def latents_and_logdet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow(x)

    def latents(self, x: Tensor) -> Tensor:
        return self.flow(x, jac=False)[0]


class FreiaGlow(FreiaRnvp):
    """GLOWCouplingBlock: two couplings, one of each half, each with one net for s and t; twice as many couplings."""

    block, blocks = "GLOWCouplingBlock", BLOCKS


class FreiaAllInOne(FreiaRnvp):
    """AllInOneBlock: a coupling with one net for s and t, a global affine map and a permutation by a matrix."""

    def __init__(self, dim: int, hidden: int) -> None:
        from FrEIA import framework, modules

        Model.__init__(self)
        self.flow = framework.SequenceINN(dim)
        for _ in range(BLOCKS):
            self.flow.append(modules.AllInOneBlock, subnet_constructor=lambda fan_in, out: _mlp(fan_in, hidden, out))
        self.fixed_products = BLOCKS * dim**2


class Nflows(Model):
    """AffineCouplingTransform: one net for s and t."""

    def __init__(self, dim: int, hidden: int) -> None:
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow
        from nflows.transforms import ActNorm, AffineCouplingTransform, CompositeTransform

        super().__init__()
        mask, chain = torch.arange(dim) % 2, []
        for block in range(BLOCKS):
            chain += [
                AffineCouplingTransform(mask ^ (block % 2), lambda fan_in, out: _Unconditional(fan_in, hidden, out)),
                ActNorm(dim),
            ]
        self.flow = Flow(CompositeTransform(chain), StandardNormal([dim]))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)

    def latents_and_logdet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow._transform(x)

    def latents(self, x: Tensor) -> Tensor:
        return self.flow.transform_to_noise(x)


class Zuko(Model):
    """RealNVP: one net for s and t, and no normalization between the couplings (the library has none)."""

    def __init__(self, dim: int, hidden: int) -> None:
        from zuko.flows import RealNVP

        super().__init__()
        self.flow = RealNVP(dim, transforms=BLOCKS, hidden_features=(hidden, hidden))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow().log_prob(x)

    def latents_and_logdet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow().transform.call_and_ladj(x)

    def latents(self, x: Tensor) -> Tensor:
        return self.flow().transform(x)


class _Interleaved(nn.Module):
    """Outputs of several nets, taken in turn: (N, n) of each of m nets -> (N, n m)."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([net(x) for net in self.nets], dim=2).flatten(1)


class _Unconditional(nn.Module):
    """nflows calls a coupling's net with a context, which is None here and which its own MLP does not take."""

    def __init__(self, fan_in: int, hidden: int, out: int) -> None:
        super().__init__()
        self.net = _mlp(fan_in, hidden, out)

    def forward(self, x: Tensor, context: None) -> Tensor:
        return self.net(x)


def _mlp(fan_in: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(fan_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        key: as the option --rows calls it.
        name: as the table calls it.
        build: the model for D and hidden units H.
        package: the library to install, as its package is called and imported; None: ours.
        precision: of ours: "float32" or "bfloat16".
    """

    key: str
    name: str
    build: Callable[[int, int], Model]
    package: str | None = None
    precision: str = "float32"

    def missing(self, device: torch.device) -> str | None:
        """Why this row cannot be measured here, or None."""
        if self.package and find_spec(self.package) is None:
            return f"{self.package} is not installed (utils/setup_env.sh benchmark)"
        if self.precision == "bfloat16" and not has_bfloat16_units(device):
            return "no units for bfloat16 here"
        return None


_ALL = (
    Row("normflows-masked", "normflows (separate s and t nets, masked)", NormflowsMasked, "normflows"),
    Row("normflows-halves", "normflows (separate s and t nets, halves)", NormflowsHalves, "normflows"),
    Row("freia-rnvp", "FrEIA (RNVP coupling, separate s and t nets)", FreiaRnvp, "FrEIA"),
    Row("freia-glow", "FrEIA (GLOW coupling, one net for s and t, 20 couplings)", FreiaGlow, "FrEIA"),
    Row("freia-all-in-one", "FrEIA (AllInOneBlock, one net for s and t)", FreiaAllInOne, "FrEIA"),
    Row("nflows", "nflows (one net for s and t)", Nflows, "nflows"),
    Row("zuko", "zuko (one net for s and t)", Zuko, "zuko"),
    Row("ours-float32", "ours, float32", lambda dim, hidden: Ours(dim, hidden, "float32")),
    Row("ours-bfloat16", "ours, bfloat16", lambda dim, hidden: Ours(dim, hidden, "bfloat16"), precision="bfloat16"),
)
ROWS = {row.key: row for row in _ALL}
