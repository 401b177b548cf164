"""Normalization of frames as they are loaded: bit for bit as if each utterance were normalized before it is spliced."""

from pathlib import Path

import numpy as np
import pytest
from splicing import UTTS, every, features, loops, refused, voiced
from tools import feature_dir

from flowlid.config import FramesConfig
from flowlid.frames import normalization
from flowlid.frames.frameset import load_frames
from flowlid.frames.normalization import global_cmvn
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir


def statistics(data: Path, kind: str) -> dict[str, np.ndarray]:
    """(2, F + 1) statistics of each utterance's own group of utterances, and cmvn.scp with those of speakers."""
    own = {utt: cmvn_stats(x) for utt, x in sorted(features(data).items())}
    group = {"utterance": lambda utt: utt, "speaker": lambda utt: utt[0], "global": lambda utt: ""}[kind]
    sums: dict[str, np.ndarray] = {}
    for utt, stats in own.items():
        sums[group(utt)] = sums.get(group(utt), 0) + stats
    if kind == "speaker":
        with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
            for speaker, stats in sums.items():
                sums[speaker] = stats.astype(np.float32).astype(np.float64)  # matrices are read as float32
                write(speaker, sums[speaker])
    return {utt: sums[group(utt)] for utt in own}


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("norm_vars", [False, True])
@pytest.mark.parametrize("cmvn", ["none", "utterance", "speaker", "global"])
def test_frames_are_spliced_from_normalized_utterances(
    cmvn: str, norm_vars: bool, at_once: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed here in float64 and rounded once, as Kaldi's apply-cmvn does."""
    monkeypatch.setattr(normalization, "_UTTERANCES", at_once)
    monkeypatch.setattr("flowlid.frames.frameset._ROWS", 7 * at_once)
    feats, parts = features(data), []
    stats = {} if cmvn == "none" else statistics(data, cmvn)
    for utt in sorted(UTTS):
        x = feats[utt]
        if stats:
            sums, squares, count = stats[utt][0, :-1], stats[utt][1, :-1], stats[utt][0, -1]
            deviation = np.sqrt(squares / count - (sums / count) ** 2) if norm_vars else 1.0
            x = ((x.astype(np.float64) - sums / count) * (1.0 / deviation)).astype(np.float32)
        parts.append(loops(x, 2)[voiced(data)[utt]])
    config = FramesConfig(context=2, cmvn=cmvn, norm_vars=norm_vars)
    frames = load_frames(DataDir(data), config, global_cmvn(DataDir(data), config) if cmvn == "global" else None)
    assert every(frames).tobytes() == np.concatenate(parts).tobytes()
    some = load_frames(
        DataDir(data), config, global_cmvn(DataDir(data), config) if cmvn == "global" else None, utts=["b-1"]
    )
    assert every(some).tobytes() == parts[2].tobytes()


def test_normalization_by_hand(tmp_path: Path) -> None:
    data = feature_dir(tmp_path, {"a-1": "en", "a-2": "en"}, dim=1, frames=2)
    with ArkWriter(data / "feats.ark", data / "feats.scp") as write:
        write("a-1", np.array([[1.0], [5.0]], np.float32))
        write("a-2", np.array([[-2.0], [-1.0]], np.float32))

    def found(norm_vars: bool) -> list[float]:
        config = FramesConfig(context=0, vad=False, cmvn="utterance", norm_vars=norm_vars)
        return every(load_frames(DataDir(data), config)).ravel().tolist()

    assert found(False) == [-2.0, 2.0, -0.5, 0.5] and found(True) == [-1.0, 1.0, -1.0, 1.0]


def test_normalization_is_over_all_frames_not_the_voiced_ones(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=0, cmvn="utterance"))
    x, vad = features(data)["a-1"].astype(np.float64), voiced(data)["a-1"]
    assert every(frames)[:24] == pytest.approx((x - x.mean(0))[vad], abs=1e-5)


def test_non_speech_is_normalized_as_the_model_knows_it(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig(context=0, cmvn="utterance"), select="nonspeech")
    x, vad = features(data)["a-1"].astype(np.float64), voiced(data)["a-1"]
    assert every(frames)[:6] == pytest.approx((x - x.mean(0))[~vad], abs=1e-5)


def test_global_statistics_are_those_given(data: Path) -> None:
    """A test set is normalized with the training set's statistics."""
    stats = np.array([[10.0, 20, 30, 10], [50, 80, 130, 0]])  # means 1 2 3, variances 4 4 4
    config = FramesConfig(context=0, vad=False, cmvn="global", norm_vars=True)
    expected = np.concatenate([(features(data)[utt] - [1, 2, 3]) / 2 for utt in sorted(UTTS)])
    assert every(load_frames(DataDir(data), config, stats)) == pytest.approx(expected, abs=1e-6)


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
