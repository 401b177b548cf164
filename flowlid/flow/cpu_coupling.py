"""A coupling in few passes over memory, on a CPU: the mathematics of `transforms.AffineCoupling`, forward and backward.

The batch goes through a coupling in pieces whose activations stay in the processor's cache. A linear layer, its
bias and its activation are one call of oneDNN, in float32 or bfloat16; the derivative of tanh and of ReLU needs no
more than their output. Latents, log-determinants, losses and weights are float32 whatever the products run in, and
so are gradients once a product has made them.

`Flow.set_precision` installs it, once, in the couplings that it can compute. On other devices, in float64, and in a
flow whose precision was never set, the plain formulas in `transforms` run.
"""

from types import MethodType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_PIECE = 2**21  # activations of a layer per piece: larger pieces fall out of the cache, smaller ones cost more calls


def can_run(layer: nn.Module) -> bool:
    """Whether an `AffineCoupling` can be computed here: float32 on a CPU whose oneDNN knows its products' precision."""
    weight = layer.shift[0].weight
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return layer.precision == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def install(layer: nn.Module) -> None:
    """Have an `AffineCoupling` computed here from now on."""
    layer.forward, layer.inverse = MethodType(_forward, layer), MethodType(_inverse, layer)


def remove(layer: nn.Module) -> None:
    """Have an `AffineCoupling` compute its own formulas again."""
    for direction in ("forward", "inverse"):
        vars(layer).pop(direction, None)


def _forward(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    return _coupling(layer, x, inverse=False)


def _inverse(layer: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    return _coupling(layer, z, inverse=True)


def _coupling(layer: nn.Module, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    networks = getattr(layer, "trunk", ()), layer.log_scale, layer.shift
    linears = [[m for m in network if isinstance(m, nn.Linear)] for network in networks]
    parameters = [parameter for layers in linears for m in layers for parameter in (m.weight, m.bias)]
    pieces = max(1, round(len(x) * parameters[0].shape[0] / _PIECE))
    trunk = 2 * len(linears[0])
    settings = _Settings(layer.kept, layer.moved, layer.scale_bound, layer.precision, inverse, pieces, trunk)
    return _Coupling.apply(x, settings, torch.is_grad_enabled(), *parameters)


class _Settings(NamedTuple):
    kept: slice
    moved: slice
    bound: float | None
    precision: torch.dtype
    inverse: bool
    pieces: int
    trunk: int  # how many of the parameters are those of the layers that scale and shift share


class _Coupling(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        settings: _Settings,
        keep: bool,  # what `backward` needs; here torch has gradients switched off already
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        kept, moved, bound, precision, inverse, pieces, trunk = settings
        low = [parameter.to(precision) for parameter in parameters]
        half, ends, last = (trunk + len(low)) // 2, list(low), "none"
        if bound is not None:  # b tanh(a / b): the last layer gives tanh(a / b)
            ends[half - 2 : half] = [(p / bound).to(precision) for p in parameters[half - 2 : half]]
            last = "tanh"
        z, logdet = torch.empty_like(x), x.new_empty(len(x))
        saved = []
        for x_part, z_part, logdet_part in zip(*(t.tensor_split(pieces) for t in (x, z, logdet)), strict=True):
            k, m = x_part[:, kept], x_part[:, moved]
            inputs = k.to(precision).contiguous()
            trunk_layers = _network(inputs, ends[:trunk], "relu", "relu")
            features = trunk_layers[-1] if trunk else inputs
            s_layers = _network(features, ends[trunk:half], "tanh", last)
            t_layers = _network(features, ends[half:], "relu", "none")
            s, t = s_layers[-1].float(), t_layers.pop().float()
            if bound is not None:
                s = s * bound
            torch.sum(s, 1, out=logdet_part)
            if inverse:
                scale = s.neg().exp_()
                changed = (m - t).mul_(scale)
                z_part[:, moved] = changed  # kept for backward, it must be no view of the output
            else:
                scale = s.exp()
                changed = m
                torch.addcmul(t, m, scale, out=z_part[:, moved])
            z_part[:, kept] = k
            if keep:
                saved.append((inputs, trunk_layers, s_layers, t_layers, scale, changed))
        ctx.saved, ctx.low, ctx.settings = saved, low, settings
        return z, logdet.neg_() if inverse else logdet

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad_z: Tensor, grad_logdet: Tensor
    ) -> tuple[Tensor | None, ...]:
        kept, moved, bound, precision, inverse, pieces, trunk = ctx.settings
        grads = [torch.zeros(p.shape) for p in ctx.low]
        turned = [p.t() if p.dim() == 2 else p for p in ctx.low]
        half = (trunk + len(grads)) // 2
        grad_x = torch.empty_like(grad_z)
        parts = zip(*(t.tensor_split(pieces) for t in (grad_z, grad_logdet, grad_x)), ctx.saved, strict=True)
        for z_part, logdet_part, x_part, (inputs, trunk_layers, s_layers, t_layers, scale, values) in parts:
            features = trunk_layers[-1] if trunk else inputs
            # z = m e^s + t, so dz/ds = m e^s; its inverse x = (z - t) e^-s, so dx/ds = -x, dx/dt = -e^-s
            grad_moved = torch.mul(z_part[:, moved], scale, out=x_part[:, moved])
            if inverse:
                grad_s = torch.addcmul(logdet_part.unsqueeze(1), z_part[:, moved], values).neg_()
                grad_t = -grad_moved
            else:
                grad_s = torch.addcmul(logdet_part.unsqueeze(1), grad_moved, values)
                grad_t = z_part[:, moved]
            grad_s, grad_t = grad_s.to(precision), grad_t.to(precision).contiguous()
            if bound is not None:  # d b tanh(a / b) / da = 1 - tanh^2
                grad_s = torch.ops.aten.tanh_backward(grad_s, s_layers[-1])
            grad_kept = _network_grad(grad_s, features, s_layers, turned[trunk:half], grads[trunk:half], "tanh")
            grad_kept = _network_grad(grad_t, features, t_layers, turned[half:], grads[half:], "relu", grad_kept)
            if trunk:
                grad_kept = torch.ops.aten.threshold_backward(grad_kept, features, 0)
                grad_kept = _network_grad(grad_kept, inputs, trunk_layers, turned[:trunk], grads[:trunk], "relu")
            torch.add(z_part[:, kept], grad_kept, out=x_part[:, kept])
        return grad_x, None, None, *grads


def _network(inputs: Tensor, parameters: list[Tensor], activation: str, last: str) -> list[Tensor]:
    """The output of each layer of a network; `last` is the activation of the last one."""
    outputs, h = [], inputs
    for number in range(0, len(parameters), 2):
        end = number == len(parameters) - 2
        h = _linear(h, parameters[number], parameters[number + 1], last if end else activation)
        outputs.append(h)
    return outputs


def _network_grad(
    grad: Tensor,
    inputs: Tensor,
    hidden: list[Tensor],
    turned: list[Tensor],
    grads: list[Tensor],
    activation: str,
    more: Tensor | None = None,
) -> Tensor:
    """Gradient at the inputs from that at the output, plus `more`; those of the parameters are added to `grads`."""
    for number in reversed(range(0, len(grads), 2)):
        h = hidden[number // 2 - 1] if number else inputs
        grads[number] += grad.t() @ h
        grads[number + 1] += grad.sum(0)  # of bfloat16 too: summed in float32, without a copy in it
        if not number and more is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(grad, more, turned[number], None, "add")
        grad = _linear(grad, turned[number], None, "none")
        if number and activation == "tanh":
            grad = torch.ops.aten.tanh_backward(grad, h)
        elif number:
            grad = torch.ops.aten.threshold_backward(grad, h, 0)
    return grad


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, activation, [], "")
