"""Training: that it learns, can be cut off, recovers, and saves the model that it trained."""

import copy
import hashlib
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tools import feature_dir
from torch import Tensor

from flowlid.config import FramesConfig, ModelConfig, TrainingConfig, config_from_dict
from flowlid.evaluation.decisions import mean_terms
from flowlid.evaluation.scoring import score_frames
from flowlid.flow.checkpoint import Model, load_model, load_payload, save_model, save_payload
from flowlid.flow.flow import build_flow
from flowlid.flow.transforms import BatchNorm
from flowlid.frames.frameset import FrameSet, load_frames, moments_of
from flowlid.kaldi.datadir import DataDir
from flowlid.training import trainer as trainer_module
from flowlid.training.divergence import Watch
from flowlid.training.trainer import Trainer, fingerprint

MakeFrames = Callable[..., FrameSet]
CLASSES = ["en", "es"]
TIMES = ("seconds", "frames_per_second")


def make_trainer(
    make_frames: MakeFrames,
    dev: FrameSet | None = None,
    normalization: str = "actnorm",
    kind: str = "dnf",
    seed: int = 1,
    **settings: object,
) -> Trainer:
    torch.manual_seed(seed)
    frames = make_frames()
    model = ModelConfig(type=kind, blocks=2, hidden=16, normalization=normalization)
    flow = build_flow(model, 2 if kind == "dnf" else 1, *moments_of(frames))
    config = TrainingConfig(
        **{"epochs": 4, "batch_size": 100, "learning_rate": 1e-2, "warmup_steps": 2, "decay": "none", **settings}
    )
    labels = frames.labels(CLASSES) if kind == "dnf" else torch.zeros(len(frames.utts), dtype=torch.long)
    return Trainer(flow, frames, labels, config, None if dev is None else (dev, dev.labels(CLASSES)))


def trained(trainer: Trainer) -> Trainer:
    trainer.start()
    list(trainer.epochs())
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return copy.deepcopy(trainer.flow.state_dict())


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key not in TIMES} for record in history]


@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm", "none"])
def test_a_dnf_learns_to_tell_two_languages_apart(normalization: str, make_frames: MakeFrames) -> None:
    trainer = trained(make_trainer(make_frames, make_frames(seed=2), normalization))
    losses = [record["loss"] for record in trainer.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 1
    last = trainer.history[-1]
    assert last["dev_accuracy"] > 0.95
    assert last["dev_loglik"] == pytest.approx(last["loglik"], abs=1)
    assert last["loglik"] == pytest.approx(last["logp"] + last["logdet"]) == -last["loss"]
    assert [record["epoch"] for record in trainer.history] == [1, 2, 3, 4]
    assert trainer.selected_epoch == 4


def test_a_normal_flow_learns_a_density_and_decides_nothing(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, kind="nf")
    dev = make_frames(seed=2)
    trainer.dev = (dev, torch.zeros(len(dev.utts), dtype=torch.long))
    trained(trainer)
    assert trainer.history[0]["loss"] - trainer.history[-1]["loss"] > 1
    assert [record["dev_accuracy"] for record in trainer.history] == [None] * 4
    assert trainer.history[-1]["dev_loglik"] == pytest.approx(trainer.history[-1]["loglik"], abs=1)


def test_the_loss_is_under_each_frames_own_class(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    x = trainer.frames.batch(torch.tensor([0, 299, 300, 599]))
    logp, logdet = trainer._terms(x, torch.tensor([0, 0, 1, 1]))
    expected, same = trainer.flow.log_terms(x)
    assert torch.equal(logp, expected[[0, 1, 2, 3], [0, 0, 1, 1]])
    assert torch.equal(logdet, same)


@pytest.mark.parametrize(("normalization", "block_frames"), [("actnorm", 600), ("batchnorm", 600), ("actnorm", 200)])
def test_training_that_was_cut_off_goes_on_bit_for_bit(
    normalization: str, block_frames: int, make_frames: MakeFrames, tmp_path: Path
) -> None:
    settings = {"decay": "cosine", "warmup_steps": 8, "select": "dev_loglik", "weight_decay": 1e-4}
    settings["block_frames"] = block_frames
    dev = make_frames(seed=2)
    whole = trained(make_trainer(make_frames, dev, normalization, **settings))

    cut = make_trainer(make_frames, dev, normalization, **settings)
    cut.start()
    epochs = cut.epochs()
    next(epochs), next(epochs)
    save_payload(tmp_path / "checkpoint.pt", "training state", {"trainer": cut.state_dict()})
    next(epochs)  # what happens after the checkpoint is lost

    other = make_trainer(make_frames, dev, normalization, seed=77, **settings)
    assert not equal(weights(other), weights(cut))
    torch.manual_seed(5)
    other.load_state_dict(load_payload(tmp_path / "checkpoint.pt", "training state")["trainer"])
    assert [record["epoch"] for record in other.epochs()] == [3, 4]
    assert equal(weights(other), weights(whole))
    assert without_times(other.history) == without_times(whole.history)
    assert other.finish() == whole.finish()
    assert equal(weights(other), weights(whole))


def poison(trainer: Trainer, steps: set[int], change: Callable[[Tensor], Tensor]) -> list[dict[str, Tensor]]:
    """Change LogP of these calls of `trainer._terms` (from 1); gives a growing list of the weights at each call.

    An epoch of six steps makes seven calls: the last one is the check of the last update.
    """
    seen, real = [], trainer._terms

    def terms(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(weights(trainer))
        logp, logdet = real(x, labels)
        return (change(logp) if len(seen) in steps else logp), logdet

    trainer._terms = terms
    return seen


def nan_gradient(logp: Tensor) -> Tensor:
    return logp + torch.sqrt(logp.sum() * 0)  # adds zero, with a derivative of inf x 0


TROUBLE = {
    "nan": (lambda logp: logp * math.nan, "the loss is nan"),
    "inf": (lambda logp: logp - math.inf, "the loss is inf"),
    "jump": (lambda logp: logp - 50, "the loss jumped to"),
    "gradient": (nan_gradient, "the gradient is not finite"),
}


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("normalization", ["actnorm", "batchnorm"])
def test_a_bad_step_is_not_taken(
    kind: str, normalization: str, make_frames: MakeFrames, caplog: pytest.LogCaptureFixture
) -> None:
    change, words = TROUBLE[kind]
    trainer = make_trainer(make_frames, normalization=normalization)
    trainer.start()
    seen = poison(trainer, {11}, change)  # the fourth of six steps of epoch 2
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        first, second, third, _ = trainer.epochs()
    assert not equal(seen[7], seen[10])
    # back where epoch 2 began, but that the batch norms had seen its first batch when it was kept
    trainable = dict(trainer.flow.named_parameters())
    assert all(torch.equal(seen[11][name], seen[7][name]) for name in trainable)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.flow.state_dict().values())
    assert [first["recoveries"], second["recoveries"], third["recoveries"]] == [0, 1, 0]
    assert [first["learning_rate"], second["learning_rate"], third["learning_rate"]] == [1e-2, 5e-3, 5e-3]
    (warning,) = caplog.messages
    assert words in warning
    assert "epoch 2, step 4 of 6" in warning
    assert "learning rate now x 0.5 of its plan" in warning
    assert trainer.history[-1]["loss"] < first["loss"]


def test_the_optimizer_goes_back_with_the_weights(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, epochs=1)
    trainer.start()
    poison(trainer, {4}, TROUBLE["nan"][0])
    list(trainer.epochs())
    # three steps, undone, and two after the bad one
    assert {int(state["step"]) for state in trainer.optimizer.state.values()} == {2}


def test_one_good_state_serves_two_recoveries(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, epochs=2)
    trainer.start()
    poison(trainer, {11, 13}, TROUBLE["nan"][0])
    list(trainer.epochs())
    # the second epoch's last step went back to its start too, with the six steps of the first behind it
    assert {int(state["step"]) for state in trainer.optimizer.state.values()} == {6}


@pytest.mark.parametrize(
    ("batch_size", "bad", "words"),
    [
        (20, 35, "epoch 2, step 4 of 30: the loss is nan"),  # among looks at steps 4, 8, 12 ... of each epoch
        (20, 33, "epoch 2, step 2 of 30: the loss is nan"),
        (20, 61, "epoch 2, step 30 of 30: the loss is nan"),
    ],
)
def test_rare_looks_lose_steps_and_never_a_weight(
    batch_size: int, bad: int, words: str, make_frames: MakeFrames, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(make_frames, batch_size=batch_size)
    trainer.watch = Watch(trainer.watch.jump, torch.device("cpu"), 4)  # as on a GPU
    trainer.start()
    seen, told = poison(trainer, {bad}, TROUBLE["nan"][0]), []
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        records = list(trainer.epochs(lambda step, steps, loss: told.append((step, loss))))
    (warning,) = caplog.messages
    assert warning.startswith(words)
    number = bad - 31  # in the second epoch; the first made 30 steps and a check
    lost = min(30, math.ceil(number / 4) * 4) - number
    assert ("steps after it were not taken" in warning) == (lost > 0)
    assert warning.endswith(f"; {lost} steps after it were not taken" if lost else "of its plan")
    assert [record["recoveries"] for record in records] == [0, 1, 0, 0]
    assert all(math.isfinite(record["loss"]) for record in records)
    trainable = dict(trainer.flow.named_parameters())
    for call in range(bad, bad + lost):  # weights at the calls after the bad one: it and they changed nothing
        assert all(torch.equal(seen[call][name], seen[bad - 1][name]) for name in trainable)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.flow.state_dict().values())
    steps = [step for step, _ in told]
    assert steps[30 : 60 - 1 - lost] == [n for n in range(1, 31) if not number <= n <= number + lost]
    assert all(math.isfinite(loss) for _, loss in told)


def test_rare_looks_change_nothing_in_a_sound_training(make_frames: MakeFrames) -> None:
    often, rarely = (make_trainer(make_frames, batch_size=20) for _ in range(2))
    rarely.watch = Watch(rarely.watch.jump, torch.device("cpu"), 7)
    assert equal(weights(trained(often)), weights(trained(rarely)))
    assert without_times(often.history) == without_times(rarely.history)


@pytest.mark.parametrize("step", [1, 8])
def test_a_bad_first_step_of_an_epoch_is_not_the_end(
    step: int, make_frames: MakeFrames, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    seen = poison(trainer, {step}, TROUBLE["nan"][0])
    records = list(trainer.epochs())
    assert equal(seen[step], seen[step - 1])
    assert sum(record["recoveries"] for record in records) == 1
    assert "step 1 of 6" in caplog.text


def test_a_bad_last_update_of_an_epoch_is_undone(make_frames: MakeFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(make_frames, epochs=2)
    trainer.start()
    steps, real = [], trainer.optimizer.step

    def step() -> None:
        real()
        steps.append(None)
        if len(steps) == 6:
            next(iter(trainer.flow.parameters())).data.fill_(math.nan)

    monkeypatch.setattr(trainer.optimizer, "step", step)
    assert [record["recoveries"] for record in trainer.epochs()] == [1, 0]
    assert all(torch.isfinite(tensor).all() for tensor in trainer.flow.state_dict().values())


def test_recoveries_survive_a_checkpoint(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    poison(trainer, {2, 4}, TROUBLE["nan"][0])
    next(trainer.epochs())
    other = make_trainer(make_frames)
    other.load_state_dict(trainer.state_dict())
    assert next(other.epochs())["learning_rate"] == 0.25e-2


def test_the_selection_and_the_measure_of_a_jump_survive_a_checkpoint(
    make_frames: MakeFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = make_frames(seed=2)
    trainer = make_trainer(make_frames, dev, select="dev_loglik")
    trainer.start()
    monkeypatch.setattr(trainer, "_evaluate_dev", lambda: (0.0, 1.0))  # better than any epoch to come
    next(trainer.epochs())
    best = weights(trainer)
    save_payload(tmp_path / "checkpoint.pt", "training state", {"trainer": trainer.state_dict()})

    other = make_trainer(make_frames, dev, select="dev_loglik")
    other.load_state_dict(load_payload(tmp_path / "checkpoint.pt", "training state")["trainer"])
    poison(other, {1}, TROUBLE["jump"][0])
    assert [record["recoveries"] for record in other.epochs()] == [1, 0, 0]
    assert other.selected_epoch == 1
    other.finish()
    assert equal(weights(other), best)


def test_training_that_fails_again_and_again_ends_with_the_step_and_the_fix(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, batch_size=20)
    trainer.start()
    poison(trainer, set(range(34, 1000)), TROUBLE["nan"][0])
    message = (
        r"training diverged at epoch 2, step 13 of 30: the loss is nan.*training\.learning_rate.*"
        r"training\.clip_norm.*model\.scale_bound"
    )  # steps 3 to 12 of epoch 2 were forgiven
    with pytest.raises(ValueError, match=message):
        list(trainer.epochs())


def test_an_epoch_of_bad_steps_alone_is_an_error(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    poison(trainer, set(range(8, 100)), TROUBLE["nan"][0])
    with pytest.raises(ValueError, match=r"epoch 2: no step could be taken; lower training\.learning_rate"):
        list(trainer.epochs())


def saved_loglik(trainer: Trainer, normalization: str, path: Path) -> float:
    """LogLL of the training frames under the model after it was saved and loaded."""
    config = config_from_dict(
        {
            "data": {"train": "a"},
            "frames": {"context": 0},
            "model": {"type": "dnf", "blocks": 2, "hidden": 16, "normalization": normalization},
        },
        "here",
    )
    save_model(path, Model(trainer.flow, config, CLASSES, 8))
    scores = score_frames(load_model(path).flow, trainer.frames)
    return mean_terms(scores, trainer.frames.labels(CLASSES).numpy())["loglik"]


@pytest.mark.parametrize(("normalization", "allowed"), [("actnorm", 0.01), ("none", 0.01), ("batchnorm", 0.5)])
def test_the_saved_model_is_the_trained_one(
    normalization: str, allowed: float, make_frames: MakeFrames, tmp_path: Path
) -> None:
    trainer = trained(make_trainer(make_frames, normalization=normalization, batch_size=300, epochs=8))
    terms = trainer.finish()
    assert terms["loglik"] == pytest.approx(terms["logp"] + terms["logdet"])
    assert saved_loglik(trainer, normalization, tmp_path / "final.pt") == pytest.approx(terms["loglik"], abs=allowed)
    assert trainer.finish() == terms  # and once more it is the same


def test_batchnorms_last_batch_alone_would_not_save_the_trained_model(
    make_frames: MakeFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the reference notebook's error: statistics of the last batch in place of those of the training set
    trainer = trained(make_trainer(make_frames, normalization="batchnorm", batch_size=12, epochs=4))
    monkeypatch.setattr(trainer_module, "refresh_batchnorm", lambda flow, batches: flow.eval())
    for module in trainer.flow.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
    terms = trainer.finish()
    assert abs(saved_loglik(trainer, "batchnorm", tmp_path / "final.pt") - terms["loglik"]) > 0.5


@pytest.mark.parametrize(("select", "epoch"), [("last", 4), ("dev_loglik", 2), ("dev_accuracy", 3)])
def test_the_selected_epochs_weights_are_the_final_ones(
    select: str, epoch: int, make_frames: MakeFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(make_frames, make_frames(seed=2), select=select)
    trainer.start()
    made_up = iter([(-30.0, 0.5), (-10.0, 0.6), (-20.0, 0.9), (-10.0, 0.9)])  # of two equal epochs, the first
    monkeypatch.setattr(trainer, "_evaluate_dev", lambda: next(made_up))
    after = [weights(trainer) for _ in trainer.epochs()]
    assert trainer.selected_epoch == epoch
    trainer.finish()
    assert [equal(weights(trainer), state) for state in after] == [number == epoch for number in (1, 2, 3, 4)]


def test_selection_needs_a_development_frame_of_a_class(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, make_frames(seed=2, languages=("fr",)), select="dev_accuracy")
    trainer.start()
    with pytest.raises(ValueError, match="the development set has no frame of a class"):
        next(trainer.epochs())


def rates(make_frames: MakeFrames, **settings: object) -> list[float]:
    trainer = make_trainer(make_frames, learning_rate=0.1, **settings)
    found = []
    for step in range(trainer.config.epochs * trainer.steps_per_epoch):
        trainer.step = step
        found.append(trainer._learning_rate())
    return found


def test_the_learning_rate_warms_up_and_falls_as_a_cosine(make_frames: MakeFrames) -> None:
    found = rates(make_frames, epochs=4, warmup_steps=4, decay="cosine")  # 24 steps
    assert len(found) == 24
    assert found[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert found[14] == pytest.approx(0.05)  # half way from step 4 to step 24
    assert found[23] == pytest.approx(0.05 * (1 + math.cos(math.pi * 19 / 20)))  # 0.0006
    assert found[4:] == sorted(found[4:], reverse=True)


def test_the_learning_rate_stays_without_decay_and_a_long_warm_up_is_cut(make_frames: MakeFrames) -> None:
    assert rates(make_frames, epochs=1, warmup_steps=0) == [0.1] * 6
    assert rates(make_frames, epochs=1, warmup_steps=1000) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_the_optimizer_uses_the_planned_rate(make_frames: MakeFrames) -> None:
    trainer = trained(make_trainer(make_frames, epochs=2, decay="cosine", warmup_steps=3))
    planned = rates(make_frames, epochs=2, decay="cosine", warmup_steps=3)
    assert [r["learning_rate"] for r in trainer.history] == pytest.approx([planned[5] / 10, planned[11] / 10])
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(planned[11] / 10)


def test_batches_have_the_classes_of_their_frames(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames, block_frames=150)
    batches = list(trainer._batches(1))
    assert len(batches) == trainer.steps_per_epoch == 8  # two of each of the four blocks
    assert [size for size, *_ in batches] == [75] * 8
    x, labels = torch.cat([x for _, x, _ in batches]), torch.cat([labels for *_, labels in batches])
    of = {tuple(row.tolist()): n // 300 for n, row in enumerate(trainer.frames.batch(torch.arange(600)))}
    assert len(of) == 600 and [of[tuple(row.tolist())] for row in x] == labels.tolist()


def test_progress_is_told_after_each_step(make_frames: MakeFrames) -> None:
    trainer, told = make_trainer(make_frames, epochs=1), []
    trainer.start()
    list(trainer.epochs(lambda step, steps, loss: told.append((step, steps, loss))))
    assert [entry[:2] for entry in told] == [(number, 6) for number in range(1, 7)]
    assert sum(entry[2] for entry in told) / 6 == pytest.approx(trainer.history[0]["loss"])


@pytest.mark.parametrize("most", [20, 200, 600, 1000])
def test_the_start_is_the_first_of_a_random_order_and_of_a_rare_class_the_first_of_its_own(
    most: int, make_frames: MakeFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "_START_FRAMES", most)
    trainer = make_trainer(make_frames, batch_size=70)
    utterances = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1])  # 50 frames of each
    trainer.labels, trainer.flow = utterances, Opaque(classes=3)
    trainer.start()
    digest = hashlib.sha256(f"{trainer.config.seed} -1".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    order = torch.randperm(600, generator=generator)
    labels = utterances[trainer.frames.utt_of][order]
    chosen = order[:most]
    for label in range(3):
        if not (labels[:most] == label).any():
            assert most == 20  # else there is a frame of each among the first
            chosen = torch.cat([chosen, order[labels == label][:most]])
    x, own = trainer.flow.started_with
    assert torch.equal(x, trainer.frames.batch(chosen)) and torch.equal(own, utterances[trainer.frames.utt_of][chosen])


class Opaque:
    """A flow that keeps what it is started with."""

    def __init__(self, classes: int) -> None:
        self.base = SimpleNamespace(means=[0] * classes)

    def eval(self) -> None:
        self.training = False

    def initialize(self, x: Tensor, labels: Tensor) -> None:
        self.started_with = x, labels


def test_training_in_blocks_learns_as_well(make_frames: MakeFrames) -> None:
    whole, blocks = (trained(make_trainer(make_frames, block_frames=most)) for most in (600, 100))
    assert whole.steps_per_epoch == blocks.steps_per_epoch == 6
    assert blocks.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], abs=0.5)
    assert whole.history[0]["loss"] - blocks.history[-1]["loss"] > 1
    assert blocks.finish()["loglik"] == pytest.approx(whole.finish()["loglik"], abs=0.5)


def test_the_start_names_a_class_without_frames(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.labels = torch.zeros_like(trainer.labels)
    with pytest.raises(ValueError, match="class number 1 has no training frame"):
        trainer.start()


def test_the_fingerprint_follows_features_selection_languages_and_names(tmp_path: Path) -> None:
    def found(**changes: object) -> str:
        utts = {"a-1": "en", "b-1": changes.get("language", "es"), changes.get("name", "c-1"): "es"}
        data = feature_dir(tmp_path / "data", utts, seed=changes.get("seed", 0))
        config = FramesConfig(context=1, subsampling=changes.get("every", 1), vad=changes.get("vad", True))
        return fingerprint(load_frames(DataDir(data), config, subsample=True))

    once = found()
    assert found() == once
    assert re.fullmatch(r"72 frames of 3 utterances, sha256 [0-9a-f]{16}", once)
    others = [found(seed=1), found(language="it"), found(name="c-2"), found(every=2), found(vad=False)]
    assert len({each.split("sha256 ")[1] for each in [once, *others]}) == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_one_epoch_on_a_gpu(make_frames: MakeFrames, tmp_path: Path) -> None:
    device = torch.device("cuda")
    cpu = make_trainer(make_frames, make_frames(seed=2), epochs=1)
    flow = copy.deepcopy(cpu.flow).to(device)
    gpu = Trainer(flow, cpu.frames, cpu.frames.labels(CLASSES), cpu.config, cpu.dev)
    trained(cpu), trained(gpu)
    assert {p.device.type for p in gpu.flow.parameters()} == {"cuda"}
    assert gpu.history[0]["loss"] == pytest.approx(cpu.history[0]["loss"], abs=0.05)
    assert gpu.history[0]["dev_accuracy"] == pytest.approx(cpu.history[0]["dev_accuracy"], abs=0.02)
    assert gpu.finish()["loglik"] == pytest.approx(cpu.finish()["loglik"], abs=0.05)
    save_payload(tmp_path / "checkpoint.pt", "training state", {"trainer": gpu.state_dict()})
    cpu.load_state_dict(load_payload(tmp_path / "checkpoint.pt", "training state")["trainer"])
    assert equal(weights(cpu), {name: tensor.cpu() for name, tensor in weights(gpu).items()})
