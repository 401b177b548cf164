"""The report: results.json's schema, what is null, the tables by hand, and an HTML file that stands alone."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowlid.files import write_json
from flowlid.plots.latents import tsne
from flowlid.report.decision_tables import calibration_table, stated_table
from flowlid.report.html import report_html
from flowlid.report.markdown import results_markdown, results_table_text
from flowlid.report.results import collect

COMMAND = "./run.sh --stage 6"
PROVENANCE = {"command": "steps/train.py conf/<b>.yaml", "versions": "python 3", "commit": "abc", "machine": "x86_64"}


def train_json(name: str, **changes: object) -> dict[str, Any]:
    return {
        "experiment": name, "model": "dnf", "classes": ["en", "zh"], "dim": 120, "class_dim": 100, "frames": 4560000,
        "epochs": 100, "selected_epoch": 95, "loglik_train": 41.8691, "logp_train": -170.2,
        "logdet_train": 212.0691, "loglik_eval": 41.8684, "logp_eval": -170.2061,
        "logdet_eval": 212.0745, "parameters": 1234567, "cmvn": "speaker", "normalization": "actnorm",
        "precision": "float32", "device": "cuda", "seconds": 321.4, "provenance": PROVENANCE, **changes,
    }  # fmt: skip


def duration(seconds: float | None, share: float | None, **changes: object) -> dict[str, Any]:
    known = share is not None
    return {
        "seconds": seconds, "frames": None if seconds is None else round(100 * seconds),
        "windows": 4321 if known else 0, "utterances": 60 if known else 0, "remainders": 55, "frames_left_out": 2750,
        "share": share, "low": share - 0.05 if known else None, "high": share + 0.01 if known else None,
        "unit": "speakers" if known else None, "units": 12 if known else None, **changes,
    }  # fmt: skip


DURATIONS = [
    duration(1.0, 0.91236), duration(10.0, None, remainders=60),
    duration(None, 0.98, windows=60, low=None, high=None, unit="utterances", units=1, remainders=0, frames_left_out=0),
]  # fmt: skip
MARGINS = [
    {"nats": 0.01, "utterances": 0, "share": 0.0, "accuracy": None},
    {"nats": 0.5, "utterances": 30, "share": 0.025, "accuracy": 0.75},
]


def result_json(name: str, **changes: object) -> dict[str, Any]:
    return {
        "set": name, "classes": ["en", "zh"], "languages": ["en", "zh"], "unseen": [], "utterances": 1200,
        "frames": 460000, "hours": 1.2778, "precision": "float32", "provenance": {"command": "score.py exp"},
        "loglik": 40.5, "logp": -171.25, "logdet": 211.75,
        "frame_accuracy": 0.91994, "utt_accuracy": 0.99691, "utt_macro_accuracy": 0.9985,
        "utterances_of": {"en": 1100, "zh": 100},
        "frame_confusion": {"en": {"en": 0.9, "zh": 0.1}, "zh": {"en": 0.0601, "zh": 0.9399}},
        "utt_confusion": {"en": {"en": 0.9969, "zh": 0.0031}, "zh": {"en": 0.0, "zh": 1.0}},
        "eer": 0.0123, "min_dcf": 0.0101, "cavg": 0.0155,
        "utt_accuracy_interval": {"low": 0.99, "high": 1.0, "unit": "speakers", "units": 12},
        "durations": DURATIONS, "margins": MARGINS, **changes,
    }  # fmt: skip


NOTHING = dict.fromkeys((
    "frame_accuracy", "utt_accuracy", "utt_macro_accuracy", "frame_confusion", "utt_confusion", "eer", "min_dcf",
    "cavg", "utt_accuracy_interval", "durations", "margins",
))  # fmt: skip
UNSEEN = {
    "languages": ["ja"], "unseen": ["ja"], "frame_accuracy": None, "utt_accuracy": None,
    "utt_macro_accuracy": None, "hours": 0.05, "utterances_of": {"ja": 1200},
    "frame_confusion": {"ja": {"en": 0.4068, "zh": 0.5932}}, "utt_confusion": {"ja": {"en": 0.2979, "zh": 0.7021}},
    "eer": None, "min_dcf": None, "cavg": None, "utt_accuracy_interval": None,
    "durations": [duration(1.0, None), duration(None, None)],
}  # fmt: skip
MOMENTS = {
    "en": {"skew": -0.00001, "kurt": -1.1429}, "zh": None, "pooled": {"skew": 0.0031, "kurt": -0.5},
    "residual": {"skew": 0.0086, "kurt": 0.7271},
}  # fmt: skip


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """A discriminative and a normal flow as training, scoring and analysis leave them."""
    dnf, nf = tmp_path / "dnf_120", tmp_path / "nf_wsj"
    write_json(dnf / "train.json", train_json("dnf_120"))
    (dnf / "config.yaml").write_text("# a < b\ndata:\n  train: train_wsj_ce\n  tests: [test_z, test_ja, test_a]\n")
    write_json(dnf / "score_test_z" / "result.json", result_json("test_z"))
    write_json(dnf / "score_test_ja" / "result.json", result_json("test_ja", **UNSEEN))
    write_json(dnf / "score_a_dev" / "result.json", result_json("a_dev"))
    write_json(dnf / "latent_test_z" / "moments.json", {"frames": 99, "moments": MOMENTS})
    write_json(nf / "train.json", train_json("nf_wsj", model="nf", classes=["en"], class_dim=None))
    write_json(nf / "score_test_z" / "result.json", result_json("test_z", classes=["en"], **NOTHING))
    moments = {"en": MOMENTS["en"], "pooled": MOMENTS["en"], "residual": None}
    write_json(nf / "latent_train" / "moments.json", {"frames": 99, "moments": moments})
    (tmp_path / "log").mkdir()
    return tmp_path


def test_results_have_the_schema_and_nothing_invented(exp: Path) -> None:
    dnf, nf = collect(exp)
    assert list(dnf) == [
        "experiment", "model", "classes", "dim", "class_dim", "parameters", "cmvn", "normalization", "precision",
        "device", "features", "level", "floor", "train", "calibration", "openset", "sets", "command", "versions",
        "commit", "machine",
    ]  # fmt: skip
    assert dnf["train"] == {
        "set": "train_wsj_ce", "frames": 4560000, "epochs": 100, "selected_epoch": 95, "loglik_train": 41.8691,
        "logp_train": -170.2, "logdet_train": 212.0691, "loglik_eval": 41.8684, "logp_eval": -170.2061,
        "logdet_eval": 212.0745, "seconds": 321.4,
    }  # fmt: skip
    assert set(dnf["sets"]["test_z"]) == {
        "utterances", "frames", "hours", "precision", "loglik", "logp", "logdet", "frame_accuracy", "utt_accuracy",
        "utt_macro_accuracy", "utterances_of", "frame_confusion", "utt_confusion",
        "moments", "eer", "cavg", "min_dcf", "languages", "unseen",
        "utt_accuracy_interval", "durations", "margins", "calibrated", "openset", "nonspeech", "proficiency",
        "command",
    }  # fmt: skip
    expected = {key: value for key, value in result_json("").items() if key not in ("set", "classes", "provenance")}
    added = dict.fromkeys(("calibrated", "openset", "nonspeech", "proficiency"))
    added |= {"moments": MOMENTS, "command": "score.py exp"}
    assert dnf["sets"]["test_z"] == {**expected, **added}
    assert dnf["sets"]["test_ja"]["moments"] is None
    assert {key: nf["sets"]["test_z"][key] for key in NOTHING} == NOTHING
    assert nf["class_dim"] is None and nf["train"]["set"] is None  # no config.yaml
    assert json.loads(json.dumps([dnf, nf], allow_nan=False)) == [dnf, nf]


OVER = {"share": 0.0683, "low": -0.01, "high": 0.12, "unit": "utterances", "units": 210}


def test_calibrated_costs_are_in_the_report(exp: Path) -> None:
    costs = {
        "log2_classes": 1.0, "bits_raw": 6.5098, "bits_min": 0.1963, "accuracy": 0.9714, "trusted": 0.995,
        "bits_over": OVER,
        "bits": {"share": 0.2646, "low": 0.181, "high": 0.398, "unit": "utterances", "units": 210},
        "cllr": {"en zh": {"raw": 6.51, "calibrated": 0.2646, "min": 0.1}},
        "cost": {
            "1": {"raw": 0.058, "actual": 0.059, "min": 0.058, "over": OVER},
            "9": {"raw": 0.26, "actual": 0.457, "min": 0.164, "over": {**OVER, "low": None, "high": None}},
        },
        "confident": {"utterances": 134, "wrong": 0.0149},
        "pieces": [
            {"seconds": 3, "pieces": 100, "bits": None, "accuracy": None, "trusted": 0.7,
             "confident": {"utterances": 0, "wrong": None}},
        ],
    }  # fmt: skip
    write_json(exp / "dnf_120/calibrated_test_z/result.json", costs)
    stored = {"model": "m", "classes": ["en", "zh"], "scale": 1.2, "power": 0.1, "offsets": [0.1, -0.1], "novelty": {}}
    write_json(
        exp / "dnf_120/calibration/calibration.json", {**stored, "utterances": 109, "speakers": 1, "new_speakers": 0}
    )
    dnf, _ = results = collect(exp)
    assert dnf["sets"]["test_z"]["calibrated"] == costs and dnf["sets"]["test_ja"]["calibrated"] is None
    table = calibration_table(dnf)
    assert table.title == "Calibrated decisions, fitted on 109 utterances of the dev set (known voices only)"
    assert table.rows == [
        ["test_z", "1.000", "6.510", "0.265 [0.181, 0.398]", "0.196", "0.068 [-0.010, 0.120]", "0.9714", "0.265",
         "0.100", "0.059 / 0.058", "0.068 [-0.010, 0.120]", "0.457 / 0.164", "0.068"],
    ]  # fmt: skip
    assert dnf["calibration"]["utterances"] == 109 and "novelty" not in dnf["calibration"]
    assert [row[1:] for row in stated_table(dnf).rows] == [
        ["whole", "1,200", "1.000", "0.265 [0.181, 0.398]", "0.9714", "0.9950", "134", "0.0149"],
        ["3 s", "100", "1.000", "-", "-", "0.7000", "0", "-"],
    ]
    head, *rows = (line.split() for line in results_table_text(results).splitlines())
    assert "bits" in head and any("0.26 of 1.00 0.9714" in " ".join(row) for row in rows)


def test_order_is_the_configuration_s_and_sets_not_scored_are_left_out(exp: Path) -> None:
    dnf, nf = collect(exp)
    assert list(dnf["sets"]) == ["test_z", "test_ja", "a_dev"]  # test_a was neither scored nor analysed
    assert list(nf["sets"]) == ["test_z", "train"]
    assert nf["sets"]["train"]["utterances"] is None  # analysed only
    assert [result["experiment"] for result in collect(exp, ["nf_wsj", "dnf_120"])] == ["nf_wsj", "dnf_120"]


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda exp: (exp / "dnf_120/score_a_dev/result.json").write_text("{"), "score_a_dev/result.json: not a JSON"),
        (lambda exp: (exp / "dnf_120/train.json").write_text("[]"), "dnf_120/train.json: not a JSON object"),
        (lambda exp: (exp / "dnf_120/latent_test_z/moments.json").write_text("{}"), "moments.json: no entry moments"),
        (lambda exp: (exp / "dnf_120/config.yaml").write_text("a: ["), r"config\.yaml:1: not a YAML"),
        (lambda exp: (exp / "dnf_120/train.json").write_bytes(b"\xff"), "dnf_120/train.json"),
    ],
)
def test_a_corrupt_file_is_named(exp: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(exp)
    with pytest.raises(ValueError, match=match):
        collect(exp)


def test_an_experiment_that_is_not_there_is_named(exp: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dnf_440/train\.json: no such file"):
        collect(exp, ["dnf_440"])
    with pytest.raises(ValueError, match="no experiment"):
        collect(tmp_path / "log")


def test_markdown_tables_by_hand(exp: Path) -> None:
    text = results_markdown(collect(exp), COMMAND)
    assert f"\nReport of 2 experiments, written by `{COMMAND}`.\n" in text and "-LogLL" in text
    first, second, notes = text.split("\n## ")[1:]
    assert first.startswith("dnf_120\n") and second.startswith("nf_wsj\n") and notes.startswith("How to read")
    assert text.index("| experiment | set |") < text.index("## dnf_120")  # the overview comes first
    for line in (
        "DNF on train_wsj_ce; classes en, zh; D = 120; class_dim 100; cmvn speaker; normalization actnorm; 100 epochs "
        "(epoch 95 kept); 4,560,000 frames; 1,234,567 parameters; 321 s on cuda, matrix products in float32.",
        "- Trained by: `steps/train.py conf/<b>.yaml`\n- Scored by: `score.py exp`\n- Commit: abc\n- Versions: python 3"
        "\n- Machine: x86_64",
        "| 4,560,000 | 41.869 | 41.868 | -0.001 | -170.206 | 212.075 |",
        "| test_z | - | 1,200 | 460,000 | 1.28 | 40.500 | -171.250 | 211.750 | 0.9199 | 0.9969 | 0.9985 | 0.0123 "
        "| 0.0101 | 0.0155 |",
        "| test_ja (unseen: ja) | ja: zh 0.7021, en 0.2979 | 1,200 | 460,000 | 0.050 | 40.500 | -171.250 | 211.750 "
        "| - | - | - | - | - | - |",
        "| test_z | zh | 0.0000 | 1.0000 | 0.0601 | 0.9399 |",
        "| test_ja | ja (unseen) | 0.2979 | 0.7021 | 0.4068 | 0.5932 |",
        "| test_z | c, en | 0.0000 | -1.1429 |",
        "| test_z | c, zh | - | - |",
        "| test_z | r, pooled | 0.0086 | 0.7271 |",
    ):
        assert f"\n{line}\n" in first, line
    assert "NF on an unnamed set; D = 120; cmvn speaker" in second
    assert "recognised as" not in second and "unseen" not in second
    assert "| train | z, pooled | 0.0000 | -1.1429 |" in second and "r, pooled" not in second


def test_every_markdown_table_has_as_many_cells_as_its_head(exp: Path) -> None:
    text = results_markdown(collect(exp), COMMAND)
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    assert len(blocks) == 1 + 6 + 3
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_terminal_table(exp: Path) -> None:
    assert results_table_text(collect(exp)) == (
        "experiment  set                   utterances  frame acc  utt acc  macro acc     EER   LogLL\n"
        "----------  --------------------  ----------  ---------  -------  ---------  ------  ------\n"
        "dnf_120     test_z                     1,200     0.9199   0.9969     0.9985  0.0123  40.500\n"
        "dnf_120     test_ja (unseen: ja)       1,200          -        -          -       -  40.500\n"
        "dnf_120     a_dev                      1,200     0.9199   0.9969     0.9985  0.0123  40.500\n"
        "nf_wsj      test_z                     1,200          -        -          -       -  40.500\n"
    )


def test_durations_and_margins_by_hand(exp: Path) -> None:
    text = results_markdown(collect(exp), COMMAND)
    first, second, _ = text.split("\n## ")[1:]
    assert (
        "\n\nAccuracy by duration (seconds of selected speech):\n\n"
        "| set |  | 1 s | 10 s | whole |\n"
        "| --- | --- | ---: | ---: | ---: |\n"
        "| test_z | accuracy [95% over speakers] | 0.9124 [0.86, 0.92] | - | 0.9800 |\n"
        "| test_z | windows of utterances; not used | 4,321 of 60; 28 s | 0 of 0; 28 s | 60 of 60 |\n"
        "| a_dev | accuracy ["
    ) in first  # no row of test_ja, of which no language was seen
    assert "| set | utterances | below 0.01 | their acc | below 0.5 | their acc |\n" in first
    assert "| test_ja (unseen: ja) | 1,200 | 0.0000 | - | 0.0250 | 0.7500 |\n" in first
    assert "duration (" not in second and "margins" not in second and "Non-speech check: decisions" not in text


def test_level_and_floor_are_among_the_settings(exp: Path) -> None:
    assert "noise floor" not in results_markdown(collect(exp), COMMAND)
    with open(exp / "dnf_120/config.yaml", "a") as file:
        file.write("frames:\n  level: 20.0\n  floor: 15.5\n")
    assert "; speech at level 20; noise floor 15.5; cmvn speaker;" in results_markdown(collect(exp), COMMAND)


def test_results_of_an_earlier_version_are_named(exp: Path) -> None:
    old = {key: value for key, value in result_json("test_z").items() if key != "durations"}
    write_json(exp / "dnf_120/score_test_z/result.json", old)
    with pytest.raises(ValueError, match=r"score_test_z/result.json: no entry durations; .*run its stage again"):
        collect(exp)


class Page(HTMLParser):
    """What a page holds; unbalanced tags fail."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_stands_alone_and_escapes_everything(exp: Path) -> None:
    tsne(np.eye(2), ["en", "zh"], set(), exp / "dnf_120/plots/test_z_tsne", "t")
    (exp / "nf_wsj").rename(exp / "nf<i>&")
    text = report_html(collect(exp), exp, "./run.sh --x '<script>'")
    page = Page(text)
    assert not {"script", "link", "iframe", "i", "b"} & set(page.tags)
    assert "://" not in text and "@import" not in text and "url(" not in text
    sources = [value for _, key, value in page.attributes if key == "src"]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,iVBORw0KGgo")
    targets = {value for tag, key, value in page.attributes if (tag, key) == ("section", "id")}
    assert {value for _, key, value in page.attributes if key == "href"} == {f"#{target}" for target in targets}
    assert len(targets) == 2
    for shown in ("--x '<script>'", "nf<i>&", "# a < b", "steps/train.py conf/<b>.yaml", "ja: zh 0.7021, en 0.2979"):
        assert shown in page.text
    assert "test_z_tsne: t-SNE of the class part" in page.text and "boxes" not in page.text
    assert page.tags.count("table") == 1 + 6 + 3


def test_html_says_what_the_labels_of_its_plots_cannot_show(exp: Path) -> None:
    tsne(np.eye(2), ["en", "zh"], set(), exp / "dnf_120/plots/test_z_tsne", "t")
    (exp / "dnf_120/plots/notes.txt").write_text("No font has <中>: labels show boxes.\n", encoding="utf-8")
    page = Page(report_html(collect(exp), exp, COMMAND))
    assert page.text.count("No font has <中>: labels show boxes.") == 1


def test_report_is_the_same_each_time(exp: Path) -> None:
    made = [
        (results_markdown(results, COMMAND), report_html(results, exp, COMMAND))
        for results in (collect(exp), collect(exp))
    ]
    assert made[0] == made[1]
