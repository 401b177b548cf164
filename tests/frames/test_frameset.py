"""Splicing, normalization and selection of frames, against loops and numpy; and what load_frames refuses."""

from pathlib import Path
from unittest import mock

import kaldiio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import contents, feature_dir, write_tables

from flowlid.config import FramesConfig
from flowlid.frames import frameset as module
from flowlid.frames.frameset import FrameSet, NoFrames, load_frames, moments_of
from flowlid.frames.pack import global_cmvn
from flowlid.frames.selection import ranges
from flowlid.kaldi.arks import ArkWriter, read_matrix
from flowlid.kaldi.cmvn import apply_cmvn, cmvn_stats, shift_and_scale
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table

UTTS = {"a-1": "en", "a-2": "en", "b-1": "es", "c-1": "es"}
PLAIN = FramesConfig(context=0, vad=False)


def loops(x: np.ndarray, context: int) -> np.ndarray:
    """Kaldi's splice-feats, word by word."""
    rows = []
    for t in range(len(x)):
        row = []
        for offset in range(-context, context + 1):
            neighbour = min(max(t + offset, 0), len(x) - 1)
            row.extend(x[neighbour].tolist())
        rows.append(row)
    return np.array(rows, np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four utterances of two languages and three speakers, of 30 frames and 3 dims; every fifth frame is unvoiced."""
    return feature_dir(tmp_path / "data", UTTS)


def features(path: Path) -> dict[str, np.ndarray]:
    return {utt: np.array(matrix) for utt, matrix in kaldiio.load_scp(str(path / "feats.scp")).items()}


def voiced(path: Path) -> dict[str, np.ndarray]:
    return {utt: np.array(vad) == 1 for utt, vad in kaldiio.load_scp(str(path / "vad.scp")).items()}


def every(frames: FrameSet) -> np.ndarray:
    return frames.batch(torch.arange(len(frames))).numpy()


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


@pytest.mark.parametrize("step", [1, 2, 5, 100])
def test_subsampling_takes_every_nth_voiced_frame_of_an_utterance(data: Path, step: int) -> None:
    config = FramesConfig(context=1, subsampling=step)
    feats, vad = features(data), voiced(data)
    expected = np.concatenate([loops(feats[utt], 1)[vad[utt]][::step] for utt in sorted(UTTS)])
    assert (every(load_frames(DataDir(data), config, subsample=True)) == expected).all()
    assert len(load_frames(DataDir(data), config)) == 4 * 24  # only where it is asked for


# Non-speech


def write_vad(path: Path, decisions: dict[str, list[int]]) -> None:
    with ArkWriter(path / "vad.ark", path / "vad.scp") as write:
        for utt in sorted(decisions):
            write(utt, np.array(decisions[utt], np.float32))


@pytest.mark.parametrize("context", [0, 1, 4])
def test_non_speech_frames_have_no_voiced_frame_in_their_context(data: Path, context: int) -> None:
    generator = np.random.default_rng(5)
    vad = {utt: np.repeat(generator.integers(0, 2, 5), 6).tolist() for utt in UTTS}
    vad["b-1"] = [1] * 30
    write_vad(data, vad)
    frames = load_frames(DataDir(data), FramesConfig(context=context), select="nonspeech")
    feats, expected, owners = features(data), [], []
    for utt in sorted(UTTS):
        silent = [not any(vad[utt][max(0, t - context) : t + context + 1]) for t in range(30)]
        expected.append(loops(feats[utt], context)[silent])
        owners += [utt] * sum(silent)
    assert (every(frames) == np.concatenate(expected)).all() and len(frames) > 20
    assert frames.utts == ["a-1", "a-2", "c-1"]  # all of b-1 is speech
    assert [frames.utts[n] for n in frames.utt_of] == owners
    assert frames.languages == ["en", "en", "es"] and frames.speakers == ["a", "a", "c"]


def test_speech_and_non_speech_without_context_are_all_frames(data: Path) -> None:
    config = FramesConfig(context=0)
    speech, silence = load_frames(DataDir(data), config), load_frames(DataDir(data), config, select="nonspeech")
    both = np.sort(np.concatenate([speech.index.numpy(), silence.index.numpy()]))
    assert both.tolist() == list(range(4 * 30))


def test_non_speech_is_normalized_as_the_model_knows_it(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=0, cmvn="utterance"), select="nonspeech")
    x, vad = features(data)["a-1"].astype(np.float64), voiced(data)["a-1"]
    assert every(frames)[:6] == pytest.approx((x - x.mean(0))[~vad], abs=1e-5)


def test_a_set_without_non_speech_says_so(data: Path) -> None:
    write_vad(data, {utt: [1] * 30 for utt in UTTS})
    with pytest.raises(NoFrames, match="data: no utterance has nonspeech frames"):
        load_frames(DataDir(data), FramesConfig(), select="nonspeech")


def test_only_these_utterances(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig(), utts=["c-1", "a-2"])
    assert frames.utts == ["a-2", "c-1"]
    assert (every(frames) == every(load_frames(DataDir(data), FramesConfig()))[[*range(24, 48), *range(72, 96)]]).all()


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


def test_ranges_by_hand() -> None:
    assert ranges(np.array([5, 0, 9]), np.array([3, 2, 1])).tolist() == [5, 6, 7, 0, 1, 9]
    assert ranges(np.array([4, 7, 2]), np.array([0, 2, 0])).tolist() == [7, 8]


def test_only_some_non_speech_utterances(data: Path) -> None:
    write_vad(data, {utt: [int(utt == "b-1")] * 15 + [1] * 15 for utt in UTTS})
    chosen = load_frames(DataDir(data), FramesConfig(), select="nonspeech", utts=["c-1", "b-1", "a-2"])
    assert chosen.utts == ["a-2", "c-1"] and chosen.languages == ["en", "es"]
    assert chosen.utt_of.tolist() == [0] * 14 + [1] * 14
    assert (every(chosen) == np.concatenate([loops(features(data)[utt], 1)[:14] for utt in ("a-2", "c-1")])).all()
    with pytest.raises(NoFrames, match="no utterance has nonspeech frames"):
        load_frames(DataDir(data), FramesConfig(), select="nonspeech", utts=["b-1"])
    refused(data, FramesConfig(), r"feats.scp: no utterance 'x'; run stage 2 again", select="nonspeech", utts=["x"])


# Normalization


def normalized(x: np.ndarray, over: np.ndarray, norm_vars: bool) -> np.ndarray:
    return (x - over.mean(0)) / (over.std(0) if norm_vars else 1)


@pytest.mark.parametrize("norm_vars", [False, True])
@pytest.mark.parametrize("cmvn", ["none", "utterance", "speaker", "global"])
def test_cmvn(data: Path, cmvn: str, norm_vars: bool) -> None:
    feats = {utt: x.astype(np.float64) for utt, x in features(data).items()}
    speakers: dict[str, list[np.ndarray]] = {}
    for utt, x in feats.items():
        speakers.setdefault(utt[0], []).append(x)
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
        for speaker, parts in speakers.items():
            write(speaker, sum(map(cmvn_stats, parts)))
    over = {
        "utterance": lambda utt: feats[utt],
        "speaker": lambda utt: np.concatenate(speakers[utt[0]]),
        "global": lambda utt: np.concatenate(list(feats.values())),
    }
    expected = np.concatenate(
        [x if cmvn == "none" else normalized(x, over[cmvn](utt), norm_vars) for utt, x in sorted(feats.items())]
    )
    config = FramesConfig(context=0, vad=False, cmvn=cmvn, norm_vars=norm_vars)
    frames = load_frames(DataDir(data), config, global_cmvn(DataDir(data)) if cmvn == "global" else None)
    assert frames.feats.dtype == torch.float32
    assert every(frames) == pytest.approx(expected, abs=1e-5)


def test_normalization_is_over_all_frames_not_the_voiced_ones(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=0, cmvn="utterance"))
    x, vad = features(data)["a-1"].astype(np.float64), voiced(data)["a-1"]
    assert every(frames)[:24] == pytest.approx((x - x.mean(0))[vad], abs=1e-5)


def test_cmvn_stats_have_kaldis_layout() -> None:
    stats = cmvn_stats(np.array([[1, 2], [3, 5]], np.float32))
    assert stats.dtype == np.float64 and stats.tolist() == [[4, 7, 2], [10, 29, 0]]


def test_global_statistics_are_those_given(data: Path) -> None:
    """A test set is normalized with the training set's statistics."""
    stats = np.array([[10.0, 20, 30, 10], [50, 80, 130, 0]])  # means 1 2 3, variances 4 4 4
    config = FramesConfig(context=0, vad=False, cmvn="global", norm_vars=True)
    expected = np.concatenate([(features(data)[utt] - [1, 2, 3]) / 2 for utt in sorted(UTTS)])
    assert every(load_frames(DataDir(data), config, stats)) == pytest.approx(expected, abs=1e-6)


def test_a_constant_dimension_stays_finite() -> None:
    x = np.ones((5, 1), np.float32)
    assert apply_cmvn(x, *shift_and_scale(cmvn_stats(x), norm_vars=True)).tolist() == [[0.0]] * 5


@pytest.mark.parametrize("batch_size", [7, 65536])
def test_moments(data: Path, batch_size: int) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=1))
    mean, std = moments_of(frames, batch_size)
    assert mean.numpy() == pytest.approx(every(frames).astype(np.float64).mean(0), abs=1e-6)
    assert std.numpy() == pytest.approx(every(frames).astype(np.float64).std(0), abs=1e-6)


# What is refused


def refused(path: Path, config: FramesConfig, match: str, **options: object) -> None:
    """load_frames says so, and touches none of the user's files."""
    before = users_files(path)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        load_frames(DataDir(path), config, **options)
    assert users_files(path) == before
    assert not list(path.glob("packed/.*.tmp"))


def users_files(path: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(path).items() if not name.startswith("packed/")}


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
    refused(data, config, rf"data/{missing}: no such file; make it with run.sh --stage")


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
        global_cmvn(DataDir(data))


@pytest.mark.parametrize("cmvn", ["speaker", "global"])
def test_statistics_of_another_dimension(data: Path, cmvn: str) -> None:
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
        for speaker in "abc":
            write(speaker, cmvn_stats(np.ones((30, 5))))
    stats = cmvn_stats(np.ones((30, 5))) if cmvn == "global" else None
    config = FramesConfig(cmvn=cmvn, vad=False)
    message = r"data/feats.scp: utterance a-1: 3 dimensions but .*statistics .* have 5; extract"
    refused(data, config, message, global_stats=stats)


def test_damaged_statistics(data: Path) -> None:
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
        for speaker in "abc":
            write(speaker, np.zeros((2, 4)))
    refused(data, FramesConfig(cmvn="speaker"), r"data/cmvn.scp: speaker a: no statistics of shape .*; run stage 2")


def test_nan(data: Path) -> None:
    matrices = {utt: np.ones((30, 3), np.float32) for utt in sorted(UTTS)}
    matrices["a-2"][7, 1] = np.nan
    kaldiio.save_ark(str(data / "feats.ark"), matrices, scp=str(data / "feats.scp"))
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
