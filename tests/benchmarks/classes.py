#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""What do many classes cost: an epoch, scoring, and the measures of decisions, of 2 classes and of 107?

Frames are random (40 features, utterances of 300 frames, all selected), of classes that differ by a shift. The first
table trains and scores a flow, each row in a process of its own, and says what an epoch of --full frames of each class
would take at its rate. The second calibrates, judges and reports random log-likelihoods of --utterances test files,
half as many dev files, with the library's own functions, each timed alone. Times are those of the processor, so that
other jobs on the machine hardly count; they are seconds on the clock with one thread.

Example: tests/benchmarks/classes.py --classes 2 107 --dims 120 440 --utterances 1609 10700
"""

import argparse
import json
import logging
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scale import MEGABYTE, peak_memory

from flowlid import program
from flowlid.config import ModelConfig, TrainingConfig
from flowlid.evaluation.calibrated import fit_on, read_calibration
from flowlid.evaluation.costs import assess
from flowlid.evaluation.decisions import SetScores, WindowScores, summarize
from flowlid.evaluation.durations import accuracy_by_duration
from flowlid.evaluation.scored import ScoredSet
from flowlid.evaluation.scoring import score_frames
from flowlid.files import write_json
from flowlid.flow.flow import build_flow
from flowlid.frames.frameset import FrameSet, moments_of
from flowlid.frames.selection import limit_classes
from flowlid.training.trainer import Trainer

FEATURES, LENGTH = 40, 300
SECONDS, LATENT = 10, 120  # of a file whose decisions are judged, and dims of its mean latent


def names_of(classes: int) -> list[str]:
    return [f"l{number:03}" for number in range(classes)]


# Training and scoring


def make_frames(classes: int, context: int, each: int) -> FrameSet:
    """At most `each` frames of each class, of half as many again that the set has (`limit_classes`)."""
    utts = math.ceil(1.5 * each / LENGTH) * classes
    languages = [name for name in names_of(classes) for _ in range(utts // classes)]
    generator = torch.Generator().manual_seed(0)
    feats = torch.randn(utts * LENGTH, FEATURES, generator=generator)
    feats += torch.randn(classes, FEATURES, generator=generator).repeat_interleave(len(feats) // classes, dim=0)
    rows, utt_of = np.arange(len(feats)), np.arange(utts).repeat(LENGTH)
    kept, index, utt_of = limit_classes(rows, utt_of, languages, each, seed=1)
    return FrameSet(
        utts=[f"{languages[n]}-{n:06}" for n in kept],
        languages=[languages[n] for n in kept],
        speakers=[f"{languages[n]}-{n:06}" for n in kept],
        feats=feats,
        first=torch.from_numpy(kept * LENGTH),
        last=torch.from_numpy(kept * LENGTH + LENGTH - 1),
        index=torch.from_numpy(index.copy()),
        utt_of=torch.from_numpy(utt_of.copy()),
        context=context,
        digest="made up",
    )


def one_flow(classes: int, dim: int, args: argparse.Namespace) -> dict[str, Any]:
    """Frames per second of training and of scoring, and the most anonymous memory of this process in bytes."""
    torch.set_num_threads(args.threads)
    context = (dim // FEATURES - 1) // 2
    with peak_memory() as memory:
        frames = make_frames(classes, context, max(30, args.frames // classes))
        labels = frames.labels(names_of(classes))
        torch.manual_seed(1)
        config = ModelConfig(type="dnf", blocks=args.blocks, hidden=args.hidden)
        flow = build_flow(config, classes, *moments_of(frames))
        flow.set_precision("auto")
        flow.fuse_kernels()
        training = TrainingConfig(epochs=args.rounds + 1, batch_size=args.batch_size, discriminative=3.0)
        trainer = Trainer(flow, frames, labels, training)
        trainer.start()
        rates, clock = [], time.process_time()
        for _ in trainer.epochs():
            rates.append(len(frames) / (time.process_time() - clock))
            clock = time.process_time()
        score_frames(flow, frames, block=100, keep=lambda *_: None)
        scored = len(frames) / (time.process_time() - clock)
    return {"training": statistics.median(rates[1:]), "scoring": scored, "bytes": memory["bytes"]}


def flows_table(args: argparse.Namespace) -> None:
    """A row per number of classes and of dims; ratios are to the first number of classes."""
    heads = ["classes", "dims", "training, frames/s", "ratio", "scoring, frames/s", "ratio", "memory, MB"]
    heads += [f"an epoch of {args.full:,} frames of each, min", "scoring them, min"]
    print(f"| {' | '.join(heads)} |\n|{' ---: |' * len(heads)}")
    for dim in args.dims:
        first: dict[str, float] = {}
        for classes in args.classes:
            options = ["--one", classes, dim, "--frames", args.frames, "--batch-size", args.batch_size]
            options += ["--blocks", args.blocks, "--hidden", args.hidden, "--rounds", args.rounds]
            command = [sys.executable, __file__, *map(str, options), "--threads", str(args.threads)]
            row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            first = first or row
            cells = [classes, dim]
            for key in ("training", "scoring"):
                cells += [f"{row[key]:.0f}", f"x {row[key] / first[key]:.2f}"]
            cells += [f"{row['bytes'] / MEGABYTE:.0f}"]
            cells += [f"{classes * args.full / row[key] / 60:.1f}" for key in ("training", "scoring")]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    print()


# Decisions


def make_scored(classes: int, utterances: int, seed: int) -> ScoredSet:
    """Files of `SECONDS`, of all classes in turn, with log-likelihoods of which most are right."""
    generator = np.random.default_rng(seed)
    labels = np.arange(utterances) % classes
    means = 0.3 * np.random.default_rng(0).normal(size=(classes, LATENT))
    blocks = generator.normal(size=(utterances, SECONDS, classes + LATENT)).astype(np.float32)
    blocks[:, :, :classes] *= 0.1
    blocks[np.arange(utterances), :, labels] += 0.1
    blocks[:, :, classes:] += means[labels][:, None]
    return ScoredSet(
        utts=[f"u{number:06}" for number in range(utterances)],
        languages=[names_of(classes)[label] for label in labels],
        classes=names_of(classes),
        frames=np.full(utterances, 100 * SECONDS),
        mean_loglik=blocks[:, :, :classes].mean(axis=1, dtype=float),
        mean_latents=blocks[:, :, classes:].mean(axis=1),
        blocks=list(blocks),
    )


def as_scores(scored: ScoredSet) -> SetScores:
    """The same as scoring holds it, with blocks of a second."""
    sums = scored.mean_loglik * scored.frames[:, None]
    decided = np.round(np.exp(scored.mean_loglik) / np.exp(scored.mean_loglik).sum(1, keepdims=True) * 1000)
    windows = 100 * np.concatenate(scored.blocks)[:, : len(scored.classes)].astype(float)
    blocks = WindowScores(np.arange(len(sums)).repeat(SECONDS), windows)
    return SetScores(scored.frames, sums, np.zeros(len(sums)), decided, blocks)


def decisions(classes: int, utterances: int) -> dict[str, float]:
    """Seconds of each part of stage 4 that follows the flow, and megabytes of the calibrated set's JSON."""
    dev, test = make_scored(classes, max(3 * classes, utterances // 2), 1), make_scored(classes, utterances, 2)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401  (what the work gives)
        clock = time.process_time()
        found = work()
        seconds[name] = time.process_time() - clock
        return found

    scores, labels = as_scores(test), test.labels
    timed("accuracies, EER, C_avg", lambda: summarize(scores, test.languages, test.classes, decides=True))
    timed("by duration", lambda: accuracy_by_duration(scores, labels, test.utts, test.utts, 100))
    fitted = timed("calibration", lambda: fit_on(dev, set(), dev.utts, "m"))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "calibration.json"
        write_json(path, fitted)
        map_ = read_calibration(path, "m")
    found = timed("costs", lambda: assess(test, map_, test.utts))
    return seconds | {"costs in JSON, MB": len(json.dumps(found)) / MEGABYTE}


def decisions_table(args: argparse.Namespace) -> None:
    heads: list[str] = []
    for classes in args.classes:
        for utterances in args.utterances:
            found = decisions(classes, utterances)
            if not heads:
                heads = list(found)
                print(f"| classes | test files | {' | '.join(heads)} |\n|{' ---: |' * (len(heads) + 2)}")
            print(f"| {classes} | {utterances} | {' | '.join(f'{found[head]:.2f}' for head in heads)} |", flush=True)


def parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 107], metavar="K")
    parser.add_argument("--dims", type=int, nargs="+", default=[120, 440], choices=[40, 120, 440], metavar="D")
    parser.add_argument("--frames", type=int, default=40000, help="of an epoch, of all classes together")
    parser.add_argument("--full", type=int, default=50000, help="frames of each class, of the epoch that is estimated")
    parser.add_argument("--utterances", type=int, nargs="+", default=[1609, 10700], metavar="U")
    parser.add_argument("--batch-size", type=int, default=2000)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1, help="epochs that count, after one that does not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tables", default="flows decisions", help="which ones to make")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)  # the process of one row
    return parser.parse_args()


def main() -> None:
    args = parse()
    logging.getLogger("flowlid").setLevel(logging.WARNING)
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(one_flow(*args.one, args)))
        return
    print(f"Command: {program.provenance()['command']}")
    print(f"Machine: {platform.machine()}, {args.threads} threads\n")
    tables = args.tables.split()
    if "flows" in tables:
        flows_table(args)
    if "decisions" in tables:
        decisions_table(args)


if __name__ == "__main__":
    program.run(main)
