"""An experiment's directory: its lock, and what earlier trainings left there."""

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from flowlid.config import Config, config_from_dict, differences, save_config
from flowlid.files import atomic_write, read_json
from flowlid.flow.checkpoint import Model, load_model, load_payload

# of a model, in its directory
RESULTS = ("score_*", "calibrat*", "openset*", "nonspeech_*", "latent_*", "proficiency_*", "plots", "model")
_KINDS = {"checkpoint.pt": "training state", "final.pt": "model"}
log = logging.getLogger("flowlid")


@contextmanager
def locked(exp: Path) -> Iterator[None]:
    """A block in which no other process trains in `exp`, on any machine whose file system shares locks.

    The lock ends with the process, in whatever way that ends.

    Raises:
        BlockingIOError: another one does; its process id and host are named, and its job on a cluster.
    """
    exp.mkdir(parents=True, exist_ok=True)
    path = exp / ".train.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = ", ".join([file.read() or "it has just begun", *_submitted(exp)])
            raise BlockingIOError(f"{exp}: another training is at work here ({who}); wait for it, or end it") from error
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}{_job()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _job() -> str:
    """This process's job on a cluster, as a lock tells it."""
    for system, name in (("Slurm", "SLURM_JOB_ID"), ("Grid Engine", "JOB_ID")):
        if os.environ.get(name):
            return f", {system} job {os.environ[name]}"
    return ""


def _submitted(exp: Path) -> list[str]:
    """The jobs that the programs of utils/ have submitted for this directory and note in its q/."""
    return [f"{path}: {' '.join(path.read_text(errors='replace').split())}" for path in sorted(exp.glob("q/*.job"))]


def check_configuration(config: Config, exp: Path) -> None:
    """Refuse to train another configuration than what is in `exp`.

    Raises:
        ValueError: another configuration, with the differences, or a file that cannot be read.
    """
    for name, changed in _differences(config, exp).items():
        if changed:
            raise ValueError(
                f"{exp / name} was trained with another configuration:\n  " + "\n  ".join(changed) + "\n"
                "give the experiment another name (a copy of its YAML file), or replace the model: --overwrite true"
            )


def check_data(data: str, exp: Path) -> None:
    """Refuse to go on with, or to keep, what was trained on other data than `data`, a fingerprint.

    Raises:
        ValueError: other data.
    """
    for name, old in (("checkpoint.pt", _checkpoint(exp).get("data")), ("final.pt", _summary(exp).get("data"))):
        if old not in (None, data):
            raise ValueError(
                f"{exp / name} was trained on other data:\n  {old} -> {data}\n"
                "give the experiment another name (a copy of its YAML file), or replace the model: --overwrite true"
            )


def trained_already(config: Config, data: str, exp: Path) -> bool:
    """Whether `exp` has a whole model of this configuration and data; its list of test sets is brought up to date."""
    if not (exp / "final.pt").exists() or _summary(exp).get("data") != data or any(_differences(config, exp).values()):
        return False
    load_model(exp / "final.pt")
    write_config(config, exp, _summary(exp)["provenance"])
    (exp / "checkpoint.pt").unlink(missing_ok=True)  # the last one, of a run that was killed before it removed it
    return True


def clear(config: Config, exp: Path) -> None:
    """Remove what training would go on with or skip; a model of this configuration stays until there is a new one."""
    for name, changed in _differences(config, exp).items():
        if changed:
            log.warning("%s: removed, it was trained with another configuration (--overwrite true)", exp / name)
            (exp / name).unlink()
    for name in ("train.json", "checkpoint.pt"):
        (exp / name).unlink(missing_ok=True)


def write_config(config: Config, exp: Path, provenance: dict[str, str]) -> None:
    """Write config.yaml, with where the model came from at its head."""
    with atomic_write(exp / "config.yaml") as file:
        save_config(config, file, "".join(f"{name}: {value}\n" for name, value in provenance.items()))


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


def _differences(config: Config, exp: Path) -> dict[str, list[str]]:
    """In what the configuration of each file that is there differs from `config`."""
    found = {}
    for name, kind in _KINDS.items():
        path = exp / name
        if path.exists():
            found[name] = differences(config_from_dict(load_payload(path, kind)["config"], str(path)), config)
    return found


def _checkpoint(exp: Path) -> dict[str, Any]:
    path = exp / "checkpoint.pt"
    return load_payload(path, _KINDS[path.name]) if path.exists() else {}


def _summary(exp: Path) -> dict[str, Any]:
    path = exp / "train.json"
    found = read_json(path) if path.exists() else {"provenance": {}}
    if not isinstance(found, dict) or not isinstance(found.get("provenance"), dict):
        raise ValueError(f"{path}: not what training writes; remove it and train again (stage 3)")
    return found
