#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How fast flows train and score: ours and those of other libraries side by side, in one process.

Prints frames per second (training step / scoring) of each flow at each size, the machine's ceiling for matrix products
measured in the same run, each flow's share of it, and how many times faster ours are than the others. All have the same
optimizer, fused Adam, so that flows are compared and not optimizers; the others run as their users run them (eager).
Rows alternate within every round, so that a noisy machine hits them all alike; a figure is the median over the rounds.
Before it is timed, each flow's log-likelihood is checked against the log-determinant of its Jacobian, by autograd in
float64. The other libraries: utils/setup_env.sh benchmark.
"""

import argparse
import copy
import logging
import re
from collections.abc import Callable
from itertools import chain

import torch
from fits import one_utterance
from flow_tables import Entry, Size, ceiling_of, report
from peers import ROWS, Model, Ours, Row
from timing import Task, arithmetic, measure, product_tasks, profile_lines
from torch import Tensor

from flowlid import program
from flowlid.config import TrainingConfig
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")

_CHECKED = 256  # frames on which a row's arithmetic is compared with float64
_NOISE = 0.02  # on every weight of a checked flow: a fresh coupling may be the identity
_SIZES = ["120x512", "440x512", "120x256"]
_TRAINER_BATCHES = 10  # in an epoch of --trainer


def prepare(row: Row, dim: int, hidden: int, x: Tensor, kind: str) -> Entry:
    """Build a row's flow, check it and count it; what is left is to time it on the frames x (N, D).

    Raises:
        ValueError: its log-likelihood is not that of its latents.
    """
    torch.manual_seed(0)
    model = row.build(dim, hidden).to(x.device)
    model.start(x)
    noisy, checked = _with_noise(model), x[:_CHECKED]
    exact = noisy.exact().eval()
    check_density(row.name, exact, checked[:2].double())
    with torch.no_grad(), arithmetic(kind, x.device):
        error = noisy.eval().log_prob(checked).double() - exact.log_prob(checked.double())
    used, needed = _used(exact, checked.double())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Entry(
        row=row,
        kind=kind,
        parameters=sum(parameter.numel() for parameter in trained),
        used=used,
        multiplied=sum(parameter.numel() for parameter in trained if _is_matrix(parameter)) + model.fixed_products,
        needed=needed,
        error=error.abs().mean().item(),
        train=Task(_step(model, trained, x, kind), len(x), before=model.train),
        score=Task(_scoring(model, x, kind), len(x), before=model.eval),
    )


def check_density(name: str, exact: Model, x: Tensor) -> None:
    """log p(x) of a model in float64 must be log N(z; 0, I) + log |det dz/dx|, with the Jacobian by autograd.

    Raises:
        ValueError: it is not.
    """
    n, dim = x.shape
    copies = x.repeat_interleave(dim, 0).requires_grad_()  # copy i of a frame gives dz_i/dx
    z = exact.latents(copies)
    (jacobian,) = torch.autograd.grad(z, copies, torch.eye(dim, dtype=x.dtype, device=x.device).repeat(n, 1))
    logdet = torch.linalg.slogdet(jacobian.view(n, dim, dim)).logabsdet
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(z[::dim]).sum(1) + logdet
    worst = (exact.log_prob(x) - wanted).abs().max().item()
    if not worst < 1e-8 * dim:
        raise ValueError(f"{name}: log p(x) differs by {worst:.2g} nats from what its Jacobian gives")


def _with_noise(model: Model) -> Model:
    noisy, generator = copy.deepcopy(model), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in noisy.parameters():
            if parameter.requires_grad:
                parameter.add_((_NOISE * torch.randn(parameter.shape, generator=generator)).to(parameter.device))
    return noisy


def _used(exact: Model, x: Tensor) -> tuple[int, int]:
    """Parameters that log p(x) depends on, and how many of them are in matrices: those with a gradient."""
    exact.log_prob(x).sum().backward()
    found = [parameter for parameter in exact.parameters() if parameter.grad is not None]
    counts = [int(parameter.grad.count_nonzero()) for parameter in found]
    return sum(counts), sum(count for count, parameter in zip(counts, found, strict=True) if _is_matrix(parameter))


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim == 2 and min(parameter.shape) > 1  # some libraries keep vectors as (1, D)


def _step(model: Model, trained: list[Tensor], x: Tensor, kind: str) -> Callable[[], None]:
    optimizer = torch.optim.Adam(trained, lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with arithmetic(kind, x.device):
            loss = -model.log_prob(x).mean()
            loss.backward()
        optimizer.step()

    return step


def _scoring(model: Model, x: Tensor, kind: str) -> Callable[[], Tensor]:
    @torch.no_grad()
    def score() -> Tensor:
        with arithmetic(kind, x.device):
            return model.log_prob(x)

    return score


def trainer_task(dim: int, hidden: int, batch: int, device: torch.device) -> Task:
    """Epochs of flowlid's own Trainer in the fastest arithmetic here, with all that it does around a step."""
    rows = batch * _TRAINER_BATCHES
    frames = one_utterance(torch.randn(rows, dim))
    config = TrainingConfig(epochs=10**6, batch_size=batch, decay="none")
    flow = Ours(dim, hidden, "float32").flow.to(device)
    flow.set_precision("auto")
    trainer = Trainer(flow, frames, torch.zeros(1, dtype=torch.long), config)
    trainer.start()
    epochs = trainer.epochs()
    return Task(lambda: next(epochs), rows)


def run_size(name: str, rows: list[Row], args: argparse.Namespace, ceilings: dict[str, dict[str, Task]]) -> Size:
    """Measure the rows at a size such as "120x512", alternating with one another and with the ceilings' products."""
    dim, hidden = map(int, name.split("x"))
    x = torch.randn(args.batch, dim, generator=torch.Generator().manual_seed(0)).to(args.device)
    entries = []
    for row in rows:
        entries.append(prepare(row, dim, hidden, x, args.peers if row.package else row.precision))
        log.info("%s: %s: log p(x) is right, %d parameters", name, row.name, entries[-1].parameters)
    tasks = list(chain.from_iterable((entry.train, entry.score) for entry in entries))
    trainer = trainer_task(dim, hidden, args.batch, args.device) if args.trainer else None
    if trainer:
        tasks.append(trainer)
    for ways in ceilings.values():
        tasks += ways.values()
    measure(tasks, args.rounds, args.seconds, args.device)
    for entry in entries:  # the next size needs the memory
        entry.train.run = entry.score.run = lambda: None
    return Size(name, entries, trainer)


def show_profiles(rows: list[Row], args: argparse.Namespace) -> None:
    """Where the time of our training step goes, at each size."""
    for name in args.sizes:
        dim, hidden = map(int, name.split("x"))
        x = torch.randn(args.batch, dim, generator=torch.Generator().manual_seed(0)).to(args.device)
        for row in rows:
            if not row.package:
                entry = prepare(row, dim, hidden, x, row.precision)
                print(f"- {name}: training step of {row.name}:")
                print("\n".join(f"  - {line}" for line in profile_lines(entry.train, args.device)))


def _size(text: str) -> str:
    found = re.fullmatch(r"0*([1-9]\d*)x0*([1-9]\d*)", text)
    if not found or int(found[1]) % 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: an even dimension and hidden units, such as 120x512")
    return text


def _at_least(least: float, kind: type) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {least} or more")
        return value

    return convert


def _parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    program.add_device_option(parser)
    parser.add_argument(
        "--sizes", type=_size, nargs="+", default=_SIZES, metavar="DxH", help="dimension and hidden units"
    )
    parser.add_argument("--batch", type=_at_least(2, int), default=10000, help="frames")
    parser.add_argument("--rounds", type=_at_least(1, int), default=5, help="measurements of each, alternating")
    parser.add_argument("--seconds", type=_at_least(0, float), default=2.0, help="of one measurement, at least")
    parser.add_argument("--threads", type=_at_least(1, int), help="of torch; its own choice if not given")
    parser.add_argument(
        "--rows",
        nargs="+",
        default=list(ROWS),
        choices=ROWS,
        metavar="ROW",
        help="flows to measure; those that cannot run here are left out",
    )
    parser.add_argument(
        "--peers",
        default="float32",
        choices=("float32", "tf32", "autocast"),
        help="arithmetic of the others' products",
    )
    parser.add_argument("--trainer", action="store_true", help="time whole epochs of flowlid's Trainer too")
    parser.add_argument("--profile", action="store_true", help="only show where our training step's time goes")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.device = program.choose_device(args.device)
    if args.peers == "tf32" and args.device.type != "cuda":
        raise ValueError("--peers tf32: only a GPU has it; use float32 or autocast")
    return args


def main() -> None:
    args = _parse()
    rows = []
    for row in map(ROWS.__getitem__, args.rows):
        reason = row.missing(args.device)
        if reason is None:
            rows.append(row)
        else:
            log.warning("left out: %s: %s", row.key, reason)
    if args.profile:
        show_profiles(rows, args)
        return
    kinds = dict.fromkeys(ceiling_of(args.peers if row.package else row.precision) for row in rows)
    ceilings = {kind: product_tasks(kind, args.batch, args.device) for kind in kinds}
    sizes = [run_size(name, rows, args, ceilings) for name in args.sizes]
    print(report(args, rows, sizes, ceilings))


if __name__ == "__main__":
    program.run(main)
