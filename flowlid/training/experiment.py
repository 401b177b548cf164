"""From an experiment's configuration and data to its model."""

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowlid import program
from flowlid.config import Config, load_config, resolve_sets
from flowlid.evaluation.decisions import mean_terms
from flowlid.files import write_json
from flowlid.flow.checkpoint import REMEDY, Model, class_names, load_model, load_payload, save_model, save_payload
from flowlid.flow.flow import Flow, build_flow
from flowlid.frames.agreement import check_features, training_labels, with_features
from flowlid.frames.augmentation import make_augmentation
from flowlid.frames.frameset import FrameSet, load_frames
from flowlid.frames.normalization import global_cmvn
from flowlid.kaldi.datadir import DataDir, check_names
from flowlid.training import directory
from flowlid.training.epoch import epoch_line, write_history
from flowlid.training.interruption import Progress
from flowlid.training.processes import Processes, moments_together, score_together
from flowlid.training.saving import Saves
from flowlid.training.trainer import Trainer

log = logging.getLogger("flowlid")


@dataclass
class Inputs:
    """What a training reads; `data` is the fingerprint of its frames."""

    config: Config
    stats: np.ndarray | None
    frames: FrameSet
    dev: FrameSet | None
    classes: list[str]
    labels: dict[str, Any]
    data: str


def prepare(
    config_path: Path, data: Path, exp: Path, overwrite: bool, pipes: bool, processes: Processes
) -> Inputs | None:
    """Read and check all inputs; None if the model that they give is in `exp` already.

    With `overwrite`, this removes what was trained before, once all inputs are known to be sound.

    Raises:
        ValueError: wrong inputs, or a model of another configuration or other data without `overwrite`.
    """
    with processes.first_alone():
        config = resolve_sets(load_config(config_path), data)
        config = with_features(config, DataDir(data / config.data.train), pipes)
        if not overwrite and processes.first:
            directory.check_configuration(config, exp)
        inputs = read_inputs(config, data, pipes)
    if processes.on_rank0(lambda: inputs.data) != inputs.data:
        raise ValueError(
            f"{inputs.data} here, others in the first process; give all machines the same data directories"
        )

    def done() -> bool:
        if overwrite:
            directory.clear(config, exp)
            return False
        directory.check_data(inputs.data, exp)
        return directory.trained_already(config, inputs.data, exp)

    if processes.on_rank0(done):
        epochs = config.training.epochs
        far = "" if config.model.is_baseline else f" (epoch {epochs} of {epochs})"
        log.info("%s: trained already%s; --overwrite true trains it again", exp, far)
        return None
    return inputs


def read_inputs(config: Config, data: Path, pipes: bool) -> Inputs:
    """Frames and classes of a training."""
    check_names(data / name for name in (config.data.train, config.data.dev, *config.data.tests) if name)
    train_data, labels = DataDir(data / config.data.train), training_labels(DataDir(data / config.data.train))
    stats = global_cmvn(train_data, config.frames, pipes) if config.frames.cmvn == "global" else None
    seed = config.training.seed
    frames = load_frames(train_data, config.frames, stats, subsample=True, allow_pipes=pipes, seed=seed)
    classes = class_names(frames.languages, config.model.type)
    if config.model.decides and len(classes) < 2:
        raise ValueError(
            f"{train_data.path}/utt2lang: one language, {classes[0]}; a model that decides (model.type: "
            f"{config.model.type}) needs two or more, a normal flow (nf) one"
        )
    dev, found = None, fingerprint(frames)
    if config.data.dev:
        check_features(config, DataDir(data / config.data.dev), pipes)
        dev = load_frames(DataDir(data / config.data.dev), config.frames, stats, allow_pipes=pipes)
        found += f", dev {fingerprint(dev)}"
    log.info("%s: %d frames, classes %s", train_data.path, len(frames), " ".join(classes))
    log.info("training frames: %s", found)
    return Inputs(config, stats, frames, dev, classes, labels, found)


def make_model(
    inputs: Inputs,
    device: torch.device,
    exp: Path,
    processes: Processes,
    provenance: dict[str, str],
    progress: Progress,
    save_minutes: float,
) -> None:
    """Train the flow and write all files of `exp`."""
    config, frames = inputs.config, inputs.frames
    flow = fresh_flow(inputs, device, processes)
    dev = None if inputs.dev is None else (inputs.dev, labels_of(inputs.dev, inputs.classes, config))
    changes = make_augmentation(config.augmentation, frames, config.frames, config.training.seed, device)
    own = labels_of(frames, inputs.classes, config)
    trainer = Trainer(flow, frames, own, config.training, dev, processes, changes)
    begin(trainer, inputs, exp / "checkpoint.pt")
    train(trainer, inputs, exp, progress, save_minutes)

    trained = trainer.finish()
    if processes.first:
        model = Model(flow, config, inputs.classes, frames.feats.shape[1], inputs.stats, inputs.labels)
        directory.write_config(config, exp, provenance)
        directory.remove_results_of_another_model(exp, model)
        save_model(exp / "final.pt", model)
    processes.wait()
    report = saved_model_report(exp / "final.pt", trainer, trained, config)
    if processes.first:
        write_json(exp / "train.json", summary(exp.name, trainer, inputs, report) | {"provenance": provenance})
        (exp / "checkpoint.pt").unlink(missing_ok=True)


def fresh_flow(inputs: Inputs, device: torch.device, processes: Processes) -> Flow:
    """The configured flow on its device, standardized by the training frames; all processes get the same."""
    config, frames = inputs.config, inputs.frames
    torch.manual_seed(config.training.seed)
    mean, std = (moment.cpu() for moment in moments_together(frames, processes, device))
    flow = build_flow(config.model, len(inputs.classes), mean, std).to(device)
    flow.set_precision(config.model.precision)
    flow.set_precision(processes.on_rank0(lambda: flow.precision))  # machines may differ
    flow.fuse_kernels()
    log.info("matrix products in %s (model.precision: %s)", flow.precision, config.model.precision)
    return flow


def begin(trainer: Trainer, inputs: Inputs, checkpoint: Path) -> None:
    """Go on from the checkpoint if there is one, else give the flow its data-dependent start.

    Raises:
        ValueError: a checkpoint that lacks a part, or has one of another training; the message names it.
    """
    processes = trainer.processes
    state = processes.on_rank0(lambda: load_payload(checkpoint, "training state") if checkpoint.exists() else None)
    if state is None:
        trainer.start()
        return
    try:
        trainer.load_state_dict(state["trainer"])
        if state["precision"] != trainer.flow.precision:
            log.warning("products in %s, as training began; here: %s", state["precision"], trainer.flow.precision)
            trainer.flow.set_precision(state["precision"])
    except ValueError as error:
        raise ValueError(f"{checkpoint}: does not fit this training ({error}); {REMEDY}") from error
    progress = Progress()
    _note(progress, trainer)
    log.info("going on after %s, from %s", progress, checkpoint)


def train(trainer: Trainer, inputs: Inputs, exp: Path, progress: Progress, save_minutes: float) -> None:
    """Run the epochs that are left, with a checkpoint after each, and within one every so many minutes."""
    first, epochs, history = trainer.processes.first, inputs.config.training.epochs, trainer.history

    def save() -> None:
        state = {"config": inputs.config.to_dict(), "data": inputs.data, "trainer": trainer.state_dict()}
        state["precision"] = trainer.flow.precision
        save_payload(exp / "checkpoint.pt", "training state", state)

    def save_within() -> None:
        began = time.monotonic()
        save()
        _note(progress, trainer)
        log.info("saved after %s, in %.1f s", progress, time.monotonic() - began)

    if first and history:  # it was cut off before it wrote the last one
        write_history(exp / "train.jsonl", history)
    _note(progress, trainer)
    trainer.saves = Saves(trainer.processes, save_within, 60 * save_minutes, progress)
    total = epochs * trainer.steps_per_epoch
    with program.progress_bar(exp.name, total, hidden=not first) as show:

        def tell(step: int, steps: int, loss: float) -> None:
            show(len(history) * steps + step, total, epoch=f"{len(history) + 1}/{epochs}", loss=loss)

        for record in trainer.epochs(tell):
            if first:
                save()
                write_history(exp / "train.jsonl", history)
                log.info("%s", epoch_line(record, epochs))  # after it is saved
            trainer.saves.done()
            _note(progress, trainer)


def _note(progress: Progress, trainer: Trainer) -> None:
    """Note how far a trainer got."""
    progress.epoch, progress.epochs = len(trainer.history), trainer.config.epochs
    progress.step, progress.steps = 0 if trainer.run is None else trainer.run.done, trainer.steps_per_epoch


def summary(name: str, trainer: Trainer, inputs: Inputs, report: dict[str, float]) -> dict[str, object]:
    """What train.json says of a training; `seconds` are those of all epochs."""
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
        "normalization": "whitening, " * config.model.whitening + config.model.normalization,
        "precision": flow.precision,
        "device": str(flow.base.means.device),
        "processes": trainer.processes.world_size,
        "seconds": round(sum(record["seconds"] for record in trainer.history), 1),
        "data": inputs.data,
    }


def fingerprint(frames: FrameSet) -> str:
    """Identifies frames in one line: their number, and a checksum of features, selection, names and languages."""
    digest = hashlib.sha256(" ".join([*frames.utts, *frames.languages, frames.digest]).encode())
    return f"{len(frames)} frames of {len(frames.utts)} utterances, sha256 {digest.hexdigest()[:16]}"


def labels_of(frames: FrameSet, classes: list[str], config: Config) -> torch.Tensor:
    """Class of each utterance; a normal flow has one class, which everything belongs to."""
    labels = frames.labels(classes)
    return labels if config.model.decides else torch.zeros_like(labels)


def saved_model_report(path: Path, trainer: Trainer, trained: dict[str, float], config: Config) -> dict[str, float]:
    """Score the training frames with the saved file, and compare the result with training's own."""
    model, frames = load_model(path).to(trainer.flow.base.means.device), trainer.frames
    model.flow.set_precision(trainer.flow.precision)
    began = time.monotonic()
    scores = score_together(model.flow, frames, trainer.processes)
    evaluated = mean_terms(scores, labels_of(frames, model.classes, config).numpy())
    log.info(
        "training frames: LogLL %.4f nats per frame as trained, %.4f under the saved model (scored in %.1f s)",
        trained["loglik"],
        evaluated["loglik"],
        time.monotonic() - began,
    )
    difference = abs(trained["loglik"] - evaluated["loglik"])
    if config.model.normalization == "batchnorm":
        if difference > 0.5:  # the smaller the batches, the more their statistics differ from the whole set's
            log.warning("%g nats per frame apart: training.batch_size is small for batchnorm", difference)
    elif difference > 0.01:
        raise ValueError(
            f"{path} is not the trained model: its LogLL is {difference:g} nats per frame off; train again"
        )
    return {
        "loglik_train": trained["loglik"],
        "logp_train": trained["logp"],
        "logdet_train": trained["logdet"],
        "loglik_eval": evaluated["loglik"],
        "logp_eval": evaluated["logp"],
        "logdet_eval": evaluated["logdet"],
    }
