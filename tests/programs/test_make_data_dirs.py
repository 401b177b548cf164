"""steps/make_data_dirs.py: the tables it writes, and the splits and manifests it refuses."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from tools import ROOT, contents, load

from flowlid.kaldi.datadir import DataDir, read_table

RATE = 8000

program = load("steps/make_data_dirs.py")

SETS = """
disjoint: prompt
sets:
  train_en: {language: en, part: train}
  test_all: {language: [en, es], part: [dev, test]}
"""


def recording(folder: Path, name: str, samples: int = RATE, channels: int = 1) -> Recording:
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((samples, channels), np.int16), RATE)
    source = AudioSource("file", list(range(channels)), str(path))
    return Recording(name, [source], RATE, samples, samples / RATE)


def utterance(name: str, prompt: str, part: str, **changes: object) -> SupervisionSegment:
    speaker, language = name.split("-")[:2]
    values = dict(id=name, recording_id=name, start=0.0, duration=1.0, language=language, speaker=speaker, gender="f")
    return SupervisionSegment(**(values | {"custom": {"prompt": prompt, "part": part}} | changes))


def store(folder: Path, corpus: str, recordings: list[Recording], supervisions: list[SupervisionSegment]) -> None:
    folder.mkdir(exist_ok=True)
    RecordingSet.from_recordings(recordings).to_file(folder / f"{corpus}_recordings_all.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(folder / f"{corpus}_supervisions_all.jsonl.gz")


UTTERANCES = {
    "ann-en-bye": ("bye", "train"),
    "ann-en-hello": ("hello", "train"),
    "ann-en-yes": ("yes", "dev"),
    "ann-es-bye": ("bye", "train"),
    "bea-es-no": ("no", "test"),
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs the program over five whole-recording utterances, after changes; returns DATA_DIR."""

    def make(sets: str = SETS, **changes: dict[str, object]) -> Path:
        items = [utterance(name, *UTTERANCES[name], **changes.get(name.replace("-", "_"), {})) for name in UTTERANCES]
        names = dict.fromkeys(item.recording_id for item in items)
        store(tmp_path / "manifests", "prompts", [recording(tmp_path / "wav", name) for name in names], items)
        return again(sets)

    def again(sets: str = SETS) -> Path:
        (tmp_path / "sets.yaml").write_text(sets)
        arguments = ["--sets", "sets.yaml", "manifests", "data"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["make_data_dirs.py", *arguments])
        program.main()
        return tmp_path / "data"

    make.again = again
    return make


def test_tables_of_whole_recordings(make: Callable[..., Path], tmp_path: Path) -> None:
    data = make()
    assert sorted(path.name for path in data.iterdir()) == ["sets.tsv", "test_all", "train_en"]
    assert {path.name: path.read_text() for path in (data / "train_en").iterdir()} == {
        "wav.scp": f"ann-en-bye {tmp_path}/wav/ann-en-bye.wav\nann-en-hello {tmp_path}/wav/ann-en-hello.wav\n",
        "utt2spk": "ann-en-bye ann\nann-en-hello ann\n",
        "spk2utt": "ann ann-en-bye ann-en-hello\n",
        "utt2lang": "ann-en-bye en\nann-en-hello en\n",
        "utt2dur": "ann-en-bye 1.000\nann-en-hello 1.000\n",
        "reco2dur": "ann-en-bye 1.000\nann-en-hello 1.000\n",
        "spk2gender": "ann f\n",
    }
    assert read_table(data / "test_all" / "utt2lang") == {"ann-en-yes": "en", "bea-es-no": "es"}


def test_parts_of_recordings_get_segments(make: Callable[..., Path]) -> None:
    part = {"recording_id": "ann-en-bye", "start": 0.25, "duration": 0.3}
    train = make(ann_en_hello=part) / "train_en"
    assert read_table(train / "segments") == {
        "ann-en-bye": "ann-en-bye 0.000000 1.000000",
        "ann-en-hello": "ann-en-bye 0.250000 0.550000",
    }
    assert list(read_table(train / "wav.scp")) == list(read_table(train / "reco2dur")) == ["ann-en-bye"]
    assert read_table(train / "utt2dur") == {"ann-en-bye": "1.000", "ann-en-hello": "0.300"}
    assert DataDir(train).segments()["ann-en-hello"] == ("ann-en-bye", 0.25, 0.55, None)


def test_an_utterance_named_unlike_its_recording_gets_a_segment(make: Callable[..., Path]) -> None:
    train = make(ann_en_hello={"recording_id": "call-7"}) / "train_en"
    assert read_table(train / "segments")["ann-en-hello"] == "call-7 0.000000 1.000000"


def test_rounded_durations_are_whole_recordings(make: Callable[..., Path]) -> None:
    assert not (make(ann_en_hello={"duration": 1.0001}) / "train_en" / "segments").exists()


def test_text_and_gender_for_all_or_not_at_all(make: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = make(
        ann_en_bye={"text": "Good  bye\n", "gender": "Female"},
        ann_en_hello={"text": "Hello"},
        ann_en_yes={"text": "Yes"},
        bea_es_no={"gender": None},
    )
    assert read_table(data / "train_en" / "text") == {"ann-en-bye": "Good bye", "ann-en-hello": "Hello"}
    assert not (data / "test_all" / "text").exists() and not (data / "test_all" / "spk2gender").exists()
    assert any("test_all: no text, it is not known for 1 of 2" in line for line in caplog.messages)


def test_sets_are_logged(make: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        data = make()
    counts = "set utterances speakers hours languages\ntrain_en 2 1 0.001 en\ntest_all 2 2 0.001 en,es\n"
    assert (data / "sets.tsv").read_text() == counts.replace(" ", "\t")
    assert counts.split() == next(line for line in caplog.messages if line.startswith("sets:")).split()[1:]
    assert "train_en shares speakers with test_all: only prompt is kept apart" in caplog.messages
    assert "checked: no prompt is in both a train set and a dev or test set" in caplog.messages


def test_unchanged_sets_keep_their_features(make: Callable[..., Path]) -> None:
    data = make()
    for name in ("train_en", "test_all"):
        (data / name / "feats.scp").write_text("features\n")
    make.again(SETS.replace("language: [en, es], part: [dev, test]", "language: es, part: test"))
    assert (data / "train_en" / "feats.scp").read_text() == "features\n"
    assert read_table(data / "test_all" / "utt2spk") == {"bea-es-no": "bea"}
    assert not (data / "test_all" / "feats.scp").exists()


def test_a_set_that_is_no_longer_made_is_removed(make: Callable[..., Path]) -> None:
    data = make()
    (data / "mine").mkdir()  # not of this program
    make.again("disjoint: prompt\nsets: {train_en: {part: train}}")
    assert sorted(path.name for path in data.iterdir()) == ["mine", "sets.tsv", "train_en"]


def test_a_directory_of_the_user_is_not_replaced(make: Callable[..., Path]) -> None:
    data = make()
    (data / "train_my").mkdir()
    before = contents(data)
    with pytest.raises(
        ValueError, match="data/train_my: not made by this stage, and so not replaced; move it, or call"
    ):
        make.again("sets: {train_my: {part: train}}")
    assert contents(data) == before


@pytest.mark.parametrize("name", ["", "..", "../wav", "manifests"])
def test_a_damaged_list_of_sets_removes_nothing(make: Callable[..., Path], tmp_path: Path, name: str) -> None:
    data = make()
    with (data / "sets.tsv").open("a") as file:
        file.write(f"{name}\t1\n")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"sets.tsv: '.*' is no name of a set; remove the line"):
        make.again()
    assert contents(tmp_path) == before


def test_sets_and_languages_that_look_the_same_are_refused(make: Callable[..., Path]) -> None:
    data = make()
    before = contents(data)
    with pytest.raises(ValueError, match="set 'train_EN' looks like set 'train_en'; rename one"):
        make.again("sets: {train_en: {part: train}, train_EN: {part: train}}")
    assert contents(data) == before
    with pytest.raises(ValueError, match=r"utt2lang:\d: language '\w+' looks like '\w+' in .*; write both in one way"):
        make("sets: {train_x: {part: train}}", ann_en_bye={"language": "EN"})
    assert contents(data) == before


def test_a_run_killed_between_the_sets_forgets_none(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data, rename = make(), Path.rename
    new = "disjoint: prompt\nsets: {train_new: {part: train}}"

    def killed(path: Path, target: Path) -> Path:
        if target.name == "train_new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        make.again(new)
    assert {"train_en", "test_all", "train_new"} <= set((data / "sets.tsv").read_text().split())
    monkeypatch.undo()
    make.again(new)
    assert sorted(path.name for path in data.iterdir()) == ["sets.tsv", "train_new"]


def test_a_table_that_is_no_longer_made_counts_as_a_change(make: Callable[..., Path]) -> None:
    data = make(ann_en_bye={"text": "bye"}, ann_en_hello={"text": "hello"})
    (data / "train_en" / "feats.scp").write_text("features\n")
    make()
    assert not (data / "train_en" / "text").exists() and not (data / "train_en" / "feats.scp").exists()


def test_several_corpora_are_read(make: Callable[..., Path], tmp_path: Path) -> None:
    make()
    extra = utterance("cleo-en-maybe", "maybe", "test")
    store(tmp_path / "manifests", "other", [recording(tmp_path / "wav", "cleo-en-maybe")], [extra])
    data = make.again()
    assert read_table(data / "test_all" / "utt2spk")["cleo-en-maybe"] == "cleo"


def test_one_partial_utterance_gives_all_sets_segments(make: Callable[..., Path]) -> None:
    data = make(bea_es_no={"start": 0.25, "duration": 0.3})
    assert read_table(data / "train_en" / "segments")["ann-en-bye"] == "ann-en-bye 0.000000 1.000000"


def test_a_command_becomes_a_pipe(make: Callable[..., Path], tmp_path: Path) -> None:
    make()
    source = AudioSource("command", [0], "sph2pipe -f wav -p -c 1 /x/a.wv1")
    coded = Recording("cleo-en-maybe", [source], RATE, RATE, 1.0)
    store(tmp_path / "manifests", "other", [coded], [utterance("cleo-en-maybe", "maybe", "test")])
    assert read_table(make.again() / "test_all" / "wav.scp")["cleo-en-maybe"] == f"{source.source} |"


def test_another_field_may_be_the_label(make: Callable[..., Path]) -> None:
    sets = "disjoint: prompt\nlabel: voice\nclasses: {old: [a, b]}\nsets: {train_x: {part: train}}"
    custom = {"prompt": "bye", "part": "train"}
    voices = {"ann_en_bye": "a", "ann_en_hello": "b", "ann_es_bye": "c"}
    data = make(sets, **{name: {"custom": custom | {"voice": voice}} for name, voice in voices.items()})
    assert list(read_table(data / "train_x" / "utt2lang").values()) == ["old", "old", "c"]
    with pytest.raises(ValueError, match="utterance ann-en-hello has no voice"):
        make(sets, ann_en_bye={"custom": custom | {"voice": "a"}})


def scored(**scores: object) -> dict[str, dict[str, object]]:
    return {name: {"custom": {"prompt": "x", "part": "train", "score": score}} for name, score in scores.items()}


def test_scores_of_all_utterances_are_written_and_ranges_select_them(make: Callable[..., Path]) -> None:
    sets = """
      disjoint: recording_id
      sets:
        train_all: {part: train}
        test_low: {score: {min: 1, below: 2.5}}
        test_high: {score: {above: 2.5, max: 4}}
    """
    sets = sets.replace("train_all: {part: train}", "train_all: {recording_id: bea-es-no}")
    data = make(sets, **scored(ann_en_bye=1, ann_en_hello=2.5, ann_en_yes=4, ann_es_bye=2.25))
    assert read_table(data / "test_low" / "utt2score") == {"ann-en-bye": "1", "ann-es-bye": "2.25"}
    assert read_table(data / "test_high" / "utt2score") == {"ann-en-yes": "4"}
    assert not (data / "train_all" / "utt2score").exists()
    with pytest.raises(ValueError, match="ann-en-hello: score 'good' is not a number"):
        make("disjoint: prompt\nsets: {train_all: {part: train}}", **scored(ann_en_hello="good"))


def test_sets_may_be_joined(make: Callable[..., Path]) -> None:
    sets = SETS + "  test_es: {language: es, part: test}\n  test_both: [test_es, test_all]\n"
    data = make(sets)
    assert read_table(data / "test_both" / "utt2lang") == {"ann-en-yes": "en", "bea-es-no": "es"}
    optional = sets.replace("sets:", "optional: [test_fr, test_x]\nsets:\n  test_fr: {language: fr}")
    data = make(optional + "  test_x: [test_fr, test_es]\n")
    assert not (data / "test_x").exists() and (data / "test_both").exists()


def test_optional_sets_are_left_out_by_name(make: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    sets = SETS.replace("sets:", "optional: [test_fr, test_score]\nsets:\n  test_fr: {language: [fr, es]}")
    data = make(sets + "  test_score: {score: {min: 1}}\n")
    assert not (data / "test_fr").exists() and not (data / "test_score").exists()
    assert "test_fr left out (it is optional): no utterance has language 'fr'" in caplog.text
    assert "test_score left out (it is optional): unknown field 'score'" in caplog.text


LEAK = "disjoint: prompt\nsets: {train_en: {language: en, part: train}, test_es: {language: es}}"


def test_leak_names_sets_and_values(make: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="train_en and test_es share 1 values of prompt: bye"):
        make(LEAK)


def test_speakers_may_be_shared_unless_they_must_be_disjoint(make: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="train_en and test_all share 1 values of speaker: ann"):
        make(SETS.replace("prompt", "speaker"))


def test_train_sets_may_share(make: Callable[..., Path]) -> None:
    data = make("disjoint: prompt\nsets: {train_a: {part: train}, train_b: {part: train, language: es}}")
    assert len(DataDir(data / "train_a").utts) == 3 and DataDir(data / "train_b").utts == ["ann-es-bye"]


def test_no_check_is_said_aloud(make: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    make(LEAK.replace("disjoint: prompt\n", ""))
    assert any("no `disjoint: FIELD`" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("sets: {train_x: {langage: en}}", r"train_x: unknown field 'langage' \(did you mean 'language'\?\)"),
        ("sets: {train_x: {language: fr}}", "train_x: no utterance has language 'fr'; known: en es"),
        ("sets: {train_x: {language: es, part: dev}}", "train_x: empty"),
        ("sets: {train_x: {language: no}}", "1: YAML reads no as False; put it in quotes"),
        ("sets: {train_x: {}}", "train_x: expected field"),
        ("sets: {train_x: en}", "train_x: expected field"),
        ("sets: {train_x: {part: []}}", r"train_x: part: \[\]"),
        ("sets: {eval: {part: dev}}", "set 'eval': a set's name starts with"),
        ("sets: {train/x: {part: dev}}", "set 'train/x'"),
        ("set: {train_x: {part: train}}", "expected the keys"),
        ("disjoin: prompt\nsets: {train_x: {part: train}}", r"unknown key 'disjoin' \(did you mean 'disjoint'\?\)"),
        ("disjoint: promt\nsets: {train_x: {part: train}}", "disjoint: unknown field 'promt'"),
        ("disjoint: [prompt]\nsets: {train_x: {part: train}}", "disjoint: .* is not the name of a field"),
        ("sets: {train_x: [", "1: not a YAML file"),
        ("sets: {test_x: [test_y], test_y: {part: dev}}", "test_x: no set 'test_y' comes before it"),
        ("optional: [test_y]\nsets: {train_x: {part: train}}", "optional: no set is called 'test_y'"),
        ("sets: {train_x: {score: {mim: 1}}}", r"train_x: score: unknown bound 'mim' \(did you mean 'min'\?\)"),
        ("sets: {train_x: {score: {min: low}}}", "train_x: score: min: 'low' is not a number"),
        ("classes: {a: [x], b: [x]}\nsets: {train_x: {part: train}}", "classes: 'x' is under a and b"),
        ("classes: [x]\nsets: {train_x: {part: train}}", "classes: expected class ->"),
        ("label: acent\nsets: {train_x: {part: train}}", "label: unknown field 'acent'"),
        ("", "expected the keys"),
    ],
)
def test_bad_sets_files(make: Callable[..., Path], sets: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^sets.yaml:.*{message}"):
        make(sets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speaker": None}, "ann-en-hello: no speaker"),
        ({"language": None}, "ann-en-hello has no language"),
        ({"duration": 1.01}, "ann-en-hello: 0.0 to 1.01 s is not within"),
        ({"start": -0.1}, "ann-en-hello: -0.1 to"),
        ({"gender": "x"}, "ann-en-hello: gender 'x'"),
        ({"gender": "m"}, "ann-en-hello: speaker ann is of another gender"),
        ({"custom": {"part": "train"}}, "ann-en-hello has no prompt, which must be disjoint"),
        ({"speaker": "aaa"}, "'aaa' comes after 'ann'"),
    ],
)
def test_bad_utterances_leave_the_data_as_it_was(
    make: Callable[..., Path], changes: dict[str, object], message: str
) -> None:
    sets = SETS.replace("train_en: {language: en, part: train}", "train_en: {recording_id: [ann-en-bye, ann-en-hello]}")
    data = make()
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=message):
        make(sets, ann_en_hello=changes)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in data.iterdir()) == ["sets.tsv", "test_all", "train_en"]


def test_an_utterance_of_no_set_may_be_bad(make: Callable[..., Path]) -> None:
    assert "ann-es-bye" not in read_table(make(ann_es_bye={"speaker": None}) / "train_en" / "utt2spk")


def test_bad_recordings(make: Callable[..., Path], tmp_path: Path) -> None:
    make()
    extra = utterance("cleo-en-maybe", "maybe", "test")
    manifests = tmp_path / "manifests"
    store(manifests, "other", [recording(tmp_path / "wav", "cleo-en-maybe", channels=2)], [extra])
    with pytest.raises(ValueError, match="cleo-en-maybe: not one mono file"):
        make.again()
    store(manifests, "other", [recording(tmp_path / "wav", "cleo-en-maybe")], [extra])
    (tmp_path / "wav" / "cleo-en-maybe.wav").unlink()
    with pytest.raises(ValueError, match=f"cleo-en-maybe: no file {tmp_path}/wav/cleo-en-maybe.wav"):
        make.again()


def test_bad_manifests(make: Callable[..., Path], tmp_path: Path) -> None:
    make()
    manifests = tmp_path / "manifests"
    store(manifests, "other", [], [utterance("cleo-en-maybe", "maybe", "test")])
    with pytest.raises(ValueError, match="cleo-en-maybe: no recording 'cleo-en-maybe'"):
        make.again()
    store(manifests, "other", [recording(tmp_path / "wav", "ann-en-bye")], [])
    with pytest.raises(ValueError, match=r"prompts_recordings_all.*ann-en-bye is in .*other_recordings_all"):
        make.again()
    whole = (manifests / "prompts_recordings_all.jsonl.gz").read_bytes()
    (manifests / "other_recordings_all.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"other_recordings_all.jsonl.gz: not a lhotse manifest"):
        make.again()
    for path in manifests.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="prepare a corpus first"):
        make.again()


def test_the_prompts_recipe_is_disjoint_by_prompt() -> None:
    sets = program.read_sets(ROOT / "egs" / "prompts" / "sets.yaml")
    assert sets.disjoint == "prompt"
    for name, selection in sets.sets.items():
        parts = {"train": ["train"], "dev": ["dev"], "test": ["test"]}[name.split("_")[0]]
        cross = name in ("test_es_co", "test_it_menardi", "test_fr_armelle", "dev_voices")  # voices of no training set
        assert list(selection["part"].texts) == (["dev", "test"] if cross else parts), name
