"""utils/{validate,fix,split}_data_dir.py: what Kaldi users expect of them, and that nothing is left half-done."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segmented import Tool, content, make, utts
from tools import ROOT

from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table

UTILS = ROOT / "utils"
TOOLS = ("validate_data_dir.py", "fix_data_dir.py", "split_data.py", "subset_data_dir.py", "combine_data.py")
SPEAKERS = ("B", "a", "a_b", "z", "é", "你")


# As programs


@pytest.mark.parametrize("name", TOOLS)
def test_runs_by_itself_from_anywhere(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    link = tmp_path / "utils"
    link.symlink_to(UTILS)  # as in a recipe's folder
    command = [link / name, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {name}") and "Example" in done.stdout
    assert os.access(UTILS / name, os.X_OK)


def test_bad_input_exits_one_with_its_problems_and_no_traceback(tmp_path: Path) -> None:
    (make(tmp_path / "data", {"a": 2}) / "utt2lang").write_text("a-00\na-01 en\n")
    command = [UTILS / "validate_data_dir.py", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert f"{tmp_path}/data/utt2lang:1: key 'a-00' has no value; correct or remove the line" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


# validate_data_dir.py


def test_validate(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2, "b": 1})
    assert tool("validate_data_dir", data) == [f"validate_data_dir.py: Successfully validated data-directory {data}"]
    for name, option in (("feats.scp", "--no-feats"), ("utt2lang", "--no-lang"), ("wav.scp", "--no-wav")):
        (data / name).rename(data / "hidden")
        with pytest.raises(ValueError, match=rf"{name}: no such file"):
            tool("validate_data_dir", "--no-text", data)
        assert tool("validate_data_dir", option, data)
        (data / "hidden").rename(data / name)


# fix_data_dir.py


def test_fix_sorts_and_keeps_the_utterances_of_all_files(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 4, "b": 2, "c": 1})
    with open(data / "wav.scp", "a") as file:
        file.write("Unused /x.wav\nUnused /x.wav\n")
    lines = (data / "feats.scp").read_text().splitlines()
    (data / "feats.scp").write_text("\n".join(reversed(lines[:-1])) + "\n")  # unsorted, without c-00
    write_table(data / "text", {f"a-0{index}": "x" for index in (0, 2, 3)} | {"b-00": "x", "b-01": "x"})
    (data / "spk2utt").unlink()
    before = content(data)
    with pytest.raises(ValueError, match="not sorted"):
        tool("validate_data_dir", data)
    assert tool("fix_data_dir", data) == [
        "fix_data_dir.py: dropped 1 utterances not in feats.scp, the first c-00",
        "fix_data_dir.py: dropped 1 utterances not in text, the first a-01",
        "fix_data_dir.py: kept 5 utterances out of 7",
        f"fix_data_dir.py: the old files are in {data}/.backup",
    ]
    assert tool("validate_data_dir", data)
    assert utts(data) == ["a-00", "a-02", "a-03", "b-00", "b-01"]
    assert (data / "spk2utt").read_text() == "a a-00 a-02 a-03\nb b-00 b-01\n"
    assert (data / "spk2gender").read_text() == "a f\nb f\n"
    assert list(DataDir(data).table("wav.scp")) == ["a_r0", "a_r1", "b_r0"]
    assert {name: (data / ".backup" / name).read_bytes() for name in before} == before


def test_fix_drops_utterances_without_recording_or_speaker_entry(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2, "b": 2, "c": 2})
    (data / "segments").write_text("a-00 a_r0 0 1\na-01 a_r0 1 2\nb-01 b_r0 0 1\nc-00 c_r0 0 1\nc-01 c_r0 1 2\n")
    (data / "wav.scp").write_text("b_r0 x\nc_r0 x\n")
    (data / "spk2gender").write_text("a f\nb m\n")
    assert tool("fix_data_dir", data)[:-1] == [
        "fix_data_dir.py: dropped 1 utterances not in segments, the first b-00",
        "fix_data_dir.py: dropped 2 utterances not in spk2gender, the first c-00",
        "fix_data_dir.py: dropped 2 utterances not in wav.scp, the first a-00",
        "fix_data_dir.py: kept 1 utterances out of 6",
    ]
    assert utts(data) == ["b-01"]


def test_fix_sorts_in_c_order(tool: Tool, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    names = ["é-1", "a_1", "a-1", "B-1", "c-1", "你-1"]
    (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names), encoding="utf-8")
    (data / "wav.scp").write_text("".join(f"{name} x.wav\n" for name in names), encoding="utf-8")
    tool("fix_data_dir", data)
    assert utts(data) == ["B-1", "a-1", "a_1", "c-1", "é-1", "你-1"]
    command = ["sort", "-c", data / "utt2spk"]
    assert subprocess.run(command, env={"LC_ALL": "C"}, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wav.scp", "a_r0 x\nbroken\n", r"wav.scp:2: key 'broken' has no value"),
        ("utt2lang", "a-01 zh\na-00 en\na-01 en\n", r"utt2lang:3: duplicate key 'a-01' with another value 'en'"),
        ("segments", "a-01 a_r0 0 1\na-00 a_r0 2 1\n", r"segments:2: 'a_r0 2 1' is not RECORDING"),
        ("text", "z-00 x\n", r"data: no utterance is in all of .*text.*; remove"),
        ("utt2spk", "a-00 b\na-01 a\n", r"cannot be fixed; .*\n.*speaker 'a' comes after 'b'"),
    ],
)
def test_fix_refuses_and_changes_nothing(tool: Tool, tmp_path: Path, name: str, text: str, message: str) -> None:
    data = make(tmp_path / "data", {"a": 2})
    if name == "utt2spk":
        (data / "spk2gender").unlink()
    (data / name).write_text(text)
    before = content(data)
    with pytest.raises(ValueError, match=message):
        tool("fix_data_dir", data)
    assert content(data) == before
    assert not (data / ".backup").exists()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.data())
def test_fix_is_idempotent_and_mends_any_shuffle(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, choices: st.DataObject
) -> None:
    data = make(tmp_path_factory.mktemp("fix") / "data", {"a": 3, "b": 2, "c": 1})
    wanted = set(utts(data))
    for name in ("utt2lang", "feats.scp", "segments", "utt2spk", "wav.scp"):
        lines = (data / name).read_text().splitlines(keepends=True)
        kept = choices.draw(st.lists(st.sampled_from(lines), min_size=1, max_size=12))
        kept = kept if name == "utt2lang" else choices.draw(st.permutations(lines))
        (data / name).write_text("".join(kept))
        wanted &= {line.split()[0] for line in kept} if name == "utt2lang" else wanted
    tool("fix_data_dir", data)
    assert set(utts(data)) == wanted
    fixed = content(data)
    tool("fix_data_dir", data)
    assert content(data) == fixed


def test_fix_takes_a_byte_order_mark_off_and_keeps_the_first_utterance(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2})
    before = content(data)
    for name, text in before.items():
        (data / name).write_bytes(b"\xef\xbb\xbf" + text)
    (data / "spk2utt").unlink()
    assert tool("fix_data_dir", data)[0] == "fix_data_dir.py: kept 2 utterances out of 2"
    assert content(data) == before


def test_fix_keeps_empty_transcripts_and_open_segments(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2})
    (data / "text").write_text("a-01\na-00 x\n")
    (data / "segments").write_text("a-01 a_r0 1 -1 0\na-00 a_r0 0 1\n")
    tool("fix_data_dir", data)
    assert (data / "text").read_text() == "a-00 x\na-01\n"
    assert (data / "segments").read_text() == "a-00 a_r0 0 1\na-01 a_r0 1 -1 0\n"


# split_data.py


def test_split_keeps_speakers_whole_and_in_order(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2, "b": 2, "c": 4, "d": 1, "e": 3})
    assert tool("split_data", data, 3) == [f"split_data.py: 12 utterances in 3 parts in {data}/split3"]
    parts = [utts(data / "split3" / str(part)) for part in (1, 2, 3)]
    assert [Counter(utt[0] for utt in part) for part in parts] == [{"a": 2, "b": 2}, {"c": 4}, {"d": 1, "e": 3}]
    first = DataDir(data / "split3" / "1")
    assert list(first.table("wav.scp")) == ["a_r0", "b_r0"] and list(first.table("spk2gender")) == ["a", "b"]
    assert sorted(content(data / "split3" / "1")) == sorted(content(data))


def test_split_never_leaves_a_part_empty(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 20, "b": 1, "c": 1, "d": 1})
    tool("split_data", data, 4)
    assert [utts(data / "split4" / str(part))[0][0] for part in range(1, 5)] == ["a", "b", "c", "d"]
    other = make(tmp_path / "other", {"a": 1, "b": 1, "c": 20})
    tool("split_data", other, 3)
    assert [len(utts(other / "split3" / str(part))) for part in range(1, 4)] == [1, 1, 20]


def test_split_per_utterance(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 3, "b": 2}, segments=False)
    tool("split_data", "--per-utt", data, 2)
    parts = [utts(data / "split2utt" / part) for part in ("1", "2")]
    assert parts[0] + parts[1] == utts(data) and sorted(map(len, parts)) == [2, 3]


def test_split_copies_what_is_said_of_the_features(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 3, "b": 2})
    (data / "conf").mkdir()
    (data / "conf/fbank.conf").write_text("--num-mel-bins=23\n")
    for shift in ("0.0125\n", "0.02\n"):  # a change makes the split anew
        (data / "frame_shift").write_text(shift)
        assert "up to date" not in tool("split_data", data, 2)[0]
        for part in ("1", "2"):
            assert (data / "split2" / part / "frame_shift").read_text() == shift
            assert (data / "split2" / part / "conf/fbank.conf").read_text() == "--num-mel-bins=23\n"
    assert "up to date" in tool("split_data", data, 2)[0]


def test_split_refuses(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 3, "b": 2})
    with pytest.raises(ValueError, match="3 parts asked for of 2 speakers; ask for fewer, or give --per-utt"):
        tool("split_data", data, 3)
    with pytest.raises(ValueError, match="6 parts asked for of 5 utterances; ask for fewer"):
        tool("split_data", "--per-utt", data, 6)
    with pytest.raises(ValueError, match="give a positive number"):
        tool("split_data", data, 0)
    (data / "utt2lang").write_text("a-00\n")
    with pytest.raises(ValueError, match=r"utt2lang:1: key 'a-00' has no value"):
        tool("split_data", data, 2)
    assert [file.name for file in data.iterdir() if file.is_dir()] == []


def test_split_is_made_again_when_the_source_changed(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2, "b": 2})
    part = data / "split2" / "1" / "utt2lang"
    up_to_date = [f"split_data.py: {data}/split2 is up to date"]
    tool("split_data", data, 2)
    assert tool("split_data", data, 2) == up_to_date

    write_table(tmp_path / "old", dict.fromkeys(utts(data), "de"))
    os.utime(tmp_path / "old", (0, 0))
    os.replace(tmp_path / "old", data / "utt2lang")  # moved in with its old time
    assert tool("split_data", data, 2) != up_to_date
    assert part.read_text() == "a-00 de\na-01 de\n"

    (data / "utt2dur").unlink()
    assert tool("split_data", data, 2) != up_to_date
    assert not (data / "split2" / "1" / "utt2dur").exists()

    (data / "split2" / "2" / "utt2spk").unlink()  # a part that was damaged
    assert tool("split_data", data, 2) != up_to_date
    assert [file.name for file in data.iterdir() if file.is_dir()] == ["split2"]


def test_interrupted_split_leaves_no_split(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(tmp_path / "data", {"a": 2, "b": 2})
    before = content(data)
    calls = []

    def full_disk(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 12:  # within the second part
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        tool("split_data", data, 2)
    assert [file.name for file in data.iterdir() if file.is_dir()] == [] and content(data) == before


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    segments=st.booleans(),
    per_utt=st.booleans(),
    choices=st.data(),
)
def test_split_then_combine_gives_the_directory_back(
    tool: Tool,
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    segments: bool,
    per_utt: bool,
    choices: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("split")
    data = make(root / "data", dict(zip(SPEAKERS, sizes, strict=False)), segments)
    number = choices.draw(st.integers(1, sum(sizes) if per_utt else len(sizes)))
    tool("split_data", *(["--per-utt"] if per_utt else []), data, number)
    split = data / f"split{number}{'utt' if per_utt else ''}"
    parts = sorted(split.iterdir(), key=lambda part: int(part.name))
    order = choices.draw(st.permutations(parts))
    tool("combine_data", root / "all", *order)
    assert content(root / "all") == content(data)
    assert [utt for part in parts for utt in utts(part)] == utts(data)
