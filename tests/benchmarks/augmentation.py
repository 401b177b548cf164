#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""What augmentation of the training frames does to known and to new voices: flows of the same seeds with and without.

Example:
  tests/benchmarks/augmentation.py egs/prompts/conf/dnf_120.yaml --data egs/prompts/data --results kept.json \
    --sets test_en_es test_es_co --frames subsampling=6 --model "hidden=128 whitening=true" \
    --training "epochs=4 learning_rate=4e-3" --changes "" "tilt=6" "equalization=3 gain=6"
The configuration names the training set and settings; each of --changes is a set of keys of its section augmentation
("": none). What was measured is kept in --results, by seed, and not measured again. In the table, a cell is of a set:
accuracy of frames, of utterances with the lowest and the highest of all seeds, and LogLL, means over the seeds.
"""

import argparse
import logging
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from couplings import changed

from flowlid import program
from flowlid.config import Config, load_config
from flowlid.evaluation.decisions import frame_accuracy, mean_terms
from flowlid.evaluation.scoring import score_frames
from flowlid.files import read_json, write_json
from flowlid.frames.augmentation import make_augmentation
from flowlid.frames.frameset import CPU, load_frames
from flowlid.kaldi.datadir import DataDir
from flowlid.training.experiment import fresh_flow, labels_of, read_inputs
from flowlid.training.processes import Processes
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")

MEASURES = ("frames", "utterances", "loglik")  # accuracy of frames and of utterances, LogLL in nats per frame
Result = dict[str, dict[str, float]]  # of each set


def measure(config: Config, data: Path, sets: list[str]) -> Result:
    """Train a flow on the CPU and score the sets."""
    inputs, processes = read_inputs(config, data, False), Processes()
    flow = fresh_flow(inputs, CPU, processes)
    changes = make_augmentation(config.augmentation, inputs.frames, config.frames, config.training.seed, CPU)
    labels = labels_of(inputs.frames, inputs.classes, config)
    trainer = Trainer(flow, inputs.frames, labels, config.training, None, processes, changes)
    trainer.start()
    for _ in trainer.epochs():
        pass
    trainer.finish()
    flow.eval()
    result: Result = {}
    for name in sets:
        frames = load_frames(DataDir(data / name), config.frames, inputs.stats)
        own, scores = frames.labels(inputs.classes).numpy(), score_frames(flow, frames)
        right = np.asarray(scores.mean_loglik).argmax(1) == own
        accuracies = float(frame_accuracy(scores, own)), float(right[own >= 0].mean())
        result[name] = dict(zip(MEASURES, (*accuracies, mean_terms(scores, own)["loglik"]), strict=True))
    return result


def table(results: dict[str, dict[str, Result]], sets: list[str]) -> str:
    """A row per augmentation, a cell per set; `results` are by name and seed."""
    lines = [["augmentation", "seeds", *sets], ["---", "---:", *["---"] * len(sets)]]
    for name, of_seed in results.items():
        cells = []
        for each in sets:
            found = {key: [result[each][key] for result in of_seed.values()] for key in MEASURES}
            spread = f"[{min(found['utterances']):.3f}, {max(found['utterances']):.3f}]"
            values = mean(found["frames"]), mean(found["utterances"]), mean(found["loglik"])
            cells.append("{:.3f}, {:.3f} {}, {:.1f}".format(*values[:2], spread, values[2]))
        lines.append([f"`{name}`" if name else "none", str(len(of_seed)), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Parse the command line, measure what is missing, and print the table."""
    args = parse_arguments()
    torch.set_num_threads(1)
    base = load_config(args.config)
    for section in ("frames", "model", "training"):
        base = changed(base, section, getattr(args, section))
    base = changed(base, "data", "dev=''")
    kept = read_json(args.results) if args.results.exists() else {}
    for seed in args.seeds:
        for name in args.changes:
            if str(seed) not in kept.setdefault(name, {}):
                config = changed(changed(base, "training", f"seed={seed}"), "augmentation", name)
                kept[name][str(seed)] = measure(config, args.data, args.sets)
                log.info("seed %d, %s: %s", seed, name or "none", kept[name][str(seed)])
                write_json(args.results, kept)
    wanted = {name: {str(seed): kept[name][str(seed)] for seed in args.seeds} for name in args.changes}
    print(table(wanted, args.sets))


def parse_arguments() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="where the data directories are")
    parser.add_argument("--results", type=Path, required=True, help="what was measured (JSON)")
    parser.add_argument("--sets", nargs="+", required=True, help="data directories to score")
    parser.add_argument("--changes", nargs="+", required=True, help="keys of the section augmentation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", default="", help="keys of the section frames, for all")
    parser.add_argument("--model", default="", help="keys of the section model, for all")
    parser.add_argument("--training", default="", help="keys of the section training, for all")
    parser.add_argument("config", type=Path, help="experiment configuration")
    return parser.parse_args()


if __name__ == "__main__":
    program.run(main)
