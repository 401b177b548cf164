"""local/prepare_speechocean.py on replicas of speechocean762."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lhotse import SupervisionSet, load_manifest
from replicas import speechocean
from tools import ROOT, left_out, load

PROGRAM = ROOT / "local" / "prepare_speechocean.py"
TRAIN, TEST, UTTERANCES = 4, 3, 3

program = load("local/prepare_speechocean.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speechocean.build(tmp_path_factory.mktemp("speechocean"))


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> SupervisionSet:
    return prepare(tmp_path_factory.mktemp("out"), corpus)


def prepare(out: Path, root: Path, **options: object) -> SupervisionSet:
    program.prepare(root, out / "manifests", **options)
    return load_manifest(out / "manifests" / "speechocean_supervisions.jsonl.gz")


def scores(items: SupervisionSet) -> dict[str, dict[str, float]]:
    """Fields of scores of each utterance."""
    return {item.id: {k: v for k, v in item.custom.items() if k.startswith("score")} for item in items}


def test_what_the_lists_name_is_taken_and_nothing_else(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        items = prepare(tmp_path, corpus)
    speakers = [f"{number:04}" for number in range(1, TRAIN + TEST + 1)]
    expected = [f"speechocean-{s}-0{s}{n:04}" for s in speakers for n in range(10, 10 + UTTERANCES)]
    assert sorted(item.id for item in items) == expected  # the speaker's fourth file of 0001 is cut off
    rows = left_out(tmp_path / "manifests" / "speechocean_left_out.tsv")
    assert [row.split(":")[0] for row in rows] == ["(unlisted)", "(unlisted)", "(damaged)"]
    assert "SPEAKER0001/" in rows[0] and "SPEAKER9601/" in rows[1]
    assert "000010013.WAV: cut off, 400 bytes are missing" in rows[2]
    assert "left out (unlisted): 2, named in" in caplog.text


def test_fields_of_an_utterance(prepared: SupervisionSet) -> None:
    item = prepared["speechocean-0002-000020011"]
    assert item.text == "WARM MILK IS"
    assert (item.speaker, item.language, item.gender) == ("speechocean-0002", "en", "m")
    assert {key: item.custom[key] for key in ("accent", "age", "corpus")} == {
        "accent": "mandarin",
        "age": 22,  # spk2age is not sorted
        "corpus": "speechocean",
    }
    assert item.duration == pytest.approx(0.4)


def test_scores_of_a_sentence(prepared: SupervisionSet) -> None:
    level = speechocean.level("000020011")  # 1 + (2 * 3 + 11) % 9
    assert level == 9
    assert scores(prepared)["speechocean-0002-000020011"] == {
        "score": 9.0,
        "score_accuracy": 10.0,
        "score_fluency": 9.0,
        "score_prosodic": 8.0,
        "score_completeness": 10.0,
    }
    assert len({item.custom["score"] for item in prepared}) > 5


def test_dev_is_a_speaker_of_train_and_test_is_the_list(prepared: SupervisionSet) -> None:
    parts: dict[str, set[str]] = {}
    for item in prepared:
        parts.setdefault(item.custom["part"], set()).add(item.speaker)
    assert len(parts["dev"]) == 1 and len(parts["train"]) == TRAIN - 1
    assert parts["train"] | parts["dev"] == {f"speechocean-{n:04}" for n in range(1, TRAIN + 1)}
    assert parts["test"] == {f"speechocean-{n:04}" for n in range(TRAIN + 1, TRAIN + TEST + 1)}


def test_details_are_averaged_over_the_experts(tmp_path: Path) -> None:
    items = prepare(tmp_path, speechocean.build(tmp_path / "corpus", scores=("scores-detail.json",)))
    assert scores(items)["speechocean-0003-000030010"] == {  # one expert of five gives one point more
        "score": 2.2,
        "score_accuracy": 3.2,
        "score_fluency": 2.2,
        "score_prosodic": 1.2,
        "score_completeness": 9.0,  # shares 1 1 1 1 0.5
    }


def test_words_as_in_the_early_release_change_nothing(prepared: SupervisionSet, tmp_path: Path) -> None:
    items = prepare(tmp_path, speechocean.build(tmp_path / "corpus", phones=str, scores=("scores.json",)))
    assert scores(items) == scores(prepared)


def test_a_copy_without_scores_does_without_and_says_so(
    prepared: SupervisionSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = prepare(tmp_path, speechocean.build(tmp_path / "corpus", scores=()))
    assert [item.id for item in items] == [item.id for item in prepared]
    assert not any(scores(items).values())
    assert items["speechocean-0002-000020011"].custom["age"] == 22
    assert "neither resource/scores.json nor resource/scores-detail.json" in caplog.text
    assert "no utterance gets a score" in caplog.text and "OpenSLR 101" in caplog.text


def test_an_utterance_without_score_is_named(copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = copy / "resource/scores.json"
    content = json.loads(path.read_text())
    del content["000050011"]
    path.write_text(json.dumps(content))
    items = prepare(tmp_path, copy)
    assert [name for name, own in scores(items).items() if not own] == ["speechocean-0005-000050011"]
    assert "without score: 1 speechocean-0005-000050011" in caplog.text


def test_optional_lists_may_be_missing(copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("train", "test"):
        for name in ("text", "spk2age", "spk2gender", "spk2utt"):
            (copy / part / name).unlink()
    items = prepare(tmp_path, copy)
    assert all(item.text is None and item.gender is None and "age" not in item.custom for item in items)
    assert "missing, and continuing without: train/text train/spk2gender train/spk2age test/text" in caplog.text


def test_names_in_lower_case_and_the_directory_above_will_do(
    corpus: Path, prepared: SupervisionSet, tmp_path: Path
) -> None:
    root = tmp_path / "download" / "SpeechOcean762"
    for path in (path for path in corpus.rglob("*") if path.is_file()):
        new = root / str(path.relative_to(corpus)).lower()
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    items = prepare(tmp_path, root.parent)
    assert scores(items) == scores(prepared) and len(items) == len(prepared)


def test_blanks_windows_line_ends_and_absolute_paths_will_do(
    copy: Path, prepared: SupervisionSet, tmp_path: Path
) -> None:
    scp = copy / "train/wav.scp"
    scp.write_text(scp.read_text().replace("\tWAVE", f" {copy}/WAVE"))
    for path in copy.glob("t*/*"):
        path.write_bytes(path.read_bytes().replace(b"\t", b" ").replace(b"\n", b"\r\n"))
    items = prepare(tmp_path, copy)
    assert [item.to_dict() for item in items] == [item.to_dict() for item in prepared]


def test_every_bad_row_is_told_at_once_with_its_line(copy: Path, tmp_path: Path) -> None:
    def spoil(name: str, line: int, row: str) -> None:
        lines = (copy / name).read_text(encoding="latin-1").splitlines()
        lines[line - 1] = row
        (copy / name).write_text("\n".join(lines) + "\n", encoding="latin-1")

    spoil("train/wav.scp", 2, "000010011")
    spoil("train/utt2spk", 5, "000020010\t0002 0003")
    spoil("train/spk2age", 1, "0004\tnine")
    spoil("train/spk2gender", 3, "0003\tx")
    spoil("test/text", 2, "000050011\tCAF\xc9")
    spoil("test/utt2spk", 2, "000050010\t0005")
    with pytest.raises(ValueError) as error:
        prepare(tmp_path, copy)
    told = [line.removeprefix(f"{copy}/").rpartition("; ")[0] for line in str(error.value).splitlines()]
    assert told == [
        "train/wav.scp:2: '' of '000010011' is not a path below the corpus's root",
        "train/utt2spk:5: '0002 0003' of '000020010' is not one speaker",
        "train/spk2gender:3: 'x' of '0003' is not m or f",
        "train/spk2age:1: 'nine' of '0004' is not a number of years",
        "train: utterance 000020010 of wav.scp is not in utt2spk",
        "test/utt2spk:2: '000050010' is there twice",
        "test/text:2: not UTF-8",
        "test: utterance 000050011 of wav.scp is not in utt2spk",
    ]
    assert not (tmp_path / "manifests").exists()


@pytest.mark.parametrize("value", ["good", None, 11, -1, True, float("nan"), [], [5, "x"]], ids=str)
def test_a_score_that_is_none_is_refused_with_its_utterance(copy: Path, tmp_path: Path, value: object) -> None:
    path = copy / "resource/scores.json"
    content = json.loads(path.read_text())
    content["000050011"]["total"] = value
    del content["000060010"]["fluency"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError) as error:
        prepare(tmp_path, copy)
    told = str(error.value).splitlines()
    assert told[0].startswith(f"{path}: 000050011: total: {value!r} is not a score from 0 to 10")
    assert told[1].startswith(f"{path}: 000060010: fluency: None is not a score")
    assert len(told) == 2


@pytest.mark.parametrize("text", ['{"000010010": {"total": 5', "version https://git-lfs", "[1, 2]", '{"a": 3}'])
def test_a_file_of_scores_that_is_none_is_refused(copy: Path, tmp_path: Path, text: str) -> None:
    (copy / "resource/scores.json").write_text(text)
    with pytest.raises(ValueError, match=r"scores.json: not (a JSON file|an object of utterances).*; fetch it again"):
        prepare(tmp_path, copy)


def test_a_speaker_in_both_lists_is_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "test/utt2spk"
    path.write_text(path.read_text().replace("\t0005", "\t0001"))
    with pytest.raises(ValueError, match="1 speakers are in train and in test, such as 0001"):
        prepare(tmp_path, copy)


def test_a_listed_file_that_is_missing_is_named(copy: Path, tmp_path: Path) -> None:
    path = copy / "WAVE/SPEAKER0001/000010013.WAV"
    path.unlink()
    prepare(tmp_path, copy)
    rows = left_out(tmp_path / "manifests" / "speechocean_left_out.tsv")
    assert f"(missing): {path}: no audio file {path}; correct the path" in rows


def test_another_corpus_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    other = tmp_path / "data"
    (other / "train").mkdir(parents=True)
    (other / "train" / "wav.scp").touch()
    with pytest.raises(ValueError) as error:
        prepare(tmp_path, other)
    assert "data: this is not speechocean762: expected WAVE" in str(error.value)
    assert "(missing: train/utt2spk, test/wav.scp, test/utt2spk, WAVE), but it holds train" in str(error.value)
    with pytest.raises(ValueError, match="nowhere: no such directory; expected the root of speechocean762"):
        prepare(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize(("check", "code"), [("true", 1), ("false", 0)])
def test_counts_are_an_error_only_if_asked_for(corpus: Path, tmp_path: Path, check: str, code: int) -> None:
    command = [sys.executable, PROGRAM, "--check-counts", check, corpus, tmp_path / "manifests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "utterances of train: 13, but the published corpus has 2500" in done.stderr
    assert (tmp_path / "manifests").exists() == (check == "false")
    assert "Traceback" not in done.stderr
