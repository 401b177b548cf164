"""What the report says of the non-speech check: told apart, not, not known, or not applicable."""

from pathlib import Path
from typing import Any

from report.test_results import COMMAND, Page, exp  # noqa: F401

from flowlid.files import write_json
from flowlid.report.html import report_html
from flowlid.report.markdown import results_markdown, results_table_text
from flowlid.report.results import collect

JUDGED = {"accuracy": 0.95, "balanced_accuracy": 0.93, "low": 0.9, "high": 0.96, "unit": "speakers", "units": 12}
WARNING = "Warning: on test_z <the> non-speech frames alone tell the classes apart."


def nonspeech_json(**changes: object) -> dict[str, Any]:
    return {
        "set": "test_z", "classes": ["en", "zh"], "utterances": 1190, "left_out": 10, "frames": 40000, "hours": 0.11,
        "chance": 0.5, "flow": {**JUDGED, "balanced_accuracy": 0.61}, "linear": JUDGED, "mark": "apart",
        "warning": WARNING,
        "reason": None, **changes,
    }  # fmt: skip


NO_CHECK = ("utterances", "left_out", "frames", "hours", "chance", "flow", "linear", "mark", "warning")


def test_the_non_speech_check_is_beside_the_accuracy_with_its_warning(exp: Path) -> None:  # noqa: F811
    write_json(exp / "dnf_120/nonspeech_test_z/result.json", nonspeech_json())
    lone = {**JUDGED, **dict.fromkeys(("balanced_accuracy", "low", "high", "unit", "units"))}
    write_json(
        exp / "dnf_120/nonspeech_a_dev/result.json",
        nonspeech_json(linear=None, flow=lone, chance=None, mark="cannot tell", warning=None, reason="too few"),
    )
    unseen = nonspeech_json(flow=lone, linear=lone, mark=None, warning=None)
    write_json(exp / "dnf_120/nonspeech_test_ja/result.json", unseen)
    nothing = dict.fromkeys(NO_CHECK)
    write_json(exp / "nf_wsj/nonspeech_test_z/result.json", nonspeech_json(**nothing, reason="a normal flow"))
    results = collect(exp)
    expected = {key: value for key, value in nonspeech_json().items() if key not in ("set", "classes")}
    assert results[0]["sets"]["test_z"]["nonspeech"] == expected
    text = results_markdown(results, COMMAND)
    first, second, _ = text.split("\n## ")[1:]
    assert f"\n\n> **{WARNING}**\n\n" in first and "Warning" not in second
    for line in (
        "| test_z | flow | apart | 1,190 | 10 | 40,000 | 0.9500 | 0.6100 | 0.9000 to 0.9600 | 12 speakers "
        "| 0.5000 | 0.9985 |",
        "| test_z | linear | apart | 1,190 | 10 | 40,000 | 0.9500 | 0.9300 | 0.9000 to 0.9600 | 12 speakers "
        "| 0.5000 | 0.9985 |",
        "| a_dev | flow | cannot tell | 1,190 | 10 | 40,000 | 0.9500 | - | - | - | - | 0.9985 |",
        "| a_dev | linear: too few | cannot tell | - | - | - | - | - | - | - | - | - |",
    ):
        assert f"\n{line}\n" in first, line
    assert "test_ja (unseen: ja) | flow" not in first and "Non-speech check: decisions" not in second
    terminal = results_table_text(results)
    assert "frame acc  utt acc  macro acc       non-speech     EER" in terminal
    assert "0.9969     0.9985       0.9300 (!)  0.0123" in terminal and "\n(!) 1 of these sets: non-speech" in terminal
    assert "0.9969     0.9985  cannot tell (?)  0.0123" in terminal and "\n(?) 1 of these sets: whether" in terminal
    assert terminal.count("not applicable") == 2  # of the normal flow, and of the set without a seen language


def test_a_non_speech_check_that_was_not_possible_says_why(exp: Path) -> None:  # noqa: F811
    lacking = {**dict.fromkeys(NO_CHECK), "mark": "cannot tell", "reason": "no vad.scp"}
    write_json(exp / "dnf_120/nonspeech_test_z/result.json", nonspeech_json(**lacking))
    results = collect(exp)
    text = results_markdown(results, COMMAND)
    assert "\n| test_z | none: no vad.scp | cannot tell | - | - | - | - | - | - | - | - | - |\n" in text
    terminal = results_table_text(results)
    assert "cannot tell (?)" in terminal and terminal.count("not checked") == 3  # whose stage did not run


def test_a_check_is_shown_with_what_cannot_be_told_or_is_left_out(exp: Path) -> None:  # noqa: F811
    why = "left out of the judgement, with fewer than 10 utterances: ja 9"
    for name, mark in (("a_dev", "cannot tell"), ("test_z", "not apart")):
        found = nonspeech_json(mark=mark, warning=None, reason=why)
        write_json(exp / f"dnf_120/nonspeech_{name}/result.json", found)
    results = collect(exp)
    text, terminal = results_markdown(results, COMMAND), results_table_text(results)
    assert (
        f"| a_dev | flow | cannot tell: {why} | 1,190 |" in text and f"| test_z | linear | not apart: {why} |" in text
    )
    assert "| 0.9985 | 0.9300 | 0.0123 |" in text and "| 0.9985 | 0.9300 (?) | 0.0123 |" in text
    assert "(!)" not in terminal and "\n(?) 1 of these sets" in terminal


def test_a_report_of_normal_flows_has_no_non_speech(exp: Path) -> None:  # noqa: F811
    write_json(exp / "nf_wsj/nonspeech_test_z/result.json", nonspeech_json(**dict.fromkeys(NO_CHECK)))
    (nf,) = collect(exp, ["nf_wsj"])
    assert nf["sets"]["test_z"]["nonspeech"]["mark"] is None and "non-speech" not in results_table_text([nf])


def test_the_warning_is_a_box_in_html(exp: Path) -> None:  # noqa: F811
    write_json(exp / "dnf_120/nonspeech_test_z/result.json", nonspeech_json())
    page = Page(report_html(collect(exp), exp, COMMAND))
    assert WARNING in page.text and "0.9300 (!)" in page.text
    assert [value for tag, key, value in page.attributes if (tag, key) == ("p", "class")].count("warning") == 1
