"""local/prepare_commonlanguage.py on a miniature of CommonLanguage."""

from pathlib import Path

import pytest
from lhotse import SupervisionSet
from replicas import commonlanguage
from tools import Ended, call, left_out


def prepare(*arguments: object) -> Ended:
    return call("../local/prepare_commonlanguage", *arguments)


def items_of(out: Path) -> SupervisionSet:
    return SupervisionSet.from_jsonl(out / "commonlanguage_supervisions.jsonl.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica; nothing may write there."""
    return commonlanguage.build(tmp_path_factory.mktemp("commonlanguage"))


def test_languages_are_told_from_what_is_beside_them(root: Path, tmp_path: Path) -> None:
    ended = prepare(root, tmp_path)
    assert ended.code == 0, ended.log
    items = items_of(tmp_path)
    assert {item.language for item in items} == {"ja", "zh-CN", "zh-HK", "zh-TW", "mn", "en"}
    assert len(items) == 6 * 3 * 4 + 2  # and two odd files
    assert "languages: 6, but the published corpus has 45" in ended.log
    rows = left_out(tmp_path / "commonlanguage_left_out.tsv")
    assert any(row.startswith("(language)") and "Klingon" in row for row in rows)
    assert any(row.startswith("(no recording)") and "common_voice_ja_90000003" in row for row in rows)
    assert any(row.startswith("(line)") and "test.csv:7" in row and "3 columns, not 6" in row for row in rows)
    assert len(rows) == 3


def test_an_utterance_carries_what_the_table_says(root: Path, tmp_path: Path) -> None:
    prepare("--languages", "zh-HK", root / "common_voice_kpd", tmp_path)
    item = items_of(tmp_path)["commonlanguage-zh-HK-chi_tst_sp_1-common_voice_ch_00000000"]
    assert (item.speaker, item.gender, item.text) == ("commonlanguage-zh-HK-chi_tst_sp_1", "m", 'Said "so.')
    assert item.custom == {"corpus": "commonlanguage", "part": "test", "name": "Chinese_Hongkong", "age": "twenties"}
    assert {other.language for other in items_of(tmp_path)} == {"zh-HK"}
    assert {other.gender for other in items_of(tmp_path)} == {"m", None}  # "other" is neither


def test_hours_limit_training_alone(root: Path, tmp_path: Path) -> None:
    ended = prepare("--languages", "en ja", "--hours-per-language", 1.3 / 3600, root, tmp_path)
    assert ended.code == 0, ended.log
    counts = [sum(item.custom["part"] == part for item in items_of(tmp_path)) for part in ("train", "dev", "test")]
    assert counts == [2 * 2, 2 * 4, 2 * 4 + 2]


def test_tables_may_be_utf_8_or_missing_but_not_without_path(root: Path, tmp_path: Path) -> None:
    place = commonlanguage.build(tmp_path / "own", traps=False) / "common_voice_kpd"
    table = place / "English" / "test.csv"
    table.write_text(table.read_bytes().decode("utf-16"), encoding="utf-8")
    (place / "English" / "dev.csv").unlink()
    ended = prepare("--languages", "en", tmp_path / "own", tmp_path / "out")
    assert ended.code == 0 and "no dev.csv: sentences and genders of this part are not known" in ended.log
    assert {item.custom["part"] for item in items_of(tmp_path / "out") if not item.text} == {"dev"}
    table.write_text("\tclient_id\tfile\n", encoding="utf-8")
    ended = prepare(tmp_path / "own", tmp_path / "out")
    assert ended.code == 1 and f"{table}: no column `path`" in ended.log
    table.write_bytes(b"\xff\xfeabc")
    ended = prepare(tmp_path / "own", tmp_path / "out")
    assert ended.code == 1 and f"{table}: not UTF-16" in ended.log


def test_wrong_roots_and_options_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    for arguments, words in (
        ((tmp_path / "other", tmp_path / "out"), "this is not CommonLanguage"),
        (("--languages", "jp", root, tmp_path / "out"), "--languages: jp is not a language of this corpus"),
        (("--check-counts", "true", root, tmp_path / "out"), "languages: 6, but the published corpus has 45"),
    ):
        ended = prepare(*arguments)
        assert ended.code == 1 and words in ended.log
    assert not (tmp_path / "out").exists()
