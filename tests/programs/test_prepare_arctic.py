"""local/prepare_arctic.py on miniatures of CMU ARCTIC and L2-ARCTIC with what goes wrong in real copies."""

import logging
import re
import shutil
import sys
from pathlib import Path

import pytest
from lhotse import SupervisionSet, load_manifest
from replicas import arctic
from tools import left_out, load

program = load("local/prepare_arctic.py")


def prepare(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_arctic.py", *map(str, arguments)])
    program.main()


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both corpora with all traps; nothing may write there."""
    return arctic.build(tmp_path_factory.mktemp("arctic"), seconds=0.1)


@pytest.fixture(scope="module")
def prepared(roots: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Manifests of both, and the log of their preparation."""
    out, logger = tmp_path_factory.mktemp("data") / "manifests", logging.getLogger("flowlid")
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        prepare(
            patch, "--arctic", roots / "cmu_arctic", "--l2arctic", roots / "l2arctic", "--check-counts", "true", out
        )
    logger.setLevel(level)
    logger.removeHandler(handler)
    return out, "\n".join(lines)


def items(prepared: tuple[Path, str], corpus: str) -> SupervisionSet:
    return load_manifest(prepared[0] / f"{corpus}_supervisions.jsonl.gz")


def test_a_cmu_utterance_carries_what_is_known(prepared: tuple[Path, str], roots: Path) -> None:
    item = items(prepared, "arctic")["arctic-bdl-arctic_a0001"]
    assert (item.speaker, item.language, item.gender, item.text) == ("arctic-bdl", "en", "m", arctic.SENTENCES[0])
    assert {key: item.custom[key] for key in ("corpus", "accent", "prompt")} == {
        "corpus": "arctic", "accent": "native", "prompt": "arctic_a0001",
    }  # fmt: skip
    recording = load_manifest(prepared[0] / "arctic_recordings.jsonl.gz")[item.recording_id]
    assert recording.sources[0].source == str(roots / "cmu_arctic/cmu_us_bdl_arctic/wav/arctic_a0001.wav")
    assert (recording.sampling_rate, recording.num_samples) == (16000, 1600)  # not orig's 32000 and two channels


def test_an_l2_utterance_carries_what_is_known(prepared: tuple[Path, str], roots: Path) -> None:
    found = items(prepared, "l2arctic")
    item = found["l2arctic-aba-arctic_b0001"]  # of the speaker who stands one level deeper
    assert (item.speaker, item.language, item.gender, item.text) == ("l2arctic-aba", "en", "m", arctic.SENTENCES[1])
    assert (item.custom["accent"], item.custom["prompt"]) == ("arabic", "arctic_b0001")
    assert {utt.speaker for utt in found if utt.custom["accent"] == "mandarin"} == {
        f"l2arctic-{name}" for name in ("bwc", "lxc", "ncc", "txhc")
    }
    recording = load_manifest(prepared[0] / "l2arctic_recordings.jsonl.gz")[item.recording_id]
    assert (recording.sampling_rate, recording.num_samples) == (44100, 4410)
    assert recording.load_audio().shape == (1, 4410)


def test_accents_and_sexes_come_from_the_table(prepared: tuple[Path, str]) -> None:
    accents = {item.speaker.split("-")[1]: (item.gender, item.custom["accent"]) for item in items(prepared, "arctic")}
    assert accents == {
        "bdl": ("m", "native"), "slt": ("f", "native"), "clb": ("f", "native"), "rms": ("m", "native"),
        "eey": ("f", "native"), "jmk": ("m", "canadian"), "awb": ("m", "scottish"), "ksp": ("m", "indian"),
    }  # fmt: skip


def test_utterances_are_all_there_but_those_left_out_by_name(prepared: tuple[Path, str]) -> None:
    cmu, l2 = ({item.id for item in items(prepared, corpus)} for corpus in ("arctic", "l2arctic"))
    assert len(cmu) == 8 * 4 - 1 - 1  # eey has part a alone, one of clb's is cut off
    assert len(l2) == 24 * 4 - 1
    assert not any("ahw" in name or "suitcase" in name for name in cmu | l2)
    assert "arctic-clb-arctic_a0002" not in cmu and "l2arctic-ybaa-arctic_a0002" not in l2
    assert {name.rsplit("_", 1)[1] for name in cmu if "-eey-" in name} == {"a0001", "a0002", "a0003"}
    lines = [line for name in ("arctic", "l2arctic") for line in left_out(prepared[0] / f"{name}_left_out.tsv")]
    for reason, what, count in (
        ("voice", "cmu_us_ahw_arctic: its origin is disputed", 1),
        ("stray", "wav/test.wav", 1),
        ("stray", "transcript/notes.txt", 1),
        ("line", "cmu_us_slt_arctic/etc/txt.done.data:6", 1),
        ("no recording", "cmu_us_slt_arctic: arctic_b0539", 1),
        ("no recording", "SKA: arctic_b0539", 1),
        ("damaged", "clb_arctic/wav/arctic_a0002.wav: cut off, 1000 bytes", 1),
        ("damaged", "YBAA/wav/arctic_a0002.wav: not readable", 1),
        ("suitcase", "suitcase_corpus/wav/", 22),
    ):
        named = [line for line in lines if line.startswith(f"({reason})") and what in line]
        assert len(named) == count, (reason, what, lines)
        lines = [line for line in lines if line not in named]
    assert not lines
    assert "1 recordings outside of folders `wav`" in prepared[1]


def test_a_recording_without_transcript_is_kept_without_text(prepared: tuple[Path, str]) -> None:
    assert items(prepared, "arctic")["arctic-slt-arctic_a0001"].text is None
    assert items(prepared, "l2arctic")["l2arctic-ska-arctic_a0001"].text is None
    assert "cmu_us_slt_arctic: 1 recordings without a transcript" in prepared[1]


def test_hand_checked_utterances_are_marked(prepared: tuple[Path, str]) -> None:
    marked = [item.id for item in items(prepared, "l2arctic") if item.custom.get("annotated") == "yes"]
    assert len(marked) == 24 and all(name.endswith("_a0001") for name in marked)


def test_no_speaker_is_in_two_parts_and_every_first_language_in_all(prepared: tuple[Path, str]) -> None:
    parts: dict[str, dict[str, set[str]]] = {}
    sexes: dict[str, set[str]] = {}
    for corpus in ("arctic", "l2arctic"):
        for item in items(prepared, corpus):
            accent, part = item.custom["accent"], item.custom["part"]
            parts.setdefault(accent, {}).setdefault(part, set()).add(item.speaker)
            if part == "train":
                sexes.setdefault(accent, set()).add(item.gender)
    for accent in ("arabic", "hindi", "korean", "mandarin", "spanish", "vietnamese"):
        assert {part: len(speakers) for part, speakers in parts[accent].items()} == {"train": 2, "dev": 1, "test": 1}
    assert {part: len(speakers) for part, speakers in parts["native"].items()} == {"train": 3, "dev": 1, "test": 1}
    assert all(set(parts[accent]) == {"test"} for accent in ("canadian", "scottish", "indian"))
    assert all(found == {"f", "m"} for found in sexes.values()) and len(sexes) == 7
    speakers = [name for accent in parts.values() for part in accent.values() for name in part]
    assert len(speakers) == len(set(speakers)) == 8 + 24


def test_the_split_of_all_published_voices() -> None:
    parts = program.split({name: known[:2] for name, known in program.VOICES.items()})
    native = [name for name in parts if program.VOICES[name][1] == "native"]
    assert sorted(parts[name] for name in native) == ["dev"] * 2 + ["test"] * 2 + ["train"] * 4
    assert {program.VOICES[name][0] for name in native if parts[name] == "train"} == {"f", "m"}
    tested = program.split({name: known[:2] for name, known in program.SPEAKERS.items()})
    sexes = [program.SPEAKERS[name][0] for name, part in tested.items() if part == "test"]
    assert sorted(sexes) == ["f"] * 3 + ["m"] * 3  # six first languages: no sex stands for a language in the test


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "train"), (2, "train test"), (3, "train test dev"), (5, "train train train test dev")],
)
def test_the_split_of_few_speakers(count: int, expected: str) -> None:
    parts = program.split({f"speaker-{number}": ("f", "native") for number in range(count)})
    assert sorted(parts.values()) == sorted(expected.split())


def test_the_same_corpus_gives_the_same_bytes(
    prepared: tuple[Path, str], roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(monkeypatch, "--l2arctic", roots / "l2arctic", "--nj", "1", tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {path.name for path in prepared[0].glob("l2arctic_*")} and len(written) >= 3
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (prepared[0] / path.name).read_bytes()


def test_the_summary_counts_by_part(prepared: tuple[Path, str]) -> None:
    lines = (prepared[0] / "l2arctic_summary.tsv").read_text().splitlines()
    rows = {line.split("\t")[0]: line.split("\t")[1:3] for line in lines[1:]}
    assert rows["test"] == ["24", "6"] and rows["dev"][1] == "6" and rows["all"] == ["95", "24"]
    assert int(rows["train"][0]) + int(rows["dev"][0]) == 95 - 24


def test_missing_speakers_are_said_and_with_check_counts_an_error(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    speakers = [name for name in arctic.L2 if name != "THV"]
    root = arctic.build_l2(tmp_path / "l2", speakers, utterances=1, seconds=0.1, traps=False)
    with caplog.at_level(logging.INFO):
        prepare(monkeypatch, "--l2arctic", root, tmp_path / "manifests")
    assert "speakers: 23, but the published corpus has 24" in caplog.text and "missing: thv" in caplog.text
    assert "aba 1 of 1129" in caplog.text
    with pytest.raises(ValueError, match="speakers: 23, but the published corpus has 24"):
        prepare(monkeypatch, "--l2arctic", root, "--check-counts", "true", tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_the_root_may_be_one_voice_and_names_in_any_case(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(roots / "cmu_arctic/cmu_us_rms_arctic", tmp_path / "x" / "CMU_US_RMS_ARCTIC")
    place = tmp_path / "x" / "CMU_US_RMS_ARCTIC"
    (place / "wav").rename(place / "WAV")
    prepare(monkeypatch, "--arctic", place, tmp_path / "manifests")
    assert len(load_manifest(tmp_path / "manifests/arctic_supervisions.jsonl.gz")) == 4


def test_another_corpus_is_refused(roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "manifests"
    with pytest.raises(ValueError, match=re.escape(f"{roots}/l2arctic: this is not CMU ARCTIC: expected cmu_us_")):
        prepare(monkeypatch, "--arctic", roots / "l2arctic", out)
    with pytest.raises(ValueError, match=r"this is not L2-ARCTIC: expected .*ABA/wav.* it holds cmu_us_ahw_arctic"):
        prepare(monkeypatch, "--l2arctic", roots / "cmu_arctic", out)
    with pytest.raises(ValueError, match="no such directory; expected the root of L2-ARCTIC"):
        prepare(monkeypatch, "--l2arctic", tmp_path / "nowhere", out)
    with pytest.raises(ValueError, match="give --arctic DIR, --l2arctic DIR, or both"):
        prepare(monkeypatch, out)
    assert not out.exists()


def test_archives_that_were_not_unpacked_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = arctic.build_l2(tmp_path / "l2", ["ABA"], utterances=1, seconds=0.1, traps=False)
    for name in ("SKA", "TLV", "suitcase_corpus"):
        (root / f"{name}.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"SKA\.zip: not unpacked, and 1 more"):
        prepare(monkeypatch, "--l2arctic", root, tmp_path / "manifests")


def test_disputed_voices_alone_are_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = arctic.build_cmu(tmp_path / "cmu", ["ahw"], utterances=1, seconds=0.1, traps=False)
    with pytest.raises(ValueError, match="no voice that can be used"):
        prepare(monkeypatch, "--arctic", root, tmp_path / "manifests")


def test_a_transcript_that_is_not_utf8_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = arctic.build_l2(tmp_path / "l2", ["ABA"], utterances=1, seconds=0.1, traps=False)
    (root / "ABA/transcript/arctic_a0001.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"arctic_a0001\.txt: not UTF-8"):
        prepare(monkeypatch, "--l2arctic", root, tmp_path / "manifests")
