"""A flow beside the baselines of the same utterances."""

import logging
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from flowlid.evaluation.comparison import compare, with_baselines
from flowlid.kaldi.tables import write_table

LANGUAGES = {f"u{n}": "en" if n < 5 else "es" for n in range(10)} | {"u99": "it"}  # the last is unseen


def test_mcnemars_test_by_hand() -> None:
    ours, theirs = [1] * 6 + [0] + [1] * 20 + [0] * 3, [0] * 6 + [1] + [1] * 20 + [0] * 3
    # of 7 that differ 6: the tails of a fair coin are 2 (1 + 7) / 2^7
    assert compare(ours, theirs) == {
        "utterances": 30, "accuracy": 26 / 30, "baseline": 21 / 30, "alone": 6, "baseline_alone": 1, "p": 0.125,
    }  # fmt: skip
    assert compare(theirs, ours)["p"] == 0.125
    assert compare([1, 0, 1], [1, 0, 1])["p"] == 1


@pytest.mark.parametrize(("alone", "other"), [(1, 12), (30, 30), (2, 2), (17, 5)])
def test_p_is_the_two_tails_of_a_fair_coin(alone: int, other: int) -> None:
    found = compare([1] * alone + [0] * other, [0] * alone + [1] * other)["p"]
    assert found == pytest.approx(min(1, 2 * binom.cdf(min(alone, other), alone + other, 0.5)))


def experiment(place: Path, name: str, model: str, wrong: set[str], train: str = "train") -> dict[str, Any]:
    """Its results, as collected, and the files of its scores."""
    score = place / name / "score_test"
    other = {"en": "es", "es": "en", "it": "es"}
    write_table(score / "utt2lang", LANGUAGES)
    decided = {utt: other[lang] if utt in wrong or lang == "it" else lang for utt, lang in LANGUAGES.items()}
    write_table(score / "utt2pred", decided)
    sets = {"test": {"utt_accuracy": 1 - len(wrong) / 10}, "unscored": {"utt_accuracy": None}}
    return {"experiment": name, "model": model, "classes": ["en", "es"], "train": {"set": train}, "sets": sets}


def test_flows_are_compared_with_the_baselines_of_their_sets(tmp_path: Path) -> None:
    results = [
        experiment(tmp_path, "dnf", "dnf", {"u1"}),
        experiment(tmp_path, "gmm", "gmm", {"u2", "u3"}),
        experiment(tmp_path, "lr", "lr", {"u1"}, train="another"),
        experiment(tmp_path, "nf", "nf", set()),
    ]
    results[1]["sets"]["test"]["calibrated"] = {"bits": {"share": 0.1}}
    flow, gmm, lr, nf = with_baselines(tmp_path, results)
    assert flow["sets"]["test"]["baselines"] == {
        "gmm": {"utterances": 10, "accuracy": 0.9, "baseline": 0.8, "alone": 2, "baseline_alone": 1, "p": 1.0,
                "bits": 0.1},
    }  # fmt: skip
    assert all(each["sets"]["test"]["baselines"] is None for each in (gmm, lr, nf))
    assert flow["sets"]["unscored"]["baselines"] is None
    assert "baselines" not in results[0]["sets"]["test"]  # the collected ones stay as they are


def test_other_utterances_are_not_compared_and_that_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = [experiment(tmp_path, name, name, set()) for name in ("dnf", "gmm")]
    for name in ("utt2lang", "utt2pred"):
        write_table(tmp_path / "gmm/score_test" / name, {"u1": "en", "other": "es"})
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        flow, _ = with_baselines(tmp_path, results)
    assert flow["sets"]["test"]["baselines"] is None
    assert "test: dnf and gmm have scored different utterances, and are not compared" in caplog.text


def test_damaged_decisions_are_named(tmp_path: Path) -> None:
    results = [experiment(tmp_path, name, name, set()) for name in ("dnf", "gmm")]
    write_table(tmp_path / "dnf/score_test/utt2pred", {"u1": "en"})
    with pytest.raises(ValueError, match=r"dnf/score_test: utt2lang and utt2pred have different utterances"):
        with_baselines(tmp_path, results)
