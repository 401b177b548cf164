"""Accuracy and bits per voice, against hand-computed cases, and means over voices, against all resamples."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from flowlid.evaluation.voices import Voice, averaged, mean_over_voices, read_voices

PROB = {"a-1": (0.5, 0.5), "a-2": (0.75, 0.25), "b-1": (0.25, 0.75), "c-1": (0.875, 0.125), "c-2": (1.0, 0.0)}
LANGUAGE = {"a": "en", "b": "es", "c": "es"}


def scored(root: Path, prob: Mapping[str, tuple[float, ...]] = PROB) -> tuple[Path, Path]:
    exp, data = root / "exp", root / "data"
    for place in (exp / "calibrated_test", exp / "score_test", data / "test"):
        place.mkdir(parents=True)
    (exp / "calibrated_test/result.json").write_text(json.dumps({"classes": ["en", "es"]}))
    rows = [f"{utt} [ {' '.join(f'{value:.6f}' for value in row)} ]\n" for utt, row in prob.items()]
    (exp / "calibrated_test/utt2prob").write_text("".join(rows))
    (exp / "score_test/utt2lang").write_text("".join(f"{utt} {LANGUAGE[utt[0]]}\n" for utt in prob))
    (data / "test/utt2spk").write_text("".join(f"{utt} {utt[0]}\n" for utt in prob))
    return exp, data


def test_accuracy_and_bits_of_each_voice(tmp_path: Path) -> None:
    found, classes = read_voices(*scored(tmp_path), "test")
    assert classes == ["en", "es"]
    assert [(v.language, v.speaker, v.utterances) for v in found] == [("en", "a", 2), ("es", "b", 1), ("es", "c", 2)]
    assert [v.accuracy for v in found] == [1.0, 1.0, 0.0]
    # -log2 of 1/2 and 3/4; of 3/4; of 1/8 and of nothing, which six decimals hold as less than 1e-6
    expected = [(1 + np.log2(4 / 3)) / 2, np.log2(4 / 3), (3 + np.log2(1e6)) / 2]
    assert [v.bits for v in found] == pytest.approx(expected)


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
    runs = [Voice("es", "b", 4, 0.5, 1.0), Voice("en", "a", 9, 0.25, 2.0), Voice("es", "b", 4, 1.0, 4.0)]
    assert averaged(runs) == [Voice("en", "a", 9, 0.25, 2.0), Voice("es", "b", 4, 0.75, 2.5)]


def test_mean_over_voices_weighs_languages_alike_and_draws_voices_within_them() -> None:
    values = {"es": [0.1, 0.6, 0.8], "fr": [0.2, 1.0], "it": [0.4]}
    found = mean_over_voices(values)
    assert found.share == pytest.approx((0.5 + 0.6 + 0.4) / 3)
    assert (found.unit, found.units) == ("voices", 6)
    every = [np.mean([np.mean(es), np.mean(fr), 0.4]) for es in itertools.product(values["es"], repeat=3)
             for fr in itertools.product(values["fr"], repeat=2)]  # fmt: skip
    low, high = np.percentile(every, (2.5, 97.5))
    assert found.low == pytest.approx(low, abs=0.02) and found.high == pytest.approx(high, abs=0.02)


def test_one_voice_per_language_has_no_interval_and_none_is_an_error() -> None:
    found = mean_over_voices({"es": [0.5], "fr": [0.75]})
    assert (found.share, found.low, found.high) == (0.625, None, None)
    for values in ({}, {"es": [0.5], "fr": []}):
        with pytest.raises(ValueError, match="at least one language, and a voice of each"):
            mean_over_voices(values)
