"""local/prepare_table.py: the tables and trees that it takes, and all the errors of those that it refuses."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from lhotse import RecordingSet, SupervisionSet
from tools import ROOT, call, contents, load, speech, write_wav

from flowlid.features.fbank import FbankOptions
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.options import read_options

program = load("local/prepare_table.py")

COLUMNS = "utt_id path speaker language set"
ROWS = """\
ann-1 wav/1.wav ann en train
ben-1 wav/2.wav ben es train
cat-1 wav/3.wav cat en dev
dan-1 wav/4.wav dan es test"""


def table(rows: str = ROWS, columns: str = COLUMNS) -> str:
    """A TSV table of rows with blanks between fields ("-" for an empty one), below its columns."""
    lines = [line.split(" ") for line in f"{columns}\n{rows}".splitlines()]
    return "".join("\t".join("" if cell == "-" else cell for cell in cells) + "\n" for cells in lines)


PLAIN = table()


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with wav/1.wav to wav/6.wav, half a second at 8 kHz each, as the current one."""
    for number in range(1, 7):
        write_wav(tmp_path / f"wav/{number}.wav", speech(0.5, number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def prepare(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs the program on a table's text or bytes, or on a directory, with more options; returns OUT_DIR."""

    def run(what: str | bytes | Path = PLAIN, *options: object, name: str = "my.tsv") -> Path:
        if not isinstance(what, Path):
            Path(name).write_bytes(what if isinstance(what, bytes) else what.encode())
            what = Path(name)
        arguments = [*map(str, options), str(what), "data/manifests"]
        monkeypatch.setattr(sys, "argv", ["prepare_table.py", *arguments])
        program.main()
        return corpus / "data/manifests"

    return run


@pytest.fixture
def errors(prepare: Callable[..., Path], corpus: Path) -> Callable[..., list[str]]:
    """The lines of the error that the program ends with, less the first; it wrote nothing."""

    def run(*arguments: object, **more: object) -> list[str]:
        with pytest.raises(ValueError) as caught:
            prepare(*arguments, **more)
        assert not (corpus / "data").exists()
        first, *lines = str(caught.value).splitlines()
        number = len(lines) if len(lines) <= 50 else None
        assert number is None or f"{number} error" in first
        return lines

    return run


def one(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    return lines[0]


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


# several channels


def stereo(corpus: Path) -> np.ndarray:
    samples = np.round(np.stack([speech(0.5, 7), speech(0.5, 8)], axis=1) * 32767).astype(np.int16)
    write_wav(corpus / "wav/call.wav", samples)
    return samples


CALL = "ann-1 wav/call.wav ann en train 0\nann-2 wav/2.wav ann en train -\nben-1 wav/call.wav ben es train 1"


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
    assert "my.tsv:2:" in lines[0] and "2 channels; name one in a column channel" in lines[0]
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
        language: [
            sum(part_of[name] == {part} for name in part_of if f"-{language}" in name) for part in program.SHARES
        ]
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
    assert len(text.splitlines()) == 5
    assert "es/lost.wav is not where it should be: language/speaker/file.wav" in text
    assert f"{place}/en/en0/bad.wav: not readable as audio" in text
    assert f"utt_id 'en1-en-0_a' is in {place}/en/en1/0 a.wav too" in text
    assert "call.wav has 2 channels" in text
    assert "language es: 2 speakers (es0, es1) cannot be split" in text and "column set" in text
    (corpus / "empty").mkdir()
    assert "expected language/speaker/file" in one(errors(corpus / "empty"))


def test_a_tree_of_another_layout_is_refused(errors: Callable[..., list[str]], corpus: Path) -> None:
    for part in ("TRAIN", "TEST"):
        for speaker in ("s1", "s2", "s3"):
            write_wav(corpus / "tree" / part / f"{part}{speaker}" / "a.wav", speech(0.2))
    lines = errors(corpus / "tree")
    assert len(lines) == 2
    assert all(f"folder {part} is no language" in "".join(lines) for part in ("TRAIN", "TEST"))


# tables that are refused

BAD = """\
# ids, and rows: the header is line 2
utt_id path speaker language set start end channel gender score
ann-1 wav/1.wav ann en train - - - f 3
ann-1 wav/2.wav ann en train - - - m 4
ann 2 wav/1.wav ann en train 0.1
ben-1 wav/none.wav ben - test - - - - good
ben-2 wav/2.wav ben en test 0.4 0.3 - robot 3,5
- wav/2.wav - en - -0.5 - - - nan

ben-4 wav/2.wav ben en validation 2 - - - -
ben-5 wav/2.wav ben en test/x 0.1 1.2 x - -
ann-3 wav/3.wav ann en dev_1 - - - - 1_0
cut-1 wav/cut.wav cut en test - - - - -
cut-2 wav/text.wav cut en test - - - - -
cut-3 wav/empty.wav cut en test - - 0 - -
dan-1 wav dan en test - - - - -
dan-2 - dan en test - - 4 - -
"""
EXPECTED = {
    4: ["utt_id 'ann-1' is in line 3 too", "speaker 'ann' is m here, but f in line 3"],
    5: ["6 fields, but the header names 10"],
    6: ["no language", "no audio file", "score 'good' is no number"],
    7: ["start 0.4 is not before end 0.3", "gender 'robot' is none of f female m male", "score '3,5' is no number"],
    8: ["no utt_id", "no speaker", "no set", "start -0.5 is negative", "score 'nan' is no number"],
    10: ["set 'validation' is of no known kind", "start 2 is past the end"],
    11: ["set 'test/x' is no file name", "end 1.2 is past the end", "channel 'x' is no whole number"],
    12: ["speaker 'ann' is in dev_1 here, and in train in line 3", "score '1_0' is no number"],
    13: ["cut.wav: cut off"],
    14: ["text.wav: not readable as audio"],
    15: ["empty.wav: empty"],
    16: ["no audio file"],
    17: ["no path"],
    18: ["not UTF-8 (byte 10 of the line, 0xE9)"],
}


def test_all_errors_come_at_once_with_their_lines(errors: Callable[..., list[str]], corpus: Path) -> None:
    whole = (corpus / "wav/1.wav").read_bytes()
    (corpus / "wav/cut.wav").write_bytes(whole[:3000])
    (corpus / "wav/text.wav").write_text("this is a text")
    (corpus / "wav/empty.wav").write_bytes(b"")
    lines = BAD.splitlines()
    text = "\n".join([lines[0], table("\n".join(lines[2:]), lines[1])]).encode()
    text = text.replace(b"ann\t2", b"ann 2")  # line 5 keeps its blank, and so lacks fields
    found = errors(text + b"dan-3\tJos\xe9\tdan\n")
    expected = [(line, message) for line, messages in EXPECTED.items() for message in messages]
    assert len(found) == len(expected)
    for line, message in expected:
        own = [text for text in found if text.startswith(f"my.tsv:{line}: ")]
        assert sum(message in text for text in own) == 1, (line, message, own)
    numbers = [int(text.split(":")[1]) for text in found]
    assert numbers == sorted(numbers)


def test_more_errors_than_one_reads_are_counted(errors: Callable[..., list[str]]) -> None:
    rows = "\n".join(f"ann-{number} wav/1.wav ann en train x" for number in range(70))
    lines = errors(table(rows, f"{COLUMNS} score"))
    assert len(lines) == 51 and lines[-1] == "... and 20 more problems"
    assert lines[49].startswith("my.tsv:51: score 'x' is no number")


def test_bad_ids_are_named(errors: Callable[..., list[str]]) -> None:
    text = table().replace("ann-1", "ann 1").replace("\tben\t", "\tben\u00a0b\t").replace("cat\ten", "cat\te n")
    found = errors(text)
    for line, name in ((2, "utt_id 'ann 1'"), (3, "speaker 'ben\\xa0b'"), (4, "language 'e n'")):
        assert any(text.startswith(f"my.tsv:{line}: {name} has blanks") for text in found), found
    assert len(found) == 3


def test_speakers_that_would_break_kaldis_order(errors: Callable[..., list[str]]) -> None:
    line = one(errors(table(ROWS.replace("ben-1 wav/2.wav ben", "ann-x-1 wav/2.wav ann-x"))))
    assert line.startswith("my.tsv:3: speaker 'ann-x' is speaker 'ann' and '-x'") and "rename" in line


def test_one_sound_of_two_speakers(errors: Callable[..., list[str]]) -> None:
    found = errors(table(ROWS.replace("2.wav", "1.wav")))
    assert found == [
        "my.tsv:3: speaker 'ben', but the same sound is of 'ann' in line 2; remove one",
        "my.tsv:3: language 'es', but the same sound is of 'en' in line 2; remove one",
    ]


def test_names_that_become_one(errors: Callable[..., list[str]]) -> None:
    rows = "1 wav/1.wav ann en train\nann-1 wav/2.wav ann en train\nx wav/3.wav table-ann en train"
    found = errors(table(rows))
    assert any("its full name table-ann-1 is that of line 2 too" in line for line in found)
    assert any("speakers table-ann and ann (line 2) would both be table-ann" in line for line in found)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("utt_id path speaker langauge set", "no column language; rename 'langauge', if it is that"),
        ("utt_id path speaker Language set", "no column language; rename 'Language', if it is that"),
        ("utt_id path speaker dialect set", "no column language; there are utt_id path speaker dialect set"),
        ("utt_id path speaker language set Score", "column Score: write it score"),
        ("utt_id path speaker language set speaker", "column speaker is there twice"),
        ("utt_id path speaker language set -", "column 6 has no name"),
        ("utt_id path speaker language set part", "no column may be called part"),
        ("utt_id path speaker language set duration", "the end of an utterance is the column end"),
    ],
)
def test_headers_that_are_refused(columns: str, message: str, errors: Callable[..., list[str]]) -> None:
    rows = ROWS if len(columns.split()) == 5 else ROWS.replace("train", "train 1").replace("dev", "dev 1") + " 1"
    found = errors("#\n" + table(rows, columns))
    assert any(line.startswith("my.tsv:2: ") and message in line for line in found), found


def test_a_missing_column_hides_no_other_error(errors: Callable[..., list[str]]) -> None:
    found = errors(table(ROWS.replace("4.wav", "none.wav"), "utt_id path speaker tongue set"))
    assert found[0].startswith("my.tsv:1: no column language") and "my.tsv:5: no audio file" in found[1]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.tsv: no line that can be read"),
        ("# nothing\n\n", "my.tsv: no line that can be read"),
        (table(""), "my.tsv:1: names columns, but no row follows"),
        (ROWS.replace(" ", "\t"), "my.tsv:1: names none of the columns"),
        (table().encode("utf-16"), "my.tsv: not UTF-8 but UTF-16"),
        (table(ROWS.replace("train", "dev")), "my.tsv: no row is of a train set"),
        (table().replace("\t", ",").replace("ann-1", '"ann-1'), "my.tsv:2: its quotes do not match"),
        (table().replace("\t", ",").replace("ann-1", "a,1"), '6 fields, but the header names 5; put a value'),
        (table().replace("1.wav", "1.wav|"), "my.tsv:2: path 'wav/1.wav|' ends with |"),
        (table().replace("wav/1", "wav\\1"), "write / between folders"),
        (table().replace("speaker", "speak\u00e9r").encode("latin-1"), "my.tsv:1: not UTF-8"),
        (table("a-1 wav/1.wav a en\nb-1 wav/2.wav b en", "utt_id path speaker language"), "language en: 2 speakers"),
    ],
    ids="empty comments header rows utf16 train quotes comma pipe backslash byte split".split(),
)  # fmt: skip
def test_tables_that_are_refused(text: str | bytes, message: str, errors: Callable[..., list[str]]) -> None:
    assert any(message in line for line in errors(text))


def test_a_file_of_many_rows_is_named_once(errors: Callable[..., list[str]]) -> None:
    rows = ROWS + "\n" + "\n".join(f"ann-{n} wav/none.wav ann en train {n} {n + 1}" for n in range(2, 5))
    rows = rows.replace("en train\n", "en train - -\n").replace("es train", "es train - -")
    rows = rows.replace(" dev", " dev - -").replace(" test", " test - -")
    line = one(errors(table(rows, f"{COLUMNS} start end")))
    assert line.startswith("my.tsv:6: no audio file") and line.endswith("(so in 3 rows)")


@pytest.mark.parametrize("option", ["accent", "set=x", "part=x", "language=en"])
def test_fields_that_cannot_be_set(option: str, errors: Callable[..., list[str]]) -> None:
    assert "--set-fields: " in one(errors(table(), "--set-fields", option))


def test_options_that_are_refused(prepare: Callable[..., Path]) -> None:
    for options, message in (
        (("--name", "My Corpus"), "--name 'My Corpus'"),
        (("--root", "nowhere"), "--root nowhere: there is no such directory"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(table(), *options)
    with pytest.raises(ValueError, match="there is no such table"):
        prepare(Path("none.tsv"))


def test_errors_leave_an_earlier_preparation_as_it_was(prepare: Callable[..., Path], corpus: Path) -> None:
    stereo(corpus)
    options = ("--write-sets", "--fbank-config", ROOT / "egs/table/conf/fbank.conf")
    prepare(table(CALL, f"{COLUMNS} channel"), *options)
    before = contents(corpus / "data")
    with pytest.raises(ValueError, match="1 error"):
        prepare(table(CALL.replace("en", "fr", 1), f"{COLUMNS} channel").replace("wav/2.wav", "wav/0.wav"), *options)
    assert contents(corpus / "data") == before


def test_check_only_writes_nothing(corpus: Path) -> None:
    (corpus / "my.tsv").write_text(table())
    command = [sys.executable, ROOT / "local/prepare_table.py", "--check-only"]
    good = subprocess.run([*command, "my.tsv"], capture_output=True, text=True, check=False)
    assert good.returncode == 0 and "no errors; nothing was written" in good.stderr
    (corpus / "my.tsv").write_text(table().replace("1.wav", "0.wav"))
    bad = subprocess.run([*command, "my.tsv"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1 and "my.tsv:2: no audio file" in bad.stderr and "Traceback" not in bad.stderr
    assert sorted(path.name for path in corpus.iterdir()) == ["my.tsv", "wav"]
