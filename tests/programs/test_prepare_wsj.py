"""local/prepare_wsj.py on miniatures of WSJ0 and WSJ1 in every layout that copies of them have."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lhotse import RecordingSet, SupervisionSet
from replicas import timit, wsj
from tools import Ended, call, contents, left_out

PREPARE = "../local/prepare_wsj"  # beside the steps
EVALS = {"dev": "dev93", "eval92": "eval92", "eval93": "eval93"}


def prepare(*arguments: object) -> Ended:
    return call(PREPARE, *arguments)


def recordings(out: Path) -> RecordingSet:
    return RecordingSet.from_jsonl(out / "wsj_recordings.jsonl.gz")


def items(out: Path) -> dict[str, tuple]:
    """What the manifests say of each utterance, but not where its file is."""
    found = SupervisionSet.from_jsonl(out / "wsj_supervisions.jsonl.gz")
    return {i.id: (i.speaker, i.gender, i.text, round(i.duration, 3), i.custom["part"], i.custom["set"]) for i in found}


def of_set(out: Path, name: str) -> set[str]:
    return {utt for utt, values in items(out).items() if values[5] == name}


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica with all oddities, merged; nothing may write there."""
    return wsj.build(tmp_path_factory.mktemp("wsj") / "wsj", seconds=0.3)


@pytest.fixture(scope="module")
def prepared(merged: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Manifests of the merged replica, and how the preparation ended."""
    out = tmp_path_factory.mktemp("out")
    return out, prepare(merged, out)


def test_the_sets_are_those_of_the_indices(prepared: tuple[Path, Ended]) -> None:
    out, ended = prepared
    assert ended.code == 0, ended.log
    wanted = {"si_tr_s": 23, "dev93": 8, "eval92": 8, "eval93": 8}
    assert Counter(values[5] for values in items(out).values()) == wanted
    for part, name in EVALS.items():
        assert {values[4] for values in items(out).values() if values[5] == name} == {part}
    assert {values[4] for values in items(out).values() if values[5] == "si_tr_s"} == {"train", "test"}


def test_an_utterance_carries_what_is_known(prepared: tuple[Path, Ended], merged: Path) -> None:
    found = SupervisionSet.from_jsonl(prepared[0] / "wsj_supervisions.jsonl.gz")
    item = next(item for item in found if item.id == "wsj-4oa-4oac0203")
    assert (item.speaker, item.language, item.gender) == ("wsj-4oa", "en", "f")
    assert item.custom == {"corpus": "wsj", "part": "eval93", "accent": "native", "set": "eval93"}
    recording = recordings(prepared[0])[item.recording_id]
    assert Path(recording.sources[0].source) == merged / "wsj1/si_et_h1/wsj64k/4oa/4oac0203.wv1"
    samples = recording.load_audio()
    assert samples.shape == (1, 4800) and np.abs(samples).max() > 0.01


def test_transcripts_lose_their_marks(prepared: tuple[Path, Ended]) -> None:
    texts = {values[2] for values in items(prepared[0]).values()}  # in files with and without CR
    assert texts == {"THE GREEN BOAT DRIFTED PAST QUOTE COMMA FOR ONE HOUR PERIOD"}


def test_sex_is_that_of_the_tables(prepared: tuple[Path, Ended]) -> None:
    genders = {values[0]: values[1] for values in items(prepared[0]).values()}
    assert {speaker: genders[f"wsj-{speaker}"] for speaker in ("01a", "02a", "440", "441", "4k1")} == {
        "01a": "f", "02a": "m", "440": "f", "441": "m", "4k1": "m",
    }  # fmt: skip
    assert genders["wsj-01i"] is None
    assert "sex is not known of 3 speakers" in prepared[1].log


@pytest.mark.parametrize("layout", ["discs", "packages"])
def test_discs_are_found_wherever_they_are(layout: str, prepared: tuple[Path, Ended], tmp_path: Path) -> None:
    ended = prepare(wsj.build(tmp_path / "ldc", layout, seconds=0.3), tmp_path / "out")
    assert ended.code == 0, ended.log
    assert items(tmp_path / "out") == items(prepared[0])
    sources = [item.sources[0].source for item in recordings(tmp_path / "out")]
    assert sum("13-16.1/WSJ1/SI_DT_20/4K" in source for source in sources) == 8  # the disc in upper case
    assert sum("13-33.1/wsj1/si_et_h1" in source for source in sources) == 8  # not on the disc that the index says


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_converted_copies_are_taken(suffix: str, prepared: tuple[Path, Ended], tmp_path: Path) -> None:
    ended = prepare(wsj.build(tmp_path / "ldc", suffix=suffix, seconds=0.3), tmp_path / "out")
    assert ended.code == 0, ended.log
    assert items(tmp_path / "out") == items(prepared[0])
    found = list(recordings(tmp_path / "out"))
    assert {Path(item.sources[0].source).suffix for item in found} == {suffix}
    assert all(item.load_audio().shape == (1, 4800) for item in found)
    assert "converted recordings are taken for the close-talk microphone" in ended.log


def test_a_converted_copy_beside_the_original_is_taken_once(merged: Path, tmp_path: Path) -> None:
    root = shutil.copytree(merged, tmp_path / "wsj")
    wsj.build(tmp_path / "other", suffix=".wav", seconds=0.3, damage=False)
    place = "wsj1/si_tr_s/01a/01ac0201.wav"
    shutil.copy(tmp_path / "other" / place, root / place)
    shutil.copy(tmp_path / "other" / place, root / place.replace("0201.wav", "0202.wv2.wav"))
    ended = prepare(root, tmp_path / "out")
    sources = [item.sources[0].source for item in recordings(tmp_path / "out") if "01ac020" in item.id]
    assert [Path(source).name for source in sorted(sources)][:3] == ["01ac0201.wav", "01ac0202.wv1", "01ac0203.wv1"]
    assert "'doubles': 1" in ended.log and "'second microphone': 2" in ended.log


def test_wsj0_and_wsj1_may_stand_apart(merged: Path, prepared: tuple[Path, Ended], tmp_path: Path) -> None:
    for half in ("wsj0", "wsj1"):
        shutil.copytree(merged / half, tmp_path / half / half)
    ended = prepare(tmp_path / "wsj1", tmp_path / "wsj0", tmp_path / "out")
    assert ended.code == 0
    assert items(tmp_path / "out") == items(prepared[0])


def test_the_root_may_be_wsj0_itself(merged: Path, tmp_path: Path) -> None:
    prepare(merged / "wsj0", tmp_path)
    assert of_set(tmp_path, "si_tr_s") == {f"wsj-0{s}i-0{s}ic020{n}" for s in (1, 2, 3) for n in (1, 2, 3, 4)} - {
        "wsj-01i-01ic0202"
    }


@pytest.mark.parametrize("indices", [True, False])
def test_wsj0_alone_gives_si84_and_says_so(indices: bool, tmp_path: Path) -> None:
    ended = prepare(wsj.build(tmp_path / "ldc", parts=("wsj0",), indices=indices, seconds=0.3), tmp_path / "out")
    assert ended.code == 0
    assert "no recordings of wsj1: si84 is all the training speech" in ended.log
    parts = {(values[4], values[5]) for values in items(tmp_path / "out").values()}
    assert parts == {("train", "si_tr_s"), ("test", "si_tr_s"), ("dev", "si_dt_05"), ("eval92", "eval92")}


def test_without_indices_the_folders_are_taken_and_it_is_said(prepared: tuple[Path, Ended], tmp_path: Path) -> None:
    root = wsj.build(tmp_path / "ldc", indices=False, seconds=0.3)
    folder = root / "wsj1/si_tr_s/01a"
    for stem in ("01aa0201", "01as0201"):  # adaptation and spontaneous speech, which no index lists
        shutil.copy(folder / "01ac0201.wv1", folder / f"{stem}.wv1")
    (folder / "01ac0209.ptx").write_text("a prompt with the name of a recording\n")
    ended = prepare(root, tmp_path / "out")
    assert items(tmp_path / "out") == items(prepared[0])
    assert "WARNING wsj1/si_tr_s: no index of it, so all 12 read recordings of the folder" in ended.log
    assert "wsj1/si_tr_s: skipped 2 that are not of type c or o" in ended.log
    assert "no index of it" not in prepared[1].log


@pytest.mark.parametrize("there", [True, False])
def test_speaker_401_is_left_out(there: bool, tmp_path: Path) -> None:
    ended = prepare(wsj.build(tmp_path / "ldc", with_dropped=there, seconds=0.3), tmp_path / "out")
    assert (tmp_path / "ldc/wsj0/si_tr_s/401").is_dir() == there
    assert ended.code == 0 and "wsj-401" not in {values[0] for values in items(tmp_path / "out").values()}
    rows = left_out(tmp_path / "out" / "wsj_left_out.tsv")
    assert any(row.startswith("(dropped): wsj0/si_tr_s/401/: 4 recordings") for row in rows)
    assert not any(row.startswith("(missing)") for row in rows)


def test_damaged_and_stray_files_are_named(prepared: tuple[Path, Ended]) -> None:
    out, _ = prepared
    rows = left_out(out / "wsj_left_out.tsv")
    assert any(row.startswith("(damaged)") and "01i/01ic0202.wv1" in row and "cut off" in row for row in rows)
    assert any(row.startswith("(stray)") and "01i/test.wv1" in row for row in rows)
    assert "wsj-01i-01ic0202" not in items(out) and "wsj-01i-01ic0201" in items(out)


def test_what_an_index_names_in_vain_is_said(merged: Path, tmp_path: Path) -> None:
    root = shutil.copytree(merged, tmp_path / "wsj")
    shutil.rmtree(root / "wsj1/si_tr_s/02a")
    index = root / "wsj1/doc/indices/si_tr_s.ndx"
    index.write_text(index.read_text() + "no entry at all\n")
    ended = prepare(root, tmp_path / "out")
    assert ended.code == 0
    why = "4 recordings of wsj1/doc/indices/si_tr_s.ndx are not there"
    assert f"(missing): wsj1/si_tr_s/02a: {why}" in left_out(tmp_path / "out" / "wsj_left_out.tsv")
    assert f"{index}: line 14: skipped 'no entry at all'" in ended.log
    assert len(of_set(tmp_path / "out", "si_tr_s")) == 19


def test_a_training_speaker_of_dev_or_eval_is_left_out(merged: Path, tmp_path: Path) -> None:
    root = shutil.copytree(merged, tmp_path / "wsj")
    (root / "wsj1/si_tr_s/4k0").mkdir()
    shutil.copy(root / "wsj1/si_dt_20/4k0/4k0c0201.wv1", root / "wsj1/si_tr_s/4k0/4k0c0301.wv1")
    index = root / "wsj1/doc/indices/si_tr_s.ndx"
    index.write_text(index.read_text() + "13_1_1:wsj1/si_tr_s/4k0/4k0c0301.wv1\n")
    prepare(root, tmp_path / "out")
    rows = left_out(tmp_path / "out" / "wsj_left_out.tsv")
    assert any(row.startswith("(in dev or eval): wsj-4k0: ") for row in rows)
    assert {values[4] for values in items(tmp_path / "out").values() if values[0] == "wsj-4k0"} == {"dev"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty training speakers of three utterances, 0.2 s each: 24 s."""
    place = tmp_path_factory.mktemp("many") / "wsj"
    return wsj.build(place, speakers=20, utterances=3, seconds=0.2, with_dropped=False, damage=False)


def test_hours_are_met_by_all_speakers_alike(many: Path, tmp_path: Path) -> None:
    ended = prepare("--hours", 16.1 / 3600, many, tmp_path)
    chosen = {utt: values for utt, values in items(tmp_path).items() if values[5] == "si_tr_s"}
    assert len(chosen) == 80  # 16.0 s: one more would be too much
    assert set(Counter(values[0] for values in chosen.values()).values()) == {2}
    assert "80 of 120 training utterances taken" in ended.log and "left out (not among the hours): 40," in ended.log
    assert len(recordings(tmp_path)) == 80 + 18  # no recording of what was not taken
    again = tmp_path / "again"
    prepare("--hours", 16.1 / 3600, many, again)
    assert contents(again) == {name: data for name, data in contents(tmp_path).items() if "/" not in name}


def test_a_tenth_of_the_speakers_is_held_out(many: Path, tmp_path: Path) -> None:
    ended = prepare(many, tmp_path)
    assert "WARNING --hours 50: there are only 0.01 hours of training speech; all are taken" in ended.log
    speakers = {part: {v[0] for v in items(tmp_path).values() if v[4] == part} for part in ("train", "test")}
    assert (len(speakers["train"]), len(speakers["test"])) == (36, 4)
    assert not speakers["train"] & speakers["test"]


@pytest.mark.parametrize("hours", ["-1", "nan"])
def test_hours_must_be_a_length(hours: str, merged: Path, tmp_path: Path) -> None:
    ended = prepare(f"--hours={hours}", merged, tmp_path)
    assert ended.code == 1 and "expected 0, for all, or more" in ended.log


def test_no_hours_are_all_hours(merged: Path, tmp_path: Path) -> None:
    ended = prepare("--hours=0", merged, tmp_path)
    assert ended.code == 0 and "there are only" not in ended.log and "not among the hours" not in ended.log
    counts = next(line for line in ended.log.splitlines() if "training utterances taken" in line).split()
    place = counts.index("of")
    assert counts[place - 1] == counts[place + 1]


def test_the_counts_of_the_published_corpus(merged: Path, prepared: tuple[Path, Ended], tmp_path: Path) -> None:
    for count in ("11, but the published corpus has 7138", "12, but the published corpus has 30278",
                  "has 503", "has 333", "has 213"):  # fmt: skip
        assert count in prepared[1].log
    ended = prepare("--check-counts", "true", merged, tmp_path / "out")
    assert ended.code == 1 and "7138" in ended.log.splitlines()[-1]
    shutil.copytree(merged, tmp_path / "wsj")
    shutil.rmtree(tmp_path / "wsj/wsj0/si_tr_s")  # a whole set is missing
    ended = prepare("--check-counts", "true", tmp_path / "wsj", tmp_path / "out")
    assert ended.code == 1 and "recordings of si84: 0, but the published corpus has 7138" in ended.log
    assert not (tmp_path / "out").exists()


def test_another_corpus_is_refused(merged: Path, tmp_path: Path) -> None:
    other = timit.build(tmp_path / "TIMIT", seconds=0.1, damage=False)
    for roots in ([other], [merged, other]):
        ended = prepare(*roots, tmp_path / "out")
        assert ended.code == 1
        assert f"{other}: this is not WSJ: expected wsj0/ or wsj1/" in ended.log
        assert "it holds DOC, TEST, TRAIN" in ended.log and "stray" not in ended.log
    for root, why in ((tmp_path / "none", "no such directory"), (tmp_path / "empty", "an empty directory")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        ended = prepare(merged, root, tmp_path / "out")
        assert ended.code == 1 and f"{why}; expected the root of WSJ" in ended.log
    assert not (tmp_path / "out").exists()


def test_discs_without_training_speech_or_without_recordings_are_refused(merged: Path, tmp_path: Path) -> None:
    shutil.copytree(merged / "wsj1/doc", tmp_path / "docs/wsj1/doc")
    ended = prepare(tmp_path / "docs", tmp_path / "out")
    assert ended.code == 1 and "no recordings of WSJ's close-talk microphone" in ended.log
    shutil.copytree(merged / "wsj0/si_et_20", tmp_path / "eval/wsj0/si_et_20")
    ended = prepare(tmp_path / "eval", tmp_path / "out")
    assert ended.code == 1 and "no training speech in it: expected wsj0/si_tr_s or wsj1/si_tr_s" in ended.log


def test_shorten_needs_a_decoder_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = wsj.build(tmp_path / "wsj", "discs", coding="shorten", speakers=1, seconds=0.3)
    program = tmp_path / "bin/sph2pipe"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    ended = prepare(root, tmp_path / "out")
    assert ended.code == 1 and "install sph2pipe or ffmpeg to decode it" in ended.log.splitlines()[-1]
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    ended = prepare(root, tmp_path / "out")
    assert ended.code == 0, ended.log
    found = recordings(tmp_path / "out")
    assert {item.sources[0].type for item in found} == {"command"} and {item.num_samples for item in found} == {4800}
    rows = left_out(tmp_path / "out" / "wsj_left_out.tsv")
    assert any("01ic0202.wv1: its SPHERE header cannot be read" in row for row in rows)
