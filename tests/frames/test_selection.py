"""Which frames are selected, against loops: voiced ones, non-speech, every n-th, of some utterances or of all."""

from pathlib import Path

import numpy as np
import pytest
from splicing import UTTS, every, features, loops, voiced, write_vad

from flowlid.config import FramesConfig
from flowlid.frames import selection
from flowlid.frames.frameset import NoFrames, load_frames
from flowlid.frames.selection import ranges
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
