"""A flow: a transform of the frames and a density of the latents, joined."""

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from flowlid.config import ModelConfig
from flowlid.flow import cpu_coupling, precision
from flowlid.flow.baselines import GaussianMixtures, LogPosteriors, SharedGaussians
from flowlid.flow.bases import Base, ClassGaussians
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
)
from flowlid.flow.whitening import Whitening

log = logging.getLogger("flowlid")


class Flow(nn.Module):
    """Density of frames x given a class y: log p(x | y) = log p(z | y) + log |det dz/dx|.

    Calling it, `flow(x)`, gives the latents and their log-determinant, as a transform does. A baseline is one without
    couplings, and with another density than a flow's.

    Example:
        >>> flow = build_flow(ModelConfig(blocks=2, hidden=8), 1, mean=torch.zeros(4), std=torch.ones(4))
        >>> flow.log_prob(torch.zeros(3, 4)).shape
        torch.Size([3, 1])
    """

    def __init__(self, transform: Composition, base: Base, dim: int) -> None:
        super().__init__()
        self.transform, self.base, self.dim = transform, base, dim
        self._chooses_kernels = False  # the plain formulas, until `set_precision`

    def set_precision(self, name: str) -> None:
        """Run the couplings' products in "float32" or "bfloat16", or in what is best on the flow's device ("auto").

        Call it when the flow is on its device: where `cpu_coupling` can, it computes the couplings from then on.
        Latents, log-determinants and weights stay float32; a float64 flow stays float64 throughout.

        Raises:
            ValueError: no such precision.
        """
        chosen = precision.resolve(name, next(self.parameters()).device)
        for coupling in self._couplings():
            coupling.precision = chosen
        self._chooses_kernels = True
        self._choose_kernels()

    def _choose_kernels(self) -> None:
        for coupling in self._couplings():
            if cpu_coupling.can_run(coupling):
                cpu_coupling.install(coupling)
            else:
                cpu_coupling.remove(coupling)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Flow":
        """Move or convert the flow, which is what `to` and `double` call; another device may need other kernels."""
        super()._apply(fn, recurse)
        if self._chooses_kernels:
            self._choose_kernels()
        return self

    def fuse_kernels(self) -> None:
        """On a GPU have torch.compile fuse the transforms' kernels and launch them as one graph; elsewhere nothing.

        For training: what such a flow returns is overwritten by its next call. Not run on a GPU yet.

        A CPU has `cpu_coupling` instead, which needs no compiler and no minute of compilation.
        """
        if self.base.means.device.type != "cuda":
            return
        try:  # what it needs: Triton, a C compiler, Python's headers and a GPU that is not too old
            torch.compile(torch.tanh)(torch.zeros(1, device=self.base.means.device))
        except Exception as error:
            log.warning("the flow's kernels run one by one: torch.compile says: %s", error)
            return
        self.transform.compile(mode="reduce-overhead")

    @property
    def precision(self) -> str:
        """What the matrix products run in: "float32" or "bfloat16"."""
        used = [coupling.precision for coupling in self._couplings()]
        return str(used[0] if used else torch.float32).removeprefix("torch.")

    def _couplings(self) -> Iterator[AffineCoupling]:
        return (module for module in self.transform.transforms if isinstance(module, AffineCoupling))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, D) -> z (N, D) and log |det dz/dx| (N,)."""
        return self.transform(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, D) -> x (N, D) and log |det dx/dz| (N,)."""
        return self.transform.inverse(z)

    def log_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """LogP of every class (N, K) and LogDet (N,), in nats; their sum is log p(x | y)."""
        z, logdet = self.transform(x)
        return self.base.log_prob(z), logdet

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | y) of every class in nats: (N, D) -> (N, K)."""
        logp, logdet = self.log_terms(x)
        return logp + logdet.unsqueeze(1)

    @torch.no_grad()
    def initialize(self, x: Tensor, labels: Tensor) -> None:
        """Data-dependent start from frames x (N, D) and their classes (N,).

        The last normalization starts at the base's variances: to reach a residual variance of 1000 by
        gradient steps alone would take thousands of them.
        """
        self.transform.initialize(x)
        last = self.transform.transforms[-1]
        if isinstance(last, ActNorm | BatchNorm):
            last.log_scale += self.base.std(self.dim).log()
        self.base.initialize(self.transform(x)[0], labels)

    @torch.no_grad()
    def sample(self, labels: Sequence[int] | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one frame x for each class number in `labels`: -> (N, D)."""
        labels = torch.as_tensor(labels, device=self.base.means.device)
        return self.inverse(self.base.sample(labels, self.dim, generator))[0]


def build_flow(config: ModelConfig, classes: int, mean: Tensor, std: Tensor) -> Flow:
    """The flow or baseline that a configuration describes, a flow's weights from torch's current random state.

    Args:
        config: the `model` section of an experiment.
        classes: K; a normal flow ("nf") models all frames as one class.
        mean, std: (D,) statistics of the training frames, for the standardization.

    Raises:
        ValueError: a value that does not fit the dimension.
    """
    dim = len(mean)
    if config.is_baseline:
        return _baseline(config, classes, mean, std)
    blocks = real_nvp(
        dim, config.blocks, config.hidden, config.layers, config.normalization, config.scale_bound, config.mixing,
        config.coupling,
    )  # fmt: skip
    base = ClassGaussians(
        classes=classes,
        dim=dim,
        class_dim=config.class_dim or dim,
        class_variance=config.class_variance,
        residual_variance=config.residual_variance,
        trained=config.type == "dnf",
    )
    whitening = [Whitening(dim)] if config.whitening else []
    return Flow(Composition([Standardization(mean, std), *whitening, *blocks]), base, dim)


def _baseline(config: ModelConfig, classes: int, mean: Tensor, std: Tensor) -> Flow:
    """A baseline before it is fitted. A posterior takes its frames as they are: they have no density, so no LogDet."""
    dim = len(mean)
    if config.type == "lr":
        return Flow(Composition([]), LogPosteriors(classes, mean, std), dim)
    base = SharedGaussians(classes, dim)
    if config.type == "gmm":
        base = GaussianMixtures(classes, config.components, dim)
    return Flow(Composition([Standardization(mean, std)]), base, dim)


def real_nvp(
    dim: int,
    blocks: int,
    hidden: int,
    layers: int = 2,
    normalization: str = "actnorm",
    scale_bound: float | None = 2.0,
    mixing: str = "none",
    coupling: str = "separate",
) -> list[Transform]:
    """The blocks of a RealNVP: couplings that keep the even and the odd dims in turn, each normalized.

    The even dims come before the odd ones from the start to the last coupling, so that the halves of each coupling
    are contiguous.

    Args:
        dim: D, 2 or more.
        blocks: number of couplings.
        normalization: "actnorm", "batchnorm" or "none", after each coupling.
        mixing: "none", or "lu": a trained matrix mixes all dims after each two couplings, which have moved each once.
        coupling: whether scale and shift have "separate" networks, or a "shared" one but for the last layer.
    """
    kind = {"separate": AffineCoupling, "shared": SharedCoupling}[coupling]
    apart = Permutation([*range(0, dim, 2), *range(1, dim, 2)])
    together = Permutation(apart.back.tolist())
    norms = {"actnorm": [ActNorm], "batchnorm": [BatchNorm], "none": []}[normalization]
    chain: list[Transform] = [apart]
    for block in range(blocks):
        chain.extend([LUMixing(dim)] if mixing == "lu" and block and block % 2 == 0 else [])
        chain.append(kind(dim, block % 2 == 0, hidden, layers, scale_bound))
        chain.extend([together] if block == blocks - 1 else [])
        chain.extend(norm(dim) for norm in norms)
    return chain
