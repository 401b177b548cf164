"""Training: that it learns, can be cut off, and saves the model that it trained."""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from trainers import CLASSES, STATE, equal, make_trainer, trained, weights, without_times

from flowlid.config import AugmentationConfig, config_from_dict
from flowlid.evaluation.decisions import mean_terms
from flowlid.evaluation.scoring import score_frames
from flowlid.flow.checkpoint import Model, load_model, load_payload, save_model, save_payload
from flowlid.flow.transforms import BatchNorm
from flowlid.frames.frameset import FrameSet
from flowlid.training import trainer as trainer_module
from flowlid.training.epoch import Dev
from flowlid.training.trainer import Trainer

MakeFrames = Callable[..., FrameSet]
AUGMENTED = AugmentationConfig(warp=0.1, tilt=3.0, equalization=2.0, gain=3.0, noise_floor=[0.0, 5.0])


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
    for key in ("dev_accuracy", "crossent", "dev_crossent"):
        assert [record[key] for record in trainer.history] == [None] * 4
    assert trainer.history[-1]["dev_loglik"] == pytest.approx(trainer.history[-1]["loglik"], abs=1)


def test_the_loss_is_under_each_frames_own_class(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    x = trainer.frames.batch(torch.tensor([0, 299, 300, 599]))
    logp, logdet, _ = trainer._terms(x, torch.tensor([0, 0, 1, 1]))
    expected, same = trainer.flow.log_terms(x)
    assert torch.equal(logp, expected[[0, 1, 2, 3], [0, 0, 1, 1]])
    assert torch.equal(logdet, same)


@pytest.mark.parametrize(
    ("normalization", "changes"),
    [
        ("actnorm", {"block_frames": 600}),
        ("batchnorm", {"block_frames": 600}),
        ("actnorm", {"block_frames": 200}),
        ("actnorm", {"block_frames": 200, "augmentation": AUGMENTED}),
        ("actnorm", {"discriminative": 10.0, "select": "dev_crossent"}),
    ],
)
def test_training_that_was_cut_off_goes_on_bit_for_bit(
    normalization: str, changes: dict[str, object], make_frames: MakeFrames, tmp_path: Path
) -> None:
    settings = {"decay": "cosine", "warmup_steps": 8, "select": "dev_loglik", "weight_decay": 1e-4, **changes}
    dev = make_frames(seed=2)
    whole = trained(make_trainer(make_frames, dev, normalization, **settings))

    cut = make_trainer(make_frames, dev, normalization, **settings)
    cut.start()
    epochs = cut.epochs()
    next(epochs), next(epochs)
    save_payload(tmp_path / "checkpoint.pt", "training state", {**STATE, "trainer": cut.state_dict()})
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


def test_augmented_training_learns_and_is_reported_on_frames_as_they_are(make_frames: MakeFrames) -> None:
    trainer = trained(make_trainer(make_frames, make_frames(seed=2), augmentation=AUGMENTED))
    plain = trained(make_trainer(make_frames, make_frames(seed=2)))
    losses = [record["loss"] for record in trainer.history]
    assert losses[0] - losses[-1] > 1 and trainer.history[-1]["dev_accuracy"] > 0.95
    assert trainer.history[0]["loss"] != plain.history[0]["loss"]
    scores = score_frames(trainer.flow, trainer.frames)
    reported = mean_terms(scores, trainer.frames.labels(CLASSES).numpy())["loglik"]
    assert trainer.finish()["loglik"] == pytest.approx(reported, abs=1e-3)


def test_augmentation_does_not_change_the_start(make_frames: MakeFrames) -> None:
    trainer, plain = make_trainer(make_frames, augmentation=AUGMENTED), make_trainer(make_frames)
    for each in (trainer, plain):
        each.start()
    assert equal(weights(trainer), weights(plain))


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


@pytest.mark.parametrize(
    ("select", "epoch"), [("last", 4), ("dev_loglik", 2), ("dev_accuracy", 3), ("dev_crossent", 2)]
)
def test_the_selected_epochs_weights_are_the_final_ones(
    select: str, epoch: int, make_frames: MakeFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(make_frames, make_frames(seed=2), select=select)
    trainer.start()
    made_up = [(-30.0, 0.5, 0.7), (-10.0, 0.6, 0.2), (-20.0, 0.9, 0.4), (-10.0, 0.9, 0.2)]  # of two equals, the first
    values = iter(made_up)
    monkeypatch.setattr(trainer, "_evaluate_dev", lambda: Dev(*next(values)))
    after = [weights(trainer) for _ in trainer.epochs()]
    assert trainer.selected_epoch == epoch
    trainer.finish()
    assert [equal(weights(trainer), state) for state in after] == [number == epoch for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("select", "languages", "lacks"),
    [
        ("dev_accuracy", ("fr",), "no frame of a class"),
        ("dev_crossent", ("fr",), "frames of fewer than two classes"),
        ("dev_crossent", ("fr", "es"), "frames of fewer than two classes"),
    ],
)
def test_selection_needs_development_frames_of_classes(
    select: str, languages: tuple[str, ...], lacks: str, make_frames: MakeFrames
) -> None:
    trainer = make_trainer(make_frames, make_frames(seed=2, languages=languages), select=select)
    trainer.start()
    with pytest.raises(ValueError, match=f"training.select: {select}: the development set has {lacks}"):
        next(trainer.epochs())


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
    save_payload(tmp_path / "checkpoint.pt", "training state", {**STATE, "trainer": gpu.state_dict()})
    cpu.load_state_dict(load_payload(tmp_path / "checkpoint.pt", "training state")["trainer"])
    assert equal(weights(cpu), {name: tensor.cpu() for name, tensor in weights(gpu).items()})


@pytest.mark.parametrize(("frames", "batch_size"), [(600, 1), (3, 2), (12, 2), (5, 3)])
def test_batchnorm_is_not_trained_with_batches_of_one_or_two_frames(
    frames: int, batch_size: int, make_frames: MakeFrames
) -> None:
    def trainer(normalization: str) -> Trainer:
        some = make_frames(utterances=1, length=-(-frames // 2))
        some.index, some.utt_of = some.index[:frames], some.utt_of[:frames]
        return make_trainer(lambda: some, None, normalization, batch_size=batch_size)

    with pytest.raises(ValueError, match=r"batch_size: \d gives batches of [12] frames, .* give hundreds of frames"):
        trainer("batchnorm")
    assert trainer("actnorm").shuffled.smallest < 3


@pytest.mark.parametrize(("frames", "batch", "block"), [(600, 100, 600), (600, 128, 256), (601, 600, 600), (7, 2, 3)])
def test_the_smallest_batch_is_known_before_training(
    frames: int, batch: int, block: int, make_frames: MakeFrames
) -> None:
    some = make_frames(languages=("en",), utterances=1, length=frames)
    batches = make_trainer(lambda: some, batch_size=batch, block_frames=block).shuffled
    assert batches.smallest == min(size for size, _, _ in batches.epoch(1))
