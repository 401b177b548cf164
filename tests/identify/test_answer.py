"""Probabilities of candidates, against the formula written out; and answers read back from each format."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from flowlid.evaluation.calibration import Calibration
from flowlid.evaluation.novelty import Novelty
from flowlid.identify.answer import NO_SPEECH, UNKNOWN, Answer, Decider, Scores
from flowlid.identify.formats import csv_header, csv_line, json_line, text_line

CLASSES = ["en", "es", "fr"]
MEAN = np.array([[-3.0, -2.0, -4.0]])
SCORES = Scores(MEAN, np.array([50]), np.ones((1, 2)))
KNOWN, STRANGE = (Novelty(np.zeros((3, 2)), np.ones(2), between, 0.0, 1.0) for between in (100.0, 0.01))
MAP = Calibration(2.0, 0.5, (0.1, -0.3, 0.2), KNOWN)


def test_probabilities_are_priors_times_calibrated_likelihoods() -> None:
    centred = [-3 + 3, -2 + 3, -4 + 3]  # less their mean
    loglik = [2 * (50 / 100) ** 0.5 * s + b for s, b in zip(centred, MAP.offsets, strict=True)]
    weights = [math.exp(value) for value in loglik]
    decider = Decider(CLASSES, MAP)
    (found,) = decider.probabilities(SCORES)
    assert found == pytest.approx([w / sum(weights) for w in weights])
    (ranking,) = decider.rankings(SCORES)
    assert list(ranking) == ["es", "en", "fr"] and list(ranking.values()) == sorted(found, reverse=True)
    two = Decider(CLASSES, MAP, None, ["fr", "en"])  # the others are out of the question
    assert two.candidates == ["en", "fr"]
    assert two.probabilities(SCORES)[0] == pytest.approx([weights[k] / (weights[0] + weights[2]) for k in (0, 2)])
    priors = Decider(CLASSES, MAP, None, ["fr", "en"], {"en": 1, "fr": 3})  # they need not add up to 1
    parts = [0.25 * weights[0], 0.75 * weights[2]]
    assert priors.probabilities(SCORES)[0] == pytest.approx([part / sum(parts) for part in parts])
    unheard = Decider(CLASSES, dataclasses.replace(MAP, novelty=STRANGE), None, (), {"en": 0.5, "es": 0.3, "fr": 0.2})
    assert unheard.probabilities(SCORES)[0] == pytest.approx([0.5, 0.3, 0.2])  # a voice like none of the dev set's
    (ranking,) = Decider(CLASSES, dataclasses.replace(MAP, novelty=STRANGE)).rankings(SCORES)
    assert list(ranking) == ["es", "en", "fr"] and list(ranking.values()) == pytest.approx([1 / 3] * 3)
    assert Decider(CLASSES, MAP, priors={"en": 0.5, "fr": 0.5}).candidates == ["en", "fr"]


def test_without_a_calibration_all_frames_count() -> None:
    weights = np.exp(50 * (MEAN[0] - MEAN.max()))
    assert Decider(CLASSES, None).probabilities(SCORES)[0] == pytest.approx(weights / weights.sum())


@pytest.mark.parametrize(
    ("candidates", "priors", "message"),
    [
        (["en", "esp"], None, "candidate 'esp': the model has no such class \\(did you mean 'es'\\?\\)"),
        (["en"], None, "name two or more"),
        (["en", "es"], {"en": 1.0}, "prior of es: every candidate needs one above 0"),
        (["en", "es"], {"en": 0.7, "es": 0.0}, "prior of es"),
        (["en", "es"], {"en": 0.7, "es": float("nan")}, "prior of es"),
        (["en", "es"], {"en": 0.5, "es": 0.3, "fr": 0.2}, "prior of fr: .* no other language has one"),
        ([], {"xx": 1.0}, "candidate 'xx'"),
        ([], {"en": 1.0}, "candidates en: name two or more"),
    ],
)
def test_candidates_and_priors_that_make_no_sense(
    candidates: list[str], priors: dict[str, float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Decider(CLASSES, MAP, None, candidates, priors)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 5.0, float("nan")])
def test_a_rate_that_is_no_share(rate: float) -> None:
    with pytest.raises(ValueError, match=r"a false-rejection rate of .*: give a share from 0"):
        Decider(CLASSES, MAP, rate=rate)


ANSWERS = [
    Answer(
        'a "b", c.wav', "es", {"es": 0.75, "en": 0.25}, True, 1.5, 2.0, {"en": -3.0, "es": -2.0}, 0.4, 44100,
        ("resampled from 44100 to 8000 Hz",),
    ),
    Answer("u", UNKNOWN, {"es": 0.75, "en": 0.25}, True, 1.5, 2.0, {"en": -3.0, "es": -2.0}, 0.001, 8000),
    Answer("silence.wav", NO_SPEECH, speech=0.0, seconds=3.0, rate=8000),
    Answer("nf.wav", None, speech=1.0, seconds=3.0, rate=8000, loglik={"en": -123.4}),
    Answer("bad.wav", error="bad.wav: no sound; remove it"),
]  # fmt: skip


def test_json_is_read_back() -> None:
    found = [json.loads(json_line(answer)) for answer in ANSWERS]
    assert [each["language"] for each in found] == ["es", UNKNOWN, NO_SPEECH, None, None]
    assert found[0]["probabilities"] == {"es": 0.75, "en": 0.25} and found[0]["runner_up"] == "en"
    assert (found[0]["file"], found[0]["probability"], found[0]["runner_up_probability"]) == (
        'a "b", c.wav',
        0.75,
        0.25,
    )
    assert (found[1]["probability"], found[1]["runner_up"]) == (None, "es")  # the nearest
    assert found[0]["notes"] == ["resampled from 44100 to 8000 Hz"] and found[0]["calibrated"] is True
    assert found[3]["loglik"] == {"en": -123.4} and found[4]["error"] == "bad.wav: no sound; remove it"


def test_csv_is_read_back() -> None:
    lines = [csv_header(["en", "es"]), *(csv_line(answer, ["en", "es"]) for answer in ANSWERS)]
    found = list(csv.DictReader(lines))
    assert [each["file"] for each in found] == [answer.name for answer in ANSWERS]
    assert [each["language"] for each in found] == ["es", UNKNOWN, NO_SPEECH, "", ""]
    assert (found[0]["P(en)"], found[0]["P(es)"], found[0]["calibrated"]) == ("0.25", "0.75", "true")
    assert (found[2]["P(en)"], found[2]["speech"]) == ("", "0.0") and found[4]["error"].startswith("bad.wav")


def test_text_tells_what_stands_behind_an_answer() -> None:
    told = [text_line(answer).split("\t") for answer in ANSWERS]
    detail = "en 0.250, 1.50 s of speech in 2.00 s, typicality 0.400, resampled from 44100 to 8000 Hz"
    assert told[0] == ['a "b", c.wav', "es 0.750", detail]
    assert told[1][1:] == [UNKNOWN, "nearest es 0.750, 1.50 s of speech in 2.00 s, typicality 0.001"]
    assert told[2][1:] == [NO_SPEECH, "0.00 s of speech in 3.00 s"]
    assert told[3][1] == "-123.400 nats per frame under en" and told[4][1:] == ["error", ANSWERS[4].error]
    named = dataclasses.replace(ANSWERS[2], name="a\tb\nc\rd.wav")
    assert text_line(named).split("\t") == ["a b c d.wav", *told[2][1:]]
