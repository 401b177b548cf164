"""Which frames are selected, against loops: voiced ones, non-speech, every n-th, of some utterances or of all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from splicing import UTTS, every, features, loops, voiced, write_vad

from flowlid.config import FramesConfig
from flowlid.frames import selection
from flowlid.frames.frameset import FrameSet, NoFrames, load_frames, moments_of
from flowlid.frames.selection import limit_classes, ranges
from flowlid.kaldi.datadir import DataDir


@pytest.fixture(params=[1, 3, 1000])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many utterances are selected from at once."""
    monkeypatch.setattr(selection, "_UTTERANCES", request.param)


@pytest.mark.parametrize("step", [1, 2, 5, 100])
def test_subsampling_takes_every_nth_voiced_frame_of_an_utterance(data: Path, step: int, at_once: None) -> None:
    config = FramesConfig(context=1, subsampling=step)
    feats, vad = features(data), voiced(data)
    expected = np.concatenate([loops(feats[utt], 1)[vad[utt]][::step] for utt in sorted(UTTS)])
    assert (every(load_frames(DataDir(data), config, subsample=True)) == expected).all()
    assert len(load_frames(DataDir(data), config)) == 4 * 24  # only where it is asked for


@pytest.mark.parametrize("context", [0, 1, 4])
def test_non_speech_frames_have_no_voiced_frame_in_their_context(data: Path, context: int, at_once: None) -> None:
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
    config = FramesConfig(context=context, subsampling=3)
    third = load_frames(DataDir(data), config, select="nonspeech", subsample=True)
    assert (every(third) == np.concatenate([x[::3] for x in expected if len(x)])).all()


def test_an_utterance_without_speech_is_non_speech_as_a_whole(data: Path, at_once: None) -> None:
    write_vad(data, {utt: [int(utt not in ("a-2", "b-1"))] * 30 for utt in UTTS})
    frames = load_frames(DataDir(data), FramesConfig(context=2), select="nonspeech")
    assert frames.utts == ["a-2", "b-1"] and frames.index.tolist() == list(range(30, 90))
    assert frames.first.tolist() == [30, 60] and frames.last.tolist() == [59, 89]
    write_vad(data, {utt: [0] * 30 for utt in UTTS})
    assert load_frames(DataDir(data), FramesConfig(), select="nonspeech").index.tolist() == list(range(120))


def test_all_frames_beside_a_vad(data: Path, at_once: None) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=1, vad=False, subsampling=4), subsample=True)
    assert (every(frames) == np.concatenate([loops(features(data)[utt], 1)[::4] for utt in sorted(UTTS)])).all()
    assert frames.counts.tolist() == [8] * 4


def test_speech_and_non_speech_without_context_are_all_frames(data: Path) -> None:
    config = FramesConfig(context=0)
    speech, silence = load_frames(DataDir(data), config), load_frames(DataDir(data), config, select="nonspeech")
    both = np.sort(np.concatenate([speech.index.numpy(), silence.index.numpy()]))
    assert both.tolist() == list(range(4 * 30))


def test_a_set_without_non_speech_says_so(data: Path) -> None:
    write_vad(data, {utt: [1] * 30 for utt in UTTS})
    with pytest.raises(NoFrames, match="data: no utterance has nonspeech frames"):
        load_frames(DataDir(data), FramesConfig(), select="nonspeech")


def test_only_these_utterances(data: Path, at_once: None) -> None:
    frames = load_frames(DataDir(data), FramesConfig(), utts=["c-1", "a-2"])
    assert frames.utts == ["a-2", "c-1"]
    assert (every(frames) == every(load_frames(DataDir(data), FramesConfig()))[[*range(24, 48), *range(72, 96)]]).all()


def test_ranges_by_hand() -> None:
    assert ranges(np.array([5, 0, 9]), np.array([3, 2, 1])).tolist() == [5, 6, 7, 0, 1, 9]
    assert ranges(np.array([4, 7, 2]), np.array([0, 2, 0])).tolist() == [7, 8]


def test_only_some_non_speech_utterances(data: Path, at_once: None) -> None:
    write_vad(data, {utt: [int(utt == "b-1")] * 15 + [1] * 15 for utt in UTTS})
    chosen = load_frames(DataDir(data), FramesConfig(), select="nonspeech", utts=["c-1", "b-1", "a-2"])
    assert chosen.utts == ["a-2", "c-1"] and chosen.languages == ["en", "es"]
    assert chosen.utt_of.tolist() == [0] * 14 + [1] * 14
    assert (every(chosen) == np.concatenate([loops(features(data)[utt], 1)[:14] for utt in ("a-2", "c-1")])).all()
    with pytest.raises(NoFrames, match="no utterance has nonspeech frames"):
        load_frames(DataDir(data), FramesConfig(), select="nonspeech", utts=["b-1"])
    with pytest.raises(ValueError, match=r"feats.scp: no utterance 'x'; run stage 2 again"):
        load_frames(DataDir(data), FramesConfig(), utts=["a-1", "x"])
    with pytest.raises(NoFrames):
        load_frames(DataDir(data), FramesConfig(), utts=[])


# So many of each class


def limited(data: Path, most: int | None, seed: int = 1, step: int = 1) -> FrameSet:
    config = FramesConfig(per_class=most, subsampling=step)
    return load_frames(DataDir(data), config, subsample=True, seed=seed)


@pytest.mark.parametrize("most", [1, 7, 30, 47])
def test_at_most_so_many_frames_of_each_class_and_their_true_context(data: Path, most: int, at_once: None) -> None:
    frames, whole = limited(data, most), load_frames(DataDir(data), FramesConfig())
    languages = np.array(frames.languages)[frames.utt_of.numpy()]
    assert [(languages == name).sum() for name in ("en", "es")] == [most, most]
    counts = frames.counts.numpy()
    assert counts.max() - counts.min() <= 1 and counts.min() > 0  # all utterances are of equal length
    assert frames.index.unique().tolist() == frames.index.tolist()
    where = np.searchsorted(whole.index.numpy(), frames.index.numpy())
    assert (whole.index.numpy()[where] == frames.index.numpy()).all()
    assert (every(frames) == every(whole)[where]).all()
    assert [frames.utts[n] for n in frames.utt_of] == [whole.utts[n] for n in whole.utt_of[where]]
    assert frames.speakers == [{"a-1": "a", "a-2": "a", "b-1": "b", "c-1": "c"}[utt] for utt in frames.utts]
    mean, std = moments_of(frames)  # the statistics of training are of the chosen frames
    assert mean.numpy() == pytest.approx(every(frames).mean(0), abs=1e-5)
    assert std.numpy() == pytest.approx(every(frames).std(0), abs=1e-4)


def test_a_limit_follows_the_seed_is_of_training_alone_and_changes_nothing_where_there_are_fewer(data: Path) -> None:
    first, again, other = limited(data, 20), limited(data, 20), limited(data, 20, seed=2)
    assert first.digest == again.digest != other.digest and first.index.tolist() == again.index.tolist()
    assert first.index.tolist() != other.index.tolist()
    whole = load_frames(DataDir(data), FramesConfig())
    assert load_frames(DataDir(data), FramesConfig(per_class=20)).digest == whole.digest  # as for dev and test
    assert limited(data, 48).index.tolist() == whole.index.tolist()
    assert len(limited(data, 10, step=3)) == 20 and len(limited(data, 16, step=3)) == 32 == len(
        limited(data, 9**9, step=3)
    )


def test_short_utterances_give_all_and_long_ones_alike() -> None:
    counts = np.array([1, 50, 3, 9, 40, 40, 2])
    utt_of, languages = np.repeat(np.arange(7), counts), ["a", "a", "a", "a", "b", "a", "b"]
    kept, rows, numbers = limit_classes(np.arange(145) + 1000, utt_of, languages, 30, seed=3)
    taken = np.bincount(numbers, minlength=7)
    assert kept.tolist() == list(range(7))
    assert sorted(taken[[1, 3, 5]].tolist()) == [8, 9, 9]  # 30 = 1 + 3 + 26
    assert taken[[0, 2, 4, 6]].tolist() == [1, 3, 28, 2]
    assert (utt_of[rows - 1000] == kept[numbers]).all() and (np.diff(rows) > 0).all()
    gaps = np.diff(rows[numbers == 1])
    assert gaps.min() >= 50 // taken[1] and gaps.max() <= -(-50 // taken[1])  # evenly over the utterance


def test_each_frame_is_as_likely_as_another() -> None:
    """Of utterances of 5 and 7 frames three are drawn: each frame by chance of 1.5/5 and 1.5/7."""
    utt_of = np.repeat([0, 1], [5, 7])
    drawn = [limit_classes(np.arange(12), utt_of, ["a", "a"], 3, seed)[1] for seed in range(2000)]
    shares = np.bincount(np.concatenate(drawn), minlength=12) / 2000
    assert shares == pytest.approx(np.repeat([0.3, 1.5 / 7], [5, 7]), abs=0.05)  # five standard errors


def test_only_what_was_chosen_is_read(data: Path) -> None:
    frames = limited(data, 2)
    block = frames.block(torch.arange(len(frames)))
    assert len(block) == 4 and len(block.feats) <= 4 * 3
