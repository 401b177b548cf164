"""flowlid.kaldi.tables: reading, writing and inverting Kaldi tables."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import Segment, invert, parse_segment, select, split, write_table


def put(path: Path, text: str | bytes) -> Path:
    """Write a file, as bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_read_table_keeps_all_but_the_key(tmp_path: Path) -> None:
    path = put(tmp_path / "text", "a  good   morning \nb\tx\u3000y\n")
    assert read_table(path) == {"a": "good   morning", "b": "x\u3000y"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", "", r"text: empty; .*stage"),
        ("utt2lang", "a x\nb\n", r"utt2lang:2: key 'b' has no value; correct"),
        ("text", "a x\nb \0y\n", r"text:2: a NUL byte; the file is damaged, or no text: write it anew"),
        ("utt2spk", f"a {'x ' * 9000}\n", r"utt2spk:1: 'x x [x ]{90,}\.\.\. is not one speaker"),
        ("text", "a x\nb\u3000c y\n", r"text:2: key 'b\\u3000c' holds white space or a mark of Unicode; rename it"),
        ("text", "a x\n\ufeffb y\n", r"text:2: key '\\ufeffb' holds white space or a mark of Unicode"),  # joined files
        ("text", "\ufeffa x\n".encode("utf-16-le"), r"text: UTF-16, not UTF-8; convert it with iconv -f UTF-16"),
        ("text", "a x\n".encode("utf-16-be"), r"text: UTF-16, not UTF-8; convert"),
        ("text", "a x\n\nb y\n", r"text:2: empty line; correct"),
        ("text", "a x\na x\n", r"text:2: duplicate key 'a'; run utils/fix_data_dir.py"),
        ("text", "a x\nb y\na z\n", r"text:3: duplicate key 'a' with another value 'z'"),
        ("text", "b x\na y\n", r"text:2: not sorted in C order, 'a' after 'b'; run utils/fix_data_dir.py"),
        ("text", b"a x\nb \xff\n", r"text:2: not UTF-8 .*iconv"),
        ("text", "a x\r\n", r"text:1: Windows line end; .*sed"),
        ("utt2spk", "a s t\n", r"utt2spk:1: 's t' is not one speaker"),
        ("utt2lang", "a en\nb en us\n", r"utt2lang:2: 'en us' is not one language"),
        ("utt2dur", "a 0.0\n", r"utt2dur:1: '0.0' is not a positive number of seconds"),
        ("utt2dur", "a nan\n", r"utt2dur:1: 'nan' is not a positive number"),
        ("utt2num_frames", "a 1.5\n", r"utt2num_frames:1: '1.5' is not a positive number of frames"),
        ("spk2gender", "a x\n", r"spk2gender:1: 'x' is not m or f"),
        ("segments", "a r 2 1\n", r"segments:1: 'r 2 1' is not RECORDING START END"),
        ("segments", "a r -1 1\n", r"segments:1: 'r -1 1' is not"),
        ("segments", "a r 1 -2\n", r"segments:1: 'r 1 -2' is not"),
        ("segments", "a r inf -1\n", r"segments:1: 'r inf -1' is not"),
        ("segments", "a r 0 inf\n", r"segments:1: 'r 0 inf' is not"),
        ("segments", "a r 0 1 left\n", r"segments:1: 'r 0 1 left' is not"),
        ("segments", "a r 0 1 -2\n", r"segments:1: 'r 0 1 -2' is not"),
        ("segments", "a r 0 1 2 3\n", r"segments:1: 'r 0 1 2 3' is not"),
    ],
)
def test_read_table_refuses(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(put(tmp_path / name, content))


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("r 0.5 2", Segment("r", 0.5, 2.0, None)),
        ("r 0.5 -1", Segment("r", 0.5, None, None)),  # Kaldi: to the end
        ("r 0 -1.0 1", Segment("r", 0.0, None, 1)),
        ("r 0 2 0", Segment("r", 0.0, 2.0, 0)),
        ("r 0 2 -1", Segment("r", 0.0, 2.0, None)),  # Kaldi: not known
    ],
)
def test_segments_as_kaldi_has_them(value: str, segment: Segment, tmp_path: Path) -> None:
    assert parse_segment(value) == segment
    assert read_table(put(tmp_path / "segments", f"u {value}\n")) == {"u": value}


def test_a_transcript_may_be_empty(tmp_path: Path) -> None:
    table = {"a": "x", "b": "", "c": "y"}
    assert (
        read_table(put(tmp_path / "text", "a x\nb\nc y\n"))
        == read_table(put(tmp_path / "text", "a x\nb \nc y"))
        == table
    )
    write_table(tmp_path / "text", table)
    assert (tmp_path / "text").read_text() == "a x\nb\nc y\n"


@pytest.mark.parametrize("name", ["text", "utt2spk", "wav.scp", "segments"])
def test_a_byte_order_mark_is_no_part_of_the_first_key(name: str, tmp_path: Path) -> None:
    line = "a r 0 1" if name == "segments" else "a x"
    path = put(tmp_path / name, f"{line}\n".encode("utf-8-sig"))
    assert list(read_table(path)) == ["a"]
    write_table(path, read_table(path))
    assert path.read_bytes() == f"{line}\n".encode()


def test_missing_table_names_what_makes_it(tmp_path: Path) -> None:
    for name, fix in (
        ("feats.scp", "make it with run.sh --stage 2"),
        ("spk2utt", f"utils/fix_data_dir.py {tmp_path} makes it"),
        ("utt2spk", "write it: lines of 'UTTERANCE SPEAKER' in the order of LC_ALL=C sort"),
        ("utt2lang", "write it: lines of 'UTTERANCE LANGUAGE' in the order of LC_ALL=C sort"),
        ("utt2other", "write it: lines of 'KEY VALUE'"),
    ):
        with pytest.raises(FileNotFoundError, match=rf"{name}: no such file; {fix}"):
            read_table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such data directory"):
        DataDir(tmp_path / "none")


KEYS = st.text(st.sampled_from("aAzZ019-_.é你\U0001f600"), min_size=1, max_size=6)


@settings(deadline=None, max_examples=30)
@given(keys=st.sets(KEYS, min_size=1))
def test_write_table_sorts_as_sort_does(tmp_path_factory: pytest.TempPathFactory, keys: set[str]) -> None:
    path = tmp_path_factory.mktemp("sort") / "text"
    table = {key: f"of {key}" for key in keys}
    write_table(path, table)
    assert read_table(path) == table
    checked = subprocess.run(["sort", "-c", "-k1,1", path], env={"LC_ALL": "C"}, check=False)
    assert checked.returncode == 0


def test_c_order_is_not_the_order_of_a_dictionary(tmp_path: Path) -> None:
    write_table(tmp_path / "text", dict.fromkeys(["b", "é", "a_1", "B", "a-1", "你", "a1", "Z"], "x"))
    assert list(read_table(tmp_path / "text")) == ["B", "Z", "a-1", "a1", "a_1", "b", "é", "你"]


@pytest.mark.parametrize("table", [{}, {"a b": "x"}, {"": "x"}, {"a": " "}, {"a": "x\ny"}])
def test_write_table_refuses_what_it_could_not_read(tmp_path: Path, table: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"utt2spk: .*; a"):
        write_table(tmp_path / "utt2spk", table)
    assert list(tmp_path.iterdir()) == []


def test_invert() -> None:
    assert list(invert({"b2": "b", "a1": "a", "b1": "b"}).items()) == [("a", "a1"), ("b", "b1 b2")]


class Counted(dict):
    """A table that counts how often it is gone through."""

    passes = 0

    def items(self) -> object:
        self.passes += 1
        return super().items()


@pytest.mark.parametrize("segmented", [True, False])
def test_a_split_has_what_each_selection_has_and_takes_one_pass(segmented: bool) -> None:
    utts = [f"{spk}-{number}" for spk in "abc" for number in range(4)]
    tables = {
        "utt2spk": Counted((utt, utt[0]) for utt in utts),
        "spk2gender": Counted({"a": "f", "b": "m", "c": "f"}),
        "wav.scp": Counted((f"r{spk}" if segmented else utt, "x.wav") for utt in utts for spk in utt[0]),
    }
    if segmented:
        tables["segments"] = Counted((utt, f"r{utt[0]} {utt[-1]} 9") for utt in utts)
    parts = [utts[:3], utts[3:9], utts[9:]]  # two speakers, and their recordings, are in two parts each
    made = split(tables, parts)
    assert [table.passes for table in tables.values()] == [1] * len(tables)
    assert made == [select(tables, part) for part in parts]
    assert [list(part["utt2spk"]) for part in made] == parts
    assert [" ".join(part["spk2gender"]) for part in made] == ["a", "a b c", "c"]
    assert [" ".join(part["spk2utt"]) for part in made] == ["a", "a b c", "c"]
    assert list(made[1]["wav.scp"]) == (["ra", "rb", "rc"] if segmented else parts[1])
