"""Trainings as jobs of a real Slurm: a preemption changes nothing of the result; two nodes train one model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tools import ROOT, feature_dir

from flowlid.flow.checkpoint import load_model

if TYPE_CHECKING:
    import subprocess

    from conftest import Program, Slurm

SPEAKERS = {f"a-{number}": ("en", "es")[number % 2] for number in range(8)}
YAML = """\
data: {train: train}
frames: {context: 1}
model: {type: dnf, blocks: 2, hidden: 8, layers: 1, normalization: batchnorm, precision: float32}
training: {epochs: 60, batch_size: 101, warmup_steps: 2, learning_rate: 1.0e-2, select: last}
"""


def history(exp: Path) -> list[dict]:
    records = [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]
    return [{key: value for key, value in r.items() if key not in ("seconds", "frames_per_second")} for r in records]


def test_a_preempted_training_has_the_result_of_one_that_was_not(slurm: "Slurm", slurm_py: "Program") -> None:
    folder = slurm_py.folder
    feature_dir(folder / "data/train", SPEAKERS, frames=100)
    (folder / "some.yaml").write_text(YAML)
    train = ["--mem", "1500M", "exp/EXP/log/train.log", str(ROOT / "steps/train.py"), "--device", "cpu"]
    alone, preempted = (
        slurm_py.start(*(word.replace("EXP", name) for word in train), "some.yaml", "data", f"exp/{name}")
        for name in ("alone", "preempted")
    )
    slurm.until(lambda: (folder / "exp/preempted/checkpoint.pt").exists())
    lines = slurm.ask("squeue", "-h", "-o", "%A %j").splitlines()
    (job,) = [line.split()[0] for line in lines if " preempted/" in line]
    slurm.ask("scontrol", "requeue", job)  # as the controller does for a job of a higher priority
    for master in (alone, preempted):
        said = master.communicate(timeout=300)[1]
        assert master.returncode == 0, said
    log = (folder / "exp/preempted/log/train.log").read_text()
    assert "attempt 2\n" in log and "going on after epoch" in log
    assert history(folder / "exp/preempted") == history(folder / "exp/alone")
    ours, theirs = (load_model(folder / f"exp/{name}/final.pt").flow.state_dict() for name in ("preempted", "alone"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_two_nodes_train_one_model(slurm: "Slurm", slurm_py: "Program") -> None:
    folder = slurm_py.folder
    feature_dir(folder / "data/train", SPEAKERS, frames=100)
    (folder / "some.yaml").write_text(YAML.replace("epochs: 60", "epochs: 2"))

    def train(procs: str) -> "subprocess.CompletedProcess[str]":
        wanted = [str(ROOT / "steps/train.py"), "--device", "cpu", "--nodes", "2", "--num-procs", procs]
        log = ["--nodes", "2", "--mem", "1500M", f"log/{procs}.log"]
        return slurm_py.run(*log, *wanted, "some.yaml", "data", "exp/both")

    refused = train("2")  # two nodes have a process each
    log = (folder / "log/2.log").read_text()
    assert refused.returncode == 1 and "--nodes 2 --num-procs 2" in log and not (folder / "exp/both/final.pt").exists()
    done = train("1")
    assert done.returncode == 0, (folder / "log/1.log").read_text()
    assert json.loads((folder / "exp/both/train.json").read_text())["processes"] == 2
    assert len(history(folder / "exp/both")) == 2
