#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How soon flows reach a quality: frame passes and seconds of training until held-out LogLL is that of the notebook.

Example: tests/benchmarks/quality.py egs/prompts/conf/nf_120.yaml --data egs/prompts/data --results quality.json
The configuration names training and dev set, frames and hidden units; the target is the dev LogLL that the training
settings of the research notebook (--notebook) end at. Ours are trained by flowlid's Trainer with the settings of the
configuration, and of others (--ours); the other libraries' flows as their documentation trains them: Adam at a rate
of 1e-3, and batches of 1,000. All get the same frames in the same order for a seed. Rows take turns, an epoch each,
so that a noisy machine hits them all alike. Only training is timed, not looking at the dev set. What was measured is
kept in --results: a target, a row and a seed that are there are not measured again. The other libraries:
utils/setup_env.sh benchmark.
"""

import argparse
import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peers import ROWS, Model, Row
from quality_tables import Record, read_record, report, write_record
from torch import Tensor, nn

from flowlid import program
from flowlid.config import Config, load_config
from flowlid.flow.flow import build_flow
from flowlid.frames.batches import ShuffledBatches
from flowlid.frames.frameset import FrameSet, load_frames, moments_of
from flowlid.kaldi.datadir import DataDir
from flowlid.training.experiment import fingerprint
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")

_ROOT = Path(__file__).resolve().parent.parent.parent
_NOTEBOOK = _ROOT / "egs/wsj_nf/conf/nf_120.yaml"
_FIRST_LOOK = 4000  # frame passes before the dev set is first looked at
_GROWTH = 1.1  # of the frame passes from one look to the next
_DEV_BATCH = 4096
_PEERS = ("freia-rnvp", "normflows-halves", "zuko")
_PEER_BATCH, _PEER_RATE = 1000, 1e-3


@dataclass
class Task:
    """What all rows learn: frames and their class numbers, on the CPU."""

    config: Config
    frames: FrameSet
    labels: Tensor
    dev: FrameSet
    dev_labels: Tensor
    classes: int
    moments: tuple[Tensor, Tensor]

    def batches(self, size: int, seed: int) -> ShuffledBatches:
        return ShuffledBatches(self.frames, size, self.config.training.block_frames, seed, torch.device("cpu"))

    @torch.no_grad()
    def held_out(self, model: nn.Module, log_prob: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Mean log p(x | y) of the dev set in nats per frame; `model` is left in training mode."""
        model.eval()
        parts = self.dev.batches(_DEV_BATCH)
        total = sum(log_prob(x, self.dev_labels[utts]).double().sum().item() for x, utts in parts)
        model.train()
        return total / len(self.dev)


@dataclass
class Run:
    """One training, timed while it is not looked at; a point is (frame passes, seconds, CPU seconds, dev LogLL)."""

    look: Callable[[], float]
    frames: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    points: list[tuple[int, float, float, float]] = field(default_factory=list)
    began: tuple[float, float] = (0.0, 0.0)
    over: bool = False  # nothing is left to train

    def go(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def pause(self) -> None:
        self.seconds += time.perf_counter() - self.began[0]
        self.cpu += time.process_time() - self.began[1]

    def count(self, frames: int) -> None:
        """Count a step, and look at the dev set if it is time to."""
        self.frames += frames
        if self.frames >= (self.points[-1][0] * _GROWTH if self.points else _FIRST_LOOK):
            self.pause()
            self.note()
            self.go()

    def note(self) -> None:
        loglik = self.look()
        value = round(loglik, 4) if math.isfinite(loglik) else -1e9
        self.points.append((self.frames, round(self.seconds, 3), round(self.cpu, 3), value))

    def reached(self, target: float) -> bool:
        return any(point[-1] >= target for point in self.points)


class Peer(nn.Module):
    """Another library's flow of standardized frames, with a trained mean per class where there are several."""

    def __init__(self, model: Model, dim: int, classes: int, moments: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.model = model
        self.mean, self.std = moments
        self.means = nn.Parameter(torch.zeros(classes, dim)) if classes > 1 else None

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(x | y) in nats: x (N, D), y (N,) -> (N,)."""
        x = (x - self.mean) / self.std
        if self.means is None:
            return self.model.log_prob(x) - self.std.log().sum()
        # log N(z; mu, I) = log N(z; 0, I) + mu z - |mu|^2 / 2
        logp, z = self.model.log_prob_and_latents(x)
        means = self.means[labels]
        return logp + (means * (z - 0.5 * means)).sum(1) - self.std.log().sum()


def train_ours(task: Task, config: Config, seed: int) -> Iterator[Run]:
    """Train by flowlid's own Trainer; yields after each epoch, until the configuration's last."""
    torch.manual_seed(seed)
    flow = build_flow(config.model, task.classes, *task.moments)
    flow.set_precision(config.model.precision)

    def log_prob(x: Tensor, labels: Tensor) -> Tensor:
        return flow.log_prob(x).gather(1, labels.unsqueeze(1)).squeeze(1)

    run = Run(lambda: task.held_out(flow, log_prob))
    settings = dataclasses.replace(config.training, seed=seed, select="last")
    run.go()
    trainer = Trainer(flow, task.frames, task.labels, settings)
    trainer.start()

    def count(step: int, steps: int, loss: float) -> None:
        run.count(step * len(task.frames) // steps - (step - 1) * len(task.frames) // steps)

    for _ in trainer.epochs(count):
        run.pause()
        run.over = len(trainer.history) == settings.epochs
        yield run
        run.go()


def train_peer(task: Task, row: Row, seed: int) -> Iterator[Run]:
    """Train another library's flow; yields after each epoch, without end, unless it diverges."""
    torch.manual_seed(seed)
    hidden = task.config.model.hidden
    model = Peer(row.build(task.frames.dim, hidden), task.frames.dim, task.classes, task.moments)
    run = Run(lambda: task.held_out(model, model.log_prob))
    run.go()
    optimizer = torch.optim.Adam(model.parameters(), lr=_PEER_RATE)
    batches = task.batches(_PEER_BATCH, seed)
    for epoch in itertools.count(1):
        for size, x, utts in batches.epoch(epoch):
            optimizer.zero_grad()
            loss = -model.log_prob(x, task.labels[utts]).mean()
            loss.backward()
            optimizer.step()
            run.count(size)
            if not math.isfinite(loss.item()):
                log.warning("%s, seed %d: diverged after %d frames", row.key, seed, run.frames)
                run.over = True
                break
        run.pause()
        yield run
        run.go()


def train_in_turns(
    runs: dict[tuple[str, int], Iterator[Run]],
    enough: Callable[[str, Run], bool],
    keep: Callable[[str, int, Run], None],
) -> None:
    """An epoch of each run in turn, until it ends or has done enough; then `keep` it."""
    latest: dict[tuple[str, int], Run] = {}
    while runs:
        for key in list(runs):
            latest[key] = run = next(runs[key], latest.get(key))
            if run.over or enough(key[0], run):
                run.note()
                keep(*key, run)
                del runs[key]


def read_task(config: Config, data: Path) -> Task:
    """Frames of training and dev set, thinned out alike by `frames.subsampling`."""
    if config.frames.cmvn == "global" or not config.data.dev:
        raise ValueError("give a configuration with a dev set and without frames.cmvn: global")
    frames, dev = (
        load_frames(DataDir(data / name), config.frames, subsample=True)
        for name in (config.data.train, config.data.dev)
    )
    classes = sorted(set(frames.languages)) if config.model.type == "dnf" else []
    labels, dev_labels = (
        part.labels(classes) if classes else torch.zeros(len(part.utts)).long() for part in (frames, dev)
    )
    return Task(config, frames, labels, dev, dev_labels, max(1, len(classes)), moments_of(frames))


def measure_target(task: Task, record: Record, notebook: Config, path: Path) -> None:
    """Train with the notebook's settings and keep where dev LogLL ends, unless that is known."""
    settings = dataclasses.asdict(notebook.training)
    if record.target and record.target["settings"] == settings:
        return
    config = dataclasses.replace(task.config, training=notebook.training)
    for number, run in enumerate(train_ours(task, config, notebook.training.seed), 1):
        log.info("target: epoch %d of %d: %s", number, notebook.training.epochs, run.points[-1:])
    run.note()
    record.target = {"settings": settings} | dict(
        zip(("frames", "seconds", "cpu", "loglik"), run.points[-1], strict=True)
    )
    write_record(path, record)


def measure_rows(
    task: Task, record: Record, ours: dict[str, Config], peers: list[Row], args: argparse.Namespace
) -> None:
    """Train what the record lacks, in turns; it is written after each training that ends."""
    target = record.target["loglik"] if args.target is None else args.target

    def enough(name: str, run: Run) -> bool:
        log.info("%s: %d frames, %.1f s, LogLL %s", name, run.frames, run.seconds, run.points[-1:])
        return name in peer_names and (run.reached(target) or run.frames >= args.max_passes * len(task.frames))

    def keep(name: str, seed: int, run: Run) -> None:
        record.rows[name]["seeds"][str(seed)] = run.points
        write_record(args.results, record)

    peer_names = [row.name for row in peers]
    for seed in args.seeds:
        runs: dict[tuple[str, int], Iterator[Run]] = {}
        for name, config in ours.items():
            settings: dict[str, Any] = {"model": dataclasses.asdict(config.model)}
            settings["training"] = dataclasses.asdict(dataclasses.replace(config.training, seed=0))
            if record.lacks(name, settings, seed, args.again):
                runs[name, seed] = train_ours(task, config, seed)
        for row in peers:
            settings = {"batch": _PEER_BATCH, "rate": _PEER_RATE, "hidden": task.config.model.hidden}
            if record.lacks(row.name, settings, seed, args.again):
                runs[row.name, seed] = train_peer(task, row, seed)
        train_in_turns(runs, enough, keep)


def _parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("config", type=Path, help="configuration of an experiment: data, frames, model and settings")
    parser.add_argument("--data", type=Path, required=True, help="directory of the data directories")
    parser.add_argument("--results", type=Path, required=True, help="JSON file that keeps what was measured")
    parser.add_argument("--ours", type=Path, nargs="*", default=[], metavar="CONF", help="other settings of ours")
    parser.add_argument(
        "--peers", nargs="*", default=list(_PEERS), choices=ROWS, metavar="ROW", help="rows of peers.py"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of weights and of the order of frames")
    parser.add_argument("--notebook", type=Path, default=_NOTEBOOK, help="whose training settings set the target")
    parser.add_argument("--target", type=float, help="dev LogLL to reach, instead of the notebook's")
    parser.add_argument(
        "--max-passes", type=float, default=30, help="passes over the training set that a peer may take"
    )
    parser.add_argument("--subsampling", type=int, help="take every n-th frame, instead of the configuration's n")
    parser.add_argument("--again", action="store_true", help="measure the rows again, but not the target")
    parser.add_argument("--threads", type=int, help="of torch; its own choice if not given")
    return parser.parse_args()


def main() -> None:
    args = _parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    config = load_config(args.config)
    if args.subsampling:
        config = dataclasses.replace(config, frames=dataclasses.replace(config.frames, subsampling=args.subsampling))
    task = read_task(config, args.data)
    record = read_record(args.results, f"{fingerprint(task.frames)}; dev {fingerprint(task.dev)}")
    if args.target is None:
        measure_target(task, record, load_config(args.notebook), args.results)
    ours = {f"ours, {path.stem}": load_config(path) for path in (args.config, *args.ours)}
    peers = []
    for row in map(ROWS.__getitem__, args.peers):
        reason = row.missing(torch.device("cpu"))
        if reason is None:
            peers.append(row)
        else:
            log.warning("left out: %s: %s", row.key, reason)
    measure_rows(task, record, ours, peers, args)
    print(report(record, args.target))


if __name__ == "__main__":
    program.run(main)
