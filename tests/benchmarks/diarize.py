#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How well, and how fast, a model tells the language of each moment: on spliced recordings of a data set.

Example: OMP_NUM_THREADS=1 tests/benchmarks/diarize.py --set test_en_es egs/prompts/data egs/prompts/exp/dnf_120
Each splice takes every utterance of the set once, in random order. A turn goes on with utterances of one language until
it has lasted for a time that is drawn between the bounds of --turn; then another language follows. What is measured:
- speech wrong: the share of frames that VAD takes for speech and whose answer is another language, unknown, or none;
- unknown: the share whose answer is unknown, which is part of that;
- changes found: the share of the changes of language that have an answered change between the same two languages no
  more than 0.5 s away, each counted once; changes true: the same share of the answered ones;
- times real time: seconds of sound per second of the processor, on so many threads as OMP_NUM_THREADS says.
"""

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowlid import program
from flowlid.audio.samples import read_audio
from flowlid.evaluation.openset import UNKNOWN
from flowlid.identify import windows
from flowlid.identify.answer import Answer, Decider
from flowlid.identify.identifier import Identifier, load
from flowlid.kaldi.datadir import DataDir

NEAR = 0.5  # seconds


@dataclass(frozen=True)
class Splice:
    """A spliced recording: its samples, and the language of each turn with the second in which it begins."""

    samples: np.ndarray
    turns: tuple[tuple[float, str], ...]

    def languages_at(self, seconds: np.ndarray) -> np.ndarray:
        starts, names = zip(*self.turns, strict=True)
        return np.array(names, object)[np.searchsorted(starts, seconds, side="right") - 1]


@dataclass(frozen=True)
class Scored:
    """A splice, its blocks, the moments of speech in seconds, and the processor's seconds for features and flow."""

    splice: Splice
    rate: int
    blocks: windows.Blocks
    speech: np.ndarray
    cpu: float

    @classmethod
    def of(cls, model: Identifier, splice: Splice) -> "Scored":
        began = time.process_time()
        heard = model.listener.hear_samples(splice.samples, model.listener.rate)
        blocks = model.blocks(heard)
        cpu = time.process_time() - began
        speech = (np.flatnonzero(heard.utterance.voiced) + 0.5) * model.listener.frame_shift
        return cls(splice, model.listener.rate, blocks, speech, cpu)


@dataclass
class Counts:
    """What was counted over splices."""

    seconds: float = 0.0
    speech: int = 0
    wrong: int = 0
    unknown: int = 0
    changes: int = 0
    answered: int = 0
    found: int = 0
    cpu: float = 0.0

    def row(self) -> list[str]:
        return [
            f"{self.seconds / 60:.1f}",
            f"{100 * self.wrong / self.speech:.2f}%",
            f"{100 * self.unknown / self.speech:.2f}%",
            f"{100 * self.found / max(1, self.changes):.1f}% of {self.changes}",
            f"{100 * self.found / max(1, self.answered):.1f}% of {self.answered}",
            f"{self.seconds / self.cpu:.0f}",
        ]


def main() -> None:
    args = parse_arguments()
    model = load(args.model, "cpu")
    prompts = read_prompts(args.data / args.set, model.listener.rate)
    splices = [splice(prompts, args.turn, seed, model.listener.rate) for seed in range(args.splices)]
    columns = ("minutes", "speech wrong", "unknown", "changes found", "changes true", "x real time")
    print(f"| --window | --smoothing | --false-rejection | {' | '.join(columns)} |")
    print(f"|{' ---: |' * (len(columns) + 3)}")
    scored = [Scored.of(model, each) for each in splices]
    for options in itertools.product(args.window, args.smoothing, args.false_rejection):
        window, windows.TURN, rate = options
        counts, decider = Counts(), model.decider(rate=rate)
        for each in scored:
            measure(each, decider, window, counts)
        print(f"| {' | '.join([*(f'{value:g}' for value in options), *counts.row()])} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory: {peak:.0f} MB", file=sys.stderr)


def read_prompts(place: Path, rate: int) -> list[tuple[str, np.ndarray]]:
    """Language and samples of each utterance of a data directory without segments."""
    data = DataDir(place)
    languages = data.table("utt2lang")
    return [
        (languages[utt], read_audio(path, utt, rate, downsample=True)[0]) for utt, path in data.table("wav.scp").items()
    ]


def splice(prompts: Sequence[tuple[str, np.ndarray]], bounds: tuple[float, float], seed: int, rate: int) -> Splice:
    """All prompts, in turns; it ends where one language has no prompt left."""
    generator = np.random.default_rng(seed)
    left: dict[str, list[np.ndarray]] = {}
    for number in generator.permutation(len(prompts)):
        language, samples = prompts[number]
        left.setdefault(language, []).append(samples)
    parts, turns, place = [], [], 0
    language = sorted(left)[int(generator.integers(len(left)))]
    while left[language]:
        turns.append((place / rate, language))
        goal = place + generator.uniform(*bounds) * rate
        while place < goal and left[language]:
            parts.append(left[language].pop())
            place += len(parts[-1])
        others = sorted(set(left) - {language})
        language = others[int(generator.integers(len(others)))]
    return Splice(np.concatenate(parts), tuple(turns))


def measure(each: Scored, decider: Decider, window: float, counts: Counts) -> None:
    """Add what is counted of a splice."""
    about = Answer("splice", seconds=len(each.splice.samples) / each.rate)
    began = time.process_time()
    segments = windows.segments_of(each.blocks, decider, window, about)
    windows.identify_blocks(each.blocks, decider, window)
    counts.cpu += each.cpu + time.process_time() - began
    counts.seconds += about.seconds
    answers, true_answers = answers_at(segments, each.speech), each.splice.languages_at(each.speech)
    counts.speech += len(answers)
    counts.wrong += int((answers != true_answers).sum())
    counts.unknown += int((answers == UNKNOWN).sum())
    turns = each.splice.turns
    true = [(second, before[1], after) for before, (second, after) in itertools.pairwise(turns)]
    answered = list(changes_of(segments))
    counts.changes += len(true)
    counts.answered += len(answered)
    counts.found += matched(true, answered)


def answers_at(segments: Sequence[windows.Segment], seconds: np.ndarray) -> np.ndarray:
    """The answer at each moment; "" where there is none."""
    found = np.full(len(seconds), "", object)
    for each in segments:
        found[(seconds >= each.start) & (seconds < each.end)] = each.language
    return found


def changes_of(segments: Sequence[windows.Segment]) -> Iterator[tuple[float, float, str, str]]:
    """End of what was before, begin of what is after, and both languages, of each change that was answered."""
    for before, after in itertools.pairwise(segments):
        if before.language != after.language:
            yield before.end, after.start, before.language, after.language


def matched(true: Sequence[tuple[float, str, str]], answered: Sequence[tuple[float, float, str, str]]) -> int:
    """How many true changes have an answered one of their own that is near."""
    left, found = list(answered), 0
    for second, before, after in true:
        near = [x for x in left if x[2:] == (before, after) and x[0] - NEAR <= second <= x[1] + NEAR]
        if near:
            left.remove(near[0])
            found += 1
    return found


def parse_arguments() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--set", default="test_en_es", help="data directory whose utterances are spliced")
    parser.add_argument("--splices", type=int, default=3, help="how many orders of the utterances")
    parser.add_argument("--turn", type=numbers, default=(4.0, 12.0), metavar="A,B", help="bounds of a turn in seconds")
    parser.add_argument("--window", type=numbers, default=(3.0,), metavar="S,...", help="as of steps/identify.py")
    words = "windows between two choices of the language, as the smoothing expects them"
    parser.add_argument("--smoothing", type=numbers, default=(windows.TURN,), metavar="N,...", help=words)
    words = "as of steps/identify.py; models without an open set reject nothing"
    parser.add_argument("--false-rejection", type=numbers, default=(0.05,), metavar="R,...", help=words)
    parser.add_argument("data", type=Path, help="directory of the data directories")
    parser.add_argument("model", type=Path, help="experiment, or model directory")
    return parser.parse_args()


def numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


if __name__ == "__main__":
    program.run(main)
