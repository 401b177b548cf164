#!/usr/bin/env python3
"""Train the flow of one experiment.

Example: steps/train.py conf/dnf_120.yaml data exp/dnf_120
Writes EXP/final.pt (the model), config.yaml (resolved), train.jsonl (an epoch a line) and train.json. After
each epoch EXP/checkpoint.pt is replaced; a run that was cut off goes on from it.
"""

import argparse
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from flowlid import program
from flowlid.checkpoint import Model, class_names, load_model, load_payload, save_model, save_payload
from flowlid.cmvn import global_cmvn
from flowlid.config import Config, config_from_dict, differences, load_config, resolve_sets, save_config
from flowlid.datadir import DataDir
from flowlid.files import atomic_write, write_json
from flowlid.flow import build_flow
from flowlid.frames import FrameSet, load_frames, moments_of
from flowlid.scoring import mean_terms, score_frames
from flowlid.training import Trainer, fingerprint

RESULTS = ("score_*", "nonspeech_*", "latent_*", "proficiency_*", "plots")  # of a model, in its directory
log = logging.getLogger("flowlid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    program.add_device_option(parser)
    program.add_pipes_option(parser)
    parser.add_argument(
        "--overwrite", choices=("true", "false"), default="false", help="replace a model of another configuration"
    )
    parser.add_argument("config", type=Path, help="experiment configuration")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("exp", type=Path, help="experiment directory")
    args = parser.parse_args()
    found = program.log_provenance()
    device, pipes = program.choose_device(args.device), args.allow_pipes == "true"
    config = resolve_sets(load_config(args.config), args.data)
    replaced = models_of_other_configurations(config, args.exp, args.overwrite == "true")

    train_data = DataDir(args.data / config.data.train)
    stats = global_cmvn(train_data, pipes) if config.frames.cmvn == "global" else None
    frames = load_frames(train_data, config.frames, stats, subsample=True, allow_pipes=pipes)
    classes = class_names(frames.languages, config.model.type)
    if config.model.type == "dnf" and len(classes) < 2:
        raise ValueError(
            f"{train_data.path}/utt2lang: one language, {classes[0]}; a discriminative flow (model.type: dnf) needs "
            "two or more, a normal flow (nf) one"
        )
    dev = None
    if config.data.dev:
        dev = load_frames(DataDir(args.data / config.data.dev), config.frames, stats, allow_pipes=pipes)
    log.info("%s: %s, classes %s", train_data.path, fingerprint(frames), " ".join(classes))

    torch.manual_seed(config.training.seed)
    mean, std = moments_of(frames, device=device)
    flow = build_flow(config.model, len(classes), mean.cpu(), std.cpu()).to(device)
    flow.set_precision(config.model.precision)
    log.info("matrix products in %s (model.precision: %s)", flow.precision, config.model.precision)
    trainer = Trainer(flow, frames, labels_of(frames, classes, config), config.training, labelled(dev, classes, config))
    for path in replaced:  # only now, when all that was read is known to be sound
        log.warning("%s: removed, it was trained with another configuration (--overwrite true)", path)
        path.unlink()
    seconds = train(trainer, config, fingerprint(frames), args.exp)

    trained = trainer.finish()
    model = Model(flow, config, classes, frames.feats.shape[1], stats)
    with atomic_write(args.exp / "config.yaml") as file:
        save_config(config, file, "".join(f"{name}: {value}\n" for name, value in found.items()))
    remove_results_of_another_model(args.exp, model)
    save_model(args.exp / "final.pt", model)
    report = saved_model_report(args.exp / "final.pt", frames, trained, config, device)
    write_json(
        args.exp / "train.json",
        {
            "experiment": args.exp.name,
            "model": config.model.type,
            "classes": classes,
            "dim": frames.dim,
            "class_dim": flow.base.class_dim if config.model.type == "dnf" else None,
            "frames": len(frames),
            "epochs": config.training.epochs,
            "selected_epoch": trainer.selected_epoch,
            **report,
            "parameters": sum(p.numel() for p in flow.parameters()),
            "cmvn": config.frames.cmvn + ("+variance" if config.frames.norm_vars else ""),
            "normalization": config.model.normalization,
            "precision": flow.precision,
            "device": str(device),
            "seconds": round(seconds, 1),
            "provenance": found,
        },
    )
    (args.exp / "checkpoint.pt").unlink(missing_ok=True)


def models_of_other_configurations(config: Config, exp: Path, overwrite: bool) -> list[Path]:
    """The files in `exp` that another configuration made; ValueError, with the difference, unless `overwrite`."""
    found = []
    for name, kind in (("checkpoint.pt", "training state"), ("final.pt", "model")):
        path = exp / name
        if not path.exists():
            continue
        changed = differences(config_from_dict(load_payload(path, kind)["config"], str(path)), config)
        if changed and not overwrite:
            raise ValueError(
                f"{path} was trained with another configuration:\n  " + "\n  ".join(changed) + "\n"
                "give the experiment another name (a copy of its YAML file), or replace the model: --overwrite true"
            )
        if changed:
            found.append(path)
    return found


def remove_results_of_another_model(exp: Path, model: Model) -> None:
    """Remove what scoring and analysis wrote in `exp`, unless they are of a model with these very weights."""
    path = exp / "final.pt"
    if path.exists():
        old, new = load_model(path).flow.state_dict(), model.flow.state_dict()
        if old.keys() == new.keys() and all(torch.equal(old[key], new[key].cpu()) for key in old):
            return
    (exp / "train.json").unlink(missing_ok=True)
    for stale in [path for kind in RESULTS for path in exp.glob(kind)]:
        if stale.is_dir():
            log.info("%s: removed, it is of an earlier model", stale)
            shutil.rmtree(stale)


def labels_of(frames: FrameSet, classes: list[str], config: Config) -> torch.Tensor:
    """Class of each utterance; a normal flow has one class, which everything belongs to."""
    labels = frames.labels(classes)
    return labels if config.model.type == "dnf" else torch.zeros_like(labels)


def labelled(dev: FrameSet | None, classes: list[str], config: Config) -> tuple[FrameSet, torch.Tensor] | None:
    return None if dev is None else (dev, labels_of(dev, classes, config))


def train(trainer: Trainer, config: Config, data: str, exp: Path) -> float:
    """Run the epochs that are left, with a checkpoint after each; returns the seconds of all epochs."""
    checkpoint = exp / "checkpoint.pt"
    if checkpoint.exists():
        state = load_payload(checkpoint, "training state")
        if state["data"] != data:
            raise ValueError(
                f"{checkpoint}: trained on {state['data']}, but now there are {data}; "
                "remove it to train from the beginning"
            )
        trainer.load_state_dict(state["trainer"])
        log.info("going on after epoch %d of %d, from %s", len(trainer.history), config.training.epochs, checkpoint)
    else:
        trainer.start()
    with program.progress_bar(exp.name, trainer.steps_per_epoch) as show:
        for record in trainer.epochs(show):
            state = {"config": config.to_dict(), "data": data, "trainer": trainer.state_dict()}
            save_payload(checkpoint, "training state", state)
            write_history(exp / "train.jsonl", trainer.history)
            log.info("%s", epoch_line(record, config.training.epochs))  # what the log tells of is safe
    return sum(record["seconds"] for record in trainer.history)


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    with atomic_write(path) as file:
        file.writelines(json.dumps(record, allow_nan=False) + "\n" for record in history)


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """What the log says of an epoch."""
    dev = ""
    if record["dev_loglik"] is not None:
        dev = f", dev LogLL {record['dev_loglik']:.3f}"
    if record["dev_accuracy"] is not None:
        dev += f", dev frame accuracy {record['dev_accuracy']:.4f}"
    return (
        f"epoch {record['epoch']} of {epochs}: LogLL {record['loglik']:.3f} nats a frame (LogP {record['logp']:.3f}, "
        f"LogDet {record['logdet']:.3f}){dev}; learning rate {record['learning_rate']:.2e}, gradient norm "
        f"{record['grad_norm']:.1f}, {record['frames_per_second']:.0f} frames a second"
    )


def saved_model_report(
    path: Path, frames: FrameSet, trained: dict[str, float], config: Config, device: torch.device
) -> dict[str, float]:
    """Score the training frames with the saved file, and hold the result against training's own."""
    model = load_model(path).to(device)
    began = time.monotonic()
    scores = score_frames(model.flow, frames)
    evaluated = mean_terms(scores, labels_of(frames, model.classes, config).numpy())
    log.info(
        "training frames: LogLL %.4f nats a frame as trained, %.4f under the saved model (scored in %.1f s)",
        trained["loglik"],
        evaluated["loglik"],
        time.monotonic() - began,
    )
    difference = abs(trained["loglik"] - evaluated["loglik"])
    if config.model.normalization == "batchnorm":
        if difference > 0.5:  # statistics of batches and of the whole set differ the more, the smaller the batches
            log.warning("%g nats a frame apart: training.batch_size is small for batchnorm", difference)
    elif difference > 0.01:
        raise ValueError(f"{path} is not the trained model: its LogLL is {difference:g} nats a frame off; train again")
    return {
        "loglik_train": trained["loglik"],
        "logp_train": trained["logp"],
        "logdet_train": trained["logdet"],
        "loglik_eval": evaluated["loglik"],
        "logp_eval": evaluated["logp"],
        "logdet_eval": evaluated["logdet"],
    }


if __name__ == "__main__":
    program.run(main)
