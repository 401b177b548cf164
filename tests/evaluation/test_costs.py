"""What the decisions of a set cost before and after its calibration."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calibrating import dev_set, scored_set

from flowlid.evaluation.calibrated import fit_on, read_calibration
from flowlid.evaluation.calibration import Calibration, bits
from flowlid.evaluation.costs import assess, write_calibrated
from flowlid.files import read_json, write_json
from flowlid.kaldi.tables import read_table


@pytest.fixture(scope="module")
def map_(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    dev, speakers = dev_set(1, 400)
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    write_json(path, fit_on(dev, set(speakers), speakers, "m"))
    return read_calibration(path, "m")


def test_costs_fall_to_what_the_set_allows(tmp_path: Path, map_: Calibration) -> None:
    scored, speakers = dev_set(2, 200)
    result = write_calibrated(tmp_path, "test", scored, map_, speakers)
    assert result["bits_raw"] > 1 > result["bits"]["share"] >= result["bits_min"] - 1e-9
    over = result["bits_over"]
    assert over["share"] == pytest.approx(result["bits"]["share"] - result["bits_min"])
    assert over["low"] < over["share"] < over["high"] and result["bits"]["share"] < 1.25 * result["bits_min"]
    assert (result["bits"]["unit"], result["bits"]["units"]) == ("utterances", 200)
    pair = result["cllr"]["en es"]
    assert pair["raw"] == pytest.approx(result["bits_raw"])  # two classes at flat priors: the same cost
    assert pair["calibrated"] == pytest.approx(result["bits"]["share"])
    assert pair["min"] <= pair["calibrated"]
    for cost in result["cost"].values():
        assert cost["over"]["share"] == pytest.approx(cost["actual"] - cost["min"]) and cost["min"] <= cost["actual"]
    assert [(each["seconds"], each["pieces"]) for each in result["pieces"]] == [(1, 800), (3, 200)]  # none of 10 s
    assert all(0 < each["bits"]["share"] < 1 and each["bits"]["units"] == 200 for each in result["pieces"])
    assert read_json(tmp_path / "result.json") == result


def test_probabilities_are_written(tmp_path: Path, map_: Calibration) -> None:
    scored, speakers = dev_set(3, 8)
    write_calibrated(tmp_path, "test", scored, map_, speakers)
    found = {
        utt: [float(p) for p in row.strip("[] ").split()] for utt, row in read_table(tmp_path / "utt2prob").items()
    }
    expected = np.exp(map_(scored.mean_loglik, scored.frames, scored.mean_latents))
    assert list(found) == scored.utts
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-6)


def test_of_new_voices_it_claims_to_know_nothing(map_: Calibration) -> None:
    """Where all is decided wrongly, and would cost many bits, it costs what knowing nothing does."""
    scored, speakers = dev_set(4)
    wrong = scored.mean_loglik[:, ::-1] * 3
    far = [np.column_stack([own[:, 1::-1] * 3, own[:, 2:] + 9]) for own in scored.blocks]
    scored = replace(scored, mean_loglik=wrong, mean_latents=scored.mean_latents + 9, blocks=far)
    result = assess(scored, map_, speakers)
    assert result["bits"]["share"] == pytest.approx(1.0) and result["bits_raw"] > 10
    assert result["confident"] == {"utterances": 0, "wrong": None} and result["trusted"] == 0.0
    assert result["accuracy"] < 0.2  # it decides nevertheless
    assert [each["bits"]["share"] for each in result["pieces"]] == pytest.approx([1.0, 1.0])


def test_unseen_languages_count_only_among_the_confident(map_: Calibration) -> None:
    scored, speakers = dev_set(5)
    mixed = scored_set(["it" if n % 4 == 0 else name for n, name in enumerate(scored.languages)], scored)
    result, logs = assess(mixed, map_, speakers), map_(mixed.mean_loglik, mixed.frames, mixed.mean_latents)
    seen = np.arange(80) % 4 > 0
    assert result["bits"]["share"] == pytest.approx(bits(logs[seen], (np.arange(80) % 2)[seen]))
    sure = logs.max(axis=1) >= np.log(0.9)
    assert result["confident"]["utterances"] == sure.sum() > 10
    right = seen & (logs.argmax(axis=1) == np.arange(80) % 2)
    assert result["confident"]["wrong"] == pytest.approx(1 - right[sure].mean())
    nothing = assess(scored_set(["it"] * 80, scored), map_, speakers)
    assert nothing["bits"] is nothing["cost"] is nothing["accuracy"] is nothing["pieces"][0]["bits"] is None


def test_a_set_that_lacks_a_language_has_no_minimum_and_no_detection_cost(map_: Calibration) -> None:
    scored, speakers = dev_set(6)
    result = assess(scored_set(["en"] * 40, scored, range(0, 80, 2)), map_, speakers[::2])
    assert result["bits_min"] is result["bits_over"] is result["cost"] is None and result["cllr"] == {}
    assert result["accuracy"] > 0.5 and result["bits"]["share"] > 0
