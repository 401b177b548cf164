"""The inputs of a training, what it writes, and the model that it leaves."""

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowlid import program
from flowlid.config import Config, config_from_dict, differences, load_config, resolve_sets, save_config
from flowlid.evaluation.scoring import mean_terms
from flowlid.files import atomic_write, write_json
from flowlid.flow.checkpoint import Model, class_names, load_model, load_payload, save_model, save_payload
from flowlid.flow.flow import build_flow
from flowlid.frames.frameset import FrameSet, load_frames, moments_of
from flowlid.kaldi.cmvn import global_cmvn
from flowlid.kaldi.datadir import DataDir
from flowlid.training.processes import Processes, score_together
from flowlid.training.trainer import Trainer, fingerprint

RESULTS = ("score_*", "nonspeech_*", "latent_*", "proficiency_*", "plots")  # of a model, in its directory
log = logging.getLogger("flowlid")


@dataclass
class Inputs:
    """What the program reads."""

    config: Config
    stats: np.ndarray | None
    frames: FrameSet
    dev: FrameSet | None
    classes: list[str]
    replaced: list[Path]  # the files in the experiment's directory that another configuration made


def read_inputs(config_path: Path, data: Path, exp: Path, overwrite: bool, pipes: bool) -> Inputs:
    """Configuration, frames and classes of a training, checked before anything is removed or written."""
    config = resolve_sets(load_config(config_path), data)
    replaced = models_of_other_configurations(config, exp, overwrite)
    train_data = DataDir(data / config.data.train)
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
        dev = load_frames(DataDir(data / config.data.dev), config.frames, stats, allow_pipes=pipes)
    log.info("%s: %d frames, classes %s", train_data.path, len(frames), " ".join(classes))
    return Inputs(config, stats, frames, dev, classes, replaced)


def make_model(inputs: Inputs, device: torch.device, exp: Path, processes: Processes, found: dict[str, str]) -> None:
    """Train the flow and write all that the program writes."""
    config, frames, classes = inputs.config, inputs.frames, inputs.classes
    data = fingerprint(frames)
    log.info("training frames: %s", data)
    if processes.once(lambda: data) != data:
        raise ValueError(f"{data} here, others in the first process; give all machines the same data directories")
    torch.manual_seed(config.training.seed)
    mean, std = processes.once(lambda: tuple(moment.cpu() for moment in moments_of(frames, device=device)))
    flow = build_flow(config.model, len(classes), mean, std).to(device)
    flow.set_precision(config.model.precision)
    flow.set_precision(processes.once(lambda: flow.precision))  # machines may differ
    flow.fuse_kernels()
    log.info("matrix products in %s (model.precision: %s)", flow.precision, config.model.precision)
    dev = None if inputs.dev is None else (inputs.dev, labels_of(inputs.dev, classes, config))
    trainer = Trainer(flow, frames, labels_of(frames, classes, config), config.training, dev, processes)
    if processes.first:
        for path in inputs.replaced:  # only now, when all that was read is known to be sound
            log.warning("%s: removed, it was trained with another configuration (--overwrite true)", path)
            path.unlink()
    seconds = train(trainer, config, data, exp)

    trained = trainer.finish()
    if processes.first:
        model = Model(flow, config, classes, frames.feats.shape[1], inputs.stats)
        with atomic_write(exp / "config.yaml") as file:
            save_config(config, file, "".join(f"{name}: {value}\n" for name, value in found.items()))
        remove_results_of_another_model(exp, model)
        save_model(exp / "final.pt", model)
    processes.wait()
    report = saved_model_report(exp / "final.pt", trainer, trained, config)
    if processes.first:
        write_json(exp / "train.json", summary(exp.name, trainer, inputs, report, seconds) | {"provenance": found})
        (exp / "checkpoint.pt").unlink(missing_ok=True)


def summary(name: str, trainer: Trainer, inputs: Inputs, report: dict[str, float], seconds: float) -> dict[str, object]:
    """What train.json says of a training."""
    config, flow = inputs.config, trainer.flow
    return {
        "experiment": name,
        "model": config.model.type,
        "classes": inputs.classes,
        "dim": inputs.frames.dim,
        "class_dim": flow.base.class_dim if config.model.type == "dnf" else None,
        "frames": len(inputs.frames),
        "epochs": config.training.epochs,
        "selected_epoch": trainer.selected_epoch,
        **report,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "cmvn": config.frames.cmvn + ("+variance" if config.frames.norm_vars else ""),
        "normalization": config.model.normalization,
        "precision": flow.precision,
        "device": str(flow.base.means.device),
        "processes": trainer.processes.world_size,
        "seconds": round(seconds, 1),
    }


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


def train(trainer: Trainer, config: Config, data: str, exp: Path) -> float:
    """Run the epochs that are left, with a checkpoint after each; returns the seconds of all epochs."""
    checkpoint, first = exp / "checkpoint.pt", trainer.processes.first
    state = trainer.processes.once(lambda: load_payload(checkpoint, "training state") if checkpoint.exists() else None)
    if state is not None:
        if state["data"] != data:
            raise ValueError(
                f"{checkpoint}: trained on {state['data']}, but now there are {data}; "
                "remove it to train from the beginning"
            )
        trainer.load_state_dict(state["trainer"])
        if state["precision"] != trainer.flow.precision:
            log.warning("products in %s, as training began; here: %s", state["precision"], trainer.flow.precision)
            trainer.flow.set_precision(state["precision"])
        log.info("going on after epoch %d of %d, from %s", len(trainer.history), config.training.epochs, checkpoint)
    else:
        trainer.start()
    with program.progress_bar(exp.name, trainer.steps_per_epoch, hidden=not first) as show:
        for record in trainer.epochs(show):
            if not first:
                continue
            state = {"config": config.to_dict(), "data": data, "trainer": trainer.state_dict()}
            state["precision"] = trainer.flow.precision
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


def saved_model_report(path: Path, trainer: Trainer, trained: dict[str, float], config: Config) -> dict[str, float]:
    """Score the training frames with the saved file, and hold the result against training's own."""
    model, frames = load_model(path).to(trainer.flow.base.means.device), trainer.frames
    model.flow.set_precision(trainer.flow.precision)
    began = time.monotonic()
    scores = score_together(model.flow, frames, trainer.processes)
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
