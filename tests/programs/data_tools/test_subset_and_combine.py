"""utils/subset_data_dir.py and utils/combine_data.py: which utterances and tables they take, and what they refuse."""

import os
from pathlib import Path

import pytest
from segmented import Tool, content, make, utts
from tools import ROOT

from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table

UTILS = ROOT / "utils"


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
    bare = make(tmp_path / "bare", {"a": 3})
    (bare / "utt2dur").unlink()
    (bare / "segments").write_text("a-00 a_r0 0 3\na-01 a_r0 2 -1\na-02 a_r1 4 5.5\n")
    with pytest.raises(ValueError, match="--shortest needs utt2num_frames, utt2dur, or segments"):
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
    (whole / "utt2dur").unlink()
    tool("combine_data", tmp_path / "all", whole, cut)
    assert utts(tmp_path / "all") == ["a-00", "a-01", "b-00"]
    assert DataDir(tmp_path / "all").table("segments")["b-00"] == "b-00 0 -1"
    assert list(DataDir(tmp_path / "all").table("wav.scp")) == ["a_r0", "b-00"]


def test_combine_refuses_a_recording_that_is_named_as_an_utterance_of_another_file(tool: Tool, tmp_path: Path) -> None:
    cut, whole = make(tmp_path / "cut", {"a": 2}), make(tmp_path / "whole", {"b": 1}, segments=False)
    write_table(cut / "segments", {"a-00": "b-00 0 1", "a-01": "b-00 1 2"})
    write_table(cut / "wav.scp", {"b-00": "/audio/another.wav"})
    with pytest.raises(ValueError, match=r"whole/wav.scp:1: 'b-00' has another value in .*cut/wav.scp; rename one"):
        tool("combine_data", tmp_path / "none", cut, whole)
    assert not (tmp_path / "none").exists()


def test_what_is_said_of_the_features_goes_with_them(tool: Tool, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", {"a": 2}), make(tmp_path / "two", {"b": 2})
    (one / "frame_shift").write_text("0.0125\n")
    (one / "conf").mkdir()
    (one / "conf/fbank.conf").write_text("--frame-shift=12.5\n")
    part, both = make(tmp_path / "part", {"q": 1}), tmp_path / "both"
    (part / "frame_shift").write_text("0.01\n")
    tool("subset_data_dir", one, 1, part)
    assert DataDir(part).frame_shift == 0.0125 and (part / "conf/fbank.conf").read_text() == "--frame-shift=12.5\n"
    tool("combine_data", both, one, two)  # of `two` nothing is known
    assert DataDir(both).frame_shift == 0.0125
    (two / "frame_shift").write_text("0.01\n")
    with pytest.raises(ValueError, match=r"one: frames every 0.0125 s, but in .*two every 0.01 s .*stage 2"):
        tool("combine_data", both, one, two)
    tool("combine_data", "--skip-files", "feats.scp", both, one, two)
    assert not (both / "frame_shift").exists()
    tool("subset_data_dir", make(tmp_path / "three", {"c": 2}), 1, part)
    assert not (part / "frame_shift").exists()


def test_combine_names_what_looks_the_same_in_two_sources(tool: Tool, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", {"Enm1": 1}), make(tmp_path / "two", {"enm1": 1})
    with pytest.raises(ValueError, match=r"two/utt2spk:1: speaker 'enm1' looks like 'Enm1' in .*one/utt2spk:1; write"):
        tool("combine_data", tmp_path / "all", one, two)
    assert not (tmp_path / "all").exists()


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
