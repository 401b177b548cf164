"""local/prepare_voxlingua107.py on a miniature of VoxLingua107."""

import shutil
from pathlib import Path

import pytest
from lhotse import SupervisionSet
from replicas import voxlingua107
from tools import Ended, call, left_out, load

program = load("local/prepare_voxlingua107.py")


def prepare(*arguments: object) -> Ended:
    return call("../local/prepare_voxlingua107", *arguments)


def items_of(out: Path) -> SupervisionSet:
    return SupervisionSet.from_jsonl(out / "voxlingua107_supervisions.jsonl.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica; nothing may write there."""
    return voxlingua107.build(tmp_path_factory.mktemp("voxlingua107"))


def test_there_are_107_languages() -> None:
    assert len(set(program.LANGUAGES)) == 107 and not set(program.TODAY) & set(program.LANGUAGES)
    assert set(program.TODAY.values()) <= set(program.LANGUAGES)


def test_names_are_read_from_the_right() -> None:
    file = program.read_name(Path("et/-a__U__S1---b__U__S12---0100.250-0110.500.wav"), "et")
    assert (file.video, file.speaker, file.seconds) == ("-a__U__S1---b", "12", 10.25)
    assert program.read_name(Path("et/strange.wav"), "et").seconds is None


def test_the_published_dev_set_is_the_test_and_nothing_of_it_is_trained_on(root: Path, tmp_path: Path) -> None:
    ended = prepare(root, tmp_path)
    assert ended.code == 0, ended.log
    items = items_of(tmp_path)
    assert {item.language for item in items} == {"he", "jv", "no", "nn", "haw", "et"}
    videos = {part: {i.custom["video"] for i in items if i.custom["part"] == part} for part in ("train", "dev", "test")}
    assert videos["test"] == {"dev-iw_____", "dev-et_____"}
    assert not videos["train"] & videos["dev"] and not (videos["train"] | videos["dev"]) & videos["test"]
    assert {item.language for item in items if item.custom["part"] == "dev"} == {item.language for item in items}
    assert "test: 4 of the 1609 published files, 2 of them of 3 s or less" in ended.log
    assert "training languages: 6, but the published corpus has 107" in ended.log
    rows = left_out(tmp_path / "voxlingua107_left_out.tsv")
    assert sum(row.startswith("(in the test set)") for row in rows) == 2
    assert any("the same file is" in row for row in rows) and any("another piece of its video" in row for row in rows)
    assert any(row.startswith("(stray)") and "strange.wav" in row for row in rows)
    assert any(row.startswith("(folder)") and "klingon" in row for row in rows)


def test_ids_begin_with_the_speaker_of_the_video(root: Path, tmp_path: Path) -> None:
    prepare("--languages", "iw", root, tmp_path)  # today's code or the old one
    items = items_of(tmp_path)
    assert {item.language for item in items} == {"he"}
    ids = [item.id for item in items if item.custom["video"] == "-aB3_dEfGh0"]
    assert ids == [
        f"voxlingua107-he--aB3_dEfGh0-s3-0{a}.{b}" for a, b in (("100", "250-0100.750"), ("200", "000-0200.500"))
    ]
    assert all(item.id.startswith(item.speaker) for item in items)


@pytest.mark.parametrize("dev", ["dev/dev", "elsewhere/dev", "elsewhere"])
def test_the_dev_set_may_lie_elsewhere(dev: str, root: Path, tmp_path: Path) -> None:
    own = shutil.copytree(root, tmp_path / "own")
    (tmp_path / "own" / "dev").rename(tmp_path / "dev")
    (own / dev).parent.mkdir(exist_ok=True)
    (tmp_path / "dev").rename(own / dev)
    ended = prepare("--dev", own / dev.split("/")[0], own, tmp_path / "out")
    assert ended.code == 0, ended.log
    assert sum(item.custom["part"] == "test" for item in items_of(tmp_path / "out")) == 4


def test_hours_are_of_training_and_no_dev_set_is_said(root: Path, tmp_path: Path) -> None:
    own = shutil.copytree(root, tmp_path / "own", ignore=shutil.ignore_patterns("dev"))
    ended = prepare("--hours-per-language", 1.1 / 3600, "--languages", "nn,no", own, tmp_path / "out")
    assert ended.code == 0 and "no dev/: there is no test" in ended.log
    items = items_of(tmp_path / "out")
    assert sum(item.custom["part"] == "train" for item in items) == 2 * 2
    assert all(item.duration == pytest.approx(0.5) for item in items)


def test_wrong_roots_and_counts_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "klingon").mkdir(parents=True)
    for arguments, words in (
        ((tmp_path / "other", tmp_path / "out"), "this is not VoxLingua107"),
        (("--check-counts", "true", root, tmp_path / "out"), "training languages: 6, but the published corpus has 107"),
        (("--dev", tmp_path / "none", root, tmp_path / "out"), "none: no such directory"),
    ):
        ended = prepare(*arguments)
        assert ended.code == 1 and words in ended.log
    assert not (tmp_path / "out").exists()
