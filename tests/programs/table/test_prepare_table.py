"""local/prepare_table.py: the tables and trees that it takes, and what it makes of them."""

import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from lhotse import RecordingSet, SupervisionSet
from speech_tables import CALL, COLUMNS, ROWS, one, stereo, table
from tools import ROOT, call, contents, load, speech, write_wav

from flowlid.corpora.speech_table_utterances import SHARES
from flowlid.features.fbank import FbankOptions
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.options import read_options

program = load("local/prepare_table.py")


def supervisions(manifests: Path, name: str = "table") -> dict[str, object]:
    return {item.id: item for item in SupervisionSet.from_jsonl(manifests / f"{name}_supervisions.jsonl.gz")}


def test_a_plain_table(prepare: Callable[..., Path], corpus: Path) -> None:
    manifests = prepare()
    found = supervisions(manifests)
    assert list(found) == ["table-ann-1", "table-ben-1", "table-cat-1", "table-dan-1"]
    ann = found["table-ann-1"]
    assert (ann.speaker, ann.language, ann.duration, ann.gender) == ("table-ann", "en", 0.5, None)
    assert ann.custom == {"corpus": "table", "part": "train", "set": "train"}
    recordings = {item.id: item for item in RecordingSet.from_jsonl(manifests / "table_recordings.jsonl.gz")}
    assert recordings["table-dan-1"].sources[0].source == str(corpus / "wav/4.wav")
    assert {path.name.split("_")[0] for path in manifests.iterdir()} == {"table"}  # no sets.yaml, no fbank.conf


def test_from_the_table_to_data_directories(prepare: Callable[..., Path]) -> None:
    rows = "ann-1 wav/1.wav ann en train 4 f\ncat-1 wav/3.wav cat en test_a 3.5 F\ndan-1 wav/4.wav dan it test_b - -"
    manifests = prepare(table(rows, f"{COLUMNS} score gender"), "--write-sets")
    assert call("make_data_dirs", "--sets", manifests / "sets.yaml", manifests, "data").code == 0
    assert sorted(path.parent.name for path in Path("data").glob("*/utt2spk")) == ["test_a", "test_b", "train"]
    assert read_table("data/test_a/utt2score") == {"table-cat-1": "3.5"}
    assert not Path("data/test_b/utt2score").exists()
    assert read_table("data/test_b/utt2lang") == {"table-dan-1": "it"}
    assert read_table("data/train/spk2gender") == {"table-ann": "f"}


@pytest.mark.parametrize(
    "text",
    [
        table().replace("\t", ","),
        table().replace("\t", ";"),
        "\ufeff" + table().replace("\n", "\r\n"),
        table().replace("\t", " \t "),
        "# made by hand\n\n" + table().replace("\nben", "\n  # Ben:\n\t\t\t\t\nben"),
        table().replace("\t", ",").replace("ann,en", '"ann","en"') + ",,,,\r\n",
    ],
    ids=["comma", "semicolon", "Windows", "blanks", "comments", "quotes"],
)
def test_ways_to_write_a_table(text: str, prepare: Callable[..., Path]) -> None:
    plain = contents(prepare())
    assert contents(prepare(text, name="my.txt")) == plain


def test_columns_in_any_order_and_fields_of_ones_own(prepare: Callable[..., Path]) -> None:
    text = "site,set,language,speaker,text,path,utt_id,accent\n"
    text += '"room 1, left",train,en,ann,hello,wav/1.wav,ann-1,scottish\n'
    found = supervisions(prepare(text + ",train,es,ben,,wav/2.wav,ben-1,\n", "--set-fields", "accent=native year=1999"))
    ann, ben = found["table-ann-1"], found["table-ben-1"]
    assert ann.text == "hello" and ben.text is None
    assert ann.custom["site"] == "room 1, left" and "site" not in ben.custom
    assert (ann.custom["accent"], ben.custom["accent"]) == ("scottish", "native")
    assert ann.custom["year"] == "1999"


def test_parts_of_a_file(prepare: Callable[..., Path]) -> None:
    rows = (
        "ann-1 wav/1.wav ann en train - 0.2\nann-2 wav/1.wav ann en train 0.2 0.509\nben-1 wav/2.wav ben es train 0.1 -"
    )
    found = supervisions(prepare(table(rows, f"{COLUMNS} start end")))
    assert [(item.start, item.duration) for item in found.values()] == [(0, 0.2), (0.2, 0.3), (0.1, 0.4)]
    assert found["table-ann-1"].recording_id == found["table-ann-2"].recording_id


def test_relative_paths_count_from_the_root(prepare: Callable[..., Path], corpus: Path) -> None:
    (corpus / "elsewhere").mkdir()
    text = table().replace("wav/", "")
    assert prepare(text, "--root", "wav", name="elsewhere/my.tsv").is_dir()
    assert prepare(text.replace("\t1.wav", f"\t{corpus}/wav/1.wav"), "--root", "wav", name="elsewhere/my.tsv").is_dir()


def test_sound_of_other_kinds(prepare: Callable[..., Path], corpus: Path) -> None:
    for suffix in ("flac", "ogg", "mp3"):
        soundfile.write(corpus / f"wav/1.{suffix}", speech(0.5, 1, 16000), 16000)
        found = supervisions(prepare(table().replace("1.wav", f"1.{suffix}")))
        assert found["table-ann-1"].duration == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("utt", "speaker", "name", "expected"),
    [
        ("ann-1", "ann", "table", ("table-ann-1", "table-ann")),
        ("1", "ann", "table", ("table-ann-1", "table-ann")),
        ("ann1", "ann", "table", ("table-ann-ann1", "table-ann")),
        ("ce-ann-1", "ce-ann", "ce", ("ce-ann-1", "ce-ann")),
        ("ce-ann-1", "ann", "ce", ("ce-ann-1", "ce-ann")),
        ("ann-1", "ce-ann", "ce", ("ce-ann-ann-1", "ce-ann")),
    ],
)
def test_names(utt: str, speaker: str, name: str, expected: tuple[str, str], prepare: Callable[..., Path]) -> None:
    rows = f"{utt} wav/1.wav {speaker} en train"
    (found,) = supervisions(prepare(table(rows), "--name", name), name).values()
    assert (found.id, found.speaker) == expected


def test_an_id_without_its_speaker_is_said_once(prepare: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        prepare(table(ROWS.replace("ben-1", "u7").replace("cat-1", "u8")))
    assert caplog.text.count("2 utterances got their speaker before their id, for Kaldi's order: u7, u8") == 1


def test_the_private_corpus_of_the_reference_experiments(prepare: Callable[..., Path]) -> None:
    found = supervisions(prepare(table(), "--name", "ce", "--set-fields", "accent=mandarin"), "ce")
    custom = {"corpus": "ce", "part": "dev", "set": "dev", "accent": "mandarin"}
    assert found["ce-cat-1"].custom == custom and found["ce-cat-1"].language == "en"


def test_the_same_table_gives_the_same_bytes(prepare: Callable[..., Path]) -> None:
    options = ("--write-sets", "--fbank-config", ROOT / "egs/table/conf/fbank.conf")
    before = contents(prepare(table(), *options))
    assert contents(prepare(table(), *options)) == before


# sets


def test_a_set_for_each_name_and_one_called_train(prepare: Callable[..., Path]) -> None:
    rows = ROWS.replace("ann en train", "ann en train_a").replace("ben es train", "ben es train_b")
    made = yaml.safe_load((prepare(table(rows), "--write-sets") / "sets.yaml").read_text())
    assert made == {
        "disjoint": "speaker",
        "sets": {
            "dev": {"corpus": "table", "set": "dev"},
            "test": {"corpus": "table", "set": "test"},
            "train_a": {"corpus": "table", "set": "train_a"},
            "train_b": {"corpus": "table", "set": "train_b"},
            "train": {"corpus": "table", "set": ["train_a", "train_b"]},
        },
    }


def test_shared_speakers_are_refused_or_said(
    prepare: Callable[..., Path], errors: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    text = table(f"{ROWS}\nann-2 wav/5.wav ann en test\nann-3 wav/6.wav ann en test")
    line = one(errors(text))
    assert line.startswith("my.tsv:6: speaker 'ann' is in test here, and in train in line 2")
    manifests = prepare(text, "--allow-shared-speakers", "true", "--write-sets")
    assert "1 speakers are in train and in dev or test sets, as allowed: ann" in caplog.text
    assert "disjoint" not in yaml.safe_load((manifests / "sets.yaml").read_text())
    assert call("make_data_dirs", "--sets", manifests / "sets.yaml", manifests, "data").code == 0


def test_unseen_languages_and_mixed_rates_are_said(
    prepare: Callable[..., Path], corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_wav(corpus / "wav/4.wav", speech(0.5, 4, 44100), 44100)
    template = corpus / "my.conf"
    template.write_text(
        "# --sample-frequency=16000: rate\n--sample-frequency=16000 --num-mel-bins=30 #\n--allow-downsample=false\n"
    )
    with caplog.at_level(logging.INFO):
        manifests = prepare(table().replace("dan\tes", "dan\tit"), "--fbank-config", template, "--write-sets")
    assert "mixed sampling rates: 8000 Hz (3 files), 44100 Hz (1 files); all are resampled to the lowest" in caplog.text
    assert "unseen to the models: it" in caplog.text
    made = read_options(manifests / "fbank.conf", FbankOptions)
    assert made == FbankOptions(sample_frequency=8000, num_mel_bins=30, allow_downsample=True)


def test_a_recipe_may_want_tests_alone_and_one_language(
    errors: Callable[..., list[str]], prepare: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    tests = table().replace("\ttrain", "\ttest")
    assert any("nothing to train on" in line for line in errors(tests))
    told = "language 'es': here it must be en, what is spoken"
    assert any(told in line for line in errors(table(), "--languages", "en"))
    assert prepare(tests, "--need-train", "false")
    assert "nothing to tell apart" not in caplog.text  # the recipe has labels of its own


def test_an_fbank_configuration_that_does_not_fit(errors: Callable[..., list[str]], corpus: Path) -> None:
    (corpus / "my.conf").write_text("--sample-frequency=16000\n--high-freq=7000\n")
    line = one(errors(table(), "--fbank-config", "my.conf"))
    assert "my.conf" in line and "8000 Hz" in line and "--high-freq=7000" in line
    assert "no such file" in one(errors(table(), "--fbank-config", "none.conf"))


def test_a_channel_gets_a_file_of_its_own(prepare: Callable[..., Path], corpus: Path) -> None:
    samples = stereo(corpus)
    manifests = prepare(table(CALL, f"{COLUMNS} channel"), "--write-sets")
    recordings = {item.id: item for item in RecordingSet.from_jsonl(manifests / "table_recordings.jsonl.gz")}
    for name, channel in (("table-ann-1", 0), ("table-ben-1", 1)):
        path = Path(recordings[name].sources[0].source)
        assert path.parent == corpus / "data/audio/table" and recordings[name].num_channels == 1
        assert (soundfile.read(path, dtype="int16")[0] == samples[:, channel]).all()
    assert recordings["table-ann-2"].sources[0].source == str(corpus / "wav/2.wav")
    assert call("make_data_dirs", "--sets", manifests / "sets.yaml", manifests, "data").code == 0
    DataDir("data/train").validate()


def test_a_channel_of_a_sphere_file(prepare: Callable[..., Path], corpus: Path) -> None:
    samples = stereo(corpus)
    soundfile.write(corpus / "wav/call.sph", samples, 8000, format="NIST", subtype="PCM_16")
    prepare(table(CALL.replace("call.wav", "call.sph"), f"{COLUMNS} channel"))
    (other,) = (corpus / "data/audio/table").glob("call-*-c1.wav")
    assert (soundfile.read(other, dtype="int16")[0] == samples[:, 1]).all()


def test_channels_that_are_not_given_or_not_there(errors: Callable[..., list[str]], corpus: Path) -> None:
    stereo(corpus)
    rows = CALL.replace("train 0", "train -").replace("train 1", "train 2") + "\nben-2 wav/3.wav ben es train 1"
    lines = errors(table(rows, f"{COLUMNS} channel"))
    assert "my.tsv: 1 of 3 files have several channels, and their rows name none: " in lines[0]
    assert (
        "call.wav (2); say which to use with --channel 0, 1, ... or mix (the mean of all), or in a column" in lines[0]
    )
    assert "my.tsv:4: there is no channel 2:" in lines[1] and "channels 0 to 1" in lines[1]
    assert "my.tsv:5: there is no channel 1:" in lines[2] and "only channel 0" in lines[2]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to make AAC with")
def test_a_channel_of_a_file_that_a_command_decodes(
    prepare: Callable[..., Path], corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stereo(corpus)
    for source, target in (("call.wav", "call.m4a"), ("2.wav", "2.m4a")):
        subprocess.run(["ffmpeg", "-v", "error", "-i", f"wav/{source}", f"wav/{target}"], check=True)
    manifests = prepare(table(CALL.replace(".wav", ".m4a"), f"{COLUMNS} channel"))
    assert "--allow-pipes true" in caplog.text
    found = {item.id: item for item in RecordingSet.from_jsonl(manifests / "table_recordings.jsonl.gz")}
    kinds = {name: item.sources[0].type for name, item in found.items()}
    assert kinds == {"table-ann-1": "file", "table-ann-2": "command", "table-ben-1": "file"}
    one_side, other = (found[name].load_audio()[0] for name in ("table-ann-1", "table-ben-1"))
    original = speech(0.5, 7)
    length = min(len(one_side), len(original))
    likeness = [np.corrcoef(side[:length], original[:length])[0, 1] for side in (one_side, other)]
    assert likeness[0] > 0.9 > 0.5 > abs(likeness[1])


# no column `set`, and trees


def tree(root: Path, languages: Mapping[str, int], files: int = 2) -> Path:
    for language, speakers in languages.items():
        for speaker in range(speakers):
            for number in range(files):
                write_wav(root / language / f"{language}{speaker}" / f"{number} a.wav", speech(0.2, number))
    (root / "README.md").write_text("what it is")
    return root


def test_a_tree_is_split_by_speakers(prepare: Callable[..., Path], corpus: Path) -> None:
    place = tree(corpus / "tree", {"en": 20, "es": 4})
    found = supervisions(prepare(place, "--write-sets"))
    assert len(found) == 48 and "table-en0-en-0_a" in found
    part_of: dict[str, set[str]] = {}
    for item in found.values():
        part_of.setdefault(item.speaker, set()).add(item.custom["part"])
        assert item.custom["set"] == item.custom["part"]
    assert all(len(parts) == 1 for parts in part_of.values())
    counts = {
        language: [sum(part_of[name] == {part} for name in part_of if f"-{language}" in name) for part in SHARES]
        for language in ("en", "es")
    }
    assert counts == {"en": [16, 2, 2], "es": [2, 1, 1]}
    assert supervisions(prepare(place)) == found


def test_a_table_without_sets_is_split_too(prepare: Callable[..., Path]) -> None:
    rows = "\n".join(f"s{number}-1 wav/{number}.wav s{number} en" for number in range(1, 5))
    found = supervisions(prepare(table(rows, "utt_id path speaker language")))
    assert sorted(item.custom["part"] for item in found.values()) == ["dev", "test", "train", "train"]


def test_who_speaks_two_languages_is_on_one_side(
    prepare: Callable[..., Path], corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tree(corpus / "tree", {"en": 5, "es": 5})
    write_wav(place / "es/en3/x.wav", speech(0.2, 1))
    found = supervisions(prepare(place))
    assert len({item.custom["part"] for item in found.values() if item.speaker == "table-en3"}) == 1
    assert "taken for one person in several languages: en3" in caplog.text


def test_errors_of_a_tree(errors: Callable[..., list[str]], corpus: Path) -> None:
    place = tree(corpus / "tree", {"en": 3, "es": 2})
    write_wav(place / "es/lost.wav", speech(0.2))
    (place / "en/en0/bad.wav").write_bytes(b"no sound")
    shutil.copy(place / "en/en1/0 a.wav", place / "en/en1/0_a.wav")
    write_wav(place / "en/en2/call.wav", np.stack([speech(0.2), speech(0.2)], axis=1))
    text = "\n".join(sorted(errors(place)))
    assert len(text.splitlines()) == 6 and re.search(r"1 of 1\d utterances cannot be used", text)
    assert "es/lost.wav is not where it should be: language/speaker/file.wav" in text
    assert f"{place}/en/en0/bad.wav: not readable as audio" in text
    assert f"utt_id 'en1-en-0_a' is in {place}/en/en1/0 a.wav too" in text
    assert f"files have several channels, and their rows name none: {place}/en/en2/call.wav (2)" in text
    assert "language es: 2 speakers (es0, es1) cannot be split" in text and "column set" in text
    (corpus / "empty").mkdir()
    assert "expected language/speaker/file" in one(errors(corpus / "empty"))


def test_a_tree_of_another_layout_is_refused(errors: Callable[..., list[str]], corpus: Path) -> None:
    for part in ("TRAIN", "TEST"):
        for speaker in ("s1", "s2", "s3"):
            write_wav(corpus / "tree" / part / f"{part}{speaker}" / "a.wav", speech(0.2))
    lines = errors(corpus / "tree")
    assert len(lines) == 2
    assert all(f"folder {part} is not a language" in "".join(lines) for part in ("TRAIN", "TEST"))
