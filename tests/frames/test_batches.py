"""Random batches: each frame once an epoch, in an order of seed and epoch, from one block or from many."""

import hashlib
import math
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowlid.frames.batches import ShuffledBatches
from flowlid.frames.frameset import CPU, Block, FrameSet

MakeFrames = Callable[..., FrameSet]


def numbered(lengths: list[int], context: int = 1) -> FrameSet:
    """Utterances whose only feature is the number of the frame, all of them selected."""
    total, counts = sum(lengths), torch.tensor(lengths)
    return FrameSet(
        utts=[f"u{number}" for number in range(len(lengths))],
        languages=["en"] * len(lengths),
        speakers=["s"] * len(lengths),
        feats=torch.arange(total, dtype=torch.float32).unsqueeze(1),
        first=counts.cumsum(0) - counts,
        last=counts.cumsum(0) - 1,
        index=torch.arange(total),
        utt_of=torch.repeat_interleave(counts),
        context=context,
        digest="made up",
    )


def drawn(batches: ShuffledBatches, epoch: int, **options: object) -> list[list[int]]:
    """The numbers of the frames in each batch; the context must be that of the set, the utterance its own."""
    frames, found = batches._frames, []
    for size, x, utts in batches.epoch(epoch, **options):
        assert options or size == len(x)
        middle = x[:, frames.context].long()
        assert torch.equal(x, frames.batch(middle)) and torch.equal(utts, frames.utt_of[middle])
        found.append(middle.tolist())
    return found


def joined(batches: list[list[int]]) -> list[int]:
    return [frame for batch in batches for frame in batch]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    batch_size=st.integers(1, 50),
    block_frames=st.integers(1, 400),
    context=st.integers(0, 3),
    epoch=st.integers(-1, 3),
)
def test_an_epoch_takes_each_frame_once(
    lengths: list[int], batch_size: int, block_frames: int, context: int, epoch: int
) -> None:
    batches = ShuffledBatches(numbered(lengths, context), batch_size, block_frames, 1, CPU)
    found, total = drawn(batches, epoch), sum(lengths)
    assert len(found) == len(batches) and sorted(joined(found)) == list(range(total))
    sizes = list(map(len, found))
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 2
    assert total <= batches.blocks * max(block_frames, batch_size)
    assert found == drawn(batches, epoch)


@pytest.mark.parametrize("block_frames", [1000, 100])
def test_the_order_depends_on_seed_and_epoch_alone(block_frames: int) -> None:
    def order(seed: int, epoch: int, batch_size: int = 30) -> list[int]:
        torch.manual_seed(batch_size)  # of no influence
        return joined(drawn(ShuffledBatches(numbered([100] * 6), batch_size, block_frames, seed, CPU), epoch))

    assert order(1, 1) == order(1, 1)
    assert order(1, 1, batch_size=20) == order(1, 1)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (-1, 0, 1, 2)}) == 8


@pytest.mark.parametrize("batch_size", [1, 7, 100, 599, 600, 10000])
def test_one_block_is_drawn_in_the_order_of_recorded_results(batch_size: int) -> None:
    """torch's permutation of all frames, seeded by a digest of seed and epoch, in batches of nearly equal size."""
    digest = hashlib.sha256(b"3 2").digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    order = torch.randperm(600, generator=generator)
    expected = [part.tolist() for part in order.tensor_split(-(-600 // batch_size))]
    assert drawn(ShuffledBatches(numbered([100] * 6), batch_size, 600, 3, CPU), 2) == expected


def test_many_blocks_mix_the_whole_set() -> None:
    """Each batch has frames of all parts of the set, and neighbours in the set do not stay neighbours."""
    frames = numbered([100] * 400, context=0)
    batches = ShuffledBatches(frames, 500, 4000, 1, CPU)
    found = drawn(batches, 1)
    assert batches.blocks == 10 and len(found) == 80
    tenths = torch.stack([torch.bincount(torch.tensor(batch) // 4000, minlength=10) for batch in found]) / 500
    # of the pieces of a block about a tenth is of each tenth of the set
    assert tenths.min() > 0 and tenths.max() < 0.4 and tenths.mean(0).tolist() == pytest.approx([0.1] * 10, abs=1e-6)
    order = torch.tensor(joined(found))
    assert (order.diff() == 1).float().mean() < 0.01
    other = torch.tensor(joined(drawn(batches, 2)))
    shared = [
        len(set(order[at : at + 4000].tolist()) & set(other[at : at + 4000].tolist())) for at in range(0, 40000, 4000)
    ]
    assert max(shared) < 2500  # blocks are made anew in each epoch


@pytest.mark.parametrize("block_frames", [1000, 100])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_each_batch(block_frames: int, processes: int) -> None:
    def batches() -> ShuffledBatches:
        return ShuffledBatches(numbered([100, 50, 33]), 30, block_frames, 1, CPU)

    shares = [drawn(batches(), 1, share=(rank, processes)) for rank in range(processes)]
    whole = drawn(batches(), 1)
    assert [joined(list(parts)) for parts in zip(*shares, strict=True)] == whole
    for parts in zip(*shares, strict=True):
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def loads(frames: FrameSet, monkeypatch: pytest.MonkeyPatch, fail_at: int = 0) -> tuple[list[weakref.ref], list[int]]:
    """What `frames.block` gave, and how many of them were in memory at each call; call number `fail_at` fails."""
    given_out: list[weakref.ref] = []
    alive: list[int] = []
    real = FrameSet.block

    def block(self: FrameSet, positions: Tensor, device: torch.device = CPU) -> Block:
        if self is not frames:
            return real(self, positions, device)
        if len(given_out) + 1 == fail_at:
            raise OSError("the disk is gone")
        made = real(self, positions, device)
        given_out.append(weakref.ref(made))
        alive.append(sum(each() is not None for each in given_out))
        return made

    monkeypatch.setattr(FrameSet, "block", block)
    return given_out, alive


@pytest.mark.parametrize(("block_frames", "blocks"), [(1000, 1), (100, 6)])
def test_the_rest_of_an_epoch_is_as_it_was(block_frames: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = numbered([100] * 6)
    given_out, _ = loads(frames, monkeypatch)
    batches = ShuffledBatches(frames, 30, block_frames, 1, CPU)
    whole = drawn(batches, 1)
    for skip in range(len(whole) + 1):
        assert drawn(batches, 1, skip=skip) == whole[skip:]
        given_out.clear()
        assert len(list(batches.epoch(1, skip=skip))) == len(whole) - skip
        if blocks > 1:
            assert len(given_out) == math.ceil((len(whole) - skip) * blocks / len(whole))  # nothing is read in vain


def test_one_block_is_loaded_once_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = numbered([100] * 6)
    given_out, _ = loads(frames, monkeypatch)
    batches = ShuffledBatches(frames, 50, 600, 1, CPU)
    for epoch in range(3):
        assert sum(len(x) for _, x, _ in batches.epoch(epoch)) == 600
    assert len(given_out) == 1


def test_few_blocks_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = numbered([100] * 40)
    given_out, alive = loads(frames, monkeypatch)
    batches = ShuffledBatches(frames, 50, 200, 1, CPU)
    assert sum(len(x) for _, x, _ in batches.epoch(1)) == 4000
    assert len(given_out) == 20
    assert max(alive) <= 3  # one in use, one ready; the third only until the first is let go
    assert not any(each() is not None for each in given_out)


def test_the_next_block_is_loaded_while_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = numbered([100] * 6)
    ready = threading.Event()
    real = FrameSet.block
    calls: list[threading.Thread] = []

    def block(self: FrameSet, positions: Tensor, device: torch.device = CPU) -> Block:
        calls.append(threading.current_thread())
        if len(calls) == 2:
            ready.set()
        return real(self, positions, device)

    monkeypatch.setattr(FrameSet, "block", block)
    epoch = ShuffledBatches(frames, 50, 100, 1, CPU).epoch(1)
    next(epoch)
    assert ready.wait(60)  # although nothing more was asked for
    epoch.close()
    assert len(calls) == 2 and threading.main_thread() not in calls
    assert not any(thread.is_alive() for thread in calls)


def test_an_error_while_loading_is_raised_and_the_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = numbered([100] * 6)
    loads(frames, monkeypatch, fail_at=3)
    threads = threading.active_count()
    seen = 0
    with pytest.raises(OSError, match="the disk is gone"):
        for _, x, _ in ShuffledBatches(frames, 50, 100, 1, CPU).epoch(1):
            seen += len(x)
    assert seen == 200 and threading.active_count() == threads


def test_the_thread_ends_with_training_that_fails() -> None:
    threads = threading.active_count()

    def training() -> None:
        for _ in ShuffledBatches(numbered([100] * 6), 50, 100, 1, CPU).epoch(1):
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        training()
    assert threading.active_count() == threads
