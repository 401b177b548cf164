"""The cross-entropy of the classes: its formula and gradient against other implementations, and what it does."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from trainers import CLASSES, make_trainer, trained

from flowlid.evaluation.scoring import score_frames
from flowlid.frames.frameset import FrameSet
from flowlid.training.discrimination import SetCrossEntropy, class_weights, cross_entropy
from flowlid.training.epoch import epoch_line
from flowlid.training.trainer import Trainer

MakeFrames = Callable[..., FrameSet]
COUNTS, LABELS = torch.tensor([10, 3, 20, 7]), torch.tensor([1, 0, 1, 2])  # of utterances


def made_up(frames: int, classes: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """log p(z | y) (n, K), far from 0 and some far apart, and classes (n,) of which the first is rare."""
    generator = torch.Generator().manual_seed(seed)
    logp = -170 + 4 * torch.randn(frames, classes, generator=generator, dtype=torch.float64)
    logp[::7] *= 5
    labels = torch.randint(1, classes, (frames,), generator=generator)
    labels[: frames // 10] = 0
    return logp, labels


def lopsided(make_frames: MakeFrames, frames: int = 350) -> FrameSet:
    """300 frames of English, and so many less 300 of Spanish."""
    whole = make_frames()
    return replace(whole, index=whole.index[:frames], utt_of=whole.utt_of[:frames])


def test_weights_are_scikit_learns_balanced_ones() -> None:
    each = np.repeat(LABELS.numpy(), COUNTS.numpy())  # class of each frame
    expected = compute_class_weight("balanced", classes=np.arange(3), y=each)
    weights = class_weights(COUNTS, LABELS, 3)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert weights[torch.from_numpy(each)].sum() == pytest.approx(40)  # of all frames: as many as there are


def test_weights_are_of_the_classes_that_have_frames() -> None:
    assert class_weights(torch.tensor([10, 30, 99]), torch.tensor([0, 2, -1]), 4).tolist() == [
        2,
        0,
        pytest.approx(2 / 3),
        0,
    ]


def test_cross_entropy_by_hand() -> None:
    # three frames of class 0 with p = 1/2, 1/2, 3/4, one of class 1 with p = 1/4: log-ratios 0, 0, ln 3 and ln 3
    logp = torch.tensor([[-5.0, -5], [7, 7], [np.log(3), 0], [np.log(3), 0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])
    costs = cross_entropy(logp, labels, class_weights(torch.tensor([3, 1]), torch.tensor([0, 1]), 2))
    assert costs.mean() == pytest.approx(0.5 * (2 * np.log(2) + np.log(4 / 3)) / 3 + 0.5 * np.log(4))


@pytest.mark.parametrize("classes", [2, 5])
def test_cross_entropy_is_scikit_learns_with_balanced_weights(classes: int) -> None:
    logp, labels = made_up(400, classes)
    weights = class_weights(torch.ones(400), labels, classes)
    costs = cross_entropy(logp, labels, weights)
    posterior = np.exp(log_softmax(logp.numpy(), axis=1))
    balanced = weights[labels].numpy()
    logs = log_softmax(logp.numpy(), axis=1)[np.arange(400), labels]
    np.testing.assert_allclose(costs, -balanced * logs, rtol=1e-12)
    near = posterior[np.arange(400), labels] > 1e-12  # scikit-learn clips the others
    expected = log_loss(labels[near], posterior[near], sample_weight=balanced[near], labels=range(classes))
    assert costs[near].sum() / balanced[near].sum() == pytest.approx(expected, rel=1e-9)
    of_classes = [-logs[labels.numpy() == k].mean() for k in range(classes)]
    assert costs.mean() == pytest.approx(np.mean(of_classes), rel=1e-12)


def test_gradient_is_the_posterior_less_the_truth() -> None:
    logp, labels = made_up(50, 3)
    weights = class_weights(torch.ones(50), labels, 3)
    logp.requires_grad_()
    cross_entropy(logp, labels, weights).sum().backward()
    truth = np.eye(3)[labels]
    expected = weights[labels].numpy()[:, None] * (np.exp(log_softmax(logp.detach().numpy(), axis=1)) - truth)
    np.testing.assert_allclose(logp.grad, expected, atol=1e-12)


def double(frames: FrameSet, weight: float, batch_size: int = 100) -> Trainer:
    """A started trainer in float64."""
    trainer = make_trainer(lambda: frames, discriminative=weight, batch_size=batch_size)
    frames.feats = frames.feats.double()
    trainer.flow.double()
    trainer.start()
    return trainer


def gradients(trainer: Trainer, loss: Tensor) -> list[Tensor]:
    return [g.clone() for g in torch.autograd.grad(loss, list(trainer.flow.parameters()))]


def test_shares_and_batches_add_up_to_the_whole_sets_loss_and_gradient(make_frames: MakeFrames) -> None:
    trainer = double(lopsided(make_frames), 7.0)
    x = trainer.frames.batch(torch.arange(350))
    log_p = trainer.flow.log_prob(x)
    posterior = log_p.softmax(1)
    nll = -torch.cat([log_p[:300, 0], log_p[300:, 1]]).mean()
    crossent = -0.5 * (posterior[:300, 0].log().mean() + posterior[300:, 1].log().mean())
    expected = gradients(trainer, nll + 7.0 * crossent)

    total, found = 0.0, [torch.zeros_like(g) for g in expected]
    for size, x, labels in trainer._batches(1):  # which differ in their share of Spanish
        for share in torch.arange(size).tensor_split(3):
            loss, terms = trainer._loss(size, x[share], labels[share])
            total += loss.item() * size / 350
            for sum_, gradient in zip(found, gradients(trainer, loss), strict=True):
                sum_ += gradient * size / 350
            assert terms.shape == (3,)
    assert total == pytest.approx((nll + 7.0 * crossent).item(), rel=1e-10)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_without_weight_the_gradient_is_the_likelihoods_bit_for_bit(make_frames: MakeFrames) -> None:
    trainer = make_trainer(make_frames)
    trainer.start()
    x, labels = trainer.frames.batch(torch.arange(250, 350)), torch.arange(100) // 50
    logp, logdet = trainer.flow.log_terms(x)
    own = logp.gather(1, labels.unsqueeze(1)).squeeze(1)
    expected = gradients(trainer, -(torch.stack([own.sum(), logdet.sum()]) / 100).sum())
    loss, terms = trainer._loss(100, x, labels)
    found = gradients(trainer, loss)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert loss.item() == pytest.approx(-terms[:2].sum().item(), rel=1e-6) and terms[2] > 0


def test_the_weight_buys_discrimination_for_likelihood(make_frames: MakeFrames) -> None:
    frames, dev = lopsided(make_frames, 330), make_frames(seed=2)
    plain, telling = (trained(make_trainer(lambda: frames, dev, discriminative=w)) for w in (0.0, 100.0))
    before, after = plain.history[-1], telling.history[-1]
    assert after["crossent"] < 0.5 * before["crossent"]
    assert after["loglik"] < before["loglik"]
    for record, weight in ((before, 0.0), (after, 100.0)):
        assert record["loss"] == pytest.approx(-record["loglik"] + weight * record["crossent"])
        assert f", cross-entropy {record['crossent']:.3f}" in epoch_line(record, 4)
        assert f", dev cross-entropy {record['dev_crossent']:.3f}" in epoch_line(record, 4)


def test_progress_tells_the_whole_loss(make_frames: MakeFrames) -> None:
    trainer, told = make_trainer(make_frames, epochs=1, discriminative=5.0), []
    trainer.start()
    list(trainer.epochs(lambda step, steps, loss: told.append(loss)))
    assert sum(told) / 6 == pytest.approx(trainer.history[0]["loss"])


@pytest.mark.parametrize("languages", [("en", "es", "fr"), ("es", "fr"), ("fr",)])
def test_a_scored_set_weighs_its_classes_alike_and_leaves_other_languages_out(
    languages: tuple[str, ...], make_frames: MakeFrames
) -> None:
    trainer, dev = make_trainer(make_frames), make_frames(seed=2, languages=languages)
    trainer.start()
    dev = replace(dev, index=dev.index[100:], utt_of=dev.utt_of[100:])  # English: 200 frames, Spanish: 300
    labels = dev.labels(CLASSES)
    crossent = SetCrossEntropy(dev.counts, labels, 2)
    score_frames(trainer.flow, dev, batch_size=64, each=crossent.add)
    if len(languages) < 3:
        assert crossent.value is None
        return
    logs = log_softmax(trainer.flow.log_prob(dev.batch(torch.arange(500))).detach().double().numpy(), axis=1)
    assert crossent.value == pytest.approx(-0.5 * (logs[:200, 0].mean() + logs[200:, 1].mean()), rel=1e-5)
