"""Copies of the tables of a user's data directories: made anew only when those change, never written back."""

from pathlib import Path

import pytest
from tools import call, contents, feature_dir

from flowlid.kaldi.copies import copy_directories
from flowlid.kaldi.datadir import DataDir

UTTS = {"a-1": "en", "a-2": "en", "b-1": "es"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The user's data directories train and test, with features."""
    for name in ("train", "test"):
        feature_dir(tmp_path / "user" / name, UTTS)
    return tmp_path / "user"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "exp/_data"


def test_tables_are_copied_and_archives_are_not(source: Path, place: Path) -> None:
    before = contents(source)
    copy_directories(source, ["train"], place, features=True)
    copy = DataDir(place / "train")
    copy.validate(("utt2spk", "spk2utt", "utt2lang", "feats.scp", "vad.scp"))
    assert {file.name for file in copy.path.iterdir()} == {
        "copied_from.json", "feats.scp", "spk2utt", "utt2lang", "utt2spk", "vad.scp",
    }  # fmt: skip
    assert (copy.feats("a-1") == DataDir(source / "train").feats("a-1")).all()
    assert not (place / "test").exists()
    assert contents(source) == before


def test_unchanged_tables_keep_the_features_of_stage_2(source: Path, place: Path) -> None:
    copy_directories(source, ["train"], place, features=False)  # as stage 2 begins
    assert not (place / "train/feats.scp").exists()
    (place / "train/feats.scp").write_text("made by stage 2\n")
    for features in (True, False):  # stage 3, and stage 2 once more
        copy_directories(source, ["train"], place, features)
        assert (place / "train/feats.scp").read_text() == "made by stage 2\n"
    feature_dir(source / "train", {**UTTS, "b-2": "es"})
    copy_directories(source, ["train"], place, features=True)
    assert DataDir(place / "train").feats("b-2").shape == (30, 3)


def test_what_stage_2_took_out_comes_back_when_it_runs_again(source: Path, place: Path) -> None:
    copy_directories(source, ["train"], place, features=False)
    for name in ("utt2spk", "utt2lang"):
        (place / "train" / name).write_text("a-1 x\n")
    copy_directories(source, ["train"], place, features=True)
    assert DataDir(place / "train").utts == ["a-1"]
    copy_directories(source, ["train"], place, features=False)
    assert DataDir(place / "train").utts == sorted(UTTS)


def test_own_features_can_be_replaced_by_those_of_stage_2(source: Path, place: Path) -> None:
    copy_directories(source, ["train"], place, features=True)
    copy_directories(source, ["train"], place, features=False)
    assert not (place / "train/feats.scp").exists()


def test_copies_of_what_has_gone_or_is_elsewhere_go_too(source: Path, place: Path) -> None:
    copy_directories(source, ["train", "test"], place, features=True)
    (source / "test").rename(source / "other")
    copy_directories(source, ["train"], place, features=True)
    assert sorted(path.name for path in place.iterdir()) == [".copy.lock", "train"]
    copy_directories(source.rename(source.parent / "moved"), ["other"], place, features=True)
    assert sorted(path.name for path in place.iterdir()) == [".copy.lock", "other"]


def test_what_is_no_copy_is_not_replaced(source: Path, place: Path) -> None:
    feature_dir(place / "train", {"x-1": "en"})
    before = contents(place)
    with pytest.raises(ValueError, match=r"_data/train: not made by a run; move it away, or give another --exp"):
        copy_directories(source, ["train"], place, features=True)
    assert contents(place) | {".copy.lock": b""} == before | {".copy.lock": b""}


def test_a_set_that_is_not_there_is_named(source: Path, place: Path) -> None:
    ended = call("copy_data_dirs", source, place, "dev")
    assert ended.code == 1 and f"{source}/dev: no such data directory" in ended.log


@pytest.mark.parametrize("content", ["1.5", "[]", "{}", '{"source": 3, "tables": "", "features": ""}'])
def test_a_copy_that_does_not_tell_of_what(content: str, source: Path, place: Path) -> None:
    copy_directories(source, ["train"], place, features=True)
    (place / "train/copied_from.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"train/copied_from\.json: does not tell what it is a copy of; remove .*train"
    ):
        copy_directories(source, ["train"], place, features=True)
