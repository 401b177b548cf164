#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How fast stage 2 makes features, beside what extractors reach alone on samples in memory.

Example: tests/benchmarks/features.py --hours 8 --rounds 3
Prints a table: kaldi_native_fbank, lhotse (its defaults, float32) and flowlid's extractor (float64) called utterance by
utterance, and steps/make_fbank.sh as a recipe runs it (split, decode, filterbank, voice activity, archives, gather)
with one job and with two. All run in one thread a job, in turn within every round; a figure is the median over rounds.
A stage's start-up is what it takes for two utterances, and is taken off its time: a long corpus pays it once.

The audio are the unpacked prompts of egs/prompts if they are in the cache, or generated utterances of --seconds each;
they are taken again, under other names, until --hours are full. Files come from the page cache.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import kaldi_native_fbank
import lhotse
import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import ROOT, speech, write_tables, write_wav

from flowlid import program
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.kaldi.tables import write_table

BINS = 40
_ALONE = 3600.0  # seconds of audio, at most, that the extractors alone are given
_GENERATED = 300  # files


@dataclass
class Row:
    """One way to make features: `run` makes those of `audio` seconds of speech on `jobs` cores."""

    name: str
    run: Callable[[], None]
    audio: float
    jobs: int = 1
    startup: Callable[[], None] | None = None
    took: list[float] = field(default_factory=list)  # seconds, each round
    started: list[float] = field(default_factory=list)

    def measure(self) -> None:
        self.started.append(seconds_of(self.startup) if self.startup else 0.0)
        self.took.append(seconds_of(self.run))

    @property
    def seconds(self) -> float:
        return statistics.median(took - started for took, started in zip(self.took, self.started, strict=True))

    @property
    def times_real_time(self) -> float:
        """Seconds of audio a second and core."""
        return self.audio / self.seconds / self.jobs


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--hours", type=float, default=8.0, help="of audio for the stage")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument("--audio", type=Path, help="use the WAV files below this directory, all of one rate")
    parser.add_argument("--generated", action="store_true", help="use generated utterances, also where prompts are")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a generated utterance")
    parser.add_argument("--rate", type=int, default=8000, help="of generated utterances, in Hz")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cache = Path(os.environ.get("FLOWLID_CACHE") or "~/.cache/flowlid").expanduser() / "prompts"
    with tempfile.TemporaryDirectory(prefix="flowlid-features-") as temporary:
        work = Path(temporary)
        if args.audio or (cache.is_dir() and not args.generated):
            source = f"the WAV files of {args.audio}" if args.audio else "recorded prompts of egs/prompts"
            files = wav_files(args.audio or cache)
        else:
            source, files = "generated utterances", generate(work / "wav", args)
        durations = {file: soundfile.info(file).duration for file in files}
        rows = [*alone(files, durations), *stages(work, files, durations, args.hours * 3600)]
        source += f", {np.mean(list(durations.values())):.1f} s each at {rate_of(files)} Hz"
        for _ in range(args.rounds):
            for row in rows:
                row.measure()
    print(report(rows, source))


def wav_files(path: Path) -> list[Path]:
    """WAV files below a directory, of the rate that most of them have."""
    files = sorted(path.rglob("*.wav"))
    if not files:
        raise ValueError(f"{path}: no WAV file below it; give another --audio, or --generated")
    rates = {file: soundfile.info(file).samplerate for file in files}
    usual = statistics.mode(rates.values())
    return [file for file in files if rates[file] == usual and soundfile.info(file).duration > 0.1]


def generate(path: Path, args: argparse.Namespace) -> list[Path]:
    count = max(2, min(_GENERATED, round(args.hours * 3600 / args.seconds)))
    return [write_wav(path / f"{n}.wav", speech(args.seconds, n, args.rate), args.rate) for n in range(count)]


def rate_of(files: Sequence[Path]) -> int:
    return soundfile.info(files[0]).samplerate


def alone(files: Sequence[Path], durations: dict[Path, float]) -> list[Row]:
    """The extractors by themselves, on the same float32 samples in memory."""
    totals = itertools.accumulate(durations[file] for file in files)
    files = [file for file, total in zip(files, totals, strict=True) if total <= _ALONE] or files[:1]
    rate, audio = rate_of(files), sum(durations[file] for file in files)
    samples = [soundfile.read(file, dtype="float32")[0] for file in files]
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither, options.mel_opts.num_bins = rate, 0, BINS

    def native(x: np.ndarray) -> np.ndarray:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(rate, x)
        fbank.input_finished()
        return np.stack([fbank.get_frame(t) for t in range(fbank.num_frames_ready)])

    plain = lhotse.Fbank(lhotse.FbankConfig(sampling_rate=rate, num_filters=BINS))
    ours = FeatureExtractor(FbankOptions(sample_frequency=rate, num_mel_bins=BINS))
    ways = {
        "kaldi_native_fbank alone": native,
        "lhotse alone, its defaults, float32": lambda x: plain.extract(x, rate),
        "flowlid's extractor alone, float64": ours,
    }

    def over_all(extract: Callable[[np.ndarray], object]) -> Callable[[], None]:
        def run() -> None:
            for x in samples:
                extract(x)

        return run

    for extract in ways.values():
        extract(samples[0])  # the first call of a library is slower
    return [Row(name, over_all(extract), audio) for name, extract in ways.items()]


def stages(work: Path, files: Sequence[Path], durations: dict[Path, float], seconds: float) -> list[Row]:
    """The stage with one job and with two."""
    (work / "fbank.conf").write_text(f"--sample-frequency={rate_of(files)}\n--num-mel-bins={BINS}\n")
    (work / "vad.conf").write_text("--vad-frames-context=2\n--vad-proportion-threshold=0.5\n")
    chosen, audio = [], 0.0
    for file in itertools.cycle(files):
        if audio >= seconds and len(chosen) >= 2:
            break
        chosen.append(file)
        audio += durations[file]
    many, two = data_dir(work / "many", chosen), data_dir(work / "two", chosen[:2])
    return [
        Row(f"the stage, {jobs} job{'s' * (jobs > 1)}", stage(many, work, jobs), audio, jobs, stage(two, work, jobs))
        for jobs in (1, 2)
    ]


def data_dir(path: Path, files: Sequence[Path]) -> Path:
    """A data directory; the n-th file is utterance n."""
    scp = {f"{n:07}": str(file) for n, file in enumerate(files)}
    write_tables(path, dict.fromkeys(scp, "en"))
    write_table(path / "wav.scp", scp)
    return path


def stage(data: Path, work: Path, jobs: int) -> Callable[[], None]:
    command = [str(ROOT / "steps" / "make_fbank.sh"), "--nj", str(jobs), "--fbank-config", str(work / "fbank.conf")]
    command += ["--vad-config", str(work / "vad.conf"), str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def run() -> None:
        for mark in data.glob("fbank/*/done.json"):  # else it is kept
            mark.unlink()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(f"steps/make_fbank.sh failed: {done.stderr.strip()}")

    return run


def seconds_of(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report(rows: Sequence[Row], source: str) -> str:
    """The table, in Markdown, and what it does not show."""
    fastest = max(row.times_real_time for row in rows[:2])
    one, two = rows[-2:]
    lines = [
        "| | hours of audio a minute and core | x real time | of the faster library |",
        "| --- | --- | --- | --- |",
    ]
    speeds = {row.name: row.times_real_time for row in rows}
    lines += [f"| {name} | {x / 60:.1f} | {x:.0f} | {x / fastest:.0%} |" for name, x in speeds.items()]
    return "\n".join([
        *lines,
        "",
        f"Audio: {one.audio / 3600:.2f} h for the stage, {rows[0].audio / 3600:.2f} h for the extractors; {source}.",
        f"Two jobs do {one.seconds / two.seconds:.2f} times as much as one. "
        f"Start-up, not counted above: {statistics.median(one.started):.1f} s with one job, "
        f"{statistics.median(two.started):.1f} s with two.",
        f"Machine: {program.provenance()['machine']}, one thread a job; median of {len(one.took)} rounds.",
    ])  # fmt: skip


if __name__ == "__main__":
    program.run(main)
