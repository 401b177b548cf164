"""Several processes do what one does with the whole batch: the same losses, gradients, statistics and weights."""

import copy
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributed import TCPStore

from flowlid.config import ModelConfig, TrainingConfig
from flowlid.evaluation.scoring import score_frames
from flowlid.flow.flow import build_flow, real_nvp
from flowlid.flow.transforms import BatchNorm, Composition
from flowlid.frames.frameset import FrameSet, moments_of
from flowlid.training import processes as processes_module
from flowlid.training.interruption import Progress
from flowlid.training.processes import Lost, Processes, score_together
from flowlid.training.saving import Saves
from flowlid.training.trainer import Trainer

TwoSets = Callable[..., tuple[FrameSet, FrameSet]]
MakeFrames = Callable[..., FrameSet]
NORMALIZATIONS = ("actnorm", "batchnorm", "none")
PARTS = {"even": (4, 4), "uneven": (7, 2), "empty": (5, 0)}  # rows of the two processes
SMALL = {  # batches whose shares lack a class, or one of which is empty
    "tiny": ("batchnorm", {"batch_size": 4, "epochs": 1}),
    "one": ("actnorm", {"batch_size": 1, "epochs": 1, "learning_rate": 1e-4}),
}
TIMES = ("seconds", "frames_per_second")
TELLING_APART = {"discriminative": 30.0, "select": "dev_crossent", "block_frames": 150}  # blocks of other mixtures


def make_trainer(
    frames: FrameSet,
    dev: FrameSet | None,
    normalization: str,
    processes: Processes | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
    **settings: object,
) -> Trainer:
    torch.manual_seed(seed)
    model = ModelConfig(type="dnf", blocks=2, hidden=16, normalization=normalization)
    flow = build_flow(model, 2, *moments_of(frames)).to(dtype)
    frames.feats = frames.feats.to(dtype)
    config = TrainingConfig(
        **{"epochs": 3, "batch_size": 101, "learning_rate": 1e-2, "warmup_steps": 2, "select": "dev_loglik"} | settings
    )
    labels = (frames.labels(["en", "es"]), dev and (dev, dev.labels(["en", "es"])))
    return Trainer(flow, frames, labels[0], config, labels[1], processes)


def lopsided(frames: FrameSet) -> FrameSet:
    """The same with three in four frames of the first language."""
    return replace(frames, index=frames.index[:400], utt_of=frames.utt_of[:400])


def trained(trainer: Trainer) -> dict[str, Any]:
    """What a training gives: its history, its terms, and its state before and after `finish`."""
    trainer.start()
    history = [{key: value for key, value in record.items() if key not in TIMES} for record in trainer.epochs()]
    state = {name: tensor.clone() for name, tensor in trainer.flow.state_dict().items()}
    return {"history": history, "state": state, "terms": trainer.finish(), "saved": trainer.flow.state_dict()}


def diverging(trainer: Trainer) -> dict[str, Any]:
    """A training in which the second half of one batch, and with two processes that of the second alone, is bad."""
    trainer.start()
    real, calls = trainer._terms, []

    def terms(x: Tensor, classes: Tensor) -> tuple[Tensor, ...]:
        calls.append(None)
        logp, *others = real(x, classes)
        if len(calls) == 4:
            logp = torch.where(torch.arange(len(logp)) == len(logp) - 1, torch.nan, logp)
        return logp, *others

    if trainer.processes.rank == trainer.processes.world_size - 1:
        trainer._terms = terms
    return {"history": [r["recoveries"] for r in trainer.epochs()], "state": trainer.flow.state_dict()}


def wait_long(processes: Processes, beat: float, enough: Callable[[], bool]) -> tuple[int, str]:
    """Signs of life, and an error, while the first process reads for twice as long as the processes wait for others."""
    processes_module._BEAT = beat
    signs, told = processes.signs, "no error"
    until = time.monotonic() + (8 if beat < 1 else 300)
    try:
        with processes.first_alone():
            while processes.first and time.monotonic() < until and not enough():
                time.sleep(0.1)
    except Lost as error:
        told = f"lost: {error}"
    return processes.signs - signs, told


def told_to_end(new: Callable[[], Trainer]) -> dict[str, Any]:
    """A training whose last process alone hears a signal, in step 8, and another that goes on from what was saved."""
    trainer, progress, saved = new(), Progress(), []
    trainer.start()
    real, processes = trainer._update, trainer.processes

    def update(*arguments: object) -> None:
        if trainer.step == 8 and processes.rank == 1:
            progress.signal = signal.SIGUSR1
        real(*arguments)

    trainer._update = update
    write = lambda: saved.append(copy.deepcopy(trainer.state_dict()))  # noqa: E731
    trainer.saves = Saves(processes, write, progress=progress)
    told = None
    try:
        list(trainer.epochs())
    except BaseException as ended:  # what a signal raises is none of Exception
        told = (type(ended).__name__, *ended.args, trainer.step, len(saved))
    other = new()
    other.load_state_dict(processes.on_rank0(lambda: saved[0]))
    list(other.epochs())
    return {"told": told, "state": other.flow.state_dict()}


def rows(kind: str) -> tuple[Tensor, Tensor]:
    """x of both processes, far from zero, and a weight for each of its values."""
    generator = torch.Generator().manual_seed(3)
    shape = (sum(PARTS[kind]), 4)
    x, weights = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return 1000 + x, weights


def batchnorm_step(
    x: Tensor, weights: Tensor, moments: Callable[[Tensor], tuple[Tensor, Tensor]] | None
) -> list[Tensor]:
    """Latents, and gradients of a loss of them, for x and for the parameters of two batch norms in a row."""
    torch.manual_seed(0)
    chain = Composition([BatchNorm(4), *real_nvp(4, 1, 8, normalization="batchnorm")]).double()
    for parameter in chain.parameters():
        parameter.data.normal_(0, 0.3)
    for module in chain.modules():
        if moments is not None and isinstance(module, BatchNorm):
            module.moments = moments
    x = x.clone().requires_grad_()
    z, logdet = chain(x)
    ((z * weights).sum() + (z**3).sum() + logdet.sum()).backward()
    return [z.detach(), x.grad, *(parameter.grad for parameter in chain.parameters())]


def work(rank: int, port: int, folder: Path, frames: FrameSet, dev: FrameSet, few: FrameSet) -> None:
    """All that the tests ask of process `rank` of two; what it found goes to a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    processes = Processes.from_environment()
    processes.connect(torch.device("cpu"), timeout=300)
    found: dict[str, Any] = {"rank": (processes.rank, processes.world_size, processes.local_rank)}
    for kind, lengths in PARTS.items():
        x, weights = (part.split(lengths)[rank] for part in rows(kind))
        found[kind] = batchnorm_step(x, weights, processes.moments)
    for name in NORMALIZATIONS:
        found[name] = trained(make_trainer(frames, dev, name, processes))
        found[f"diverging {name}"] = diverging(make_trainer(frames, None, name, processes, select="last"))
    for name, (normalization, settings) in SMALL.items():
        found[name] = trained(make_trainer(few, dev, normalization, processes, **settings))
    found["discriminative"] = trained(make_trainer(lopsided(frames), dev, "actnorm", processes, **TELLING_APART))
    cut = make_trainer(frames, dev, "actnorm", processes, seed=7 + rank)
    if (folder / "checkpoint.pt").exists():
        cut.load_state_dict(torch.load(folder / "checkpoint.pt"))
        list(cut.epochs())
    found["went on"] = cut.flow.state_dict()
    found["told to end"] = told_to_end(lambda: make_trainer(frames, dev, "batchnorm", processes))
    frames.feats = frames.feats.float()
    single = make_trainer(frames, dev, "actnorm", processes, torch.float32, seed=1 + rank)
    found["float32"] = trained(single)
    scores = score_together(single.flow, frames, processes)
    found["scores"] = [scores.frames, scores.logp, scores.logdet, scores.decided]
    found["on rank 0"] = processes.on_rank0(lambda: {"rank": rank})
    with processes.first_alone():
        found["seen"] = (folder / "prepared").exists()
        (folder / "prepared").touch()
    processes.wait()
    torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=4))
    found["waited"] = wait_long(processes, 0.5, lambda: False)
    found["waited in vain"] = wait_long(processes, 1000, (folder / "lost").exists)
    (folder / "lost").touch()
    torch.save(found, folder / f"{rank}.pt")
    processes.disconnect()  # ends gloo's threads: one that Python's own end meets at work aborts the process


@pytest.fixture(scope="module")
def frames(make_frames: MakeFrames) -> TwoSets:
    """Training and development frames, of their own each time."""
    return lambda **size: (make_frames(**size), make_frames(seed=2, utterances=3))


@pytest.fixture(scope="module")
def pair(frames: TwoSets, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What two processes found, the first one's first."""
    folder = tmp_path_factory.mktemp("pair")
    cut = make_trainer(*frames(), "actnorm")
    cut.start()
    next(cut.epochs())
    torch.save(cut.state_dict(), folder / "checkpoint.pt")
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    torch.multiprocessing.spawn(work, (store.port, folder, *frames(), frames(utterances=1)[0]), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name].double(), theirs[name].double(), tolerance, tolerance) for name in ours
    )


def same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def check_training(pair: list[dict], name: str, alone: dict[str, Any], tolerance: float) -> None:
    """Both processes have the same bits, and what one process has alone, within `tolerance`."""
    first, second = (found[name] for found in pair)
    assert first["history"] == second["history"] and first["terms"] == second["terms"]
    assert same_bits(first["state"], second["state"]) and same_bits(first["saved"], second["saved"])
    assert len(first["history"]) == len(alone["history"])
    for ours, theirs in zip(first["history"], alone["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)
    assert first["terms"] == pytest.approx(alone["terms"], rel=tolerance)
    assert close(first["state"], alone["state"], 100 * tolerance)
    assert close(first["saved"], alone["saved"], 100 * tolerance)


def test_ranks_are_those_of_the_environment(pair: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [found["rank"] for found in pair] == [(0, 2, 0), (1, 2, 1)]
    monkeypatch.delenv("RANK", raising=False)
    alone = Processes.from_environment()
    assert (alone.rank, alone.world_size, alone.first) == (0, 1, True)


@pytest.mark.parametrize("kind", PARTS)
def test_batchnorms_statistics_and_gradients_are_those_of_the_whole_batch(kind: str, pair: list[dict]) -> None:
    whole = batchnorm_step(*rows(kind), None)
    ours = [found[kind] for found in pair]
    for number, expected in enumerate(whole):
        parts = [found[number] for found in ours]  # rows of z and of x's gradient stand in order, the others add up
        together = torch.cat(parts) if number < 2 else parts[0] + parts[1]
        torch.testing.assert_close(together, expected, rtol=1e-8, atol=1e-8)
    assert whole[1].abs().max() > 0.1


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_two_processes_train_as_one_does(normalization: str, pair: list[dict], frames: TwoSets) -> None:
    alone = trained(make_trainer(*frames(), normalization))
    assert alone["history"][0]["loss"] - alone["history"][-1]["loss"] > 0.1
    check_training(pair, normalization, alone, 1e-9)


@pytest.mark.parametrize("name", SMALL)
def test_a_share_may_lack_a_class_or_be_empty(name: str, pair: list[dict], frames: TwoSets) -> None:
    normalization, settings = SMALL[name]
    check_training(pair, name, trained(make_trainer(*frames(utterances=1), normalization, **settings)), 1e-6)


def test_two_processes_tell_classes_apart_as_one_does(pair: list[dict], frames: TwoSets) -> None:
    train, dev = frames()
    alone = trained(make_trainer(lopsided(train), dev, "actnorm", **TELLING_APART))
    assert alone["history"][0]["crossent"] > alone["history"][-1]["crossent"]
    assert alone["history"][-1]["dev_crossent"] is not None
    check_training(pair, "discriminative", alone, 1e-9)


def test_in_float32_the_losses_agree_to_rounding(pair: list[dict], frames: TwoSets) -> None:
    check_training(pair, "float32", trained(make_trainer(*frames(), "actnorm", dtype=torch.float32)), 1e-4)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_all_go_back_when_one_share_is_bad(normalization: str, pair: list[dict], frames: TwoSets) -> None:
    name = f"diverging {normalization}"
    alone = diverging(make_trainer(frames()[0], None, normalization, select="last"))
    assert pair[0][name]["history"] == pair[1][name]["history"] == alone["history"] == [1, 0, 0]
    assert same_bits(pair[0][name]["state"], pair[1][name]["state"])
    assert close(pair[0][name]["state"], alone["state"], 1e-7)


def test_a_checkpoint_of_one_process_serves_two(pair: list[dict], frames: TwoSets) -> None:
    whole = make_trainer(*frames(), "actnorm")
    whole.start()
    list(whole.epochs())
    assert close(pair[0]["went on"], whole.flow.state_dict(), 1e-7)


def test_all_end_at_the_same_step_when_one_is_told_to_and_go_on_bit_for_bit(pair: list[dict]) -> None:
    first, second = (found["told to end"] for found in pair)
    assert first["told"] == ("_Interrupted", signal.SIGUSR1, 8, 1)
    assert second["told"] == ("_Interrupted", signal.SIGUSR1, 8, 0)
    assert same_bits(first["state"], pair[0]["batchnorm"]["state"])
    assert same_bits(second["state"], pair[0]["batchnorm"]["state"])


def test_scores_are_those_of_the_whole_set(pair: list[dict], frames: TwoSets) -> None:
    train, _ = frames()
    flow = make_trainer(train, None, "actnorm", dtype=torch.float32, select="last").flow
    flow.load_state_dict(pair[0]["float32"]["saved"])
    expected = score_frames(flow, train)
    for found in pair:
        for ours, theirs in zip(
            found["scores"], (expected.frames, expected.logp, expected.logdet, expected.decided), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_first_process_computes_once_and_reads_before_the_others(pair: list[dict]) -> None:
    assert [found["on rank 0"] for found in pair] == [{"rank": 0}] * 2
    assert [found["seen"] for found in pair] == [False, True]


def test_the_others_wait_as_long_as_the_first_process_says_that_it_reads(pair: list[dict]) -> None:
    signs, told = pair[1]["waited"]
    assert told == "no error" and signs > 10  # which `launcher` counts
    signs, told = pair[1]["waited in vain"]
    assert told.startswith("lost: ") and signs <= 10


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_shares_are_the_batch(world_size: int) -> None:
    batch = torch.arange(5)
    shares = [Processes(rank, world_size).share(batch) for rank in range(world_size)]
    assert torch.equal(torch.cat(shares), batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_asks_nobody() -> None:
    alone, x = Processes(), torch.tensor([1.0, 2.0])
    alone.sum_(x)
    alone.wait()
    with alone.first_alone():
        assert x.tolist() == [1.0, 2.0] and alone.on_rank0(lambda: 5) == 5
