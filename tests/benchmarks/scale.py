#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""Is training linear in time and flat in memory, loading ahead of training, and bulk scoring as fast as the flow?

Makes data directories of generated features (40 dims, utterances of 300 frames, four of five voiced), packs them, and
prints three tables: an epoch of a small flow, so that loading counts, for each number of frames, each in a process of
its own; how fast batches are drawn beside training steps of the default flow; and scoring of a whole set, by the
library and by steps/score.py, beside the flow's own rate on batches that are ready. Rates in one table alternate in
one process; a figure is the median over the rounds.

Example: tests/benchmarks/scale.py --frames 1000000 4000000 20000000 --place /data/tmp
Of each million frames the features take 200 MB on the disk, and the pack another 220 MB.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from flowlid import program
from flowlid.config import Config, DataConfig, FramesConfig, ModelConfig, TrainingConfig
from flowlid.evaluation.durations import block_length
from flowlid.evaluation.scoring import score_frames
from flowlid.flow.checkpoint import Model, save_model
from flowlid.flow.flow import Flow, build_flow
from flowlid.frames.batches import ShuffledBatches
from flowlid.frames.frameset import CPU, FrameSet, load_frames, moments_of
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import invert, write_table
from flowlid.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent.parent
DIM, LENGTH = 40, 300
VOICED = LENGTH * 4 // 5
CLASSES = ["en", "es"]
SMALL = ModelConfig(type="dnf", blocks=1, hidden=16, layers=1)
MEGABYTE = 2**20


def make_set(path: Path, frames: int) -> DataDir:
    """A data directory of about `frames` voiced frames; the languages differ by a shift of the features."""
    utts = [f"{CLASSES[n % 2]}{n // 100:05}-{n:07}" for n in range(max(4, round(frames / VOICED)))]
    utt2spk = {utt: utt.partition("-")[0] for utt in utts}
    write_table(path / "utt2spk", utt2spk)
    write_table(path / "spk2utt", invert(utt2spk))
    write_table(path / "utt2lang", {utt: utt[:2] for utt in utts})
    noise = np.random.default_rng(0).normal(size=(4 * LENGTH, DIM)).astype(np.float32)
    vad = (np.arange(LENGTH) % 50 >= 10).astype(np.float32)
    with (
        ArkWriter(path / "feats.ark", path / "feats.scp") as write_feats,
        ArkWriter(path / "vad.ark", path / "vad.scp") as write_vad,
    ):
        for number, utt in enumerate(sorted(utts)):
            start = number * 7919 % (3 * LENGTH)
            write_feats(utt, noise[start : start + LENGTH] + CLASSES.index(utt[:2]) + number % 13 / 13)
            write_vad(utt, vad)
    return DataDir(path)


def make_flow(frames: FrameSet, config: ModelConfig) -> Flow:
    torch.manual_seed(1)
    flow = build_flow(config, len(CLASSES), *moments_of(frames))
    start = torch.arange(0, len(frames), max(1, len(frames) // 5000))
    flow.initialize(frames.batch(start), frames.labels(CLASSES)[frames.utt_of[start]])
    return flow


# Time and memory of an epoch, for one size


@contextmanager
def peak_memory() -> Iterator[dict[str, int]]:
    """Anonymous resident memory of this process, the greatest seen in the block: {"bytes"}."""
    found, ended = {"bytes": 0}, threading.Event()

    def watch() -> None:
        while not ended.is_set():
            status = Path("/proc/self/status").read_text()
            found["bytes"] = max(found["bytes"], 1024 * int(status.split("RssAnon:")[1].split()[0]))
            ended.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def one_size(place: Path, frames: int, block_frames: int, batch_size: int, epochs: int, cmvn: str) -> dict[str, float]:
    """Pack a set of `frames` and train some epochs of the small flow on it."""
    torch.set_num_threads(1)
    data = make_set(place / "train", frames)
    began = time.monotonic()
    with peak_memory() as packing:
        found = load_frames(data, FramesConfig(cmvn=cmvn))
    packed = time.monotonic() - began
    with peak_memory() as training:
        config = TrainingConfig(epochs=epochs, batch_size=batch_size, block_frames=block_frames, warmup_steps=1)
        trainer = Trainer(make_flow(found, SMALL), found, found.labels(CLASSES), config)
        records, clock = [], time.process_time()
        for record in trainer.epochs():
            records.append((record["seconds"], time.process_time() - clock))
            clock = time.process_time()
        seconds, processor = map(statistics.median, zip(*records, strict=True))
    return {
        "frames": len(found),
        "seconds": seconds,
        "processor": processor,
        "packing": packed,
        "packing_bytes": packing["bytes"],
        "bytes": training["bytes"],
        "blocks": trainer.shuffled.blocks,
    }


def sizes_table(args: argparse.Namespace) -> None:
    """An epoch of each size, each in a process of its own."""
    print(
        "| frames | blocks | packing, s | epoch, s | frames/s | a frame | the same, CPU time | anonymous memory, MB |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rows: list[dict[str, float]] = []
    for frames in args.frames:
        options = ["--one", frames, "--block-frames", args.block_frames, "--batch-size", args.batch_size]
        options += ["--cmvn", args.cmvn, "--rounds", max(1, min(args.rounds, 2 * min(args.frames) // frames))]
        with tempfile.TemporaryDirectory(dir=args.place) as place:
            command = [sys.executable, __file__, *map(str, options), "--place", place]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout)
        rows.append(row)
        each, busy = (row[key] / row["frames"] / (rows[0][key] / rows[0]["frames"]) for key in ("seconds", "processor"))
        print(
            f"| {row['frames']} | {row['blocks']} | {row['packing']:.1f} | {row['seconds']:.2f} | "
            f"{row['frames'] / row['seconds']:.0f} | x {each:.3f} | x {busy:.3f} | {row['bytes'] / MEGABYTE:.0f} |",
            flush=True,
        )
    grown = (max(row["bytes"] for row in rows) - rows[0]["bytes"]) / MEGABYTE
    print(f"\nMemory grows by {grown:.0f} MB from the smallest.\n")


# Rates beside one another


def rate(work: Callable[[], int]) -> float:
    """Frames that `work` says it did, a second."""
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def alternate(works: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Median rate of each, after one round that does not count."""
    found = [{name: rate(work) for name, work in works.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(each[name] for each in found) for name in works}


def loading_table(data: DataDir, args: argparse.Namespace) -> None:
    """Batches drawn from blocks, beside training steps."""
    print("| dims | drawn, frames/s | trained, frames/s | ratio |\n| ---: | ---: | ---: | ---: |")
    for context in (1, 5):
        frames = load_frames(data, FramesConfig(context=context, cmvn=args.cmvn))
        config = TrainingConfig(epochs=10**6, batch_size=args.batch_size, warmup_steps=1)
        few = load_frames(
            data, FramesConfig(context=context, cmvn=args.cmvn), utts=frames.utts[: -(-4 * args.batch_size // VOICED)]
        )
        trainer = Trainer(make_flow(frames, args.model), few, few.labels(CLASSES), config)
        epochs = trainer.epochs()
        block_frames = min(args.block_frames, len(frames) // 2)  # at least two: none is loaded beforehand
        batches = ShuffledBatches(frames, args.batch_size, block_frames, 1, CPU)

        def draw(batches: ShuffledBatches = batches) -> int:
            return sum(len(x) for _, x, _ in batches.epoch(1))

        def step(epochs: Iterator[object] = epochs, frames: int = len(few)) -> int:
            next(epochs)
            return frames

        found = alternate({"draw": draw, "step": step}, args.rounds)
        ratio = found["draw"] / found["step"]
        print(f"| {frames.dim} | {found['draw']:.0f} | {found['step']:.0f} | {ratio:.0f} |", flush=True)
    print()


def scoring_table(data: DataDir, place: Path, args: argparse.Namespace) -> None:
    """A whole set scored, by `score_frames` and by steps/score.py, beside ready batches."""
    frames = load_frames(data, FramesConfig(cmvn=args.cmvn))
    flow = make_flow(frames, args.model).eval()
    ready = [x for x, _ in islice(frames.batches(8192), 8)]
    block = block_length(0.01)

    @torch.no_grad()
    def own() -> int:
        for x in ready:
            flow.log_terms(x)
        return sum(map(len, ready))

    def library() -> int:
        score_frames(flow, frames, block=block)
        return len(frames)

    sets = DataConfig(train="set", tests=["set"])
    config = Config(data=sets, frames=FramesConfig(cmvn=args.cmvn), model=args.model)
    save_model(place / "exp" / "final.pt", Model(flow, config, CLASSES, DIM))
    command = [sys.executable, ROOT / "steps" / "score.py", "--device", "cpu"]
    command += ["--overwrite", "true", place / "exp", data.path.parent, "set"]

    def run(*more: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
        subprocess.run([*command, *more], check=True, capture_output=True, env=environment)

    def whole_program() -> int:
        run()
        return len(frames)

    found = alternate({"own": own, "library": library, "program": whole_program}, args.rounds)
    began = time.perf_counter()
    run("--help")
    started = time.perf_counter() - began
    print("| scoring of | frames/s | share |\n| --- | ---: | ---: |")
    rows = {"own": "ready batches", "library": f"{len(frames)} frames of {len(frames.utts)} utterances"}
    for name, what in {**rows, "program": "the same by steps/score.py"}.items():
        print(f"| {what} | {found[name]:.0f} | {found[name] / found['own']:.1%} |")
    print(f"\nOf the {len(frames) / found['program']:.1f} s of steps/score.py {started:.1f} s are its start.")


def parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[1_000_000, 4_000_000, 20_000_000], metavar="N")
    parser.add_argument("--rate-frames", type=int, default=1_000_000, help="of the set for the other two tables")
    parser.add_argument("--tables", default="sizes loading scoring", help="which ones to make")
    parser.add_argument("--cmvn", default="none", choices=["none", "utterance"], help="normalization of the frames")
    parser.add_argument("--block-frames", type=int, default=TrainingConfig().block_frames)
    parser.add_argument("--batch-size", type=int, default=10000)
    parser.add_argument("--hidden", type=int, default=512, help="of the flow that trains beside loading, and scores")
    parser.add_argument("--blocks", type=int, default=10, help="of the same flow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the last two tables")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()), help="where the features are made")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # the process of one size
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.one:
        print(json.dumps(one_size(args.place, args.one, args.block_frames, args.batch_size, args.rounds, args.cmvn)))
        return
    logging.getLogger("flowlid").setLevel(logging.WARNING)
    args.model = ModelConfig(type="dnf", blocks=args.blocks, hidden=args.hidden)
    torch.set_num_threads(args.threads)
    print(f"Command: {program.provenance()['command']}")
    print(f"Machine: {platform.machine()}, {args.threads} threads; training of the first table with one\n")
    tables = args.tables.split()
    if "sizes" in tables:
        sizes_table(args)
    with tempfile.TemporaryDirectory(dir=args.place) as place:
        data = make_set(Path(place) / "data" / "set", args.rate_frames) if set(tables) - {"sizes"} else None
        if "loading" in tables:
            loading_table(data, args)
        if "scoring" in tables:
            scoring_table(data, Path(place), args)


if __name__ == "__main__":
    program.run(main)
