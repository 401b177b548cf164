"""local/prepare_timit.py on miniatures of TIMIT in every shape that copies of it have."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from lhotse import RecordingSet, SupervisionSet
from replicas import timit, wsj
from tools import Ended, call, left_out

PREPARE = "../local/prepare_timit"  # beside the steps
TRAIN, TEST = timit.SPEAKERS["train"], {**timit.SPEAKERS["core"], **timit.SPEAKERS["dev"], **timit.SPEAKERS["other"]}


def prepare(*arguments: object) -> Ended:
    return call(PREPARE, *arguments)


def manifests(out: Path) -> tuple[RecordingSet, SupervisionSet]:
    recordings = RecordingSet.from_jsonl(out / "timit_recordings.jsonl.gz")
    return recordings, SupervisionSet.from_jsonl(out / "timit_supervisions.jsonl.gz")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A replica of each shape; nothing may write there."""
    base = tmp_path_factory.mktemp("timit")
    return {shape: timit.build(base / shape / "TIMIT", shape, seconds=0.3) for shape in timit.SHAPES}


@pytest.fixture(scope="module")
def prepared(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Manifests of the original shape, and how the preparation ended."""
    out = tmp_path_factory.mktemp("out")
    return out, prepare(roots["upper"], out)


def test_parts_are_those_of_the_literature(prepared: tuple[Path, Ended]) -> None:
    out, ended = prepared
    assert ended.code == 0
    parts: dict[str, set[str]] = {}
    for item in manifests(out)[1]:
        parts.setdefault(item.custom["part"], set()).add(item.speaker)
    wanted = {"train": "train", "core": "test", "dev": "dev", "other": "test_other"}
    assert parts == {part: {f"timit-{s}" for s in timit.SPEAKERS[name]} for name, part in wanted.items()}


def test_an_utterance_carries_what_is_known(prepared: tuple[Path, Ended]) -> None:
    recordings, items = manifests(prepared[0])
    item = next(item for item in items if item.speaker == "timit-felc0")
    assert item.id.startswith("timit-felc0-s") and item.id == item.id.lower()
    assert (item.language, item.gender, item.text) == ("en", "f", timit.TEXT)
    custom = {"corpus": "timit", "part": "test", "accent": "native", "dialect": "dr1"}
    assert item.custom == custom
    recording = recordings[item.recording_id]
    assert recording.sampling_rate == 16000 and item.duration == pytest.approx(0.3)
    samples = recording.load_audio()
    assert samples.shape == (1, 4800) and np.abs(samples).max() > 0.01


@pytest.mark.parametrize("shape", timit.SHAPES)
def test_every_shape_gives_the_same_utterances(
    shape: str, roots: dict[str, Path], prepared: tuple[Path, Ended], tmp_path: Path
) -> None:
    ended = prepare(roots[shape], tmp_path)
    assert ended.code == 0, ended.log
    assert "spkrinfo.txt: 10 speakers" in ended.log.lower()
    recordings, items = manifests(tmp_path)
    fields = [(item.id, item.speaker, item.duration, item.text, item.gender, item.custom) for item in items]
    wanted = manifests(prepared[0])[1]
    assert fields == [(item.id, item.speaker, item.duration, item.text, item.gender, item.custom) for item in wanted]
    assert len(fields) == 3 * (len(TRAIN) + len(TEST)) - 1
    assert all(recording.load_audio().shape == (1, 4800) for recording in recordings)


def test_doubles_of_the_kaggle_copy_are_counted_and_serve_where_they_are_alone(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(roots["kaggle"], tmp_path / "kaggle")
    alone = root / "data/TRAIN/DR8/MKKK0"
    for path in alone.glob("*.WAV"):
        path.unlink()
    ended = prepare(root, tmp_path / "out")
    count = 5 * (len(TRAIN) + len(TEST)) - 5
    assert f"left out (doubles): {count}, named in" in ended.log
    sources = {Path(item.sources[0].source) for item in manifests(tmp_path / "out")[0]}
    assert {path.suffixes[-1] for path in sources if path.parent.name != "MKKK0"} == {".WAV"}
    assert [path.suffixes[-1] for path in sources if path.parent.name == "MKKK0"] == [".wav"] * 3


def test_sa_sentences_come_on_demand(roots: dict[str, Path], prepared: tuple[Path, Ended], tmp_path: Path) -> None:
    assert not any("-sa" in item.id for item in manifests(prepared[0])[1])
    assert f"left out (sa): {2 * (len(TRAIN) + len(TEST))}, named in" in prepared[1].log
    prepare("--sa", "true", roots["upper"], tmp_path)
    sa = [item.id for item in manifests(tmp_path)[1] if "-sa" in item.id]
    assert len(sa) == 2 * (len(TRAIN) + len(TEST)) and "timit-mdab0-sa1" in sa


def test_damaged_and_stray_files_are_named(prepared: tuple[Path, Ended]) -> None:
    out, _ = prepared
    rows = left_out(out / "timit_left_out.tsv")
    assert any(row.startswith("(damaged)") and "FABC0/SI1011.WAV" in row and "cut off" in row for row in rows)
    assert any(row.startswith("(stray)") and "DR1/TONE.WAV" in row for row in rows)
    ids = {item.id for item in manifests(out)[1]}
    assert "timit-fabc0-si1011" not in ids and "timit-fabc0-sx1010" in ids


def test_the_tree_may_be_some_levels_down_but_not_twice(roots: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "ldc/LDC93S1/timit"
    shutil.copytree(roots["upper"], place / "TIMIT")
    (place / "data").symlink_to("TIMIT")  # a second name of the same tree
    assert prepare(tmp_path / "ldc", tmp_path / "out").code == 0
    shutil.copytree(roots["lower"], tmp_path / "ldc/copy")
    ended = prepare(tmp_path / "ldc", tmp_path / "out")
    assert ended.code == 1 and "is there twice" in ended.log
    assert "ldc/copy" in ended.log.splitlines()[-1] and "LDC93S1" in ended.log.splitlines()[-1]


def test_a_table_that_contradicts_the_folder_is_said(roots: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(roots["upper"], tmp_path / "TIMIT")
    table = root / "DOC/SPKRINFO.TXT"
    table.write_text(table.read_text().replace("ELC0  F", "ELC0  M"))
    ended = prepare(root, tmp_path / "out")
    assert "WARNING dr1/felc0: SPKRINFO.TXT has [('m', 'dr1')]" in ended.log
    assert ended.log.count("SPKRINFO.TXT has") == 1
    items = manifests(tmp_path / "out")[1]
    assert {item.gender for item in items if item.speaker == "timit-felc0"} == {"f"}


def test_an_utterance_without_a_sentence_has_no_text(roots: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(roots["upper"], tmp_path / "TIMIT")
    own = sorted((root / "TEST/DR1/MDAB0").glob("S[IX]*.TXT"))
    own[0].unlink()
    own[1].write_text("no numbers before it\n")
    ended = prepare(root, tmp_path / "out")
    assert ended.log.count(f"{own[1].name}: expected two numbers and a sentence") == 1
    texts = {item.id: item.text for item in manifests(tmp_path / "out")[1] if item.speaker == "timit-mdab0"}
    missing = {f"timit-mdab0-{path.stem.lower()}" for path in own[:2]}
    assert {name for name, text in texts.items() if text is None} == missing and len(texts) == 3


def test_the_counts_of_the_published_corpus(
    roots: dict[str, Path], prepared: tuple[Path, Ended], tmp_path: Path
) -> None:
    for line in ("speakers of train: 4, but the published corpus has 462", "utterances of dev: 6, but", "has 400",
                 "utterances of test: 9, but the published corpus has 192"):  # fmt: skip
        assert line in prepared[1].log
    ended = prepare("--check-counts", "true", roots["upper"], tmp_path)
    assert ended.code == 1 and "462" in ended.log.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_another_corpus_is_refused(tmp_path: Path) -> None:
    other = wsj.build(tmp_path / "wsj", speakers=1, utterances=1, seconds=0.1, damage=False)
    ended = prepare(other, tmp_path / "out")
    assert ended.code == 1
    assert "this is not TIMIT: expected TRAIN/ and TEST/" in ended.log and "holds wsj0, wsj1" in ended.log
    for root, why in ((tmp_path / "none", "no such directory"), (tmp_path / "empty", "an empty directory")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        ended = prepare(root, tmp_path / "out")
        assert ended.code == 1 and f"{why}; expected the root of TIMIT" in ended.log
    assert not (tmp_path / "out").exists()
