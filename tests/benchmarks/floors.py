#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""Which noise floor leaves non-speech at chance, and what of speech does it leave? By linear classifiers, in seconds.

For each floor (frames.floor, with and without frames.level) discriminant analysis of utterances' mean frames decides a
test set, once by their non-speech and once by their speech: balanced accuracy with its 95% interval. A flow need not be
trained for it. "none" is no floor.

Example: tests/benchmarks/floors.py egs/prompts/data train_en_es dev_en_es test_en_es --level 20 --floors none 13 15 16
"""

import argparse
from pathlib import Path

from flowlid import program
from flowlid.config import FramesConfig
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.nonspeech import linear_decisions, recall_with_interval, utterance_means
from flowlid.frames.frameset import load_frames
from flowlid.kaldi.datadir import DataDir


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="directory of data directories")
    parser.add_argument("train", help="the set that the classifiers are fitted on")
    parser.add_argument("tests", nargs="+", help="the sets that are decided")
    parser.add_argument("--level", type=float, help="frames.level; by default both none and this are tried")
    parser.add_argument("--floors", nargs="+", default=["none", "13", "16"], help='of frames.floor, or "none"')
    args = parser.parse_args()
    print("| level | floor | set | non-speech [95%] | speech [95%] |")
    print("| --- | --- | --- | --- | --- |")
    for level in dict.fromkeys((None, args.level)):
        for text in args.floors:
            rows(args, FramesConfig(level=level, floor=None if text == "none" else float(text)))


def rows(args: argparse.Namespace, config: FramesConfig) -> None:
    """Print a row of each test set."""
    words = ["none" if value is None else f"{value:g}" for value in (config.level, config.floor)]
    cells: dict[str, list[str]] = {name: [*words, name] for name in args.tests}
    for select in ("nonspeech", "speech"):
        train = load_frames(DataDir(args.data / args.train), config, select=select)
        classes = sorted(set(train.languages))
        means, labels = utterance_means(train), class_numbers(train.languages, classes)
        for name, row in cells.items():
            frames = load_frames(DataDir(args.data / name), config, select=select)
            found, truth = linear_decisions(means, labels, utterance_means(frames), classes), frames.languages
            recall = recall_with_interval(found, class_numbers(truth, classes), frames.speakers, frames.utts)
            row.append(f"{recall['balanced_accuracy']:.3f} [{recall['low']:.3f}, {recall['high']:.3f}]")
    for row in cells.values():
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    program.run(main)
