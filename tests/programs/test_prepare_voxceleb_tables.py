"""local/prepare_voxceleb.py: the metadata tables, as they are and as they come from other hands."""

from pathlib import Path

import pytest
from lhotse import RecordingSet, SupervisionSet, load_manifest
from replicas import voxceleb
from tools import load

program = load("local/prepare_voxceleb.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both releases; nothing may write there."""
    return voxceleb.build(tmp_path_factory.mktemp("voxceleb"), seconds=0.5)


def prepare(root: Path, out: Path, releases: str = "12", **options: object) -> tuple[RecordingSet, SupervisionSet]:
    program.prepare({release: root / f"vox{release}" for release in releases}, out, **options)
    return tuple(load_manifest(out / f"voxceleb_{kind}.jsonl.gz") for kind in ("recordings", "supervisions"))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(" ,", "\t"),
        lambda text: text.replace(" ,", ","),
        lambda text: text.replace(" \n", " ,\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text + "\n\n",
        lambda text: text.replace(" ,m ,", " ,M ,").replace(",test", ",Test"),
    ],
    ids=["tabs", "no blanks", "comma at line end", "Windows", "byte order mark", "capitals"],
)
def test_the_second_table_in_other_hands(copy: Path, tmp_path: Path, change: object) -> None:
    _, items = prepare(copy, tmp_path / "one", "2")
    table = copy / "vox2" / "vox2_meta.csv"
    table.write_text(change(table.read_text()), encoding="utf-8", newline="")
    assert program.read_people(copy / "vox2", "2")["id00027"].part == "test"
    _, same = prepare(copy, tmp_path / "two", "2")
    assert list(same) == list(items) and {item.gender for item in same} == {"f", "m"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "vox1_meta.csv:1: no column voxceleb1 id, vggface1 id, gender, set"),
        ("VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\n", "vox1_meta.csv:1: no column set; fetch"),
        ("VoxCeleb1 ID\tVGGFace1 ID\tGender\tSet\n\nid1\tAnn_X\tf\tdev\n", "vox1_meta.csv:3: expected an id"),
        ("VoxCeleb1 ID\tVGGFace1 ID\tGender\tSet\nid10001\t\tf\tdev\n", "vox1_meta.csv:2: expected an id"),
        ("VoxCeleb1 ID\tVGGFace1 ID\tGender\tSet\nid10001\tAnn_X\tz\tdev\n", "vox1_meta.csv:2: expected gender"),
        ("VoxCeleb1 ID\tVGGFace1 ID\tGender\tSet\nid10001\tAnn_X\tf\ttrain\n", "vox1_meta.csv:2: expected gender"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_line(copy: Path, tmp_path: Path, text: str, words: str) -> None:
    (copy / "vox1" / "vox1_meta.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        prepare(copy, tmp_path / "out", "1")


def test_a_table_in_another_coding(copy: Path, tmp_path: Path) -> None:
    table = copy / "vox1" / "vox1_meta.csv"
    table.write_bytes(table.read_text().replace("Norway", "Curaçao").encode("latin-1"))
    with pytest.raises(ValueError, match=r"vox1_meta.csv: not UTF-8"):
        prepare(copy, tmp_path / "out", "1")


def test_a_speaker_who_is_in_no_table_is_said(copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    table = copy / "vox2" / "vox2_meta.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if "id00017" not in line))
    _, items = prepare(copy, tmp_path / "out", "2")
    assert items["voxceleb-id00017--abcdefgh00-00001"].gender is None
    assert "VoxCeleb2: 1 speakers are not in the table, gender unknown: id00017" in messages.text
