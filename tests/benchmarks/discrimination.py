#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""What training.discriminative buys and costs: accuracy, bits and LogLL of an experiment against its weight w.

Example: tests/benchmarks/discrimination.py egs/prompts/conf/dnf_120.yaml --data egs/prompts/data --results disc.json
Trains the experiment once per weight and seed, scores the dev set and the test sets that have languages of the model,
and calibrates on the dev set if that has all classes. What was measured is kept in --results: a weight and a seed that
are there are not trained again. Prints a table of all of it: means over the seeds, the least and the largest value in
brackets. Cross-entropy is of single frames, in nats; bits are of utterances. --set changes the experiment.
"""

import argparse
import dataclasses
import logging
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from flowlid import program
from flowlid.config import Config, config_from_dict, load_config, resolve_sets
from flowlid.evaluation.calibration import Calibration, bits, fit
from flowlid.evaluation.decisions import SetScores, class_numbers, frame_accuracy, mean_terms
from flowlid.evaluation.scoring import score_frames
from flowlid.files import read_json, write_json
from flowlid.flow.flow import Flow
from flowlid.frames.frameset import FrameSet, load_frames
from flowlid.kaldi.datadir import DataDir
from flowlid.training.discrimination import SetCrossEntropy
from flowlid.training.experiment import Inputs, fresh_flow, read_inputs
from flowlid.training.processes import Processes
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")
Run = dict[str, Any]
Map = Callable[[np.ndarray, np.ndarray], np.ndarray]  # calibrated log-likelihoods of means and frames
COLUMNS = {"loglik": 1, "crossent": 3, "frame_accuracy": 3, "utt_accuracy": 3, "bits": 2, "calibrated": 2}  # digits


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_device_option(parser)
    parser.add_argument("--data", type=Path, required=True, help="where the data directories are")
    parser.add_argument("--results", type=Path, required=True, help="JSON file that keeps what was measured")
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 1, 3, 10, 30, 100], help="w of the rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="trainings of each row")
    parser.add_argument("--set", nargs="*", default=[], metavar="SECTION.KEY=VALUE", help="settings to change")
    parser.add_argument("config", type=Path, help="an experiment's YAML file")
    args = parser.parse_args()
    config = resolve_sets(changed(load_config(args.config), args.set), args.data)
    print(table(measure(config, args)))


def changed(config: Config, settings: Iterable[str]) -> Config:
    """The configuration with settings "section.key=value" ."""
    content = config.to_dict()
    for setting in settings:
        key, _, value = setting.partition("=")
        section, _, name = key.partition(".")
        content.setdefault(section, {})[name] = yaml.safe_load(value)
    return config_from_dict(content, "--set")


def measure(config: Config, args: argparse.Namespace) -> list[Run]:
    """Train and score what the results file lacks; all runs of it.

    Raises:
        ValueError: the file is of another experiment or other data.
    """
    device = program.choose_device(args.device)
    inputs = read_inputs(config, args.data, pipes=False)
    sets = read_sets(inputs, args.data)
    subject = {"config": config.to_dict(), "data": inputs.data, "tests": sorted(sets)}
    kept = read_json(args.results) if args.results.exists() else {**subject, "runs": []}
    if {key: kept.get(key) for key in subject} != subject:
        raise ValueError(f"{args.results}: of another experiment or other data; give another --results")
    for seed in args.seeds:
        for weight in args.weights:
            if not any(run["w"] == weight and run["seed"] == seed for run in kept["runs"]):
                run = train_and_score(inputs, sets, weight, seed, device)
                log.info("w %g, seed %d: %s", weight, seed, run)
                kept["runs"].append(run)
                write_json(args.results, kept)
    return kept["runs"]


def read_sets(inputs: Inputs, data: Path) -> dict[str, FrameSet]:
    """The dev set, and the test sets of seen languages."""
    found = {} if inputs.dev is None else {inputs.config.data.dev: inputs.dev}
    for name in inputs.config.data.tests:
        if set(inputs.classes) & set(DataDir(data / name).table("utt2lang").values()):
            found[name] = load_frames(DataDir(data / name), inputs.config.frames, inputs.stats)
    return found


def train_and_score(inputs: Inputs, sets: dict[str, FrameSet], weight: float, seed: int, device: torch.device) -> Run:
    """One training, and what its flow makes of the dev and test sets."""
    settings = dataclasses.replace(inputs.config.training, discriminative=weight, seed=seed)
    config, classes = dataclasses.replace(inputs.config, training=settings), inputs.classes
    flow = fresh_flow(dataclasses.replace(inputs, config=config), device, Processes())
    dev = None if settings.select == "last" else (inputs.dev, inputs.dev.labels(classes))
    trainer = Trainer(flow, inputs.frames, inputs.frames.labels(classes), settings, dev)
    trainer.start()
    for record in trainer.epochs():
        log.info("w %g, seed %d: %s", weight, seed, record)
    trainer.finish()
    scored = {name: (frames.languages, *score(flow, frames, classes)) for name, frames in sets.items()}
    calibrate = calibration(*scored[config.data.dev], classes) if config.data.dev in scored else None
    found = {name: figures(*values, classes, calibrate) for name, values in scored.items()}
    return {"w": weight, "seed": seed, "epoch": trainer.selected_epoch, "sets": found}


def score(flow: Flow, frames: FrameSet, classes: list[str]) -> tuple[SetScores, float | None]:
    """Sums of the utterances, and the cross-entropy of the frames."""
    labels = frames.labels(classes).to(flow.base.means.device)
    crossent = SetCrossEntropy(frames.counts, labels, len(classes))
    return score_frames(flow, frames, each=crossent.add), crossent.value


def calibration(languages: Sequence[str], scores: SetScores, crossent: float | None, classes: list[str]) -> Map | None:
    """Fitted on a dev set that has all classes."""
    labels = class_numbers(languages, classes)
    seen = labels >= 0
    if set(labels[seen].tolist()) != set(range(len(classes))):
        return None
    found = fit(scores.mean_loglik[seen], scores.frames[seen], labels[seen])
    return Calibration(*found, novelty=None).affine  # the map alone, without regard to new voices


def figures(
    languages: Sequence[str], scores: SetScores, crossent: float | None, classes: list[str], map_: Map | None
) -> dict[str, float | None]:
    """What is told of a set; utterances of unseen languages count for LogLL alone."""
    labels = class_numbers(languages, classes)
    seen = labels >= 0
    own, means, counts = labels[seen], scores.mean_loglik[seen], scores.frames[seen]
    return {
        "loglik": mean_terms(scores, labels)["loglik"],
        "crossent": crossent,
        "frame_accuracy": frame_accuracy(scores, labels),
        "utt_accuracy": float((means.argmax(1) == own).mean()),
        "bits": bits(means * counts[:, None], own),
        "calibrated": None if map_ is None else bits(map_(means, counts), own),
    }


def table(runs: Sequence[Run]) -> str:
    """Markdown: each set's rows, one per weight."""
    names = ("set", "w", "LogLL", "cross-entropy", "frame acc", "utt acc", "bits as scored", "bits calibrated")
    lines = [f"| {' | '.join(names)} |", "| --- |" + " ---: |" * (len(names) - 1)]
    for name in runs[0]["sets"]:
        for weight in sorted({run["w"] for run in runs}):
            own = [run["sets"][name] for run in runs if run["w"] == weight]
            cells = [spread([found[key] for found in own], digits) for key, digits in COLUMNS.items()]
            lines.append(f"| {' | '.join([name, f'{weight:g}', *cells])} |")
    return "\n".join(lines)


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean of a value over the runs, with the least and the largest."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} [{min(known):.{digits}f}, {max(known):.{digits}f}]"


if __name__ == "__main__":
    program.run(main)
