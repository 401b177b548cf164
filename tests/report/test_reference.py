"""Published figures beside ours: the form of the file, the paths into results.json, and the place of the table."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import ROOT, call

from flowlid.files import write_json
from flowlid.report.html import report_html
from flowlid.report.markdown import results_markdown
from flowlid.report.reference import read_reference, reference_tables
from flowlid.report.tables import markdown_table

REFERENCES = sorted(ROOT.glob("egs/*/reference.yaml"))
MOMENTS = {"native": {"skew": 0.1, "kurt": -1.0}, "pooled": {"skew": 0.01, "kurt": -1.16}, "residual": None}
RESULT = {
    "experiment": "dnf_120",
    "model": "dnf",
    "dim": 120,
    "train": {"frames": 4500000, "loglik_eval": 41.5},
    "sets": {
        "test.x": {
            "frames": 460000, "loglik": -1466.2, "frame_accuracy": None, "moments": MOMENTS, "utt_confusion": None,
        },
        "test_y": {
            "frames": 1000, "loglik": 3.5, "frame_accuracy": 0.9199, "moments": None,
            "utt_confusion": {"zh": {"native": 0.25, "zh": 0.75}},
        },
    },
}  # fmt: skip


def write(path: Path, figures: object, **more: object) -> Path:
    path.write_text(yaml.safe_dump({"source": "a notebook", "figures": figures, **more}))
    return path


def rows(tmp_path: Path, *figures: dict[str, Any]) -> list[str]:
    reference = read_reference(write(tmp_path / "reference.yaml", {"dnf_120": list(figures)}))
    return markdown_table(reference_tables(reference, [RESULT])["dnf_120"]).splitlines()


def figure(published: float, ours: object, **more: object) -> dict[str, Any]:
    return {"quantity": "q", "published": published, "ours": ours, **more}


@pytest.mark.parametrize(
    ("published", "ours", "cells"),
    [
        (0.914, "sets.test_y.frame_accuracy", "0.9140 | 0.9199 | +0.0059"),
        (0.91991, "sets.test_y.frame_accuracy", "0.9199 | 0.9199 | +0.0000"),
        (-1.1429, ["sets", "test.x", "moments", "pooled", "kurt"], "-1.1429 | -1.1600 | -0.0171"),
        (-1466.184, ["sets", "test.x", "loglik"], "-1466.184 | -1466.200 | -0.016"),
        (4560000, "train.frames", "4,560,000 | 4,500,000 | -60,000"),
        (41.869, "train.loglik_eval", "41.869 | 41.500 | -0.369"),
        (0.2979, "sets.test_y.utt_confusion.zh.native", "0.2979 | 0.2500 | -0.0479"),
        (1, "sets.test_y.loglik", "1.0000 | 3.5000 | +2.5000"),
        (120, "dim", "120 | 120 | +0"),
        # what was not made, or does not apply
        (0.5, "sets.test_z.frame_accuracy", "0.5000 | - | -"),
        (460000, "sets.test_z.frames", "460,000 | - | -"),
        (0.5, ["sets", "test.x", "frame_accuracy"], "0.5000 | - | -"),
        (0.5, ["sets", "test.x", "moments", "residual", "skew"], "0.5000 | - | -"),
        (0.5, ["sets", "test.x", "moments", "zh", "skew"], "0.5000 | - | -"),
        (0.5, "sets.test_y.utt_confusion.ja.native", "0.5000 | - | -"),
        (-12.5, None, "-12.500 | - | -"),
    ],
)
def test_a_figure_by_hand(published: float, ours: object, cells: str, tmp_path: Path) -> None:
    assert rows(tmp_path, figure(published, ours))[2] == f"| q | {cells} |"


def test_notes_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    found = rows(tmp_path, figure(0.5, "sets.test_y.loglik"), figure(1.5, "sets.test_y.loglik", note="another set"))
    assert found[0] == "| quantity | note | published | ours | difference |"
    assert found[2:] == ["| q | - | 0.5000 | 3.5000 | +3.0000 |", "| q | another set | 1.5000 | 3.5000 | +2.0000 |"]


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (
            figure(1, "set.test_y.loglik"),
            r"dnf_120: figure 1: ours: set\.test_y\.loglik: unknown 'set' \(did you mean 'sets'",
        ),
        (figure(1, "command"), "unknown 'command'; known: train sets"),
        (figure(1, "sets.test_y.loglik", notes="x"), "figure 1: unknown key 'notes' .did you mean 'note'"),
        ({"quantity": "q", "published": 1}, "figure 1: no ours"),
        ({"published": 1, "ours": "dim"}, "figure 1: no quantity"),
        (figure("0,5", "dim"), "published: '0,5' is not a number"),
        (figure(True, "dim"), "published: True is not a number"),
        (figure(1, "sets..loglik"), "ours: 'sets..loglik' is not a path"),
        (figure(1, []), r"ours: \[\] is not a path"),
        (figure(1, ["sets", 3]), "is not a path"),
        (figure(1, "dim", note=3), "note: 3 is not a text"),
        ("q", "figure 1: expected quantity, published, ours"),
    ],
)
def test_a_bad_entry_is_named_when_the_file_is_read(entry: object, match: str, tmp_path: Path) -> None:
    path = write(tmp_path / "reference.yaml", {"dnf_120": [entry]})
    with pytest.raises(ValueError, match=match) as error:
        read_reference(path)
    assert str(error.value).startswith(f"{path}: dnf_120: figure 1")


@pytest.mark.parametrize(
    ("ours", "match"),
    [
        ("sets.test_y.frame_acuracy", "unknown 'frame_acuracy' .did you mean 'frame_accuracy'"),
        (["sets", "test.x", "moments", "pooled", "skewness"], "unknown 'skewness'"),
        ("sets.test_y.utt_confusion.zh.natve", "unknown 'natve' .did you mean 'native'"),
        ("train.loglik", "unknown 'loglik' .did you mean 'loglik_eval'"),
        ("sets.test_y.loglik.mean", "there is nothing below 3.5"),
        ("sets.test_y.utt_confusion.zh", "leads to no number; known: native zh"),
        ("sets.test_y", "leads to no number"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(ours: object, match: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=match) as error:
        rows(tmp_path, figure(1, "dim"), figure(1, ours))
    assert "reference.yaml: dnf_120: figure 2" in str(error.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("source: x", "expected the keys"),
        ("figures: {a: []}", "source: None is not a text"),
        ("source: x\nfigures: {a: {}}", "figures: a: expected a list"),
        ("source: x\nfigure: 1\nfigures: {a: []}", "unknown key 'figure' .did you mean 'figures'"),
        ("a: [", "not a YAML file"),
    ],
)
def test_a_bad_file_is_named(text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "reference.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=match) as error:
        read_reference(path)
    assert str(path) in str(error.value)


def test_an_experiment_that_did_not_run_has_no_table(tmp_path: Path) -> None:
    path = write(tmp_path / "reference.yaml", {"dnf_440": [figure(1, "dim")], "dnf_120": []})
    assert reference_tables(read_reference(path), [RESULT]) == {}


def entries(name: str, **sets: object) -> dict[str, Any]:
    return {
        "experiment": name, "model": "nf", "classes": ["en"], "dim": 120, "class_dim": None, "parameters": 10,
        "cmvn": "none", "normalization": "actnorm", "precision": "float32", "device": "cpu",
        "command": "c", "commit": "x", "versions": "v", "machine": "m", "sets": sets,
        "train": {
            "set": "train", "frames": 100, "epochs": 1, "selected_epoch": 1, "loglik_train": -2.0, "logp_train": -3.0,
            "logdet_train": 1.0, "loglik_eval": -2.0, "logp_eval": -3.0, "logdet_eval": 1.0, "seconds": 1.0,
        },
    }  # fmt: skip


def test_the_table_ends_its_experiment_s_section(tmp_path: Path) -> None:
    results = [entries("nf_120"), entries("other")]
    path = write(tmp_path / "reference.yaml", {"nf_120": [figure(-1479.559, "train.loglik_eval", note="as <saved>")]})
    tables = reference_tables(read_reference(path), results)
    first, second, notes = results_markdown(results, "./run.sh", references=tables).split("\n## ")[1:]
    assert notes.startswith("How to read the tables")
    title = "Reference figures beside ours (published: a notebook; difference: ours - published)"
    assert first.startswith("nf_120") and first.index(title) > first.index("LogLL as trained")
    assert first.rstrip().endswith("| q | as <saved> | -1479.559 | -2.000 | +1477.559 |")
    assert "beside ours" not in second
    html = report_html(results, tmp_path, "./run.sh", references=tables)
    assert html.count("Reference figures beside ours") == 1 and "as &lt;saved&gt;" in html and "+1477.559" in html


def test_the_step_prints_them(tmp_path: Path) -> None:
    trained = entries("nf_120")
    trained |= {**trained["train"], "provenance": {"command": "c", "commit": "x", "versions": "v", "machine": "m"}}
    write_json(tmp_path / "exp/nf_120/train.json", trained)
    path = write(tmp_path / "reference.yaml", {"nf_120": [figure(1, "train.epochs"), figure(2, "sets.test.loglik")]})
    ended = call("make_report", "--reference", path, tmp_path / "exp")
    assert ended.code == 0, ended.log
    text = (tmp_path / "exp/RESULTS.md").read_text()
    assert "| q | 1 | 1 | +0 |\n| q | 2 | - | - |" in text
    assert "figures beside ours" in (tmp_path / "exp/report.html").read_text()
    path.write_text("source: x\nfigures: {nf_120: [{quantity: q, published: 1, ours: tran.epochs}]}")
    ended = call("make_report", "--reference", path, tmp_path / "exp")
    assert ended.code == 1 and f"{path}: nf_120: figure 1" in ended.log and "did you mean 'train'" in ended.log
    assert json.loads((tmp_path / "exp/results.json").read_text())


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.parent.name)
def test_the_recipes_figures_belong_to_their_experiments_and_sets(path: Path) -> None:
    reference = read_reference(path)
    files = path.parent.glob("sets*.yaml")  # commonaccent has a second one
    sets = {name: of for file in files for name, of in yaml.safe_load(file.read_text())["sets"].items()}
    for name, figures in reference.figures.items():
        assert (path.parent / "conf" / f"{name}.yaml").is_file(), name
        assert len({figure.quantity for figure in figures}) == len(figures)
        for figure in figures:
            assert figure.ours is None or figure.ours[0] != "sets" or figure.ours[1] in sets, figure.where
