"""A calibration that is stored, and the costs that are reported with it."""

import math
from pathlib import Path

import numpy as np
import pytest

from flowlid.evaluation.calibrated import assess, fit_on, no_calibration, read_calibration, write_calibrated
from flowlid.evaluation.calibration import Calibration, bits
from flowlid.evaluation.scored import ScoredSet
from flowlid.files import read_json, write_json
from flowlid.kaldi.tables import read_table


def scored_set(
    languages: list[str], mean_loglik: object, frames: list[int], classes: tuple = ("en", "es")
) -> ScoredSet:
    utts = [f"u{number:03}" for number in range(len(languages))]
    latents = np.zeros((len(utts), 2), np.float32)
    return ScoredSet(utts, languages, list(classes), np.array(frames), np.array(mean_loglik, float), latents)


def overconfident(count: int = 60) -> tuple[ScoredSet, list[str]]:
    """Two languages of three speakers each, whose ratios are right in sign nine times out of ten, and far too large."""
    generator = np.random.default_rng(1)
    languages = ["en", "es"] * (count // 2)
    llr = np.where(np.array(languages) == "en", 0.1, -0.1) + generator.normal(0, 0.08, count)
    speakers = [f"{language}{number % 3}" for number, language in enumerate(languages)]
    return scored_set(languages, np.stack([llr, 0 * llr], 1) - 90, [300] * count), speakers


def test_costs_fall_to_what_the_set_allows(tmp_path: Path) -> None:
    scored, speakers = overconfident()
    stored = fit_on(scored, {"en0", "es0"}, speakers)
    assert (stored["utterances"], stored["speakers"], stored["new_speakers"]) == (60, 6, 4)
    write_json(tmp_path / "calibration.json", stored)
    result = write_calibrated(tmp_path, "test", scored, read_calibration(tmp_path / "calibration.json"), speakers)
    assert result["bits_raw"] > 1 > result["bits"]["share"] >= result["bits_min"] - 1e-9
    assert result["bits"]["share"] < 1.1 * result["bits_min"]
    assert result["bits"]["low"] < result["bits"]["share"] < result["bits"]["high"]
    assert (result["bits"]["unit"], result["bits"]["units"]) == ("speakers", 6)
    pair = result["cllr"]["en es"]
    assert pair["raw"] == pytest.approx(result["bits_raw"])  # two classes at flat priors: the same cost
    assert pair["calibrated"] == pytest.approx(result["bits"]["share"])
    assert pair["min"] <= pair["calibrated"]
    assert all(cost["min"] <= cost["actual"] for cost in result["cost"].values())
    assert read_json(tmp_path / "result.json") == result


def test_probabilities_are_written(tmp_path: Path) -> None:
    scored = scored_set(["en", "es"], [[-1.0, -2.0], [-3.0, -2.5]], [100, 400])
    write_calibrated(tmp_path, "test", scored, Calibration(2.0, 0.5, (0.1, -0.1)), ["a", "b"])
    found = {
        utt: [float(p) for p in row.strip("[] ").split()] for utt, row in read_table(tmp_path / "utt2prob").items()
    }
    # 2 (T / 100)^0.5 s + b: ratios 2 x 1 x 1 + 0.2 and 2 x 2 x -0.5 + 0.2
    for utt, ratio in (("u000", 2.2), ("u001", -1.8)):
        assert found[utt] == pytest.approx([1 / (1 + math.exp(-ratio)), 1 / (1 + math.exp(ratio))], abs=1e-6)


def test_unseen_languages_count_only_among_the_confident() -> None:
    scored = scored_set(["en", "it", "es", "it"], [[0, -1], [0, -9], [-1, 0], [0, 0]], [100] * 4)
    loglik = scored.mean_loglik * 5
    result = assess(scored, loglik, ["a", "b", "c", "d"])
    assert result["bits"]["share"] == pytest.approx(bits(loglik[[0, 2]], [0, 1]))
    assert result["confident"] == {"utterances": 3, "wrong": pytest.approx(1 / 3)}
    nothing = assess(scored_set(["it"], [[0, -1]], [100]), np.array([[0.0, -1.0]]), ["a"])
    assert nothing["bits"] is nothing["cost"] is nothing["accuracy"] is None


def test_a_set_that_lacks_a_language_has_no_minimum_and_no_detection_cost() -> None:
    result = assess(scored_set(["en", "en"], [[0, -1], [-1, 0]], [100] * 2), np.array([[1.0, 0], [0, 1]]), ["a", "b"])
    assert result["bits_min"] is result["cost"] is None and result["cllr"] == {}
    assert result["accuracy"] == 0.5


def test_why_there_is_none() -> None:
    scored, _ = overconfident()
    assert no_calibration(scored) is None
    assert no_calibration(None) == "the experiment has no dev set"
    assert no_calibration(scored_set(["en"], [[0]], [100], ("en+es",))) == "a normal flow decides nothing"
    few = scored_set(["en", "it"], [[0, -1], [0, -1]], [100] * 2)
    assert no_calibration(few) == "the dev set has no utterance of es"


@pytest.mark.parametrize("content", [{}, [], {"scale": "x", "power": 0, "offsets": []}, {"scale": 1, "power": 1}])
def test_a_damaged_calibration_is_named(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "calibration.json", content)
    with pytest.raises(ValueError, match=r"calibration\.json: no calibration .* run stage 4 again"):
        read_calibration(tmp_path / "calibration.json")
