"""The data-directory tools of utils/: what Kaldi users expect of them, and that nothing is left half-done."""

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools import ROOT

from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import invert, write_directory, write_table

UTILS = ROOT / "utils"
TOOLS = ("validate_data_dir.py", "fix_data_dir.py", "split_data.py", "subset_data_dir.py", "combine_data.py")
SPEAKERS = ("A", "a", "a_b", "z", "é", "你")
_MAINS = {}

Tool = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small files need not reach the disk before the test goes on."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run a tool's main with arguments, in this process; gives the lines that it prints."""

    def run(name: str, *args: str | Path | int) -> list[str]:
        if name not in _MAINS:
            spec = importlib.util.spec_from_file_location(f"tool_{name}", UTILS / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            _MAINS[name] = module.main
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        _MAINS[name]()
        return capsys.readouterr().out.splitlines()

    return run


def make(path: Path, speakers: dict[str, int], segments: bool = True) -> Path:
    """A valid data directory: speaker -> number of utterances; two utterances to a recording, if segmented."""
    utt2spk = {f"{spk}-{index:02d}": spk for spk, number in speakers.items() for index in range(number)}
    rec = {utt: f"{utt2spk[utt]}_r{int(utt[-2:]) // 2}" for utt in utt2spk}
    seconds = {utt: 1 + (7 * index) % 5 for index, utt in enumerate(utt2spk)}
    tables = {
        "utt2spk": utt2spk,
        "spk2utt": invert(utt2spk),
        "utt2lang": {utt: "en" if spk < "b" else "zh" for utt, spk in utt2spk.items()},
        "utt2dur": {utt: f"{seconds[utt]}.0" for utt in utt2spk},
        "feats.scp": {utt: f"/ark/{utt}.ark:7" for utt in utt2spk},
        "spk2gender": {spk: "f" for spk in speakers},
        "wav.scp": {name: f"/audio/{name}.wav" for name in (rec.values() if segments else utt2spk)},
    }
    if segments:
        tables["segments"] = {utt: f"{rec[utt]} 0 {seconds[utt]}.0" for utt in utt2spk}
    write_directory(path, tables)
    DataDir(path).validate()
    return path


def content(path: Path) -> dict[str, bytes]:
    """The files of a directory, byte for byte; hidden ones and folders left out."""
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name[0] != "."}


def utts(path: Path) -> list[str]:
    """The utterances of a directory, after it was validated."""
    directory = DataDir(path)
    directory.validate(require=["utt2spk", "spk2utt", "wav.scp"])
    return directory.utts


# As programs


@pytest.mark.parametrize("name", TOOLS)
def test_runs_by_itself_from_anywhere(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    link = tmp_path / "utils"
    link.symlink_to(UTILS)  # as in a recipe's folder
    command = [sys.executable, link / name, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {name}") and "Example" in done.stdout
    assert os.access(UTILS / name, os.X_OK)


def test_bad_input_exits_one_with_its_problems_and_no_traceback(tmp_path: Path) -> None:
    (make(tmp_path / "data", {"a": 2}) / "text").write_text("a-00\na-01 hello\n")
    command = [sys.executable, UTILS / "validate_data_dir.py", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert f"{tmp_path}/data/text:1: key 'a-00' has no value; mend or remove the line" in done.stderr
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
    names = ["é-1", "a_1", "a-1", "B-1", "b-1", "你-1"]
    (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names), encoding="utf-8")
    (data / "wav.scp").write_text("".join(f"{name} x.wav\n" for name in names), encoding="utf-8")
    tool("fix_data_dir", data)
    assert utts(data) == ["B-1", "a-1", "a_1", "b-1", "é-1", "你-1"]
    command = ["sort", "-c", data / "utt2spk"]
    assert subprocess.run(command, env={"LC_ALL": "C"}, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("text", "a-01 x\nbroken\n", r"text:2: key 'broken' has no value"),
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


# subset_data_dir.py


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--first"], ["a-00", "a-01", "a-02"]),
        (["--last"], ["b-01", "b-02", "c-00"]),
        ([], ["a-00", "a-02", "b-01"]),
        (["--shortest"], ["a-00", "b-01", "b-02"]),
    ],
)
def test_subset_of_three(tool: Tool, tmp_path: Path, options: list[str], expected: list[str]) -> None:
    data = make(tmp_path / "data", {"a": 4, "b": 3, "c": 1})
    if "--shortest" in options:
        write_table(data / "utt2dur", {utt: "0.5" if utt in expected else "2" for utt in utts(data)})
    dest = tmp_path / "new" / "dest"
    assert tool("subset_data_dir", *options, data, 3, dest) == [f"subset_data_dir.py: 3 of 8 utterances in {dest}"]
    assert utts(dest) == expected
    assert sorted(content(dest)) == sorted(content(data))


def test_subset_shortest_prefers_frames_and_falls_back_to_segments(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 3})
    (data / "utt2dur").unlink()
    (data / "segments").write_text("a-00 a_r0 0 3\na-01 a_r0 0 2\na-02 a_r1 4 5.5\n")
    tool("subset_data_dir", "--shortest", data, 1, tmp_path / "dest")
    assert utts(tmp_path / "dest") == ["a-02"]
    (data / "utt2num_frames").write_text("a-00 300\na-01 20\na-02 150\n")
    tool("subset_data_dir", "--shortest", data, 1, tmp_path / "dest")
    assert utts(tmp_path / "dest") == ["a-01"]
    bare = make(tmp_path / "bare", {"a": 3}, segments=False)
    (bare / "utt2dur").unlink()
    with pytest.raises(ValueError, match="--shortest needs utt2num_frames, utt2dur or segments"):
        tool("subset_data_dir", "--shortest", bare, 1, tmp_path / "none")


def test_subset_per_speaker(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 5, "b": 2, "c": 1})
    tool("subset_data_dir", data, "--per-spk", 2, tmp_path / "dest")
    assert utts(tmp_path / "dest") == ["a-00", "a-02", "b-00", "b-01", "c-00"]


def test_subset_by_lists(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2, "b": 2, "c": 2})
    names = tmp_path / "names"
    names.write_text("c-01\na-00 extra\nz-00\n")
    printed = tool("subset_data_dir", "--utt-list", names, data, tmp_path / "dest")
    assert printed[0] == f"subset_data_dir.py: 1 names of {names} are not in {data}/utt2spk, ignored"
    assert utts(tmp_path / "dest") == ["a-00", "c-01"]
    names.write_text("c\na\n")
    tool("subset_data_dir", "--spk-list", names, data, tmp_path / "dest")
    assert utts(tmp_path / "dest") == ["a-00", "a-01", "c-00", "c-01"]
    with pytest.raises(ValueError, match=r"names: none of its 2 names is in .*data/utt2spk"):
        tool("subset_data_dir", "--utt-list", names, data, tmp_path / "none")
    names.write_text("a\n\nb\n")
    with pytest.raises(ValueError, match=r"names:2: empty line"):
        tool("subset_data_dir", "--spk-list", names, data, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_subset_refuses(tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(tmp_path / "data", {"a": 2})
    with pytest.raises(ValueError, match="3 of its 2 utterances asked for; give a smaller N"):
        tool("subset_data_dir", data, 3, tmp_path / "dest")
    with pytest.raises(ValueError, match="source and destination are the same"):
        tool("subset_data_dir", data, 1, data)
    for args in ([data, tmp_path / "dest"], [data, 0, tmp_path / "dest"], ["--utt-list", "x", data, 1, "dest"]):
        with pytest.raises(SystemExit) as stopped:
            tool("subset_data_dir", *args)
        assert stopped.value.code == 2 and "error: " in capsys.readouterr().err
    (data / "utt2lang").write_text("a-01 en\na-00 en\n")
    with pytest.raises(ValueError, match=r"utt2lang:2: not sorted"):
        tool("subset_data_dir", data, 1, tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


def test_subset_replaces_the_tables_of_an_old_directory_only(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 2}, segments=False)
    dest = make(tmp_path / "dest", {"q": 3})
    (dest / "raw.ark").write_text("not ours")
    tool("subset_data_dir", data, 1, dest)
    assert utts(dest) == ["a-00"] and not (dest / "segments").exists()
    assert (dest / "raw.ark").read_text() == "not ours"


def test_what_an_interruption_leaves_of_an_old_directory_is_not_valid(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rename, moved = make(tmp_path / "data", {"a": 2}), os.replace, []

    def power_cut(old: Path, new: Path) -> None:
        if Path(new).parent == dest:
            moved.append(new)
        if len(moved) == stop:
            raise OSError("power cut")
        rename(old, new)

    for stop in range(1, len(content(data)) + 1):
        dest = make(tmp_path / f"dest{stop}", {"q": 3})
        moved.clear()
        with monkeypatch.context() as patch, pytest.raises(OSError, match="power cut"):
            patch.setattr(os, "replace", power_cut)
            tool("subset_data_dir", data, 1, dest)
        with pytest.raises(ValueError, match="utt2spk: no such file"):
            DataDir(dest).validate()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


# combine_data.py


def test_combine_leaves_out_what_a_source_lacks(tool: Tool, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", {"b": 2}), make(tmp_path / "two", {"a": 1, "c": 1})
    (two / "feats.scp").unlink()
    assert tool("combine_data", tmp_path / "all", one, two) == [
        f"combine_data.py: feats.scp left out: not in {two}",
        f"combine_data.py: 4 utterances of 2 directories in {tmp_path}/all",
    ]
    assert utts(tmp_path / "all") == ["a-00", "b-00", "b-01", "c-00"]
    assert not (tmp_path / "all" / "feats.scp").exists()
    assert (tmp_path / "all" / "spk2utt").read_text() == "a a-00\nb b-00 b-01\nc c-00\n"


def test_combine_makes_segments_of_whole_recordings(tool: Tool, tmp_path: Path) -> None:
    cut, whole = make(tmp_path / "cut", {"a": 2}), make(tmp_path / "whole", {"b": 1}, segments=False)
    write_table(whole / "utt2dur", {"b-00": "3.25"})
    tool("combine_data", tmp_path / "all", whole, cut)
    assert utts(tmp_path / "all") == ["a-00", "a-01", "b-00"]
    assert DataDir(tmp_path / "all").segments()["b-00"] == ("b-00", 0, 3.25)
    (whole / "utt2dur").unlink()
    with pytest.raises(ValueError, match=r"whole: another source has segments, .* needs utt2dur"):
        tool("combine_data", tmp_path / "none", whole, cut)
    assert not (tmp_path / "none").exists()


def test_combine_refuses_conflicts(tool: Tool, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", {"a": 2}), make(tmp_path / "two", {"a": 3})
    write_table(two / "utt2lang", {"a-00": "en", "a-01": "zh", "a-02": "en"})
    with pytest.raises(ValueError, match=r"two/utt2lang:2: 'a-01' has another value in .*one/utt2lang; rename one"):
        tool("combine_data", tmp_path / "all", one, two)
    with pytest.raises(ValueError, match="the destination is one of the sources"):
        tool("combine_data", one, one, two)
    three = make(tmp_path / "three", {"a-0": 1})  # a-0-00 comes before a-00
    write_table(three / "utt2spk", {"a-0-00": "b"})
    write_table(three / "spk2utt", {"b": "a-0-00"})
    write_table(three / "spk2gender", {"b": "m"})
    with pytest.raises(ValueError, match=r"all: not made; it would have\n.*speaker 'a' comes after 'b'"):
        tool("combine_data", tmp_path / "all", one, three)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_combine_of_overlapping_sources(tool: Tool, tmp_path: Path) -> None:
    data = make(tmp_path / "data", {"a": 3, "b": 2})
    tool("subset_data_dir", "--first", data, 4, tmp_path / "first")
    tool("subset_data_dir", "--last", data, 4, tmp_path / "last")
    tool("combine_data", tmp_path / "all", tmp_path / "last", tmp_path / "first")
    assert content(tmp_path / "all") == content(data)


def test_combine_skips_files_whatever_state_they_are_in(tmp_path: Path, tool: Tool) -> None:
    sources = [make(tmp_path / name, {"a": 2, "z": 1}) for name in ("one", "two")]
    for source in sources:
        (source / "feats.scp").write_text(f"not sorted\nat all {source}\n")
    tool("combine_data", "--skip-files", "feats.scp vad.scp", tmp_path / "both", *sources)
    assert content(tmp_path / "both")["utt2spk"] == content(sources[0])["utt2spk"]
    assert "feats.scp" not in content(tmp_path / "both")
