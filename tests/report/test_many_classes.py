"""A report of a hundred classes stays readable: the worst confusions, and no row or column for each class."""

from typing import Any

import pytest

from flowlid.report.tables import WORST, confusion_table, moments_table, overview, setting

CLASSES = [f"l{number:03}" for number in range(107)]


@pytest.fixture
def result() -> dict[str, Any]:
    """A set of three languages, decided among 107; one of them is unseen."""
    rows = {true: dict.fromkeys(CLASSES, 0.0) for true in ("l000", "l001", "xx")}
    rows["l000"] |= {"l000": 0.5, "l005": 0.3, "l106": 0.2}
    rows["l001"] |= {"l001": 0.7, "l005": 0.3}
    rows["xx"] |= {name: 1 / 107 for name in CLASSES}
    found = {
        "unseen": ["xx"], "utterances": 1609, "utterances_of": {"l000": 10, "l001": 50, "xx": 107},
        "utt_confusion": rows, "frame_confusion": {**rows, "l001": {**rows["l001"], "l005": 0.25}}, "moments": {
            "l000": {"skew": 1.0, "kurt": 1.0}, "pooled": {"skew": 2.0, "kurt": 3.0}, "residual": None,
        },
        "frame_accuracy": 0.4, "utt_accuracy": 0.667, "utt_macro_accuracy": 0.6, "eer": 0.1, "loglik": 1.0,
    }  # fmt: skip
    return {"experiment": "dnf_120", "classes": CLASSES, "class_dim": 120, "dim": 120, "sets": {"test": found}}


def test_worst_confusions_come_first_the_better_known_ones_before_others(result: dict[str, Any]) -> None:
    table = confusion_table(result)
    assert table.head[2:] == [
        "recognised as", "share of its utterances", "of its frames", "its utterances", "recognised correctly",
    ]  # fmt: skip
    assert table.rows[:3] == [
        ["test", "l001", "l005", "0.3000", "0.2500", "50", "0.7000"],
        ["test", "l000", "l005", "0.3000", "0.3000", "10", "0.5000"],
        ["test", "l000", "l106", "0.2000", "0.2000", "10", "0.5000"],
    ]
    assert table.rows[3] == ["test", "xx (unseen)", "l000", "0.0093", "0.0093", "107", "-"]
    assert len(table.rows) == WORST and max(len(row) for row in table.rows) == 7


def test_fifteen_classes_have_the_whole_table(result: dict[str, Any]) -> None:
    table = confusion_table({**result, "classes": CLASSES[:15]})
    assert table.head[2] == "utterances: l000" and len(table.head) == 2 + 2 * 15 and len(table.rows) == 3


def test_moments_are_those_of_all_classes_together_and_classes_a_number(result: dict[str, Any]) -> None:
    assert moments_table(result).rows == [["test", "z, pooled", "2.0000", "3.0000"]]
    train = dict.fromkeys(("epochs", "selected_epoch"), 1) | {"set": "train", "frames": 5, "seconds": 1.0}
    others = {"model": "dnf", "train": train, "cmvn": "none", "normalization": "actnorm", "parameters": 1}
    line = setting({**result, **others, "device": "cpu", "precision": "float32"})
    assert "; 107 classes; " in line and "l000" not in line


def test_macro_accuracy_is_beside_that_over_files_unless_both_are_the_same(result: dict[str, Any]) -> None:
    table = overview([result])
    assert table.head[3:6] == ["frame acc", "utt acc", "macro acc"] and table.rows[0][3:6] == [
        "0.4000",
        "0.6670",
        "0.6000",
    ]
    found = result["sets"]["test"] | {"utt_macro_accuracy": 0.667}
    assert "macro acc" not in overview([{**result, "sets": {"test": found}}]).head
