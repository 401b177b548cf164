"""What the report says of a flow beside baselines."""

from typing import Any

from flowlid.report.baseline_tables import baselines_table, not_beaten
from flowlid.report.tables import overview, verdict


def beside(alone: int, other: int, p: float) -> dict[str, Any]:
    return {
        "utterances": 210, "accuracy": 0.97143, "baseline": 0.98096, "alone": alone, "baseline_alone": other, "p": p,
        "bits": 0.1,
    }  # fmt: skip


def result(baselines: dict[str, Any] | None) -> dict[str, Any]:
    found = {
        "utterances": 210, "unseen": [], "frame_accuracy": 0.8, "utt_accuracy": 0.97143, "eer": 0.02, "loglik": -1.5,
        "calibrated": {"bits": {"share": 0.26}, "log2_classes": 1.0, "accuracy": 0.98}, "baselines": baselines,
    }  # fmt: skip
    return {"experiment": "dnf_120", "sets": {"test": found}}


GMM, LDA, LR = beside(2, 4, 0.6875), beside(30, 10, 0.0022), beside(2, 20, 0.000121)


def test_a_flow_beats_a_baseline_if_the_difference_is_significant_and_to_its_advantage() -> None:
    assert [verdict(each) for each in (GMM, LDA, LR)] == ["no", "yes", "worse"]
    assert verdict(beside(5, 0, 0.0625)) == "no"


def test_the_overview_has_the_worst_verdict() -> None:
    for baselines, word in (
        ({"lda": LDA}, "yes"),
        ({"lda": LDA, "gmm": GMM}, "no"),
        ({"lda": LDA, "lr": LR, "gmm": GMM}, "worse"),
    ):
        table = overview([result(baselines)])
        assert table.rows[0][table.head.index("beats baselines")] == word
    assert "beats baselines" not in overview([result(None)]).head


def test_the_table_by_hand() -> None:
    table = baselines_table(result({"gmm": GMM, "lr": LR}))
    assert table.rows == [
        ["test", "gmm", "no difference shown", "210", "0.9714", "0.9810", "2", "4", "0.69", "0.26 of 1.00", "0.10"],
        ["test", "lr", "better than the flow", "210", "0.9714", "0.9810", "2", "20", "0.00012", "0.26 of 1.00", "0.10"],
    ]
    assert len(table.head) == len(table.rows[0])
    assert baselines_table(result(None)).rows == []


def test_a_sentence_names_the_baselines_that_are_not_beaten() -> None:
    assert not_beaten(result({"gmm": GMM, "lda": LDA, "lr": LR})) == [
        "On test this flow does not beat the baselines: it decides 0.9714 of the utterances correctly (0.26 of 1.00 "
        "bits), gmm 0.9810 (0.10 bits, p = 0.69), lr 0.9810 (0.10 bits, p = 0.00012, which is better)."
    ]
    assert not_beaten(result({"lda": LDA})) == not_beaten(result(None)) == []
