"""Tables, data directories and archives, against hand-made files, kaldiio's and lhotse's readers, and sort(1)."""

import re
from pathlib import Path

import lhotse.kaldi
import numpy as np
import pytest
import soundfile

from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir, alike, check_names, disagreements
from flowlid.kaldi.tables import write_table

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3) - 5.5


def put(path: Path, text: str | bytes) -> Path:
    """Write a file, as bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A valid data directory of two speakers and three utterances, cut from two recordings."""
    files = {
        "wav.scp": "r1 /audio/r1.wav\nr2 /audio/r2.wav\n",
        "segments": "a-1 r1 0 1.5\na-2 r1 1.5 2\nb-1 r2 0.25 1\n",
        "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
        "spk2utt": "a a-1 a-2\nb b-1\n",
        "utt2lang": "a-1 en\na-2 en\nb-1 zh\n",
        "utt2dur": "a-1 1.5\na-2 0.5\nb-1 0.75\n",
        "spk2gender": "a f\nb m\n",
        "text": "a-1 good morning\na-2 yes\nb-1 你好\n",
    }
    for name, text in files.items():
        put(tmp_path / "data" / name, text)
    return tmp_path / "data"


# Tables


# Data directories


def test_valid_directory(data: Path) -> None:
    directory = DataDir(data)
    directory.validate(require=["wav.scp", "utt2lang"])
    assert directory.utts == ["a-1", "a-2", "b-1"]
    assert directory.segments() == {
        "a-1": ("r1", 0, 1.5, None),
        "a-2": ("r1", 1.5, 2, None),
        "b-1": ("r2", 0.25, 1, None),
    }
    assert directory.table("utt2lang")["b-1"] == "zh"
    assert directory.has("text") and not directory.has("feats.scp")


def test_tables_are_read_once(data: Path) -> None:
    directory = DataDir(data)
    before = directory.table("utt2lang"), directory.segments()
    (data / "utt2lang").unlink()
    assert directory.table("utt2lang") is before[0] and directory.segments() is before[1]


def test_without_segments_utterances_are_recordings(data: Path) -> None:
    (data / "segments").unlink()
    with pytest.raises(ValueError, match=r"wav.scp: 3 recordings of the utterances missing, the first 'a-1'"):
        DataDir(data).validate()
    put(data / "wav.scp", "a-1 x.wav\na-2 x.wav\nb-1 x.wav\n")
    DataDir(data).validate()
    assert DataDir(data).segments() == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("utt2lang", "a-1 en\na-2 en\n", r"utt2lang: 1 utterances of utt2spk missing, the first 'b-1'; run utils/fix"),
        ("text", "a-1 x\na-2 x\nb-1 x\nb-2 x\n", r"text:4: 'b-2' is not one of the utterances of utt2spk"),
        ("spk2gender", "a f\n", r"spk2gender: 1 speakers of utt2spk missing, the first 'b'"),
        ("spk2utt", "a a-1\nb a-2 b-1\n", r"spk2utt:1: speaker 'a' has other utterances"),
        ("segments", "a-1 r1 0 1\na-2 r9 0 1\nb-1 r2 0 1\n", r"wav.scp: 1 recordings of the utterances missing.*'r9'"),
        ("wav.scp", "r1 x\nr2 x\nr3 x\n", r"wav.scp:3: 'r3' is not one of the recordings"),
        ("utt2spk", "a-1 b\na-2 a\nb-1 b\n", r"utt2spk:2: sorted by utterance, but speaker 'a' comes after 'b'"),
    ],
)
def test_validate_names(data: Path, name: str, content: str, message: str) -> None:
    put(data / name, content)
    with pytest.raises(ValueError, match=message):
        DataDir(data).validate()


@pytest.mark.parametrize(
    ("utt2spk", "message"),
    [
        ("a-1 b\na-2 a\n", "make the speaker a prefix of its utterances' names"),
        (
            "id10_1 id10\nid1_1 id1\n",  # "0" before "_"
            "it is a prefix of its utterances' names, but of speaker 'id10' too, and LC_ALL=C sort puts 'id10_1' "
            "before 'id1_1'; give speakers names of one length, or names without '-', and a '-' between name and rest",
        ),
        ("a-b-1 a-b\na-c1 a\n", "it is a prefix of its utterances' names, but of speaker 'a-b' too"),
        ("id1-1 id1\nid10-1 id10\n", None),
    ],
)
def test_what_is_said_of_speakers_in_another_order_than_utterances(
    tmp_path: Path, utt2spk: str, message: str | None
) -> None:
    put(tmp_path / "utt2spk", utt2spk)
    table = DataDir(tmp_path).table("utt2spk")
    found = [problem.split("; ", 1)[1] for problem in disagreements(tmp_path, {"utt2spk": table})]
    assert len(found) == (message is not None)
    assert all(message in problem for problem in found)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (
            {"utt2lang": "a-1 en\na-2 en\nb-1 EN\n"},
            r"utt2lang:3: language 'EN' looks like 'en' in .*/utt2lang:1; write",
        ),
        ({"utt2lang": "a-1 caf\u00e9\na-2 cafe\u0301\nb-1 x\n"}, r"utt2lang:2: language .* looks like .*/utt2lang:1"),
        ({"utt2spk": "a-1 a\na-2 a\nb-1 A\n"}, r"utt2spk:3: speaker 'A' looks like 'a' in .*/utt2spk:1; write both"),
        ({"utt2spk": "\u00e9-1 \u00e9\n\u00e9-2 \u00e9\n"}, None),
    ],
)
def test_names_that_are_the_same_to_a_reader(data: Path, names: dict[str, str], problem: str | None) -> None:
    tables = {name: dict(line.split() for line in text.splitlines()) for name, text in names.items()}
    found = alike({data: tables})
    assert len(found) == (problem is not None) and all(re.search(problem, text) for text in found)
    if problem and "utt2lang" in names:
        put(data / "utt2lang", names["utt2lang"])
        with pytest.raises(ValueError, match=problem):
            DataDir(data).validate()


def test_utterances_may_differ_in_case_but_not_in_unicode_form(tmp_path: Path) -> None:
    names = ["v-aB", "v-ab", "v-e\u0301", "v-\u00e9"]
    found = alike({tmp_path: {"utt2spk": dict.fromkeys(names, "v")}})
    assert len(found) == 1 and "utt2spk:4: utterance 'v-\u00e9' looks like 'v-e\u0301'" in found[0]


def test_names_are_compared_between_directories(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "test"
    put(other / "utt2spk", "c-1 c\nd-1 B\n")
    put(other / "utt2lang", "c-1 en\nd-1 ZH\n")
    with pytest.raises(ValueError) as caught:
        check_names([data, other, tmp_path / "none"])
    assert str(caught.value).splitlines() == [
        f"{other}/utt2spk:2: speaker 'B' looks like 'b' in {data}/utt2spk:3; write both in one way",
        f"{other}/utt2lang:2: language 'ZH' looks like 'zh' in {data}/utt2lang:3; write both in one way",
    ]
    check_names([data])
    for name in ("caf\u00e9", "cafe\u0301"):
        put(tmp_path / name / "utt2lang", "c-1 en\n")
    with pytest.raises(ValueError, match="cafe\u0301: looks like"):
        check_names([tmp_path / "caf\u00e9", tmp_path / "cafe\u0301"])


def test_a_directory_with_an_empty_transcript_and_open_segments_is_valid(data: Path) -> None:
    put(data / "text", "a-1\na-2 yes\nb-1\n")
    put(data / "segments", "a-1 r1 0 1.5\na-2 r1 1.5 -1\nb-1 r2 0 -1 0\n")
    DataDir(data).validate()
    assert DataDir(data).segments()["a-2"] == ("r1", 1.5, None, None)


def test_a_utf_16_table_is_one_problem_of_a_directory(data: Path) -> None:
    put(data / "utt2lang", "\ufeffa-1 en\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"^.*data/utt2lang: UTF-16, not UTF-8; convert it with iconv .*$"):
        DataDir(data).validate()


def test_validate_lists_all_problems_of_all_files(data: Path) -> None:
    put(data / "text", "b-1 x\na-1 y\n")
    put(data / "segments", "a-1 r1 0 1\na-2 r1 3 2\nb-1 r2 0 1\n")
    (data / "spk2utt").unlink()
    with pytest.raises(ValueError) as caught:
        DataDir(data).validate(require=["spk2utt", "feats.scp"])
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{data}/").split(";")[0] for line in lines] == [
        "feats.scp: no such file",
        "segments:2: 'r1 3 2' is not RECORDING START END with 0 <= START < END, in seconds (END -1: to the end)",
        "spk2utt: no such file",
        "text:2: not sorted in C order, 'a-1' after 'b-1'",
    ]


def test_validate_shows_three_problems_of_a_kind_and_the_count(data: Path) -> None:
    put(data / "text", "\n" * 50)
    with pytest.raises(ValueError) as caught:
        DataDir(data).validate()
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and lines[-1] == "... and 47 more of this kind"


# Archives


def test_feats_and_vad_of_a_directory(data: Path, tmp_path: Path) -> None:
    for name, array in (("feats", MATRIX), ("vad", np.array([1.0, 0, 0, 1]))):
        with ArkWriter(tmp_path / f"{name}.ark", data / f"{name}.scp") as writer:
            writer("a-1", array)
            writer("a-2", array * 2)
    directory = DataDir(data)
    np.testing.assert_array_equal(directory.feats("a-1"), MATRIX)
    vad = directory.vad("a-1")
    assert vad.dtype == bool and vad.tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match=r"data/vad.scp: utterance a-2: .*values other than 0 and 1"):
        directory.vad("a-2")
    with pytest.raises(ValueError, match=r"data/feats.scp: no utterance 'b-1'; run stage 2 again"):
        directory.feats("b-1")


@pytest.mark.parametrize("with_segments", [True, False])
def test_lhotse_loads_the_directory(data: Path, tmp_path: Path, with_segments: bool) -> None:
    recordings = ["r1", "r2"] if with_segments else ["a-1", "a-2", "b-1"]
    for recording in recordings:
        soundfile.write(tmp_path / f"{recording}.wav", np.zeros(2 * 16000, np.int16), 16000)
    write_table(data / "wav.scp", {recording: f"{tmp_path}/{recording}.wav" for recording in recordings})
    with ArkWriter(tmp_path / "f.ark", data / "feats.scp") as writer:
        for utt in ("a-1", "a-2", "b-1"):
            writer(utt, MATRIX)
    if not with_segments:
        (data / "segments").unlink()
    DataDir(data).validate(require=["feats.scp"])
    found, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(data, sampling_rate=16000)
    assert [recording.id for recording in found] == recordings
    assert [(one.id, one.speaker, one.language, one.text) for one in supervisions] == [
        ("a-1", "a", "en", "good morning"), ("a-2", "a", "en", "yes"), ("b-1", "b", "zh", "你好"),
    ]  # fmt: skip
    assert [one.duration for one in supervisions] == ([1.5, 0.5, 0.75] if with_segments else [2, 2, 2])
