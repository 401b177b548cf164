"""Augmented training frames against loops over frames and bins, and what their changes depend on."""

import cmath
import hashlib
import math
import struct

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.interpolate import CubicHermiteSpline

from flowlid.config import AugmentationConfig, FramesConfig
from flowlid.frames.augmentation import Augmentation, add_noise, make_augmentation, random_pairs, uniform
from flowlid.frames.batches import ShuffledBatches
from flowlid.frames.frameset import CPU, FrameSet

ALL = AugmentationConfig(warp=0.2, tilt=6.0, equalization=3.0, gain=10.0, noise_floor=[6.0, 12.0])
LENGTHS = [3, 20, 7, 1]
BINS = 10
SEED, EPOCH = 5, 3


def frame_set(norm: np.ndarray | None = None, context: int = 1) -> FrameSet:
    """Four utterances, all of whose frames are selected."""
    counts = torch.tensor(LENGTHS)
    return FrameSet(
        utts=[f"u{number}" for number in range(len(LENGTHS))],
        languages=["en"] * len(LENGTHS),
        speakers=["s"] * len(LENGTHS),
        feats=12 + 4 * torch.randn(sum(LENGTHS), BINS, generator=torch.Generator().manual_seed(1)),
        first=counts.cumsum(0) - counts,
        last=counts.cumsum(0) - 1,
        index=torch.arange(sum(LENGTHS)),
        utt_of=torch.repeat_interleave(counts),
        context=context,
        digest="made up",
        norm=None if norm is None else torch.from_numpy(norm),
    )


def made(config: AugmentationConfig, frames: FrameSet, cmvn: str = "none") -> Augmentation:
    return Augmentation(config, frames, FramesConfig(cmvn=cmvn), SEED, CPU)


def augmented(config: AugmentationConfig, frames: FrameSet, cmvn: str = "none", epoch: int = EPOCH) -> np.ndarray:
    """All frames of a set: (N, D)."""
    augmentation = made(config, frames, cmvn)
    x = augmentation.plain.batch(torch.arange(len(frames)))
    return augmentation(x, frames.utt_of, epoch).numpy()


def numbers_of(utt: int, epoch: int) -> list[float]:
    """An utterance's numbers in 0..1, from a generator that starts at its counter."""
    key = int.from_bytes(hashlib.sha256(f"augmentation {SEED} {epoch}".encode()).digest()[:16], "little")
    generator = np.random.Philox(key=key, counter=2 * utt)  # four numbers per count
    return [int(raw) // 2048 / 2**53 for raw in generator.random_raw(8)]


def pair(value: float, b: int, key: int) -> list[float]:
    """Two numbers of a value, a bin and a key, in Python's whole numbers."""
    (bits,) = struct.unpack("<i", struct.pack("<f", value))
    z = (bits * BINS + b + key) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    return [(half + 0.5) / 2**32 for half in (z >> 32, z % 2**32)]


def slowly(config: AugmentationConfig, feats: np.ndarray, utt: int, epoch: int = EPOCH) -> np.ndarray:
    """Features of an utterance (T, F) changed frame by frame and bin by bin."""
    share = numbers_of(utt, epoch)
    warp, tilt, gain, *cosines = (2 * number - 1 for number in share[:6])
    factor, last = 1 + config.warp * warp, BINS - 1
    knee = 0.8 * last / max(1, factor)
    changed = np.zeros_like(feats, dtype=np.float64)
    for t, frame in enumerate(feats.astype(np.float64)):
        slopes = np.diff(np.pad(frame, 1, mode="edge"), n=1)
        between = CubicHermiteSpline(range(BINS), frame, (slopes[:-1] + slopes[1:]) / 2)
        for b in range(BINS):
            place = np.interp(b, [0, knee, last], [0, factor * knee, last])
            value = between(place)
            decibels = config.tilt * tilt * (2 * b / last - 1) + config.gain * gain
            for k, amplitude in zip((2, 3, 4), cosines, strict=True):
                decibels += config.equalization * amplitude * math.cos(math.pi * k * (b + 0.5) / BINS)
            value += decibels * math.log(10) / 10
            if config.noise_floor:
                low, high = config.noise_floor
                radius, angle = pair(feats[t, b], b, int(share[7] * 2**53))
                noise = math.sqrt(-math.log(radius)) * cmath.exp(2j * math.pi * angle)
                level = low + (high - low) * share[6]
                value = 2 * math.log(abs(math.exp(value / 2) + math.exp(level / 2) * noise))
            changed[t, b] = value
    return changed


def spliced(utterances: list[np.ndarray], context: int) -> np.ndarray:
    rows = []
    for feats in utterances:
        for t in range(len(feats)):
            around = [min(max(t + shift, 0), len(feats) - 1) for shift in range(-context, context + 1)]
            rows.append(np.concatenate([feats[place] for place in around]))
    return np.stack(rows)


def utterances_of(frames: FrameSet) -> list[np.ndarray]:
    return np.split(frames.feats.numpy(), np.cumsum(LENGTHS)[:-1])


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(
    "options",
    [{"warp": 0.3}, {"tilt": 5.0}, {"equalization": 4.0}, {"gain": 9.0}, {"noise_floor": [8.0, 14.0]}, vars(ALL)],
    ids=lambda options: "+".join(options),
)
def test_frames_are_those_of_loops(options: dict, context: int) -> None:
    config, frames = AugmentationConfig(**options), frame_set(context=context)
    expected = spliced([slowly(config, feats, utt) for utt, feats in enumerate(utterances_of(frames))], context)
    found = augmented(config, frames)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=2e-5)
    assert np.abs(found - augmented(config, frames, epoch=0)).max() > 0.1


def test_it_comes_before_the_normalization_of_all_utterances_alike() -> None:
    shift, scale = np.linspace(3, 8, BINS), np.linspace(0.5, 2, BINS)
    frames = frame_set(np.stack([np.stack([shift, scale])] * len(LENGTHS)))
    changed = [(slowly(ALL, feats, utt) - shift) * scale for utt, feats in enumerate(utterances_of(frames))]
    assert augmented(ALL, frames, "global") == pytest.approx(spliced(changed, 1), abs=5e-5)


def test_the_mean_of_each_utterance_is_that_of_its_warped_frames() -> None:
    config = AugmentationConfig(warp=0.3)
    plain = utterances_of(frame_set())
    frames = frame_set(np.stack([feats.astype(np.float64).mean(0, keepdims=True) for feats in plain]))
    warped = [slowly(config, feats, utt) for utt, feats in enumerate(plain)]
    expected = spliced([feats - feats.mean(0) for feats in warped], 1)
    assert augmented(config, frames, "utterance") == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("epoch", [-1, 0])
def test_frames_of_no_epoch_are_as_they_are(epoch: int) -> None:
    frames = frame_set(np.random.default_rng(1).normal(size=(len(LENGTHS), 2, BINS)))
    plain = frames.batch(torch.arange(len(frames))).numpy()
    assert augmented(ALL, frames, "global", epoch) == pytest.approx(plain, abs=1e-6)


def test_nothing_asked_for_is_no_augmentation() -> None:
    assert make_augmentation(AugmentationConfig(), frame_set(), FramesConfig(), 1, CPU) is None
    assert make_augmentation(AugmentationConfig(gain=1.0), frame_set(), FramesConfig(), 1, CPU) is not None


def test_changes_are_spread_evenly_over_their_ranges() -> None:
    share = uniform("1 1", 20000)
    assert share.min() >= 0 and share.max() < 1
    for column in share.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(share.T) - np.eye(8)).max() < 0.04
    following = [stats.pearsonr(share[:-1, column], share[1:, column]).statistic for column in range(8)]
    assert np.abs(following).max() < 0.04  # of the next utterance
    other = uniform("1 2", 20000)  # the next epoch
    assert np.abs([stats.pearsonr(share[:, column], other[:, column]).statistic for column in range(8)]).max() < 0.04


def test_ranges_are_those_asked_for() -> None:
    frames = frame_set()
    frames.utts *= 2000
    drawn = made(ALL, frames).drawn(1)
    factor = drawn.source[:, 1]
    assert (factor.min().item(), factor.max().item()) == pytest.approx((0.8, 1.2), abs=2e-3)
    assert torch.equal(drawn.source[:, [0, -1]], torch.tensor([[0.0, BINS - 1]]).expand(8000, 2))  # the ends stay
    assert (drawn.source.diff() > 0).all()
    assert (drawn.level.min().item(), drawn.level.max().item()) == pytest.approx((6, 12), abs=0.01)
    decibels = drawn.offset.double() * 10 / math.log(10)
    # variances of a uniform law: range^2 / 3, for each part that a bin has
    b = torch.arange(BINS, dtype=torch.float64)
    cosines = sum(torch.cos(math.pi * k * (b + 0.5) / BINS) ** 2 for k in (2, 3, 4))
    expected = (6 * (2 * b / (BINS - 1) - 1)) ** 2 / 3 + 3**2 / 3 * cosines + 10**2 / 3
    assert decibels.var(0).tolist() == pytest.approx(expected.tolist(), rel=0.05)
    assert decibels.mean(0).abs().max() < 0.4


def test_noise_is_gaussian_and_independent_from_frame_to_frame() -> None:
    x = -60 + torch.randn(4000, 1, BINS, generator=torch.Generator().manual_seed(1))  # nothing beside the noise
    key = torch.arange(4000).view(-1, 1, 1) // 1000  # four utterances
    found = add_noise(x, torch.full((4000, 1, 1), 7.0), *random_pairs(x, key))[:, 0].double()
    for energy in (found - 7).exp().T:  # exponential, as the energy of a complex normal number
        assert stats.kstest(energy, "expon").pvalue > 1e-4
    assert np.abs(np.corrcoef(found.T) - np.eye(BINS)).max() < 0.08
    assert abs(stats.pearsonr(found[1:, 3], found[:-1, 3]).statistic) < 0.06
    other = add_noise(x, torch.full((4000, 1, 1), 7.0), *random_pairs(x, key + 1))[:, 0].double()
    assert abs(stats.pearsonr(found[:, 3], other[:, 3]).statistic) < 0.06
    loud = x + 90
    assert add_noise(loud, torch.full((4000, 1, 1), 7.0), *random_pairs(x, key)).sub(loud).abs().max() < 1e-3


def test_the_same_utterance_changes_from_epoch_to_epoch_and_with_the_seed() -> None:
    frames = frame_set()
    found = [augmented(ALL, frames, epoch=epoch) for epoch in (1, 2)]
    found.append(
        Augmentation(ALL, frames, FramesConfig(), 6, CPU)(
            torch.tensor(spliced(utterances_of(frames), 1)), frames.utt_of, 1
        ).numpy()
    )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(found[one] - found[other]).max() > 0.1


@pytest.mark.parametrize(("batch_size", "block_frames"), [(1, 1000), (5, 1000), (31, 1000), (5, 8)])
@pytest.mark.parametrize("processes", [1, 3])
def test_a_frame_is_the_same_in_any_batch_process_and_block(batch_size: int, block_frames: int, processes: int) -> None:
    frames = frame_set()
    whole = augmented(ALL, frames, epoch=2)
    order = ShuffledBatches(frames, batch_size, block_frames, 1, CPU)
    batches = ShuffledBatches(frames, batch_size, block_frames, 1, CPU, made(ALL, frames))
    plain = frames.batch(torch.arange(len(frames)))
    for rank in range(processes):
        for skip in (0, 2):
            pairs = zip(*(each.epoch(2, (rank, processes), skip) for each in (order, batches)), strict=True)
            for (size, x, utts), (augmented_size, changed, augmented_utts) in pairs:
                numbers = [int(row) for row in (x[:, None] == plain).all(2).nonzero()[:, 1]]
                assert size == augmented_size and torch.equal(utts, augmented_utts)
                assert np.array_equal(changed.numpy(), whole[numbers])
