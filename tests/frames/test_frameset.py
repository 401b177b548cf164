"""Splicing of frames, in blocks and batches, against loops; and what load_frames refuses."""

from pathlib import Path
from unittest import mock

import kaldiio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from splicing import UTTS, every, features, loops, refused, voiced, write_vad
from tools import feature_dir, write_tables

from flowlid.config import FramesConfig
from flowlid.frames import frameset as module
from flowlid.frames.frameset import FrameSet, load_frames, moments_of
from flowlid.frames.normalization import global_cmvn
from flowlid.kaldi.arks import ArkWriter, read_matrix
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table

PLAIN = FramesConfig(context=0, vad=False)


# Splicing


@pytest.mark.parametrize("context", [0, 1, 3])
def test_batch_has_the_true_context_of_its_own_utterance(data: Path, context: int) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=context))
    feats, vad = features(data), voiced(data)
    expected = np.concatenate([loops(feats[utt], context)[vad[utt]] for utt in sorted(UTTS)])
    assert frames.dim == 3 * (2 * context + 1) and len(frames) == len(expected) == 4 * 24
    assert (every(frames) == expected).all()
    chosen = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))[:50]
    assert (frames.batch(chosen).numpy() == expected[chosen.numpy()]).all()


def test_utterances_of_one_frame(tmp_path: Path) -> None:
    data = feature_dir(tmp_path, UTTS, frames=1)
    frames = load_frames(DataDir(data), FramesConfig(context=2, vad=False))
    expected = np.concatenate([np.tile(features(data)[utt], (1, 5)) for utt in sorted(UTTS)])
    assert (every(frames) == expected).all()


def test_every_frame_without_vad(data: Path) -> None:
    (data / "vad.scp").unlink()
    frames = load_frames(DataDir(data), PLAIN)
    assert (every(frames) == np.concatenate([features(data)[utt] for utt in sorted(UTTS)])).all()


def test_utterances_languages_and_labels(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig())
    assert frames.utts == sorted(UTTS) and frames.languages == ["en", "en", "es", "es"]
    assert frames.speakers == ["a", "a", "b", "c"]
    assert frames.utt_of.tolist() == [0] * 24 + [1] * 24 + [2] * 24 + [3] * 24
    assert frames.labels(["en", "es"]).tolist() == [0, 0, 1, 1]
    assert frames.labels(["es", "it"]).tolist() == [-1, -1, 0, 0]


# Blocks


@st.composite
def sets(draw: st.DrawFn) -> FrameSet:
    """A set of random features, with any frames of any utterances selected."""
    lengths = draw(st.lists(st.integers(1, 15), min_size=1, max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    total, counts = sum(lengths), torch.tensor(lengths)
    mask = torch.rand(total, generator=generator) < draw(st.sampled_from([0.1, 0.5, 0.9, 1.0]))
    mask[0] = True
    index = torch.nonzero(mask).flatten()
    return FrameSet(
        utts=[f"u{number}" for number in range(len(lengths))],
        languages=["en"] * len(lengths),
        speakers=["s"] * len(lengths),
        feats=torch.randn(total, draw(st.integers(1, 3)), generator=generator),
        first=counts.cumsum(0) - counts,
        last=counts.cumsum(0) - 1,
        index=index,
        utt_of=torch.repeat_interleave(counts)[index],
        context=draw(st.integers(0, 4)),
        digest="made up",
    )


def spliced(frames: FrameSet) -> np.ndarray:
    """All selected frames, by loops over whole utterances."""
    rows = [
        loops(frames.feats[first : last + 1].numpy(), frames.context)
        for first, last in zip(frames.first.tolist(), frames.last.tolist(), strict=True)
    ]
    return np.concatenate(rows)[frames.index.numpy()]


@settings(max_examples=200)
@given(frames=sets(), data=st.data())
def test_any_block_is_spliced_as_the_whole_set(frames: FrameSet, data: st.DataObject) -> None:
    expected, last = spliced(frames), len(frames) - 1
    pieces = data.draw(st.lists(st.tuples(st.integers(0, last), st.integers(1, 20)), min_size=1, max_size=6))
    positions = torch.cat([torch.arange(start, min(start + count, last + 1)) for start, count in pieces])
    block = frames.block(positions)
    assert len(block) == len(positions)
    assert torch.equal(block.utt_of, frames.utt_of[positions])
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, len(positions) - 1), min_size=1, max_size=20)))
    assert (block.batch(chosen).numpy() == expected[positions[chosen].numpy()]).all()
    assert (block.batch(slice(1, None)).numpy() == expected[positions[1:].numpy()]).all()
    assert (frames.batch(positions).numpy() == expected[positions.numpy()]).all()
    # rows that no window needs are not taken along
    assert len(block.feats) <= len(positions) * (2 * frames.context + 1)


@settings(max_examples=50)
@given(frames=sets(), size=st.integers(1, 20), block=st.integers(1, 40))
def test_batches_go_through_the_set_in_order(frames: FrameSet, size: int, block: int) -> None:
    with mock.patch.object(module, "_BLOCK", block):
        batches = list(frames.batches(size))
    assert (torch.cat([x for x, _ in batches]).numpy() == spliced(frames)).all()
    assert torch.equal(torch.cat([utt for _, utt in batches]), frames.utt_of)
    assert [len(x) for x, _ in batches] == [len(part) for part in torch.arange(len(frames)).split(size)]


def test_numbers_of_frames_of_utterances(data: Path) -> None:
    write_vad(data, {utt: [1] * (n + 1) + [0] * (29 - n) for n, utt in enumerate(UTTS)})
    assert load_frames(DataDir(data), FramesConfig()).counts.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("batch_size", [7, 65536])
def test_moments(data: Path, batch_size: int) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=1))
    mean, std = moments_of(frames, batch_size)
    assert mean.numpy() == pytest.approx(every(frames).astype(np.float64).mean(0), abs=1e-6)
    assert std.numpy() == pytest.approx(every(frames).astype(np.float64).std(0), abs=1e-6)


# What is refused


@pytest.mark.parametrize(
    ("missing", "config"),
    [
        ("vad.scp", FramesConfig()),
        ("cmvn.scp", FramesConfig(cmvn="speaker")),
        ("feats.scp", FramesConfig()),
        ("utt2lang", FramesConfig()),
        ("spk2utt", FramesConfig()),
    ],
)
def test_missing_file(data: Path, missing: str, config: FramesConfig) -> None:
    (data / missing).unlink(missing_ok=True)
    fixes = {"utt2lang": "write it: lines of 'UTTERANCE LANGUAGE'", "spk2utt": "utils/fix_data_dir.py .*/data makes it"}
    refused(data, config, rf"data/{missing}: no such file; {fixes.get(missing, 'make it with run.sh --stage 2')}")


def test_utterance_without_language(data: Path) -> None:
    write_table(data / "utt2lang", {utt: name for utt, name in UTTS.items() if utt != "a-2"})
    refused(data, FramesConfig(), r"utt2lang: 1 utterances of utt2spk missing, the first 'a-2'; run utils/fix_data_dir")


def test_vad_of_another_length(data: Path) -> None:
    with ArkWriter(data / "vad.ark", data / "vad.scp") as write:
        for utt in sorted(UTTS):
            write(utt, np.ones(29 if utt == "b-1" else 30, np.float32))
    refused(data, FramesConfig(), r"data/vad.scp: utterance b-1: 29 decisions for 30 frames .* \(stage 2\)")


def test_no_voiced_frame(data: Path) -> None:
    with ArkWriter(data / "vad.ark", data / "vad.scp") as write:
        for utt in sorted(UTTS):
            write(utt, np.full(30, float(utt != "b-1"), np.float32))
    refused(data, FramesConfig(), r"data/vad.scp: utterance b-1 has no voiced frame; .*frames.vad: false")


def test_dimension_that_changes_between_utterances(data: Path) -> None:
    with ArkWriter(data / "feats.ark", data / "feats.scp") as write:
        for utt in sorted(UTTS):
            write(utt, np.ones((30, 4 if utt == "c-1" else 3), np.float32))
    message = r"data/feats.scp: utterance c-1: 4 dimensions where those before it have 3; extract"
    refused(data, PLAIN, message)
    with pytest.raises(ValueError, match=message):
        global_cmvn(DataDir(data), FramesConfig())


def test_nan(data: Path) -> None:
    matrices = {utt: np.ones((30, 3), np.float32) for utt in sorted(UTTS)}
    matrices["a-2"][7, 1] = np.nan
    kaldiio.save_ark(str(data / "foreign.ark"), matrices, scp=str(data / "feats.scp"))
    refused(data, FramesConfig(), r"data/feats.scp: utterance a-2: .*NaN or Inf in row 7; ")


def test_truncated_archive(data: Path) -> None:
    whole = (data / "feats.ark").read_bytes()
    (data / "feats.ark").write_bytes(whole[: len(whole) - 10])
    refused(data, FramesConfig(), r"data/feats.scp: utterance c-1: .*goes on past the end of the file")


def test_scp_that_points_nowhere(data: Path) -> None:
    table = DataDir(data).table("feats.scp")
    write_table(data / "feats.scp", {**table, "b-1": "/nowhere/feats.ark:5"})
    refused(data, FramesConfig(), r"data/feats.scp: utterance b-1: no archive /nowhere/feats.ark; run stage 2 again")


def test_pipes(data: Path) -> None:
    expected = every(load_frames(DataDir(data), PLAIN))
    for utt, matrix in features(data).items():
        kaldiio.save_mat(str(data / f"{utt}.mat"), matrix)
    write_table(data / "feats.scp", {utt: f"cat {data / utt}.mat |" for utt in UTTS})
    refused(data, PLAIN, r"data/feats.scp: utterance a-1: .* commands are not run; give --allow-pipes true")
    assert (every(load_frames(DataDir(data), PLAIN, allow_pipes=True)) == expected).all()
    # what a command gives may change: it is run each time, and asked for each time
    refused(data, PLAIN, "commands are not run; give --allow-pipes true")


def test_compressed_features(tmp_path: Path) -> None:
    """What Kaldi stores by default: 8 bits a value."""
    write_tables(tmp_path, UTTS)
    generator = np.random.default_rng(0)
    matrices = {utt: generator.normal(size=(20, 5)).astype(np.float32) for utt in sorted(UTTS)}
    kaldiio.save_ark(str(tmp_path / "f.ark"), matrices, scp=str(tmp_path / "feats.scp"), compression_method=2)
    frames = load_frames(DataDir(tmp_path), PLAIN)
    assert every(frames) == pytest.approx(np.concatenate(list(matrices.values())), abs=0.05)
    assert read_matrix(DataDir(tmp_path).table("feats.scp")["a-1"], "a-1").shape == (20, 5)
