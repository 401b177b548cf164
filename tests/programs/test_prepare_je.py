"""local/prepare_je.py on replicas of UME-ERJ."""

import logging
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from lhotse import SupervisionSet, load_manifest
from replicas import je
from tools import ROOT, left_out, load

PROGRAM = ROOT / "local" / "prepare_je.py"
SENTENCES, STUDENTS, AMERICANS = 4, 6, 3

program = load("local/prepare_je.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return je.build(tmp_path_factory.mktemp("je"))


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> SupervisionSet:
    return prepare(tmp_path_factory.mktemp("out"), corpus)


def prepare(out: Path, *roots: Path, **options: object) -> SupervisionSet:
    program.prepare(roots, out / "manifests", **options)
    return load_manifest(out / "manifests" / "je_supervisions.jsonl.gz")


def scores(items: SupervisionSet) -> dict[tuple[str, str], dict[str, float]]:
    """Fields of scores of each utterance, by speaker and text, which no way of naming changes."""
    fields = {(item.speaker, item.text): item.custom.items() for item in items}
    return {key: {name: value for name, value in own if name.startswith("score")} for key, own in fields.items()}


def test_students_and_americans_are_told_apart(prepared: SupervisionSet) -> None:
    students = [item for item in prepared if item.custom["accent"] == "japanese"]
    americans = [item for item in prepared if item.custom["accent"] == "native"]
    assert len(students) == STUDENTS * SENTENCES and len(americans) == AMERICANS * (SENTENCES + 1)
    speakers = {item.speaker: (item.gender, item.custom.get("site")) for item in prepared}
    assert speakers == {
        "je-ae-f01": ("f", None),
        "je-ae-f02": ("f", None),
        "je-ae-m01": ("m", None),
        "je-dos-f01": ("f", "dos"),  # F01 of two sites are two people
        "je-dos-f02": ("f", "dos"),
        "je-dos-m01": ("m", "dos"),
        "je-hir-f01": ("f", "hir"),
        "je-hir-f02": ("f", "hir"),
        "je-hir-m01": ("m", "hir"),
    }
    assert {item.language for item in prepared} == {"en"}


def test_ids_texts_and_items(prepared: SupervisionSet) -> None:
    item = prepared["je-hir-f01-s2_001"]
    assert item.recording_id == item.id and item.duration == pytest.approx(0.4)
    assert item.text == "The sailors met 5 times at noon…"  # of sentence1.tab; sentence2.tab has another end
    assert item.custom["item"] == "s_ph_b_1_005"
    repeated = prepared["je-ae-f01-s_ph_b_1_001_r"]
    assert repeated.text == prepared["je-ae-f01-s_ph_b_1_001"].text == "The sailors met 1 times at dawn…"
    assert repeated.custom["item"] == "s_ph_b_1_001"


def test_scores_are_means_over_raters_then_over_categories(prepared: SupervisionSet) -> None:
    found = {item.id: {k: v for k, v in item.custom.items() if k.startswith("score")} for item in prepared}
    assert found["je-dos-f01-s1_001"] == {  # 2 2 0 3 2, and 5 5 4 5 5
        "score": 3.525,
        "score_sentence_segmental": 2.25,
        "score_sentence_rhythm": 4.8,
    }
    assert found["je-hir-f01-s2_003"] == {"score": 1.25, "score_sentence_intonation": 1.25}  # 1 2 1 1 -1
    assert found["je-dos-m01-s3_002"] == {"score": 2.3333, "score_sentence_rhythm": 2.3333}  # 2 3 2
    assert found["je-dos-f01-s1_002"] == {}  # zeros alone
    assert all(not found[name] for name in found if name.endswith("_004") or "-ae-" in name)  # not rated
    assert sum("score" in own for own in found.values()) == STUDENTS * (SENTENCES - 1) - 1


def test_speakers_stand_in_one_part_and_every_part_has_both_accents(prepared: SupervisionSet) -> None:
    parts: dict[str, set[str]] = {}
    for item in prepared:
        parts.setdefault(item.speaker, set()).add(item.custom["part"])
    assert all(len(own) == 1 for own in parts.values())
    for accent in ("japanese", "native"):
        own = [item.custom["part"] for item in prepared if item.custom["accent"] == accent]
        assert set(own) == {"train", "dev", "test"}
        assert own.count("train") >= own.count("test") >= own.count("dev")


def test_all_that_is_left_out_is_said(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        items = prepare(tmp_path, corpus)
    assert not [item.id for item in items if "-w1_" in item.id or "noise" in item.id or "120" in item.id]
    rows = left_out(tmp_path / "manifests" / "je_left_out.tsv")
    assert [row for row in rows if row.startswith(f"(damaged): {corpus}/wav/JE/DOS/F01/S1_120.wav: cut off")]
    assert [row for row in rows if row.startswith(f"(name): {corpus}/wav/JE/DOS/F01/noise.wav: ")]
    assert Counter(row.split(":")[0] for row in rows) == {
        "(damaged)": 1, "(name)": 1, "(words)": STUDENTS, "(models)": 1,
    }  # fmt: skip
    text = caplog.text
    assert "left out (words): 6, named in" in text and "Thumbs" not in text
    assert "students at 2 sites: dos (17 files), hir (15 files)" in text
    assert "not here: iwa kyo" in text and "new: none" in text
    assert "sentence1.tab: skipped 1 lines that are not rows, the first is line 1" in text
    assert f"not read: {corpus}/doc/JEcontent/tab/sentence2.tab" in text
    assert "rated recordings of sentence_rhythm: 7 (published: 950)" in text
    assert "1 that nobody could rate, such as dos/f01/s1_002" in text


def test_words_can_be_kept(corpus: Path, tmp_path: Path) -> None:
    items = prepare(tmp_path, corpus, words=True)
    word = items["je-dos-f01-w1_001"]
    assert word.text == "sailor" and word.custom["score_word_segmental"] == word.custom["score"] == 3.25  # 3 4 3 3 -1
    assert sum("-w" in item.id for item in items) == STUDENTS


@pytest.mark.parametrize(
    "variant",
    [
        {"names": "selection"},
        {"names": "selection", "scored": "selection"},
        {"scored": "selection"},
        {"lower": True},
        {"apart": True},
        {"apart": True, "lower": True, "names": "selection"},
    ],
    ids=str,
)
def test_every_variant_of_the_layout_gives_the_same_speech(
    variant: dict, prepared: SupervisionSet, tmp_path: Path
) -> None:
    root = je.build(tmp_path / "je", **variant)
    items = prepare(tmp_path, *(sorted(root.iterdir()) if "apart" in variant else [root]))
    assert scores(items) == scores(prepared)
    parts = [{(item.speaker, item.custom["part"]) for item in found} for found in (items, prepared)]
    assert parts[0] == parts[1]
    if variant.get("names") == "selection":
        assert "je-dos-f01-s_ph_b_1_001" in items and items["je-dos-f01-s_ph_b_1_001"].custom["score"] == 3.525


def test_volumes_may_stand_below_one_root(prepared: SupervisionSet, tmp_path: Path) -> None:
    assert scores(prepare(tmp_path, je.build(tmp_path / "je", apart=True))) == scores(prepared)


def test_a_selection_that_several_sets_have_is_found_by_either_recording(copy: Path, tmp_path: Path) -> None:
    tab = copy / "doc/JEcontent/tab/sentence1.tab"
    tab.write_bytes(b"S8_077.wav  S_PH_B_1_009.wav  The sailors met again.\r\n" + tab.read_bytes())
    rated = copy / "lbl/male-sentence/segmental/scores.lst"
    rated.write_bytes(rated.read_bytes().replace(b"S3_001", b"S_PH_B_1_009"))
    assert prepare(tmp_path, copy)["je-dos-m01-s3_001"].custom["score"] == 1.25


def test_lists_and_tables_in_utf8_are_read_too(copy: Path, prepared: SupervisionSet, tmp_path: Path) -> None:
    for path in [*copy.rglob("*.tab"), *copy.rglob("*.lst")]:
        path.write_text(path.read_bytes().decode("cp932").replace("\r\n", "\n"), encoding="utf-8")
    assert scores(prepare(tmp_path, copy)) == scores(prepared)


def test_a_copy_without_tables_lists_and_americans(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("doc", "lbl", "wav/AE", "wav/MDL"):
        shutil.rmtree(copy / folder)
    items = prepare(tmp_path, copy)
    assert len(items) == STUDENTS * SENTENCES
    assert all(item.text is None and "score" not in item.custom for item in items)
    for what in ("files of wav/AE: 0", "files of scores.lst: 0", "files of tables: 0"):
        assert what in caplog.text


def test_too_few_speakers_of_an_accent_go_to_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = prepare(tmp_path, je.build(tmp_path / "je", americans=2))
    assert {item.custom["part"] for item in items if item.custom["accent"] == "native"} == {"test"}
    assert "all 2 native speakers go to test" in caplog.text


def test_the_same_corpus_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        prepare(tmp_path / name, corpus)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name / "manifests").iterdir()})
    assert written[0] == written[1]
    assert "je_recordings.jsonl.gz" in written[0]


def test_every_bad_row_is_told_at_once_with_its_line(copy: Path, tmp_path: Path) -> None:
    rated = copy / "lbl/male-sentence/rhythm/scores.lst"
    rows = ["# rated", "DOS/M01/S3_001.wav 3 x 3", "HIR/M09/S3_001.wav 3 3", "DOS/M01/S3_002.wav", "S3_003.wav 3 3 3"]
    rated.write_bytes("\r\n".join([*rows, "DOS/M01/S3_001.wav 6 3 nan -2 3.5 0"]).encode())
    (copy / "wav/JE/HIR/F02/S6_001.wav").unlink()
    other = copy / "lbl/female-sentence/segmental/scores.lst"
    line = next(n for n, row in enumerate(other.read_bytes().splitlines(), 1) if b"HIR/F02/S6_001" in row)
    with pytest.raises(ValueError) as error:
        prepare(tmp_path, copy)
    told = [line.partition("; ")[0] for line in str(error.value).splitlines()]
    assert told == [
        f"{rated}:2: 'x' is not a rating",
        f"{rated}:4: a path without a rating",
        f"{rated}:6: '6 nan -2' is not a rating",
        f"{other}:{line}: no recording wav/JE/HIR/F02/S6_001.wav",
        f"{rated}:3: no recording wav/JE/HIR/M09/S3_001.wav",
        f"{rated}:5: no recording wav/JE/S3_003.wav",
    ]
    assert not (tmp_path / "manifests").exists()


def test_a_rated_recording_that_is_not_there_is_named_and_an_error_if_asked_for(copy: Path, tmp_path: Path) -> None:
    (copy / "wav/JE/DOS/F01/W1_001.wav").unlink()  # also of words, which are left out
    told = r"female-word/segmental/scores.lst:\d+: no recording .*W1_001.wav; give the"
    prepare(tmp_path, copy)
    assert re.search(
        r"\(rated, not there\): .*" + told, "\n".join(left_out(tmp_path / "manifests" / "je_left_out.tsv"))
    )
    with pytest.raises(ValueError, match=told):
        program.prepare([copy], tmp_path / "strict", strict=True)


def test_a_list_in_no_known_encoding_is_refused_with_its_line(copy: Path, tmp_path: Path) -> None:
    tab = copy / "doc/JEcontent/tab/sentence1.tab"
    tab.write_bytes(tab.read_bytes() + b"S7_001.wav  S_PH_B_1_002.wav  \x81\xff.\r\n")
    with pytest.raises(ValueError, match=r"sentence1.tab:26: neither Shift-JIS nor UTF-8; convert"):
        prepare(tmp_path, copy)


def test_another_corpus_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    other = tmp_path / "wsj0"
    (other / "si_tr_s/01i").mkdir(parents=True)
    (other / "si_tr_s/01i/01ic0201.wv1").write_bytes(b"NIST_1A")
    with pytest.raises(ValueError, match=r"wsj0: this is not UME-ERJ: expected wav/JE/.*, but it holds si_tr_s"):
        prepare(tmp_path, other)
    with pytest.raises(ValueError, match="nowhere: no such directory; expected the root of UME-ERJ"):
        prepare(tmp_path, tmp_path / "nowhere")


def test_each_root_is_checked(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ValueError, match="other: this is not UME-ERJ"):
        prepare(tmp_path, corpus, tmp_path / "other")


def test_a_volume_without_students_says_that_others_are_needed(tmp_path: Path) -> None:
    volumes = je.build(tmp_path / "je", apart=True)
    with pytest.raises(ValueError, match=r"UME-ERJ_3: no students of UME-ERJ.*; give all volumes"):
        prepare(tmp_path, volumes / "UME-ERJ_3")


def test_the_same_volume_twice_is_refused(corpus: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"utterance ids are there twice, such as je-.*remove one copy"):
        prepare(tmp_path, corpus, copy)


@pytest.mark.parametrize("check", ["true", "false"])
def test_other_counts_of_speakers_are_a_warning(corpus: Path, tmp_path: Path, check: str) -> None:
    command = [sys.executable, PROGRAM, "--check-counts", check, corpus, tmp_path / "manifests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr
    assert "Japanese students: 6, but the published corpus has 202" in done.stderr
    assert "Traceback" not in done.stderr
