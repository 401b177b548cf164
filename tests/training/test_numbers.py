"""How many processes are asked for and how many came, and other numbers on the command line of a training."""

from pathlib import Path

import pytest
import torch
from tools import call

from flowlid import program


@pytest.mark.parametrize(
    "option", [("--num-procs", "0"), ("--nodes", "-2"), ("--hang-timeout", "0"), ("--save-minutes", "0")]
)
def test_numbers_below_one(option: tuple[str, str], tmp_path: Path) -> None:
    ended = call("train", *option, "x.yaml", "data", tmp_path)
    assert ended.code == 1 and f"{option[0]} {option[1]}: it must be above 0" in ended.log.replace(".0:", ":")


@pytest.mark.parametrize(
    ("world_size", "local", "options", "asked"),
    [
        (4, 4, ("--num-procs", 2), "--nodes 1 --num-procs 2 asks for 2 processes, 2 per machine"),
        (4, 4, ("--nodes", 2), "--nodes 2 --num-procs 1 asks for 2 processes, 1 per machine"),
        (4, 4, ("--nodes", 2, "--num-procs", 2), "--nodes 2 --num-procs 2 asks for 4 processes, 2 per machine"),
        (1, 1, ("--nodes", 2), "--nodes 2 --num-procs 1 asks for 2 processes, 1 per machine"),
        (1, 1, ("--num-procs", 2), "--nodes 1 --num-procs 2 asks for 2 processes, 2 per machine"),
        (2, 1, ("--num-procs", 1), "--nodes 1 --num-procs 1 asks for 1 processes, 1 per machine"),
    ],
)
def test_processes_that_were_asked_for_and_did_not_come(
    world_size: int, local: int, options: tuple, asked: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in {"RANK": 0, "WORLD_SIZE": world_size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": local}.items():
        monkeypatch.setenv(name, str(value))
    ended = call("train", *options, "x.yaml", "data", tmp_path / "exp")
    assert ended.code == 1 and not (tmp_path / "exp").exists()
    assert f"{asked}; torchrun has started {world_size}, {local} on this machine: give it --nnodes" in ended.log


def test_one_process_alone_is_not_on_two_machines(tmp_path: Path) -> None:
    ended = call("train", "--nodes", 2, "x.yaml", "data", tmp_path / "exp")
    assert ended.code == 1 and not (tmp_path / "exp").exists()
    assert "--nodes 2: this process is alone, nothing has started it on 2 machines; start it with torchrun" in ended.log


@pytest.mark.parametrize(
    ("name", "local_rank", "message"),
    [
        ("cuda", 2, "no GPU is left for rank 2 of this machine: it has 2.* use --num-procs 2, or --device cpu"),
        ("auto", 2, "no GPU is left for rank 2"),
        ("cuda:1", 0, "--device cuda:1: several processes take a GPU each; say --device cuda"),
    ],
)
def test_each_process_needs_a_gpu_of_its_own(
    name: str, local_rank: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=message):
        program.choose_device(name, local_rank)
