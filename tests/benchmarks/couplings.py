#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""What other couplings, mixings and settings give: held-out LogLL after training, and CPU time per update.

Example:
  tests/benchmarks/couplings.py egs/prompts/conf/nf_120.yaml --data egs/prompts/data --results couplings.json \
    --training epochs=8 batch_size=1000 --models "whitening=true" "whitening=true mixing=lu coupling=shared"
The configuration names training and dev set, frames and settings; each of --models is a set of keys of its section
model, or of training ("training.learning_rate=8e-3"), and the first one is what the others are compared with. For a
seed they take turns, an epoch each, on the same frames in the same order, so that a noisy machine hits them all alike.
p is that of a paired t test (two-sided) of the gains of the seeds. What was measured is kept in --results and not
measured again.
"""

import argparse
import dataclasses
import logging
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from flow_tables import processor
from quality import Task, read_task
from scipy import stats
from torch import Tensor

from flowlid import program
from flowlid.config import Config, config_from_dict, load_config
from flowlid.files import read_json, write_json
from flowlid.flow.flow import build_flow
from flowlid.training.experiment import fingerprint
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")

Result = dict[str, float]  # `loglik` of the dev set, CPU milliseconds per `update`, `parameters`


def changed(config: Config, section: str, keys: str) -> Config:
    """The configuration with other values, given as "key=value training.key=value"; raises as `load_config`."""
    content = config.to_dict()
    for pair in keys.split():
        key, _, value = pair.partition("=")
        *other, key = key.split(".", 1)
        if other and other != ["training"]:
            raise ValueError(f"{keys!r}: of the other sections than {section}, only training. is compared")
        content[other[0] if other else section][key] = yaml.safe_load(value)
    return config_from_dict(content, f"{section} {keys!r}")


def train(task: Task, config: Config, seed: int) -> Iterator[Result]:
    """Train by flowlid's own Trainer; yields after each epoch, with dev LogLL after the last."""
    torch.manual_seed(seed)
    flow = build_flow(config.model, task.classes, *task.moments)
    flow.set_precision(config.model.precision)
    trainer = Trainer(flow, task.frames, task.labels, dataclasses.replace(config.training, seed=seed, select="last"))
    trainer.start()
    result: Result = {"parameters": sum(p.numel() for p in flow.parameters())}
    cpu, began = 0.0, time.process_time()
    for _ in trainer.epochs():
        cpu += time.process_time() - began
        result["update"] = 1000 * cpu / trainer.step
        if len(trainer.history) == config.training.epochs:

            def log_prob(x: Tensor, labels: Tensor) -> Tensor:
                return flow.log_prob(x).gather(1, labels.unsqueeze(1)).squeeze(1)

            result["loglik"] = task.held_out(flow, log_prob)
        yield result
        began = time.process_time()


def measure(task: Task, models: dict[str, Config], seed: int) -> dict[str, Result]:
    """Train all models, an epoch of each in turn."""
    runs = {name: train(task, config, seed) for name, config in models.items()}
    results: dict[str, Result] = {}
    while runs:
        for name in list(runs):
            result = next(runs[name], None)
            if result is None:
                del runs[name]
            else:
                results[name] = result
                log.info("seed %d, %s: %s", seed, name, result)
    return results


def report(task: Task, found: dict[str, dict[str, Result]]) -> str:
    """The table, in Markdown; `found` has the results of each model by seed, the reference's first."""
    first = next(iter(found.values()))
    training = task.config.training
    lines = [
        f"- command: `{program.provenance()['command']}`",
        f"- machine: {processor(torch.device('cpu'))}; {torch.get_num_threads()} threads",
        f"- {len(task.frames)} training and {len(task.dev)} dev frames of {task.frames.dim} dims; {training.epochs} "
        f"epochs, batch {training.batch_size}, rate {training.learning_rate:g}; seeds {' '.join(first)}",
        "- dev LogLL in nats per frame, mean of the seeds (least to most); gain over the first row, of the same seed",
        "",
        "| model | parameters, million | dev LogLL | gain | p | CPU ms per update | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, results in found.items():
        columns = [
            [results[seed]["loglik"] for seed in first],
            [results[seed]["loglik"] - first[seed]["loglik"] for seed in first],
            [results[seed]["update"] for seed in first],
            [results[seed]["update"] / first[seed]["update"] for seed in first],
        ]
        cells = [_cell(values, digits) for values, digits in zip(columns, (2, 2, 0, 2), strict=True)]
        cells.insert(2, _paired_p(columns[1]))
        parameters = next(iter(results.values()))["parameters"] / 1e6
        lines.append(f"| {name} | {parameters:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _paired_p(gains: list[float]) -> str:
    """Of a mean gain of zero, if the seeds' gains are normal; "-" for the reference itself and for one seed."""
    return f"{stats.ttest_1samp(gains, 0).pvalue:.2g}" if len(gains) > 1 and any(gains) else "-"


def _cell(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _parse() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    parser.add_argument("config", type=Path, help="configuration of an experiment: data, frames, model and settings")
    parser.add_argument("--data", type=Path, required=True, help="directory of the data directories")
    parser.add_argument("--results", type=Path, required=True, help="JSON file that keeps what was measured")
    parser.add_argument("--models", nargs="+", required=True, metavar="KEYS", help='such as "mixing=lu hidden=384"')
    parser.add_argument("--training", nargs="*", default=[], metavar="KEY=VALUE", help="other settings of training")
    parser.add_argument("--frames", nargs="*", default=[], metavar="KEY=VALUE", help="other settings of frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of weights and of the order of frames")
    return parser.parse_args()


def main() -> None:
    args = _parse()
    config = changed(load_config(args.config), "training", " ".join(args.training))
    config = changed(config, "frames", " ".join(args.frames))
    models = {keys: changed(config, "model", keys) for keys in args.models}
    task = read_task(config, args.data)
    settings = {"frames": fingerprint(task.frames), "dev": fingerprint(task.dev), "config": config.to_dict()}
    kept = read_json(args.results) if args.results.exists() else {"settings": settings, "seeds": {}}
    if kept["settings"] != settings:
        raise ValueError(f"{args.results}: measured with other frames or settings; give another --results")
    for seed in map(str, args.seeds):
        done = kept["seeds"].setdefault(seed, {})
        missing = {keys: model for keys, model in models.items() if keys not in done}
        done.update(measure(task, missing, int(seed)))
        write_json(args.results, kept)
    print(report(task, {keys: {str(seed): kept["seeds"][str(seed)][keys] for seed in args.seeds} for keys in models}))


if __name__ == "__main__":
    program.run(main)
