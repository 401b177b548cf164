"""local/prepare_voxceleb.py on miniatures of VoxCeleb in every layout that copies of it have."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lhotse import RecordingSet, SupervisionSet, load_manifest
from replicas import cnceleb, voxceleb
from replicas.sound import voice
from tools import ROOT, left_out, load

from flowlid.corpora.corpus import Utterance

PROGRAM = ROOT / "local" / "prepare_voxceleb.py"
program = load("local/prepare_voxceleb.py")

needs_ffmpeg = pytest.mark.skipif(not voxceleb.has_ffmpeg(), reason="no ffmpeg and ffprobe to write and read AAC with")
SECONDS = 0.5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both releases, split, VoxCeleb2 converted; nothing may write there."""
    return voxceleb.build(tmp_path_factory.mktemp("voxceleb"), seconds=SECONDS)


def prepare(root: Path, out: Path, releases: str = "12", **options: object) -> tuple[RecordingSet, SupervisionSet]:
    program.prepare({release: root / f"vox{release}" for release in releases}, out, **options)
    return tuple(load_manifest(out / f"voxceleb_{kind}.jsonl.gz") for kind in ("recordings", "supervisions"))


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_voxceleb.py", *map(str, arguments)])
    program.main()


def parts(items: SupervisionSet) -> dict[str, str]:
    """Part of each speaker, who has one alone."""
    found: dict[str, set[str]] = {}
    for item in items:
        found.setdefault(item.speaker, set()).add(item.custom["part"])
    assert all(len(own) == 1 for own in found.values())
    return {speaker: own.pop() for speaker, own in found.items()}


# Layouts

LAYOUTS = [
    ("split", "converted"),
    ("merged", "flac"),
    ("first", None),
    (None, "converted"),
    pytest.param("split", "aac", marks=needs_ffmpeg),
    pytest.param("merged", "unpacked", marks=needs_ffmpeg),
]


@pytest.mark.parametrize(("layout1", "layout2"), LAYOUTS)
def test_every_layout_gives_the_same_speakers(
    tmp_path: Path, messages: pytest.LogCaptureFixture, layout1: str | None, layout2: str | None
) -> None:
    voxceleb.build(tmp_path, layout1, layout2, seconds=SECONDS)
    releases = "1" * bool(layout1) + "2" * bool(layout2)
    recordings, items = prepare(tmp_path, tmp_path / "out", releases)
    people = (voxceleb.speakers1(3, 1) if layout1 else []) + (voxceleb.speakers2(3, 1) if layout2 else [])
    found = {item.speaker: (item.gender, item.custom.get("nationality", "")) for item in items}
    assert found == {f"voxceleb-{one.id}": (one.gender, one.nationality) for one in people}
    sides = parts(items)
    assert {name for name, part in sides.items() if part == "test"} == {
        f"voxceleb-{one.id}" for one in people if one.set == "test"
    }
    assert sorted(sides.values()).count("dev") == 1
    assert len(items) == len(recordings) == 2 * len(people)
    for item in items:
        recording = recordings[item.recording_id]
        assert recording.load_audio().shape == (1, recording.num_samples)
        assert recording.duration == item.duration == pytest.approx(SECONDS, abs=0.1)
    assert f"files in {tmp_path}/vox{releases[0]}/" in messages.text


def test_an_utterance_carries_what_is_known(corpus: Path, tmp_path: Path) -> None:
    recordings, items = prepare(corpus, tmp_path / "out")
    name = "voxceleb-id10001--abcdefgh00-00001"  # the video's name begins with "-"
    item = items[name]
    assert (item.speaker, item.language, item.gender, item.start) == ("voxceleb-id10001", "en", "m", 0)
    assert item.recording_id == name
    known = {key: value for key, value in item.custom.items() if key != "part"}
    assert known == {
        "corpus": "voxceleb", "accent": "mixed", "nationality": "New Zealand", "release": "1", "video": "-abcdefgh00",
    }  # fmt: skip
    source = recordings[name].sources[0].source
    assert source == str(corpus / "vox1/dev/wav/id10001/-abcdefgh00/00001.wav")
    second = items["voxceleb-id00017--abcdefgh00-00002"]
    assert (second.gender, second.custom["release"]) == ("m", "2") and "nationality" not in second.custom
    audio = np.round(recordings[second.recording_id].load_audio()[0] * 32768)
    np.testing.assert_array_equal(audio, voice("id00017", "english", SECONDS, take=1))


@needs_ffmpeg
def test_aac_is_decoded_and_sounds_as_it_did(tmp_path: Path) -> None:
    voxceleb.build(tmp_path, None, "aac", speakers=2, tests=0, seconds=1.0, odd=False)
    recordings, _ = prepare(tmp_path, tmp_path / "out", "2")
    recording = recordings["voxceleb-id00012--abcdefgh00-00002"]
    assert recording.sources[0].type == "command"
    assert recording.sampling_rate == 16000
    audio, truth = recording.load_audio()[0], voice("id00012", "english", 1.0, take=1)
    spectra = [
        np.log(np.abs(np.fft.rfft(x[:16000].astype(float) / 32768)[100:1500]) + 1e-3) for x in (audio * 32768, truth)
    ]
    assert np.corrcoef(*spectra)[0, 1] > 0.8
    other = voice("id00012", "english", 1.0, take=0)
    wrong = np.log(np.abs(np.fft.rfft(other / 32768)[100:1500]) + 1e-3)
    assert np.corrcoef(spectra[0], wrong)[0, 1] < 0.8


def test_the_first_release_gets_ids_for_names(tmp_path: Path) -> None:
    voxceleb.build(tmp_path, "first", None, seconds=SECONDS, odd=False)
    recordings, items = prepare(tmp_path, tmp_path / "out", "1")
    item = items["voxceleb-id10002--abcdefgh00-0000002"]
    assert (item.speaker, item.gender, item.custom["video"]) == ("voxceleb-id10002", "f", "-abcdefgh00")
    source = recordings[item.recording_id].sources[0].source
    assert source == str(tmp_path / "vox1/voxceleb1_wav/Invented_Ab/-abcdefgh00_0000002.wav")
    assert parts(items)["voxceleb-id10270"] == "test"


def test_a_name_that_is_in_no_table_stays_and_is_said(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    voxceleb.build(tmp_path, "first", None, seconds=SECONDS, odd=False)
    table = tmp_path / "vox1" / "vox1_meta.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if "Invented_Ab" not in line))
    _, items = prepare(tmp_path, tmp_path / "out", "1")
    assert items["voxceleb-Invented_Ab--abcdefgh00-0000001"].gender is None
    assert "1 speakers are not in the table, gender unknown: Invented_Ab" in messages.text


def test_the_first_release_needs_its_table(tmp_path: Path) -> None:
    voxceleb.build(tmp_path, "first", None, seconds=SECONDS, odd=False)
    (tmp_path / "vox1" / "vox1_meta.csv").unlink()
    with pytest.raises(ValueError, match=r"vox1: names as directories .* no vox1_meta.csv; put it in"):
        prepare(tmp_path, tmp_path / "out", "1")


def test_a_root_may_be_deeper_or_a_link_or_relative(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = prepare(copy, tmp_path / "whole")
    monkeypatch.chdir(copy)
    shutil.move("vox1/vox1_meta.csv", "vox1_meta.csv")  # beside the root
    (copy / "vox2" / "meta").mkdir()
    shutil.move("vox2/vox2_meta.csv", "vox2/meta/VOX2_META.CSV")
    (copy / "link").symlink_to("vox1")
    program.prepare({"1": Path("link"), "2": Path("vox2")}, tmp_path / "deeper")
    items = load_manifest(tmp_path / "deeper" / "voxceleb_supervisions.jsonl.gz")
    assert list(items) == list(whole)
    for recording in load_manifest(tmp_path / "deeper" / "voxceleb_recordings.jsonl.gz"):
        assert Path(recording.sources[0].source).is_absolute()


# What is left out


def test_strays_and_damaged_files_are_named_and_counted(
    corpus: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    _, items = prepare(corpus, tmp_path / "out")
    lines = left_out(tmp_path / "out" / "voxceleb_left_out.tsv")
    for release in "12":
        assert any(f"(stray): {corpus}/vox{release}/dev/wav/noise.wav" in line for line in lines)
    damaged = [line for line in lines if "(damaged)" in line]
    assert len(damaged) == 1 and f"{corpus}/vox1/dev/wav/id10001/-abcdefgh00/00099.wav" in damaged[0]
    assert "cut off" in damaged[0]
    assert not [item for item in items if item.id.endswith("00099")]
    assert len(lines) == 3
    assert "._" not in messages.text  # what a Mac leaves behind is not worth a word


def test_a_conversion_in_place_is_taken_for_its_source(
    copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    for path in sorted((copy / "vox2").rglob("id*/*/0000?.wav")):
        path.with_suffix(".m4a").write_bytes(b"not looked at")
    recordings, items = prepare(copy, tmp_path / "out", "2")
    assert len(items) == 8 and not [one for one in recordings if one.sources[0].source.endswith(".m4a")]
    assert "VoxCeleb2: 8 .m4a files skipped for their conversions" in messages.text


def test_a_second_copy_is_an_error(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy / "vox1/dev/wav/id10002", copy / "vox1/wav/id10002")
    with pytest.raises(
        ValueError, match=r"2 utterance ids are there twice, such as voxceleb-id10002-.*remove one copy"
    ):
        prepare(copy, tmp_path / "out", "1")


def test_a_copy_that_is_mostly_damaged_is_an_error(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "vox2").rglob("00001.wav"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="5 of 17 utterances cannot be used"):
        prepare(copy, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["voxceleb_left_out.tsv"]


# Parts


def test_test_speakers_of_a_merged_tree_come_from_the_table_or_the_number(copy: Path, tmp_path: Path) -> None:
    _, items = prepare(copy, tmp_path / "split")
    for release in "12":
        shutil.copytree(copy / f"vox{release}/dev", copy / f"vox{release}", dirs_exist_ok=True)
        shutil.copytree(copy / f"vox{release}/test", copy / f"vox{release}", dirs_exist_ok=True)
        for part in ("dev", "test"):
            shutil.rmtree(copy / f"vox{release}" / part)
    _, merged = prepare(copy, tmp_path / "merged")
    assert list(merged) == list(items)
    (copy / "vox1" / "vox1_meta.csv").unlink()
    _, bare = prepare(copy, tmp_path / "bare", "1")
    assert parts(bare)["voxceleb-id10270"] == "test"
    assert {item.gender for item in bare} == {None}


def test_without_a_table_what_is_outside_dev_is_the_test(
    copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    shutil.move(copy / "vox2/test/wav", copy / "vox2/wav")  # as the test's archive unpacks
    (copy / "vox2" / "vox2_meta.csv").unlink()
    _, items = prepare(copy, tmp_path / "out", "2")
    assert [name for name, part in parts(items).items() if part == "test"] == ["voxceleb-id00027"]
    assert "no vox2_meta.csv" in messages.text and "1 speakers are outside dev/" in messages.text


def test_directories_may_be_called_as_the_archives_are(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "vox2/test", copy / "vox2/vox2_test_aac")
    shutil.move(copy / "vox2/dev", copy / "vox2/latest")  # is no test
    (copy / "vox2" / "vox2_meta.csv").unlink()
    _, items = prepare(copy, tmp_path / "out", "2")
    assert [name for name, part in parts(items).items() if part == "test"] == ["voxceleb-id00027"]


def test_a_test_speaker_in_dev_is_wholly_test(copy: Path, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    shutil.copytree(copy / "vox2/test/wav/id00027/-abcdefgh00", copy / "vox2/dev/wav/id00027/zzzzzzzzzzz")
    table = copy / "vox1" / "vox1_meta.csv"
    table.write_text(table.read_text().replace("Norway\tdev", "Norway\ttest"))
    _, items = prepare(copy, tmp_path / "out")
    sides = parts(items)
    assert sides["voxceleb-id00027"] == sides["voxceleb-id10002"] == "test"
    assert "VoxCeleb1: 1 speakers are of the test" in messages.text and "id10002" in messages.text
    assert "VoxCeleb2: 1 speakers are of the test" in messages.text


def test_a_twentieth_of_the_files_is_dev_by_speaker() -> None:
    utterances = [
        Utterance(
            f"voxceleb-id{n:05d}-v-{k}", Path(), f"voxceleb-id{n:05d}", "en", "mixed", "test" if n < 9 else "train"
        )
        for n in range(500)
        for k in range(5 + n % 11)
    ]
    split = program.split_dev(utterances)
    sides = {part: {utt.speaker for utt in split if utt.part == part} for part in ("train", "dev", "test")}
    assert not sides["train"] & sides["dev"] and len(sides["test"]) == 9
    assert [utt.id for utt in split if utt.part == "test"] == [utt.id for utt in utterances if utt.part == "test"]
    dev, train = (sum(utt.part == part for utt in split) for part in ("dev", "train"))
    assert dev / (dev + train) == pytest.approx(0.05, abs=0.01)


def test_one_speaker_is_too_few(tmp_path: Path) -> None:
    voxceleb.build(tmp_path, "split", None, speakers=1, seconds=SECONDS, odd=False)
    with pytest.raises(ValueError, match="1 speakers beside the test's; train and dev need two"):
        prepare(tmp_path, tmp_path / "out", "1")


def test_few_hours_open_few_files_of_the_same_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    voxceleb.build(tmp_path, utterances=6, seconds=0.2, odd=False)
    _, whole = prepare(tmp_path, tmp_path / "whole")
    monkeypatch.setattr(program, "SHORTEST", 0.1)
    corpus = program.prepare(
        {release: tmp_path / f"vox{release}" for release in "12"}, tmp_path / "out", hours=0.9 / 3600
    )
    items = load_manifest(tmp_path / "out" / "voxceleb_supervisions.jsonl.gz")
    assert len(corpus.recordings) == 9 + 6 + 9 < len(whole)  # 0.9 s: nine of 0.1 s at most; dev has six in all
    for part in ("train", "dev", "test"):
        own = [item for item in items if item.custom["part"] == part]
        assert len(own) == 4  # 0.8 s
    assert len({item.speaker for item in items if item.custom["part"] == "train"}) == 4
    assert parts(items).items() <= parts(whole).items()
    assert "at most 0.00025 hours of each part" in messages.text


# Tables


# Wrong roots


def test_another_corpus_is_refused(tmp_path: Path) -> None:
    cnceleb.build(tmp_path / "cn", seconds=0.1, test_seconds=0.1, second=False)
    for release in "12":
        with pytest.raises(ValueError, match=rf"cn: this is not VoxCeleb{release}: expected .*holds CN-Celeb_flac"):
            program.prepare({release: tmp_path / "cn"}, tmp_path / "out")
    with pytest.raises(ValueError, match="nowhere: no such directory; expected the root of VoxCeleb1"):
        program.prepare({"1": tmp_path / "nowhere"}, tmp_path / "out")


def test_the_other_release_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"4 speakers, such as id\d+, are of VoxCeleb2; give .* as --voxceleb2"):
        program.prepare({"1": corpus / "vox2"}, tmp_path / "out")
    with pytest.raises(ValueError, match=r"are of VoxCeleb1; give .* as --voxceleb1"):
        program.prepare({"2": corpus / "vox1"}, tmp_path / "out")
    with pytest.raises(ValueError, match=r"4 speakers, .* are of VoxCeleb2"):  # the directory above both
        program.prepare({"1": corpus}, tmp_path / "out")


def test_two_releases_of_voxceleb1_are_the_same_speech(copy: Path, tmp_path: Path) -> None:
    voxceleb.build(tmp_path / "first", "first", None, seconds=SECONDS, odd=False)
    shutil.copytree(tmp_path / "first/vox1/voxceleb1_wav", copy / "vox1/voxceleb1_wav")
    with pytest.raises(ValueError, match="both the first release of VoxCeleb1"):
        prepare(copy, tmp_path / "out", "1")


# Counts and the command


def test_counts_of_a_miniature_are_warned_of_or_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    main(monkeypatch, "--voxceleb1", corpus / "vox1", "--voxceleb2", corpus / "vox2", tmp_path / "out")
    warned = [record.getMessage() for record in messages.records if record.levelname == "WARNING"]
    assert [line for line in warned if "speakers of VoxCeleb2 test: 1, but the published corpus has 118" in line]
    assert len(warned) == 10 and any("1 of 17 utterances cannot be used" in line for line in warned)
    with pytest.raises(ValueError, match=r"speakers of VoxCeleb1 dev: 3, but the published corpus has 1211; look for"):
        main(monkeypatch, "--voxceleb1", corpus / "vox1", "--check-counts", "true", tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_a_few_files_less_than_published_are_no_error(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(program, "COUNTS", {"VoxCeleb1 dev": (3, 9), "VoxCeleb1 test": (1, 2)})
    prepare(corpus, tmp_path / "out", "1", strict=True)
    assert "utterances of VoxCeleb1 dev: 7, but the published corpus has 9" in messages.text
    assert "speakers of VoxCeleb1 test: 1, as published" in messages.text


def test_the_program_alone(corpus: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "--voxceleb1", corpus / "vox1", "--nj", "2", tmp_path / "a"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    prepare(corpus, tmp_path / "b", "1")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    done = subprocess.run([PROGRAM, tmp_path / "c"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().endswith("give --voxceleb1 DIR, --voxceleb2 DIR or both")


def test_less_than_no_hours(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--hours -1: less than nothing"):
        main(monkeypatch, "--voxceleb1", corpus / "vox1", "--hours", "-1", tmp_path)
