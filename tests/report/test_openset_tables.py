"""The open set's table, by hand."""

from typing import Any

from flowlid.report.openset_tables import openset_table


def estimate(share: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"share": share, "low": low, "high": high, "unit": "utterances", "units": 9}


KNOWN = {
    "rate": 0.05, "seen": 1445, "new_voices": 90, "rejected": estimate(0.0539, 0.0334, 0.0764), "unseen": 0,
    "accepted": None, "against": "test_4", "auroc": None,
}  # fmt: skip
STRANGE = {
    "rate": 0.05, "seen": 0, "new_voices": 0, "rejected": None, "unseen": 100, "accepted": estimate(0.15),
    "against": "test_4",
    "auroc": {"all": estimate(0.9555, 0.9306, 0.9758), "shift": estimate(0.9042), "loglik": estimate(0.8186)},
}  # fmt: skip


def result(background: str | None) -> dict[str, Any]:
    sets = {"test_4": (KNOWN, []), "test_es": (STRANGE, ["es"]), "test_old": (None, [])}
    found = {name: {"utterances": 1, "unseen": unseen, "openset": judged} for name, (judged, unseen) in sets.items()}
    return {"sets": found, "openset": {"background": background}}


def test_rejections_acceptances_and_areas() -> None:
    table = openset_table(result("nf4_120"))
    assert table.rows == [
        ["test_4", "1,445", "90", "0.054 [0.033, 0.076]", "0", "-", "-", "-", "-", "-", "-"],
        [
            "test_es (unseen: es)",
            "0",
            "0",
            "-",
            "100",
            "0.150",
            "0.956 [0.931, 0.976]",
            "0.9042",
            "-",
            "0.8186",
            "test_4",
        ],
    ]
    assert table.head[9] == "ratio to nf4_120 alone" and len(table.head) == 11
    assert "at a false-rejection rate of 0.05 on the dev set" in table.title
    assert openset_table(result(None)).head[9] == "LogLL alone"


def test_an_experiment_without_an_open_set_has_no_rows() -> None:
    """Nor has one of an earlier version's results.json."""
    assert openset_table({"sets": {"test": {"utterances": 3, "unseen": []}}}).rows == []
