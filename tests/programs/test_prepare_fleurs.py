"""local/prepare_fleurs.py on miniatures of FLEURS in each layout."""

import shutil
from pathlib import Path

import pytest
from lhotse import SupervisionSet
from replicas import fleurs
from tools import Ended, call, left_out


def prepare(*arguments: object) -> Ended:
    return call("../local/prepare_fleurs", *arguments)


def items_of(out: Path) -> SupervisionSet:
    return SupervisionSet.from_jsonl(out / "fleurs_supervisions.jsonl.gz")


@pytest.mark.parametrize("layout", fleurs.LAYOUTS)
def test_every_layout_gives_the_same_utterances(layout: str, tmp_path: Path) -> None:
    ended = prepare(fleurs.build(tmp_path / "root", layout), tmp_path / "out")
    assert ended.code == 0, ended.log
    items = items_of(tmp_path / "out")
    assert len(items) == 3 * 3 * 4
    assert {item.language for item in items} == set(fleurs.LANGUAGES)
    item = items["fleurs-cmn_hans_cn-3001"]
    assert (item.speaker, item.gender, item.text) == (item.id, None, "A text.")
    assert item.custom == {"corpus": "fleurs", "part": "test", "sentence": "200"}
    assert items["fleurs-en_us-3000"].text == 'A "text.' or items["fleurs-en_us-3001"].text == 'A "text.'
    rows = left_out(tmp_path / "out" / "fleurs_left_out.tsv")
    assert sorted(row.split(":")[0] for row in rows) == ["(line)", "(no recording)", "(row twice)"]
    assert "1 recordings have no row and are passed over" in ended.log
    assert "languages: 3, but the published corpus has 102" in ended.log


def test_validation_is_dev_and_a_missing_part_is_said(tmp_path: Path) -> None:
    root = fleurs.build(tmp_path / "root", "early", traps=False)
    (root / "en_us/dev.tsv").rename(root / "en_us/validation.tsv")
    (root / "en_us/audio/dev").rename(root / "en_us/audio/validation")
    (root / "es_419/train.tsv").unlink()
    ended = prepare("--languages", "en_us es_419", root, tmp_path / "out")
    assert ended.code == 0 and "es_419: no table of train" in ended.log
    items = items_of(tmp_path / "out")
    assert sum(item.custom["part"] == "dev" for item in items if item.language == "en_us") == 4
    assert {item.language for item in items} == {"en_us", "es_419"}


def test_packed_archives_and_other_trees_are_refused(tmp_path: Path) -> None:
    root = fleurs.build(tmp_path / "root", traps=False)
    shutil.rmtree(root / "data/en_us/audio/train")
    (root / "data/en_us/audio/train.tar.gz").touch()
    ended = prepare(root, tmp_path / "out")
    assert ended.code == 1 and "train.tar.gz: not unpacked; run tar -xzf on it" in ended.log
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    ended = prepare(tmp_path / "other", tmp_path / "out")
    assert ended.code == 1 and "this is not FLEURS" in ended.log
    shutil.copytree(root / "data/en_us", root / "copy/en_us")
    ended = prepare(root, tmp_path / "out")
    assert ended.code == 1 and "en_us has" in ended.log and "remove one copy" in ended.log


def test_hours_limit_training_alone(tmp_path: Path) -> None:
    root = fleurs.build(tmp_path / "root", traps=False)
    prepare("--hours-per-language", 1.3 / 3600, root, tmp_path / "out")
    items = items_of(tmp_path / "out")
    assert sum(item.custom["part"] == "train" for item in items) == 3 * 2
    assert sum(item.custom["part"] == "test" for item in items) == 3 * 4
