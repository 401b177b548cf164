"""local/prepare_vctk.py on miniatures of both versions of VCTK."""

from pathlib import Path

import pytest
from lhotse import RecordingSet, SupervisionSet
from replicas import vctk
from tools import Ended, call, left_out


def prepare(*arguments: object) -> Ended:
    return call("../local/prepare_vctk", *arguments)


def items_of(out: Path) -> SupervisionSet:
    return SupervisionSet.from_jsonl(out / "vctk_supervisions.jsonl.gz")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A replica of each version; nothing may write there."""
    base = tmp_path_factory.mktemp("vctk")
    return {version: vctk.build(base / version / "VCTK-Corpus", version) for version in ("0.92", "0.80")}


def test_one_microphone_is_taken_and_who_lacks_it_is_named(roots: dict[str, Path], tmp_path: Path) -> None:
    ended = prepare(roots["0.92"].parent, tmp_path)
    assert ended.code == 0, ended.log
    sources = [
        Path(item.sources[0].source).stem for item in RecordingSet.from_jsonl(tmp_path / "vctk_recordings.jsonl.gz")
    ]
    assert len(sources) == 2 * 12 and all(name.endswith("_mic2") for name in sources)
    rows = left_out(tmp_path / "vctk_left_out.tsv")
    assert any(row.startswith("(microphone)") and "p280" in row for row in rows)
    assert sum(row.startswith("(accent)") for row in rows) == 2  # s5, whose accent is unknown, and p999
    assert any(row.startswith("(stray)") and "notes_mic2.flac" in row for row in rows)
    prepare("--mic", 1, roots["0.92"], tmp_path / "first")
    assert "vctk-p280" in {item.speaker for item in items_of(tmp_path / "first")}


def test_versions_say_the_same(roots: dict[str, Path], tmp_path: Path) -> None:
    ended = prepare(roots["0.80"], tmp_path)
    assert ended.code == 0, ended.log
    item = items_of(tmp_path)["vctk-p226-002"]
    assert item.custom["accent"] == "english"
    assert (item.gender, item.text, item.custom["region"]) == ("m", "Seven grey geese.", "English Midlands")
    assert items_of(tmp_path)["vctk-p227-001"].custom["region"] == "Southern England"
    assert "region" not in items_of(tmp_path)["vctk-p225-001"].custom
    assert items_of(tmp_path)["vctk-p266-001"].text is None
    assert len(items_of(tmp_path)) == 2 * 13
    assert "speakers: 14, but the published corpus has 109" in ended.log


def test_speakers_of_each_accent_are_split(roots: dict[str, Path], tmp_path: Path) -> None:
    ended = prepare(roots["0.80"], tmp_path)
    parts: dict[str, dict[str, set[str]]] = {}
    for item in items_of(tmp_path):
        parts.setdefault(item.custom["accent"], {}).setdefault(item.custom["part"], set()).add(item.speaker)
    counts = {accent: {part: len(names) for part, names in own.items()} for accent, own in parts.items()}
    assert counts["english"] == {"train": 3, "test": 1, "dev": 1} and counts["american"] == {
        "train": 2,
        "test": 1,
        "dev": 1,
    }
    assert counts["irish"] == {"train": 1, "test": 1} and counts["welsh"] == {"test": 1}
    assert "welsh: 1 speakers, only tested on" in ended.log and "irish: 2 speakers, without a dev speaker" in ended.log


def test_wrong_roots_and_counts_are_refused(roots: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    for arguments, words in (
        ((tmp_path / "other", tmp_path / "out"), "this is not VCTK"),
        (("--check-counts", "true", roots["0.92"], tmp_path / "out"), "speakers: 15, but the published corpus has 110"),
    ):
        ended = prepare(*arguments)
        assert ended.code == 1 and words in ended.log
    assert not (tmp_path / "out").exists()
