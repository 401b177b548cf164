#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How soon the first answer of steps/identify.py comes, and how fast it answers beside the flow's own rate.

Makes recordings of the given speech, one after the other: one short file, many short files, and a long one. Prints the
time from the start of the program to its first answer, beside that of a Python that imports torch alone; and for each
number of threads the rate of the flow on batches that are ready, and of all from the sound on. Seconds are of the
clock, and of the processor, which a busy machine changes less.

Example: tests/benchmarks/identify.py egs/prompts/exp/dnf_120/model tests/data/en.wav tests/data/es.wav
"""

import argparse
import logging
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
import torch

from flowlid import program
from flowlid.identify.identifier import Identifier, load
from flowlid.identify.inputs import Inputs

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Measured:
    """Seconds of the clock and of the processor, and what was done in them: frames, files, seconds of sound."""

    elapsed: float
    processor: float
    frames: float = 0
    files: int = 0
    sound: float = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="short files")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each")
    parser.add_argument("--minutes", type=float, default=60, help="of the long file")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="starts that are timed")
    parser.add_argument("model", type=Path)
    parser.add_argument("speech", type=Path, nargs="+", help="sound files at the model's rate")
    args = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    model = load(args.model, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        short, long = recordings(args, model.listener.rate, Path(folder))
        print(f"Command: {' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}\n")
        start_table(args, short[0])
        head = "threads | what | s | processor, s | frames/processor s | of the flow's own | files/s | x real time"
        print(f"\n| {head} |")
        print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for threads in args.threads:
            torch.set_num_threads(threads)
            own = flow_rate(model)
            show(threads, "the flow alone, on ready batches", own, own)
            show(threads, f"{len(short)} files of {args.seconds:g} s", answered(model, short), own)
            show(threads, f"a file of {args.minutes:g} minutes", answered(model, [long]), own)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"\nMost memory: {peak:.0f} MB. Machine: {platform.machine()}, {os.cpu_count()} processors.")


def recordings(args: argparse.Namespace, rate: int, folder: Path) -> tuple[list[Path], Path]:
    """Short files, each from another place in the speech, and the long one."""
    speech = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in args.speech])
    length = round(args.seconds * rate)
    short = []
    for number in range(args.files):
        short.append(folder / f"{number:05}.wav")
        soundfile.write(short[-1], np.roll(speech, -number * 997)[:length], rate)
    long = folder / "long.wav"
    with soundfile.SoundFile(long, "w", rate, 1, "PCM_16") as file:
        left = round(args.minutes * 60 * rate)
        for part in cycle([speech]):
            if left <= 0:
                break
            file.write(part[:left])
            left -= len(part)
    return short, long


def start_table(args: argparse.Namespace, recording: Path) -> None:
    """Time from the start of the program to the first answer, the shortest of some rounds."""
    programs = {
        "python, import torch": [sys.executable, "-c", "import torch; print()"],
        "steps/identify.py, one file": [ROOT / "steps/identify.py", "--device", "cpu", args.model, recording],
    }
    print("| start to first line | s | processor, s | ratio |\n| --- | ---: | ---: | ---: |")
    rounds = [{name: started(command) for name, command in programs.items()} for _ in range(args.rounds)]
    least = {name: min((each[name] for each in rounds), key=lambda found: found.processor) for name in programs}
    base = next(iter(least.values())).processor
    for name, found in least.items():
        print(f"| {name} | {found.elapsed:.2f} | {found.processor:.2f} | {found.processor / base:.2f} |")


def started(command: list[object]) -> Measured:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        running.stdout.readline()
        elapsed = time.perf_counter() - began
        running.stdout.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Measured(elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def flow_rate(model: Identifier, size: int = 8192) -> Measured:
    """The flow on batches that are ready: what `score_frames` does with them, and nothing else."""
    x = torch.randn(size, model.model.flow.dim)

    @torch.no_grad()
    def run() -> Measured:
        for _ in range(4):
            z, _ = model.model.flow(x)
            model.model.flow.base.log_prob(z)
        return Measured(0, 0, frames=4 * size)

    run()
    return timed(run)


def answered(model: Identifier, paths: list[Path]) -> Measured:
    def run() -> Measured:
        answers = list(model.answers(Inputs(map(str, paths)), model.decider()))
        assert all(answer.error is None for answer in answers), "every recording can be read"
        frames = sum(answer.speech for answer in answers) / model.listener.frame_shift
        return Measured(0, 0, frames, len(answers), sum(answer.seconds for answer in answers))

    return timed(run)


def timed(run: Callable[[], Measured]) -> Measured:
    began, processor = time.perf_counter(), time.process_time()
    found = run()
    found.elapsed, found.processor = time.perf_counter() - began, time.process_time() - processor
    return found


def show(threads: int, what: str, found: Measured, own: Measured) -> None:
    rate = found.frames / found.processor
    files = f"{found.files / found.elapsed:.0f}" if found.files > 1 else "-"
    times = f"{found.sound / found.elapsed:.0f}" if found.sound else "-"
    cells = [threads, what, f"{found.elapsed:.2f}", f"{found.processor:.2f}", f"{rate:.0f}"]
    cells += [f"{rate / (own.frames / own.processor):.0%}", files, times]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    program.run(main)
