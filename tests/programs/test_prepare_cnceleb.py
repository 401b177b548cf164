"""local/prepare_cnceleb.py on miniatures of both releases of CN-Celeb, FLAC and WAV."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import Recording, RecordingSet, SupervisionSet, load_manifest
from lhotse.audio import AudioSource
from replicas import cnceleb, voxceleb
from replicas.sound import voice
from tools import ROOT, left_out, load

from flowlid.corpora.corpus import Corpus, Utterance

PROGRAM = ROOT / "local" / "prepare_cnceleb.py"
program = load("local/prepare_cnceleb.py")

SECONDS, TEST_SECONDS = 0.3, 3.4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both corpora in FLAC; nothing may write there."""
    return cnceleb.build(tmp_path_factory.mktemp("cnceleb"), seconds=SECONDS, test_seconds=TEST_SECONDS)


def prepare(root: Path, out: Path, releases: str = "12", **options: object) -> tuple[RecordingSet, SupervisionSet]:
    program.prepare(dict.fromkeys(releases, root), out, **options)
    return tuple(load_manifest(out / f"cnceleb_{kind}.jsonl.gz") for kind in ("recordings", "supervisions"))


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_cnceleb.py", *map(str, arguments)])
    program.main()


def append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}{line}\n")


def speakers(items: SupervisionSet, *parts: str) -> set[str]:
    return {item.speaker.removeprefix("cnceleb-") for item in items if item.custom["part"] in parts}


# Layouts


@pytest.mark.parametrize("release", ["flac", "wav", "first"])
def test_every_release_gives_the_same_parts(tmp_path: Path, release: str) -> None:
    cnceleb.build(tmp_path, release, seconds=SECONDS, test_seconds=1.2)
    recordings, items = prepare(tmp_path, tmp_path / "out")
    assert speakers(items, "train", "dev") == {"id00000", "id00001", "id00002", "id10000", "id10001", "id10002"}
    assert len(speakers(items, "dev")) == 1 and not speakers(items, "dev") & speakers(items, "train")
    assert speakers(items, "test") == speakers(items, "test_1s") == {"id00800", "id00801"}
    assert {part: sum(item.custom["part"] == part for item in items) for part in ("test", "test_1s", "test_3s")} == {
        "test": 4, "test_1s": 4, "test_3s": 0,
    }  # fmt: skip
    assert len(recordings) == 12 + 4 and len(items) == 16 + 4
    name, _, suffix = cnceleb.ROOTS[release]
    source = recordings["cnceleb-id00801-live_broadcast-01-002"].sources[0].source  # the lists say .wav
    assert source == f"{tmp_path}/{name}/eval/test/id00801-live_broadcast-01-002{suffix}"
    assert recordings["cnceleb-id10000-vlog-01-001"].load_audio().shape == (1, round(SECONDS * 16000))


def test_an_utterance_carries_what_is_known(corpus: Path, tmp_path: Path) -> None:
    recordings, items = prepare(corpus, tmp_path / "out")
    item = items["cnceleb-id00001-live_broadcast-01-002"]
    assert (item.speaker, item.language, item.gender, item.start) == ("cnceleb-id00001", "zh", None, 0)
    known = {key: value for key, value in item.custom.items() if key != "part"}
    assert known == {"corpus": "cnceleb", "accent": "native", "genre": "live_broadcast", "release": "1"}
    assert items["cnceleb-id10001-movie-01-001"].custom["release"] == "2"
    audio = np.round(recordings[item.recording_id].load_audio()[0] * 32768)
    np.testing.assert_array_equal(audio, voice("id00001", "mandarin", SECONDS, take=1))
    assert {item.custom["genre"] for item in items} <= set(cnceleb.GENRES)


def test_the_root_itself_and_a_relative_one(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, above = prepare(corpus, tmp_path / "above")
    monkeypatch.chdir(corpus)
    program.prepare({"1": Path("CN-Celeb_flac"), "2": Path("CN-Celeb2_flac")}, tmp_path / "own")
    for name in ("cnceleb_recordings.jsonl.gz", "cnceleb_supervisions.jsonl.gz"):
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "above" / name).read_bytes()
    assert len(above) == 12 + 4 + 12 + 4


# What the lists say


def test_evaluation_speakers_of_data_are_never_training(corpus: Path, tmp_path: Path) -> None:
    recordings, items = prepare(corpus, tmp_path / "out", "1")
    assert (corpus / "CN-Celeb_flac/data/id00800").is_dir()
    assert speakers(items, "train", "dev") == {"id00000", "id00001", "id00002"}
    assert not [one for one in recordings if "/data/id008" in one.sources[0].source]
    assert not [one for one in recordings if "/enroll/" in one.sources[0].source]


def test_what_is_missing_stray_or_damaged_is_named_and_counted(
    copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    root = copy / "CN-Celeb_flac"
    shutil.copytree(root / "data/id00001", root / "data/id00050")
    shutil.copy(root / "eval/test/id00800-singing-01-001.flac", root / "eval/test/id00800-singing-07-001.flac")
    shutil.copy(root / "data/id00001/live_broadcast-01-001.flac", root / "data/id00001/cooking-01-001.flac")
    append(copy / "CN-Celeb2_flac" / "spk.lst", "id11999")
    _, items = prepare(copy, tmp_path / "out")
    lines = left_out(tmp_path / "out" / "cnceleb_left_out.tsv")
    for words in (
        f"(damaged): {root}/data/id00000/drama-09-009.flac",
        f"(stray): {root}/data/id00000/sample.flac",
        f"(stray): {root}/data/id00001/cooking-01-001.flac",
        f"(stray): {copy}/CN-Celeb2_flac/data/id10000/sample.flac",
        "(missing): id00099: in ",
        "(missing): id11999: in ",
        "(missing): id00800-drama-09-009: in ",
        f"(unlisted): {root}/data/id00050",
        f"(unlisted): {root}/eval/test/id00800-singing-07-001.flac",
    ):
        assert len([line for line in lines if words in line]) == 1, words
    assert len([line for line in lines if not line.startswith("(remainder of")]) == 9
    assert "id00050" not in speakers(items, "train", "dev") and len(items) == 32
    assert "._" not in messages.text and "notes.txt" not in messages.text


def test_without_eval_the_test_is_in_data(copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(copy / "CN-Celeb_flac/eval")
    recordings, items = prepare(copy, tmp_path / "out", windows=[0.1])
    assert speakers(items, "test") == speakers(items, "test_0.1s") == {"id00800", "id00801"}
    name = "cnceleb-id00800-singing-01-001"
    assert recordings[name].sources[0].source == f"{copy}/CN-Celeb_flac/data/id00800/singing-01-001.flac"
    assert items[name].custom["part"] == "test" and items[f"{name}-0.1s0002"].recording_id == name
    assert "no eval/test: the test is all of data/'s 2 evaluation speakers" in messages.text


def test_without_lists_the_names_decide(copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    _, listed = prepare(copy, tmp_path / "listed")
    for name in ("CN-Celeb_flac/dev/dev.lst", "CN-Celeb_flac/eval/lists/test.lst", "CN-Celeb2_flac/spk.lst"):
        (copy / name).unlink()
    _, items = prepare(copy, tmp_path / "out")
    assert list(items) == list(listed)
    for words in ("no dev/dev.lst: speakers below id00800", "no eval/lists/test.lst: the test is all", "no spk.lst"):
        assert words in messages.text


def test_a_training_list_with_a_test_speaker_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "CN-Celeb_flac/dev/dev.lst").write_text("id00000\nid00001\nid00800\n")
    with pytest.raises(ValueError, match=r"dev.lst: entry 3: 'id00800' is not a development speaker"):
        prepare(copy, tmp_path / "out")
    (copy / "CN-Celeb_flac/dev/dev.lst").write_bytes("id00000\nid0000\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"dev.lst: not UTF-8"):
        prepare(copy, tmp_path / "out")


def test_a_list_from_windows(copy: Path, tmp_path: Path) -> None:
    _, items = prepare(copy, tmp_path / "one")
    for name in ("CN-Celeb_flac/dev/dev.lst", "CN-Celeb_flac/eval/lists/test.lst"):
        text = (copy / name).read_text()
        (copy / name).write_text("\ufeff" + text.replace("\n", " \r\n") + "\r\n", encoding="utf-8", newline="")
    _, same = prepare(copy, tmp_path / "two")
    assert list(same) == list(items)


def test_a_development_speaker_in_eval_is_no_test(
    copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    root = copy / "CN-Celeb_flac/eval"
    shutil.copy(root / "test/id00800-singing-01-001.flac", root / "test/id00000-singing-01-001.flac")
    append(root / "lists/test.lst", "test/id00000-singing-01-001.wav")
    _, items = prepare(copy, tmp_path / "out")
    assert speakers(items, "test") == {"id00800", "id00801"}
    rows = left_out(tmp_path / "out" / "cnceleb_left_out.tsv")
    assert any("id00000-singing-01-001.flac: does not begin with an evaluation speaker" in row for row in rows)


def test_without_the_first_corpus_there_is_no_test(
    corpus: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    _, items = prepare(corpus, tmp_path / "out", "2")
    assert {item.custom["part"] for item in items} == {"train", "dev"}
    assert "no test, which is of CN-Celeb1 (--cnceleb1)" in messages.text


# Windows


def test_the_test_is_cut_into_whole_windows(corpus: Path, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    recordings, items = prepare(corpus, tmp_path / "out")
    name = "cnceleb-id00800-singing-01-002"
    own = [item for item in items if item.id.startswith(name)]
    assert [(item.id, item.custom["part"], item.start, item.duration) for item in own] == [
        (name, "test", 0, 3.4),
        (f"{name}-1s0000", "test_1s", 0, 1),
        (f"{name}-1s0001", "test_1s", 1, 1),
        (f"{name}-1s0002", "test_1s", 2, 1),
        (f"{name}-3s0000", "test_3s", 0, 3),
    ]
    assert {item.recording_id for item in own} == {name}
    assert {(item.speaker, item.language, item.custom["genre"]) for item in own} == {
        ("cnceleb-id00800", "zh", "singing")
    }
    truth = voice("id00800", "mandarin", TEST_SECONDS, take=1)
    audio = recordings[name].load_audio(offset=own[2].start, duration=own[2].duration)[0]
    np.testing.assert_array_equal(np.round(audio * 32768), truth[16000:32000])
    rest = [line for line in left_out(tmp_path / "out" / "cnceleb_left_out.tsv") if line.startswith("(remainder of")]
    assert len(rest) == 8 and f"(remainder of test_3s): {name}: 0.400 s" in rest
    assert "test_1s: 12 windows; 4 remainders left out, 1.6 s in all" in messages.text


@given(
    st.lists(st.integers(1, 200000), min_size=1, max_size=5),
    st.sampled_from([8000, 16000, 22050]),
    st.sampled_from([0.1, 0.5, 1.0, 3.0]),
)
def test_windows_hold_all_but_the_remainders(lengths: list[int], rate: int, seconds: float) -> None:
    corpus = Corpus("cnceleb", "/nowhere")
    for number, length in enumerate(lengths):
        path = Path(f"/nowhere/{number}.flac")
        name = f"cnceleb-id00800-singing-01-{number:03d}"
        corpus.recordings[path] = Recording(name, [AudioSource("file", [0], str(path))], rate, length, length / rate)
        corpus.add(Utterance(name, path, "cnceleb-id00800", "zh", "native", "test", duration=length / rate))
    program.cut_test(corpus, seconds)
    step = round(seconds * rate)
    for test in [utt for utt in corpus.utterances if utt.part == "test"]:
        own = [utt for utt in corpus.utterances if utt.path == test.path and utt.part != "test"]
        count = corpus.recordings[test.path].num_samples // step
        assert [utt.id for utt in own] == [f"{test.id}-{seconds:g}s{number:04d}" for number in range(count)]
        for number, utt in enumerate(own):
            assert (round(utt.start * rate, 3), round(utt.duration * rate, 3)) == (number * step, step)
            assert utt.start + utt.duration <= test.duration + 1e-9
    assert corpus.left_out.count(f"remainder of test_{seconds:g}s") == sum(length % step > 0 for length in lengths)


def test_other_windows_and_none(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    one = "--cnceleb1", corpus
    main(monkeypatch, *one, "--windows", "1.5 5 1.5", tmp_path / "some")
    items = load_manifest(tmp_path / "some" / "cnceleb_supervisions.jsonl.gz")
    assert sum(item.custom["part"] == "test_1.5s" for item in items) == 8
    assert {item.custom["part"] for item in items} == {"train", "dev", "test", "test_1.5s"}
    assert "test_5s: no test file is as long as 5 s" in messages.text
    main(monkeypatch, *one, "--windows", "", tmp_path / "none")
    items = load_manifest(tmp_path / "none" / "cnceleb_supervisions.jsonl.gz")
    assert {item.custom["part"] for item in items} == {"train", "dev", "test"}


@pytest.mark.parametrize("windows", ["one", "0", "-1 3", "nan", "1,3", "inf"])
def test_windows_that_are_no_lengths(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: str
) -> None:
    with pytest.raises(ValueError, match=f"--windows '{windows}': expected lengths in seconds"):
        main(monkeypatch, "--cnceleb1", corpus, f"--windows={windows}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Limits, counts, wrong roots


def test_few_hours_of_each_part(tmp_path: Path) -> None:
    cnceleb.build(tmp_path, utterances=6, seconds=0.2, test_seconds=0.5, second=False, odd=False)
    _, whole = prepare(tmp_path, tmp_path / "whole", "1")
    _, items = prepare(tmp_path, tmp_path / "few", "1", hours=1.1 / 3600, windows=[0.1])
    count = {part: sum(item.custom["part"] == part for item in items) for part in ("train", "dev", "test", "test_0.1s")}
    assert count == {"train": 5, "dev": 5, "test": 2, "test_0.1s": 10}
    assert speakers(items, "dev") == speakers(whole, "dev")
    assert len(speakers(items, "train")) == len(speakers(items, "test")) == 2


def test_counts_of_a_miniature_are_warned_of_or_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    roots = "--cnceleb1", corpus, "--cnceleb2", corpus
    main(monkeypatch, *roots, tmp_path / "out")
    warned = [record.getMessage() for record in messages.records if record.levelname == "WARNING"]
    for words in (
        "CN-Celeb1: speakers in data/: 5, but the published corpus has 997",
        "CN-Celeb2: files in data/: 7, but the published corpus has 529485",
        "test files: 4, but the published corpus has 17777",
        "genres: 6, but the published corpus has 11; --check-counts true makes this an error",
    ):
        assert [line for line in warned if words in line], words
    with pytest.raises(ValueError, match="genres: 6, but the published corpus has 11; look for"):
        main(monkeypatch, *roots, "--check-counts", "true", tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_a_copy_with_all_genres_passes_the_check(tmp_path: Path) -> None:
    cnceleb.build(tmp_path, speakers=2, tests=1, utterances=22, seconds=0.05, test_seconds=0.05, second=False)
    _, items = prepare(tmp_path, tmp_path / "out", "1", strict=True)
    assert {item.custom["genre"] for item in items} == program.GENRES == set(cnceleb.GENRES)


def test_another_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    voxceleb.build(tmp_path / "vox", seconds=0.1)
    (tmp_path / "bare" / "data" / "speaker").mkdir(parents=True)
    out = tmp_path / "out"
    for release in "12":
        for wrong in ("vox", "vox/vox1/dev/wav", "bare"):
            words = rf"{wrong}: this is not CN-Celeb{release}: expected data/id\d+/.*flac, but it holds"
            with pytest.raises(ValueError, match=words):
                program.prepare({release: tmp_path / wrong}, out)
    with pytest.raises(ValueError, match="nowhere: no such directory; expected the root of CN-Celeb2"):
        program.prepare({"2": tmp_path / "nowhere"}, out)
    with pytest.raises(ValueError, match=r"3 speakers in data/, such as id10000, .* CN-Celeb2 as --cnceleb2"):
        program.prepare({"1": corpus / "CN-Celeb2_flac"}, out)
    with pytest.raises(ValueError, match=r"5 speakers in data/, such as id00000, .* CN-Celeb1 as --cnceleb1"):
        program.prepare({"2": corpus / "CN-Celeb_flac"}, out)


def test_a_conversion_beside_its_source_is_an_error(copy: Path, tmp_path: Path) -> None:
    flac = copy / "CN-Celeb2_flac/data/id10001/movie-01-001.flac"
    shutil.copy(flac, flac.with_suffix(".wav"))
    with pytest.raises(ValueError, match="1 utterance ids are there twice, such as cnceleb-id10001-movie-01-001"):
        prepare(copy, tmp_path / "out")


def test_the_program_alone(corpus: Path, tmp_path: Path) -> None:
    roots = ["--cnceleb1", corpus / "CN-Celeb_flac", "--cnceleb2", corpus]
    done = subprocess.run([PROGRAM, *roots, "--nj", "1", tmp_path / "a"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    prepare(corpus, tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    done = subprocess.run([PROGRAM, tmp_path / "c"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().endswith("give --cnceleb1 DIR, --cnceleb2 DIR or both")
