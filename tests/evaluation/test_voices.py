"""Accuracy and bits per voice, against hand-computed cases, and means over voices, against all resamples."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from calibrating import write_calibrated_set

from flowlid.evaluation.voices import Voice, averaged, mean_over_voices, read_voices, wrong_of_sure

PROB = {"a-1": (0.5, 0.5), "a-2": (0.75, 0.25), "b-1": (0.0625, 0.9375), "c-1": (0.875, 0.125), "c-2": (1.0, 0.0)}
# flat probabilities say nothing of a-1's decision: the log-likelihoods do
LOGLIK = {"a-1": (-9.0, -8.0), "a-2": (-8.0, -9.0), "b-1": (-9.0, -8.0), "c-1": (-8.0, -9.0), "c-2": (-8.0, -9.0)}
LANGUAGE = {"a": "en", "b": "es", "c": "es"}


def scored(root: Path) -> tuple[Path, Path]:
    exp, data = root / "exp", root / "data"
    write_calibrated_set(exp, "test", {utt: LANGUAGE[utt[0]] for utt in PROB}, PROB, LOGLIK)
    (data / "test").mkdir(parents=True)
    (data / "test/utt2spk").write_text("".join(f"{utt} {utt[0]}\n" for utt in PROB))
    return exp, data


def test_accuracy_and_bits_of_each_voice(tmp_path: Path) -> None:
    found, classes = read_voices(*scored(tmp_path), "test")
    assert classes == ["en", "es"]
    assert [(v.language, v.speaker, v.utterances) for v in found] == [("en", "a", 2), ("es", "b", 1), ("es", "c", 2)]
    assert [v.accuracy for v in found] == [0.5, 1.0, 0.0]
    # -log2 of 1/2 and 3/4; of 15/16; of 1/8 and of 0, for which 1e-6 stands
    expected = [(1 + np.log2(4 / 3)) / 2, np.log2(16 / 15), (3 + np.log2(1e6)) / 2]
    assert [v.bits for v in found] == pytest.approx(expected)
    assert [(v.sure, v.sure_wrong) for v in found] == [(0.0, 0.0), (1.0, 0.0), (0.5, 0.5)]


def test_offsets_of_the_calibration_decide_too(tmp_path: Path) -> None:
    exp, data = scored(tmp_path)
    path = exp / "calibration/calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"offsets": [0.75, -0.75]}))
    assert [v.accuracy for v in read_voices(exp, data, "test")[0]] == [1.0, 0.0, 0.0]


def test_what_is_missing_or_of_another_language_is_named(tmp_path: Path) -> None:
    exp, data = scored(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"calibrated_dev/utt2prob: no such file; run stage 4"):
        read_voices(exp, data, "dev")
    (data / "test/utt2spk").write_text("a-1 a\n")
    with pytest.raises(ValueError, match=r"not of the utterances of .*--overwrite true"):
        read_voices(exp, data, "test")
    exp, data = scored(tmp_path / "more")
    (exp / "calibrated_test/result.json").write_text(json.dumps({"classes": ["en", "it"]}))
    with pytest.raises(ValueError, match="test has es, which is none of the classes en it"):
        read_voices(exp, data, "test")


def test_several_models_of_a_voice_are_averaged() -> None:
    one, other = Voice("es", "b", 4, 0.5, 1.0, 0.5, 0.25), Voice("es", "b", 4, 1.0, 4.0, 0.25, 0.0)
    alone = Voice("en", "a", 9, 0.25, 2.0, 0.5, 0.5)
    assert averaged([one, alone, other]) == [alone, Voice("es", "b", 4, 0.75, 2.5, 0.375, 0.125)]


def test_mean_over_voices_weighs_languages_alike_and_draws_voices_within_them() -> None:
    values = {"es": [0.1, 0.6, 0.8], "fr": [0.2, 1.0], "it": [0.4]}
    found = mean_over_voices(values)
    assert found.share == pytest.approx((0.5 + 0.6 + 0.4) / 3)
    assert (found.unit, found.units) == ("voices", 6)
    every = [np.mean([np.mean(es), np.mean(fr), 0.4]) for es in itertools.product(values["es"], repeat=3)
             for fr in itertools.product(values["fr"], repeat=2)]  # fmt: skip
    low, high = np.percentile(every, (2.5, 97.5))
    assert found.low == pytest.approx(low, abs=0.02) and found.high == pytest.approx(high, abs=0.02)


def test_what_is_wrong_of_what_is_sure_is_a_ratio_of_means_over_voices() -> None:
    shares = {"es": [(0.2, 0.1), (0.8, 0.1)], "fr": [(0.4, 0.4)]}  # sure, and of these wrong
    voices = [Voice(name, str(n), 9, 0.5, 1.0, *own) for name, each in shares.items() for n, own in enumerate(each)]
    found = wrong_of_sure(voices)
    assert found is not None
    assert found.share == pytest.approx((0.1 + 0.4) / (0.5 + 0.4))
    # the resamples of Spanish are twice the first voice, one of each, or twice the second
    assert (found.low, found.high) == pytest.approx((0.5 / 1.2, 0.5 / 0.6))
    assert (found.unit, found.units) == ("voices", 3)
    alone = wrong_of_sure([voices[0], voices[2]])
    assert alone is not None and (alone.share, alone.low, alone.high) == (pytest.approx(0.5 / 0.6), None, None)
    assert wrong_of_sure([Voice("es", "a", 9, 0.5, 2.0, 0.0, 0.0)] * 2) is None


def test_one_voice_per_language_has_no_interval_and_none_is_an_error() -> None:
    found = mean_over_voices({"es": [0.5], "fr": [0.75]})
    assert (found.share, found.low, found.high) == (0.625, None, None)
    for values in ({}, {"es": [0.5], "fr": []}):
        with pytest.raises(ValueError, match="at least one language, and a voice of each"):
            mean_over_voices(values)
