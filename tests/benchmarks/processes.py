#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How much faster processes of one thread each train together than one of them alone, with the same batches.

Example: tests/benchmarks/processes.py --num-procs 2
Trains through steps/train.py on made-up features, alternately with one process and with several, and prints a
Markdown table: frames per second, median over the epochs of all rounds, and their ratio.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from tools import feature_dir  # noqa: E402  (beside the tests, not a package)

from flowlid import program  # noqa: E402

LENGTH = 1000  # frames of an utterance; 4 of 5 are voiced


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        utterances = {f"a-{n:05}": ("en", "es")[n % 2] for n in range(max(2, round(args.frames / (0.8 * LENGTH))))}
        feature_dir(folder / "data/train", utterances, dim=40, frames=LENGTH)
        (folder / "x.yaml").write_text(
            "data: {train: train}\n"
            f"frames: {{context: {args.context}}}\n"
            f"model: {{type: dnf, blocks: {args.blocks}, hidden: {args.hidden}, normalization: {args.normalization}}}\n"
            f"training: {{epochs: {args.epochs}, batch_size: {args.batch_size}}}\n"
        )
        rates: dict[int, list[float]] = {1: [], args.num_procs: []}
        for number in range(args.rounds):
            for num_procs, found in rates.items():
                found += epoch_rates(folder, num_procs, folder / f"exp/{num_procs}_{number}")
    print(f"    {shlex.join(sys.argv)}\n")
    print(
        f"{os.cpu_count()} processors; {40 * (2 * args.context + 1)} dims, {args.blocks} blocks, hidden {args.hidden},"
    )
    print(f"{args.normalization}, batch {args.batch_size}; median, least and most of {len(rates[1])} epochs\n")
    print("| processes of one thread | frames per second | from | to | ratio |\n| --- | --- | --- | --- | --- |")
    for num_procs, found in rates.items():
        middle = statistics.median(found)
        ratio = middle / statistics.median(rates[1])
        print(f"| {num_procs} | {middle:.0f} | {min(found):.0f} | {max(found):.0f} | {ratio:.2f} |")


def parse_arguments() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--num-procs", type=int, default=2, help="processes to compare with one")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a turn; the first one warms up")
    parser.add_argument("--frames", type=int, default=40000, help="training frames")
    parser.add_argument("--batch-size", type=int, default=10000, help="frames of a batch, of all processes together")
    parser.add_argument("--context", type=int, default=1, help="frames spliced on each side: 120 dims, or 440 with 5")
    parser.add_argument("--blocks", type=int, default=10, help="couplings")
    parser.add_argument("--hidden", type=int, default=512, help="units of a hidden layer")
    parser.add_argument("--normalization", default="actnorm", choices=("actnorm", "batchnorm", "none"))
    args = parser.parse_args()
    if args.num_procs < 2 or args.epochs < 2:
        parser.error("--num-procs and --epochs are 2 or more")
    return args


def epoch_rates(folder: Path, num_procs: int, exp: Path) -> list[float]:
    """Frames per second of each epoch but the first."""
    command = [
        ROOT / "steps/train.py",
        "--device",
        "cpu",
        "--num-procs",
        num_procs,
        folder / "x.yaml",
        folder / "data",
        exp,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ended = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"processes.py: {shlex.join(map(str, command))}:\n{ended.stderr}")
    epochs = [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]
    return [record["frames_per_second"] for record in epochs[1:]]


if __name__ == "__main__":
    main()
