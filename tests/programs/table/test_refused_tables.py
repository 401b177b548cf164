"""local/prepare_table.py: all the errors of the tables that it refuses, at once."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from speech_tables import CALL, COLUMNS, ROWS, one, stereo, table
from tools import ROOT, contents

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
LISTED = "data/manifests/table_problems.txt"
EXPECTED = {
    4: ["utt_id 'ann-1' is in line 3 too", "speaker 'ann' is m here, but f in line 3"],
    5: ["utt_id 'ann 2' has blanks"],
    6: ["no language", "no audio file", "score 'good' is not a number"],
    7: ["start 0.4 is not before end 0.3", "gender 'robot' is none of f female m male", "score '3,5' is not a number"],
    8: ["no utt_id", "no speaker", "no set", "start -0.5 is negative", "score 'nan' is not a number"],
    10: ["set 'validation' is of an unknown kind", "start 2 is past the end"],
    11: ["set 'test/x' is not a file name", "end 1.2 is past the end", "column channel: channel 'x'; write a number"],
    12: ["speaker 'ann' is in dev_1 here, and in train in line 3", "score '1_0' is not a number"],
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
    assert found[0].startswith("my.tsv: 5 of 14 utterances cannot be used, more than 0.05 of all; mend or remove them")
    assert len(found) == 1 + len(expected)
    for line, message in expected:
        own = [text for text in found if text.startswith(f"my.tsv:{line}: ")]
        assert sum(message in text for text in own) == 1, (line, message, own)
    numbers = [int(text.split(":")[1]) for text in found[1:]]
    assert numbers == sorted(numbers)


def test_errors_of_one_cause_are_told_once_and_listed_in_a_file(
    errors: Callable[..., list[str]], prepare: Callable[..., Path], corpus: Path
) -> None:
    rows = "\n".join(f"ann-{number} wav/1.wav ann en train x" for number in range(70))
    assert len(errors(table(rows, f"{COLUMNS} score"))) == 70
    with pytest.raises(ValueError) as caught:
        prepare(table(rows, f"{COLUMNS} score"))
    first, *lines, more, where = str(caught.value).splitlines()
    assert first == "my.tsv: 70 errors; nothing was prepared:" and where == f"all of them are in {LISTED}"
    assert [line.partition(";")[0] for line in lines] == [
        f"my.tsv:{number}: score 'x' is not a number" for number in (2, 3, 4)
    ]
    assert more == "... and 67 more of this kind" and len((corpus / LISTED).read_text().splitlines()) == 70


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
    assert "1 of 4 utterances cannot be used" in found[0]
    assert found[1].startswith("my.tsv:1: no column language") and "my.tsv:5: no audio file" in found[2]
    assert len(found) == 3


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
    share, line = errors(table(rows, f"{COLUMNS} start end"))
    assert "3 of 7 utterances cannot be used" in share
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
    with pytest.raises(ValueError, match="2 errors"):
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
