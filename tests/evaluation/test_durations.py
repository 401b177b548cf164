"""Accuracy against duration, against windows cut and decided one by one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tools import YAML, call, feature_dir

from flowlid.config import ModelConfig
from flowlid.evaluation.bootstrap import estimate_recall
from flowlid.evaluation.decisions import SetScores, WindowScores, class_numbers
from flowlid.evaluation.durations import DURATIONS, accuracy_by_duration, block_length, decision_statistics
from flowlid.evaluation.scoring import score_frames
from flowlid.files import read_json
from flowlid.flow.flow import build_flow
from flowlid.frames.frameset import FrameSet, moments_of
from flowlid.kaldi.datadir import read_table

CLASSES = ["en", "es"]


def test_a_block_is_the_nearest_number_of_frames() -> None:
    assert [block_length(shift) for shift in (0.01, 0.015, 1.9)] == [100, 67, 1]
    with pytest.raises(ValueError, match="a frame shift of 2 s is too long for windows of 1 s"):
        block_length(2.0)


def test_windows_are_put_together_within_an_utterance() -> None:
    loglik = np.arange(12.0).reshape(6, 2)
    joined = WindowScores(np.array([0, 0, 0, 2, 3, 3]), loglik).joined(2)
    assert joined.utt_of.tolist() == [0, 3]
    assert joined.loglik.tolist() == [[0 + 2, 1 + 3], [8 + 10, 9 + 11]]
    assert joined.joined(2).loglik.shape == (0, 2)


def test_rows_by_hand() -> None:
    # utterances of 25, 10, 9 and 20 frames, blocks of 10; the second one is of no class
    blocks = WindowScores(
        utt_of=np.array([0, 0, 1, 3, 3]), loglik=np.array([[0, -1], [-1, 0], [0, -1], [0, -2], [-3, -1]], float)
    )
    logp = np.array([[-1, -2], [0, -9], [-5, -4], [-3, -3.5]], float)
    frames = np.array([25, 10, 9, 20])
    scores = SetScores(frames, logp, np.zeros(4), np.zeros((4, 2)), blocks)
    rows = accuracy_by_duration(scores, np.array([0, -1, 1, 1]), list("abcd"), list("wxyz"), 10)
    assert rows[0] == {
        "seconds": 1, "frames": 10, "windows": 4, "utterances": 2, "remainders": 2, "frames_left_out": 5 + 9,
        "share": 0.5, "low": 0.5, "high": 0.5, "unit": "utterances", "units": 2,
    }  # fmt: skip
    whole = {
        key: rows[-1][key] for key in ("seconds", "frames", "windows", "utterances", "remainders", "frames_left_out")
    }
    assert whole == {
        "seconds": None, "frames": None, "windows": 3, "utterances": 3, "remainders": 0, "frames_left_out": 0,
    }  # fmt: skip
    assert rows[1]["share"] == 0.5  # 2 s: [-1, -1] is a tie, for the first class; [-3, -3] too
    assert rows[-1]["share"] == pytest.approx(2 / 3) and len(rows) == 6


@pytest.fixture(scope="module")
def frames(make_frames: Callable[..., FrameSet]) -> FrameSet:
    return make_frames(2, ("en", "es", "fr"), utterances=10, length=250)


@pytest.fixture(scope="module")
def scores(frames: FrameSet) -> SetScores:
    torch.manual_seed(1)
    flow = build_flow(ModelConfig(type="dnf", blocks=1, hidden=4, layers=1), 2, *moments_of(frames))
    with torch.no_grad():  # classes that are hard to tell apart: accuracies away from 0 and 1
        flow.base.means.copy_(0.05 * torch.randn(flow.base.means.shape))
    return score_frames(flow, frames, block=block_length(0.02))


def test_accuracies_are_those_of_windows_decided_one_by_one(frames: FrameSet, scores: SetScores) -> None:
    labels = class_numbers(frames.languages, CLASSES)
    rows = accuracy_by_duration(scores, labels, frames.speakers, frames.utts, block_length(0.02))
    assert [row["seconds"] for row in rows] == [*DURATIONS, None]
    assert [row["windows"] for row in rows] == [100, 40, 20, 20, 0, 20]
    assert [row["utterances"] for row in rows] == [20, 20, 20, 20, 0, 20]
    assert [row["remainders"] for row in rows] == [0, 20, 20, 0, 20, 0]
    assert [row["frames_left_out"] for row in rows] == [0, 20 * 50, 20 * 100, 0, 20 * 250, 0]
    for row in rows[:4]:
        windows = scores.blocks.joined(row["seconds"])
        trials = [
            (loglik.argmax() == labels[utt], frames.speakers[utt], frames.utts[utt])
            for loglik, utt in zip(windows.loglik, windows.utt_of, strict=True)
            if labels[utt] >= 0
        ]
        assert {key: row[key] for key in ("share", "low", "high", "unit", "units")} == estimate_recall(
            *zip(*trials, strict=True)
        ).to_dict()
    assert {rows[4][key] for key in ("share", "low", "high", "unit", "units")} == {None}  # no utterance lasts 10 s
    assert len({row["share"] for row in rows[:4]}) > 1 and 0 < rows[0]["share"] < 1
    assert (rows[0]["unit"], rows[0]["units"]) == ("speakers", 10)  # the 5 of the unseen language count not


def test_whole_utterances_are_the_reported_accuracy(frames: FrameSet, scores: SetScores) -> None:
    found = decision_statistics(scores, frames, CLASSES, block_length(0.02), decides=True)
    labels = class_numbers(frames.languages, CLASSES)
    seen = labels >= 0
    whole = found["durations"][-1]
    assert whole["share"] == pytest.approx((scores.loglik.argmax(1) == labels)[seen].mean())
    assert found["utt_accuracy_interval"] == {key: whole[key] for key in ("low", "high", "unit", "units")}
    assert [each["nats"] for each in found["margins"]] == [0.01, 0.1, 0.5, 1.0]


def test_a_set_of_unseen_languages_has_no_accuracy(frames: FrameSet, scores: SetScores) -> None:
    found = decision_statistics(scores, frames, ["zh", "ja"], block_length(0.02), decides=True)
    assert found["utt_accuracy_interval"] is None
    assert {row["share"] for row in found["durations"]} == {None}
    assert {row["windows"] for row in found["durations"]} == {0}
    assert {each["accuracy"] for each in found["margins"]} == {None}


def test_a_model_that_decides_nothing_is_sure_of_nothing(frames: FrameSet, scores: SetScores) -> None:
    assert set(decision_statistics(scores, frames, ["en+es"], block_length(0.02), decides=False).values()) == {None}


def test_the_program_writes_durations_ratios_and_languages(tmp_path: Path, one_thread: None) -> None:
    data, exp = tmp_path / "data", tmp_path / "exp"
    utts = {f"{name}{s}-{n}": name for name in CLASSES for s in range(3) for n in range(2)}
    feature_dir(data / "train", utts)
    feature_dir(data / "test", {**utts, "it0-0": "it"}, frames=100, seed=1)  # 80 of them are voiced
    (tmp_path / "tiny.yaml").write_text(YAML)
    assert call("train", tmp_path / "tiny.yaml", data, exp).code == 0
    (data / "test/frame_shift").write_text("0.04\n")
    assert call("score", exp, data, "test").code == 0
    result = read_json(exp / "score_test" / "result.json")
    assert [row["frames"] for row in result["durations"]] == [25, 50, 75, 125, 250, None]
    assert [row["windows"] for row in result["durations"]] == [36, 12, 12, 0, 0, 12]
    assert [row["frames_left_out"] for row in result["durations"]] == [60, 360, 60, 960, 960, 0]
    assert result["durations"][-1]["share"] == pytest.approx(result["utt_accuracy"])
    assert result["utt_accuracy_interval"]["units"] == 6 and len(result["margins"]) == 4
    assert read_table(exp / "score_test" / "utt2lang") == {**utts, "it0-0": "it"}
    loglik = read_table(exp / "score_test" / "utt2loglik")
    for utt, ratio in read_table(exp / "score_test" / "utt2llr").items():
        first, second = map(float, loglik[utt].strip("[] ").split())
        assert float(ratio) == pytest.approx(first - second, abs=2e-6)
    (data / "test/frame_shift").write_text("0\n")
    ended = call("score", exp, data, "test")
    assert ended.code == 1 and "test/frame_shift: '0' is not a number of seconds above 0" in ended.log
