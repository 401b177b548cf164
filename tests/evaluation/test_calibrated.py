"""A calibration that is stored, fitted on whole utterances and pieces, and read for its own model alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from calibrating import dev_set, scored_set

from flowlid.evaluation.calibrated import _pieces_of, fit_on, no_calibration, read_calibration
from flowlid.evaluation.calibration import bits
from flowlid.evaluation.decisions import class_numbers
from flowlid.files import write_json


def test_what_is_fitted_is_what_is_read(tmp_path: Path) -> None:
    dev, speakers = dev_set(1)
    stored = fit_on(dev, {"en0", "es0"}, speakers, "digest")
    assert (stored["utterances"], stored["speakers"], stored["new_speakers"]) == (80, 4, 2)
    write_json(tmp_path / "calibration.json", stored)
    found = read_calibration(tmp_path / "calibration.json", "digest")
    assert (found.scale, found.power, found.offsets) == (stored["scale"], stored["power"], tuple(stored["offsets"]))
    np.testing.assert_array_equal(found.novelty.means, stored["novelty"]["means"])
    assert json.loads((tmp_path / "calibration.json").read_text()) == json.loads(json.dumps(stored))
    loglik = found(dev.mean_loglik, dev.frames, dev.mean_latents)
    raw = dev.mean_loglik * dev.frames[:, None]
    labels = class_numbers(dev.languages, dev.classes)
    assert bits(loglik, labels) < 0.8 < 1 < bits(raw, labels)
    with pytest.raises(ValueError, match=r"calibration\.json: the calibration of another model \(digest, not other\)"):
        read_calibration(tmp_path / "calibration.json", "other")


def test_pieces_of_an_utterance_weigh_as_one() -> None:
    dev, _ = dev_set(1)
    dev.frames[0], dev.blocks[0] = 80, dev.blocks[0][:1]  # less than a second: whole only
    parts, weights = _pieces_of(dev)
    own = {utt: weights[[name == utt for name in parts.utts]] for utt in dev.utts}
    assert {round(values.sum(), 12) for values in own.values()} == {1.0}
    assert own["u000"].tolist() == [1.0]
    # 400 frames: whole, four pieces of 1 s, one of 3 s; none of 10 s
    assert sorted(own["u001"]) == pytest.approx([1 / 12] * 4 + [1 / 3] * 2)
    assert len(parts.utts) == len(parts.languages) == len(parts.frames) == len(parts.mean_latents) == 1 + 79 * 6


def test_utterances_of_other_languages_do_not_count() -> None:
    dev, speakers = dev_set(1)
    languages = ["it" if number % 10 == 0 else name for number, name in enumerate(dev.languages)]
    kept = [number for number in range(80) if number % 10]
    others = fit_on(scored_set(languages, dev), set(), speakers, "m")
    alone = fit_on(scored_set([languages[n] for n in kept], dev, kept), set(), [speakers[n] for n in kept], "m")
    assert others == alone and alone["utterances"] == 72


def test_speakers_whom_training_did_not_have_are_left_out_as_a_whole() -> None:
    dev, _ = dev_set(1)
    speakers = [f"{language}{number // 2 % 5}" for number, language in enumerate(dev.languages)]
    places = dict(zip(sorted(set(speakers)), 2 * np.random.default_rng(1).normal(size=(10, 6)), strict=True))
    for number, speaker in enumerate(speakers):  # each speaker has a place of its own
        dev.mean_latents[number] += places[speaker]
        dev.blocks[number][:, 2:] += places[speaker]
    known = fit_on(dev, set(speakers), speakers, "m")
    new = fit_on(dev, set(), speakers, "m")
    assert new["novelty"]["means"] == known["novelty"]["means"]
    assert new["novelty"]["between"] > 1.2 * known["novelty"]["between"]
    two = [speaker[:2] + str(int(speaker[2]) % 2) for speaker in speakers]  # too few to be left out
    assert fit_on(dev, set(), two, "m")["novelty"] == known["novelty"]


def test_why_there_is_none() -> None:
    dev, _ = dev_set(1)
    assert no_calibration(dev) is None
    assert no_calibration(None) == "the experiment has no dev set"
    assert no_calibration(scored_set(["en"] * 80, dev, classes=["en+es"])) == "a normal flow decides nothing"
    few = scored_set(["es", *["en"] * 79], dev)
    assert no_calibration(few) == "the dev set has fewer than 3 utterances of es"


@pytest.mark.parametrize("content", [{}, [], {"scale": "x"}, {"scale": 1, "power": 1, "offsets": [], "novelty": {}}])
def test_a_damaged_calibration_is_named(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "calibration.json", content)
    with pytest.raises(ValueError, match=r"calibration\.json: no calibration .* run stage 4 again"):
        read_calibration(tmp_path / "calibration.json", "m")
