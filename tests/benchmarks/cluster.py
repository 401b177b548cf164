#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""What does a corpus cost on a cluster, and which parts of it are serial? Measured small, extrapolated in hours.

The programs of stages 1 and 2 that run once are measured on tables of many utterances without sound; extraction on
generated sound; packing, the start of training, its epochs, and scoring on generated features of 40 dims. All of it is
taken to be linear in hours, from a tenth of what is measured to all of it, so that what does not grow counts once. What
jobs do is divided by their number: each has one processor. Nothing is measured of a network, a file server, or a GPU.

Example: tests/benchmarks/cluster.py --hours 3000 --jobs 40
It takes less than four minutes on two cores, and 2 GB of the disk.
"""

import argparse
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

sys.path.insert(0, str(Path(__file__).resolve().parent))

from flowlid import program
from flowlid.config import FramesConfig, ModelConfig, TrainingConfig
from flowlid.features.marks import write_mark
from flowlid.features.pool import write_options, write_statistics
from flowlid.flow.flow import build_flow
from flowlid.frames.frameset import load_frames, moments_of
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import invert, write_table
from flowlid.left_out import LeftOut
from flowlid.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent.parent
DIM, RATE = 40, 16000
SETS = "disjoint: speaker\nsets:\n  train: {part: train}\n"
FLOW = ModelConfig(type="dnf", blocks=10, hidden=512)
ONCE, LAST, START, ALL = "login node", "last job", "each process", "all jobs"


class Took(NamedTuple):
    """Elapsed and processor seconds, and bytes of anonymous memory, the most at one time; NaN: not measured."""

    elapsed: float = 0.0
    processor: float = 0.0
    memory: float = 0.0

    def after(self, other: "Took") -> "Took":
        """What is left of it without another one's seconds."""
        return Took(self.elapsed - other.elapsed, self.processor - other.processor, self.memory)


NOTHING = Took()


@dataclass(frozen=True)
class Part:
    """What `hours` of sound took, and `fewer` of them."""

    name: str
    where: str
    hours: float
    took: Took
    fewer: float = 0.0
    fewer_took: Took = NOTHING

    def of(self, hours: float) -> Took:
        """The same of so many hours, on the line through both."""
        times = (hours - self.fewer) / (self.hours - self.fewer)
        pairs = zip(self.fewer_took, self.took, strict=True)
        return Took(*(few + max(0.0, whole - few) * times for few, whole in pairs))  # noise of a busy machine aside


def with_fewer(fewer: Iterable[Part], parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of a measurement, each with what the same part took of fewer hours."""
    for few, part in zip(fewer, parts, strict=True):
        yield replace(part, fewer=few.hours, fewer_took=few.took)


def run(*command: object) -> Took:
    """What a program took."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        began, most = time.monotonic(), 0
        arguments = [sys.executable, *map(str, command)]
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=said, stderr=said)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            most = max(most, 1024 * int((re.findall(r"RssAnon:\s*(\d+)", status) or [0])[0]))
            time.sleep(0.02)
        elapsed = time.monotonic() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise ValueError(f"{command[0]} ended with {process.returncode}: {said.read().decode()}")
    return Took(elapsed, usage.ru_utime + usage.ru_stime, most)


# Stages 1 and 2: tables of utterances without sound


def table_parts(place: Path, utterances: int, seconds: float, jobs: int) -> Iterator[Part]:
    """The programs that run once, over tables; the last of them gives a data directory its features."""
    hours, data, pool = utterances * seconds / 3600, place / "data", place / "data/_pool"
    make_manifests(place, utterances, seconds)
    (place / "sets.yaml").write_text(SETS)
    make_sets = ("steps/make_data_dirs.py", "--sets", place / "sets.yaml", place / "manifests", data)
    yield Part("stage 1: tables of a set", ONCE, hours, run(*make_sets))
    (place / "none.conf").touch()
    conf = (place / "none.conf", place / "none.conf")
    inputs = ("steps/digest_feature_inputs.py", *conf, pool, data / "train")
    yield Part("stage 2: digest of the inputs", ONCE, hours, run(*inputs))
    yield Part("stage 2: pool of the sets", ONCE, hours, run("utils/combine_data.py", pool, data / "train"))
    yield Part("stage 2: split", ONCE, hours, run("utils/split_data.py", "--per-utt", pool, jobs))
    for job in range(1, jobs + 1):
        write_job(pool / "fbank" / str(job), DataDir(pool / f"split{jobs}utt" / str(job)).utts, seconds)
    yield Part("stage 2: gather", ONCE, hours, run("steps/gather_fbank.py", pool, jobs))
    yield Part("stage 2: give to a set", ONCE, hours, run("steps/copy_features.py", pool, data / "train"))


def make_manifests(place: Path, utterances: int, seconds: float) -> None:
    """Of empty files: their sizes and times are looked at, and nothing reads them."""
    names = [f"id{number // 100:05}-{number:07}" for number in range(utterances)]
    recordings, supervisions = [], []
    for name in names:
        speaker, path = name.partition("-")[0], place / "sound" / name[:5] / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        recordings.append(Recording(name, [AudioSource("file", [0], str(path))], RATE, round(RATE * seconds), seconds))
        language, custom = ("en", "es")[int(speaker[2:]) % 2], {"part": "train"}
        supervisions.append(
            SupervisionSegment(name, name, 0.0, seconds, 0, None, language, speaker, "f", custom)
        )  # fmt: skip
    (place / "manifests").mkdir()
    RecordingSet.from_recordings(recordings).to_file(place / "manifests/recordings.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(place / "manifests/supervisions.jsonl.gz")


def write_job(place: Path, utts: list[str], seconds: float) -> None:
    """What a job of stage 2 leaves, but for the archives."""
    place.mkdir(parents=True)
    frames = round(100 * seconds)
    for name, size in (("feats", 4 * DIM * frames), ("vad", 4 * frames)):
        write_table(place / f"{name}.scp", {utt: f"{place}/{name}.ark:{n * size}" for n, utt in enumerate(utts)})
    write_table(place / "utt2num_frames", dict.fromkeys(utts, str(frames)))
    write_options(place, 0.01, {"fbank.num-mel-bins": str(DIM)})
    LeftOut().write(place / "left_out.tsv")
    write_mark(place, "", write_statistics(place, [np.ones((2, DIM + 1))] * len(utts)))


# Stage 2: sound


def extraction_part(place: Path, hours: float, seconds: float) -> Iterator[Part]:
    """One job of extraction; each utterance is noise of its own loudness, in syllables."""
    generator, utts = np.random.default_rng(0), [f"a-{number:05}" for number in range(round(3600 * hours / seconds))]
    noise = generator.normal(size=round(RATE * (seconds + 1)))
    syllables = np.abs(np.sin(np.arange(round(RATE * seconds)) * 4 * np.pi / RATE))
    data = place / "sound"
    data.mkdir()
    for number, utt in enumerate(utts):
        start = number * 7919 % RATE
        soundfile.write(data / f"{utt}.wav", 0.05 * syllables * noise[start : start + len(syllables)], RATE, "PCM_16")
    write_table(data / "wav.scp", {utt: f"{data}/{utt}.wav" for utt in utts})
    write_table(data / "utt2spk", dict.fromkeys(utts, "a"))
    write_table(data / "spk2utt", invert(dict.fromkeys(utts, "a")))
    (place / "fbank.conf").write_text(f"--sample-frequency={RATE}\n--num-mel-bins={DIM}\n")
    (place / "vad.conf").touch()
    command = ("steps/compute_fbank.py", place / "fbank.conf", place / "vad.conf", data, place / "out")
    start = Part("", ALL, 0.0, run(command[0], "--help"))
    yield from with_fewer([start], [Part("stage 2: extraction", ALL, hours, run(*command))])


# Stages 3 and 4: features


def packing_parts(place: Path, hours: float, seconds: float) -> Iterator[Part]:
    """Packing in two parts, and the start of a training."""
    data = make_features(place / "train", hours, seconds)
    first, second = (run("steps/pack.py", "--part", f"{part}/2", place, "train") for part in (1, 2))
    yield Part("packing", ALL, hours / 2, first)
    yield Part("packing: parts joined", LAST, hours, second.after(first))
    opened, passed = (run(__file__, "--open", data.path, *more) for more in ((), ("--moments",)))
    yield Part("stages 3, 4: pack opened and checked", START, hours, opened)
    yield Part("stage 3: mean and variance of the frames", ALL, hours, passed.after(opened))


def flow_parts(place: Path, seconds: float, batch_size: int) -> Iterator[Part]:
    """Epochs of training, and scoring, of a few batches."""
    hours = 6 * batch_size / 288000
    frames = load_frames(make_features(place / "train", hours, seconds), FramesConfig())
    torch.manual_seed(1)
    flow = build_flow(FLOW, 2, *moments_of(frames))
    flow.set_precision(FLOW.precision)
    flow.fuse_kernels()
    trainer = Trainer(flow, frames, frames.labels(["en", "es"]), TrainingConfig(epochs=3, batch_size=batch_size))
    trainer.start()
    epochs = trainer.epochs()
    next(epochs)
    yield Part("stage 3: an epoch of 120 x 512, 10 blocks", ALL, hours, timed(lambda: next(epochs)))
    flow.eval()
    batches = [x for x, _ in frames.batches(8192)]
    with torch.no_grad():
        yield Part("stage 4: scoring of as much", ALL, hours, timed(lambda: [flow.log_terms(x) for x in batches]))


def timed(work: Callable[[], object]) -> Took:
    began, clock = time.monotonic(), time.process_time()
    work()
    return Took(time.monotonic() - began, time.process_time() - clock, math.nan)


def make_features(path: Path, hours: float, seconds: float) -> DataDir:
    """A data directory of normal features; four of five frames are voiced."""
    utts = [f"{('en', 'es')[n % 2]}{n // 100:05}-{n:07}" for n in range(max(4, round(3600 * hours / seconds)))]
    utt2spk, frames = {utt: utt.partition("-")[0] for utt in utts}, round(100 * seconds)
    write_table(path / "utt2spk", utt2spk)
    write_table(path / "spk2utt", invert(utt2spk))
    write_table(path / "utt2lang", {utt: utt[:2] for utt in utts})
    write_table(path / "utt2num_frames", dict.fromkeys(utts, str(frames)))
    noise = np.random.default_rng(0).normal(size=(2 * frames, DIM)).astype(np.float32)
    vad = (np.arange(frames) % 50 >= 10).astype(np.float32)
    with (
        ArkWriter(path / "feats.ark", path / "feats.scp") as write_feats,
        ArkWriter(path / "vad.ark", path / "vad.scp") as write_vad,
    ):
        for number, utt in enumerate(sorted(utts)):
            write_feats(utt, noise[number % frames :][:frames] + (utt[:2] == "es"))
            write_vad(utt, vad)
    return DataDir(path)


# The table


def report(parts: list[Part], hours: float, jobs: int) -> None:
    """The table, and the sums that matter."""
    print(f"| of {hours:g} hours, with {jobs} jobs | runs in | measured: hours | elapsed, s | processor, s "
          "| of all: elapsed, min | processor, min | memory, GB |")  # fmt: skip
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    whole = {part.name: part.of(hours / jobs if part.where == ALL else hours) for part in parts}
    for part in parts:
        took, memory = whole[part.name], whole[part.name].memory
        print(f"| {part.name} | {part.where} | {part.hours:.3g} | {part.took.elapsed:.2f} | {part.took.processor:.2f} "
              f"| {took.elapsed / 60:.1f} | {took.processor / 60:.1f} "
              f"| {'-' if math.isnan(memory) else format(memory / 2**30, '.1f')} |")  # fmt: skip
    serial = [part for part in parts if part.where != ALL]
    for kind in ("elapsed", "processor"):
        minutes = {part: getattr(whole[part.name], kind) / 60 for part in serial}
        login, longest = sum(minutes[part] for part in serial if part.where == ONCE), max(serial, key=minutes.get)
        print(f"\nSerial, {kind}: {sum(minutes.values()):.1f} min, of them {login:.1f} min on the login node; "
              f"the longest is {longest.name}, {minutes[longest]:.1f} min.")  # fmt: skip


def parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--hours", type=float, default=3000, help="of the corpus")
    parser.add_argument("--jobs", type=int, default=40, help="of one processor each")
    parser.add_argument("--seconds", type=float, default=8, help="of an utterance")
    parser.add_argument("--utterances", type=int, default=40000, help="of the tables that are measured")
    parser.add_argument("--sound-hours", type=float, default=2, help="of the sound that is measured")
    parser.add_argument("--feature-hours", type=float, default=10, help="of the features that are measured")
    parser.add_argument("--batch-size", type=int, default=10000, help="of training")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()), help="where all of it is made")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)  # a process that opens a pack
    parser.add_argument("--moments", action="store_true", help=argparse.SUPPRESS)  # and passes over it
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.open:
        frames = load_frames(DataDir(args.open), FramesConfig())
        if args.moments:
            moments_of(frames)
        return
    logging.getLogger("flowlid").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    print(f"Command: {program.provenance()['command']}")
    print(f"Machine: {program.provenance()['machine']}; utterances of {args.seconds:g} s\n")

    def in_place(work: Callable[..., Iterable[Part]], *arguments: float) -> list[Part]:
        with tempfile.TemporaryDirectory(dir=args.place) as place:
            return list(work(Path(place), *arguments))

    parts: list[Part] = []
    for work, amount, more in ((table_parts, args.utterances, [args.jobs]), (packing_parts, args.feature_hours, [])):
        fewer, all_ = (in_place(work, size, args.seconds, *more) for size in (amount // 10 or amount / 10, amount))
        parts += with_fewer(fewer, all_)
    parts.insert(-4, *in_place(extraction_part, args.sound_hours, args.seconds))
    parts += in_place(flow_parts, args.seconds, args.batch_size)
    report(parts, args.hours, args.jobs)


if __name__ == "__main__":
    program.run(main)
