"""local/prepare_commonaccent.py on miniatures of Common Voice's releases."""

from pathlib import Path

import pytest
from lhotse import SupervisionSet
from replicas import commonvoice
from tools import Ended, call, left_out, load

program = load("local/prepare_commonaccent.py")


def prepare(*arguments: object) -> Ended:
    return call("../local/prepare_commonaccent", *arguments)


def items_of(out: Path) -> SupervisionSet:
    return SupervisionSet.from_jsonl(out / "commonaccent_supervisions.jsonl.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica of release 13; nothing may write there."""
    return commonvoice.build(tmp_path_factory.mktemp("commonvoice"))


def test_accents_are_those_of_commonaccent() -> None:
    assert len(program.ACCENTS) == 16
    assert program.CODES["us"] == "us" and program.CODES["welsh english"] == "wales"


@pytest.mark.parametrize("release", [7, 8, 13, 17])
def test_every_release_gives_the_same_accents(release: int, tmp_path: Path) -> None:
    root = commonvoice.build(tmp_path / "root", release)
    ended = prepare("--max-bad", 0.1, root / "en", tmp_path / "out")
    assert ended.code == 0, ended.log
    counts: dict[str, int] = {}
    for item in items_of(tmp_path / "out"):
        counts[item.custom["accent"]] = counts.get(item.custom["accent"], 0) + 1
    assert counts == {"us": 6, "england": 6, "indian": 7, "wales": 2}
    assert {item.gender for item in items_of(tmp_path / "out")} == {"m"}
    rows = left_out(tmp_path / "out" / "commonaccent_left_out.tsv")
    accents = [row for row in rows if row.startswith("(accent)")]
    assert len(accents) == 3 and any("no accent" in row for row in accents)
    assert any("England English,United States English" in row for row in accents)
    assert any(row.startswith("(missing)") and row.split(": ")[1].endswith(".mp3") for row in rows)


def test_a_release_without_accents_is_refused(tmp_path: Path) -> None:
    ended = prepare(commonvoice.build(tmp_path / "root", 12, clips=1), tmp_path / "out")
    assert ended.code == 1 and "no column `accents` or `accent`: releases such as 12 lack it" in ended.log


def test_no_speaker_is_on_two_sides(root: Path, tmp_path: Path) -> None:
    ended = prepare("--max-bad", 0.1, root, tmp_path)
    sides: dict[str, set[str]] = {}
    for item in items_of(tmp_path):
        sides.setdefault(item.speaker, set()).add(item.custom["part"])
    assert all(len(parts) == 1 for parts in sides.values()) and len(sides) == 10
    assert "1 speakers have clips of several accents" in ended.log
    assert "wales: 1 speakers make no train, dev and test part" in ended.log
    assert {item.custom["part"] for item in items_of(tmp_path) if item.custom["accent"] == "wales"} == {"test"}


def test_clips_are_taken_from_all_speakers(root: Path, tmp_path: Path) -> None:
    prepare("--clips-per-accent", 3, "--max-bad", 0.2, root, tmp_path)
    own = [item for item in items_of(tmp_path) if item.custom["accent"] == "england"]
    assert len(own) == 3 and len({item.speaker for item in own}) == 3
    assert prepare("--clips-per-accent", -1, root, tmp_path).code == 1


def test_the_published_lists_are_kept_beside_the_split_by_speaker(root: Path, tmp_path: Path) -> None:
    lists = commonvoice.build_lists(tmp_path / "lists")
    ended = prepare("--lists", lists, "--clips-per-accent", 1, "--max-bad", 0.2, root, tmp_path / "out")
    assert ended.code == 0, ended.log
    counts = {
        side: sum(item.custom.get("list") == side for item in items_of(tmp_path / "out")) for side in ("train", "test")
    }
    assert counts == {"train": 9, "test": 9}
    assert "the lists: 9 of 9 test speakers are in training too" in ended.log
    (lists / "dev.csv").unlink()
    ended = prepare("--lists", lists, root, tmp_path / "out")
    assert ended.code == 1 and "dev.csv: no such list of CommonAccent" in ended.log


def test_other_trees_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other" / "clips").mkdir(parents=True)
    ended = prepare(tmp_path / "other", tmp_path / "out")
    assert ended.code == 1 and "this is not Common Voice" in ended.log
