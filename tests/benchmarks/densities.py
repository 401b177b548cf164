#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""Is a flow's log-likelihood true? Flows trained on draws of laws whose density is known, or on published data sets.

Trains a normal flow on draws of each law, and scores new draws: their mean log-likelihood (LogLL) under the flow lies
below that under the law by the divergence KL(law || flow), which is never negative. Both are computed on the same
draws, so that the standard error is that of their difference. Prints a table. Exits 1 if a LogLL lies above the truth
by more than the standard error: then it is no density. How near it comes is a matter of the training: the goal is 1%
of the dims, in nats.

Example: tests/benchmarks/densities.py --laws mixture --dims 6 40
With --maf-data DIR it trains on the data sets POWER, GAS, HEPMASS, MINIBOONE and BSDS300 instead, and prints the
published test log-likelihoods beside its own. DIR is where the archive that the authors of MAF published is unpacked:
https://zenodo.org/records/1161203
"""

import argparse
import logging
import shlex
import sys
import time
from dataclasses import dataclass

import torch
from fits import fit, log_likelihoods
from laws import LAWS, Law
from tabular import SETS, published_table, read_set

from flowlid import program
from flowlid.config import ModelConfig, TrainingConfig

log = logging.getLogger("flowlid")

_GOAL = 0.01  # nats per dim


@dataclass(frozen=True)
class Found:
    """A row of the table: means over the held-out draws, in nats per frame.

    Attributes:
        truth: LogLL under the law.
        loglik: LogLL under the flow.
        gap: loglik - truth: minus the divergence.
        error: the standard error of `gap`.
    """

    law: str
    dim: int
    truth: float
    loglik: float
    gap: float
    error: float
    seconds: float

    @property
    def is_density(self) -> bool:
        return self.gap <= self.error

    @property
    def near(self) -> bool:
        return self.gap >= -_GOAL * self.dim


def measure(name: str, dim: int, args: argparse.Namespace) -> Found:
    """Train on draws of a law and hold the flow against it on new ones."""
    began = time.monotonic()
    law, generator = LAWS[name](dim), torch.Generator().manual_seed(args.seed)
    train, dev, test = (law.sample(count, generator) for count in (args.frames, args.test_frames, args.test_frames))
    flow = fit(train.float(), dev.float(), _model(args, dim), _training(args), args.device)
    return compare(name, law, test.float(), log_likelihoods(flow, test.float()), time.monotonic() - began)


def compare(name: str, law: Law, x: torch.Tensor, own: torch.Tensor, seconds: float) -> Found:
    """Log-likelihoods `own` (N,) of draws x (N, D) beside those of their law."""
    truth = law.log_prob(x.double())
    gap = own - truth
    error = (gap.std() / len(gap) ** 0.5).item()
    return Found(name, law.dim, truth.mean().item(), own.mean().item(), gap.mean().item(), error, seconds)


def _model(args: argparse.Namespace, dim: int) -> ModelConfig:
    hidden = args.hidden or (64 if dim < 30 else 128 if dim < 200 else 256)
    return ModelConfig(blocks=args.blocks, hidden=hidden, precision=args.precision)


def _training(args: argparse.Namespace) -> TrainingConfig:
    return TrainingConfig(
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        select="dev_loglik",
        seed=args.seed,
    )


def law_table(rows: list[Found]) -> str:
    """The rows as Markdown."""
    lines = [
        "| law | dims | truth | LogLL held out | LogLL - truth | standard error | per dim | within 1% of D | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    lines += [
        f"| {row.law} | {row.dim} | {row.truth:.3f} | {row.loglik:.3f} | {row.gap:.3f} | {row.error:.3f} | "
        f"{row.gap / row.dim:.4f} | {'yes' if row.near else 'no'} | {row.seconds:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def run_laws(args: argparse.Namespace) -> None:
    rows = []
    for name in args.laws:
        for dim in args.dims:
            rows.append(measure(name, dim, args))
            log.info("%s, %d dims: LogLL %.3f, truth %.3f", name, dim, rows[-1].loglik, rows[-1].truth)
    print(f"    {shlex.join(sys.argv)}\n")
    print(law_table(rows))
    above = [row for row in rows if not row.is_density]
    if above:
        named = "; ".join(f"{row.law}, {row.dim} dims: by {row.gap:.3f} ± {row.error:.3f} nats" for row in above)
        raise ValueError(f"LogLL lies above the truth: {named}")


def run_sets(args: argparse.Namespace) -> None:
    reached = {}
    for name in args.sets:
        train, dev, test = (torch.from_numpy(part) for part in read_set(args.maf_data, name))
        log.info("%s: %d, %d and %d frames of %d dims", name, len(train), len(dev), len(test), train.shape[1])
        flow = fit(train, dev, _model(args, train.shape[1]), _training(args), args.device)
        own = log_likelihoods(flow, test)
        reached[name] = (own.mean().item(), 2 * (own.std() / len(own) ** 0.5).item())
    print(f"    {shlex.join(sys.argv)}\n")
    print(published_table(reached))


def _parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    program.add_device_option(parser)
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=LAWS, metavar="LAW", help="laws to learn")
    parser.add_argument("--dims", nargs="+", type=int, default=[6, 40, 440], help="dims of each law")
    parser.add_argument("--frames", type=int, default=100000, help="draws to train on")
    parser.add_argument("--test-frames", type=int, default=20000, help="new draws to score; as many select the epoch")
    parser.add_argument("--maf-data", metavar="DIR", help="train on the published data sets in this directory instead")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="SET", help="of --maf-data")
    parser.add_argument("--blocks", type=int, default=10, help="couplings")
    parser.add_argument("--hidden", type=int, help="units of a hidden layer; 64 to 256 by the dims if not given")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--precision", default="auto", help="of matrix products")
    parser.add_argument("--seed", type=int, default=1, help="of draws, weights and order")
    args = parser.parse_args()
    if min(args.dims) < 2:
        parser.error("--dims: a coupling needs 2 or more")
    args.device = program.choose_device(args.device)
    return args


def main() -> None:
    args = _parse()
    if args.maf_data:
        run_sets(args)
    else:
        run_laws(args)


if __name__ == "__main__":
    program.run(main)
