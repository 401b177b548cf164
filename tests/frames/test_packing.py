"""Packs that several processes write in parts, and files whose checksums are put together from those of pieces."""

import os
import shutil
import zlib
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from damage import assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import call, contents, feature_dir

from flowlid.frames import checksums, packing
from flowlid.frames.checksums import checksum, joined
from flowlid.frames.pack import mapped, open_or_build, pack_part
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import read_table, write_table

UTTS = {f"{speaker}-{number}": "en" if speaker < "c" else "es" for speaker in "abcd" for number in range(5)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """20 utterances of 30 frames, and how long they are."""
    path = feature_dir(tmp_path / "data", UTTS)
    write_table(path / "utt2num_frames", dict.fromkeys(UTTS, "30"))
    return path


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, bytes]:
    """The files of a pack of the same features that one process wrote, without its meta.json's signature."""
    path = feature_dir(tmp_path / "expected", UTTS)
    open_or_build(DataDir(path))
    return packed(path)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shared file: each part has blocks of its own, and shares others."""
    monkeypatch.setattr(packing, "_BLOCK", 256)


def packed(data: Path) -> dict[str, bytes]:
    """The arrays of the one pack of a data directory, in which nothing else is left; and its digest."""
    (path,) = (data / "packed").glob("[!.]*")
    assert sorted(each.name for each in (data / "packed").iterdir()) == sorted([".lock", path.name])
    found = contents(path)
    found["meta.json"] = open_or_build(DataDir(data)).digest.encode()
    return found


def growing(data: Path) -> list[Path]:
    return sorted((data / "packed").glob(".*.tmp"))


def pack(data: Path, parts: Sequence[int], of: int) -> None:
    for part in parts:
        pack_part(DataDir(data), part, of)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 20, 50])
def test_a_pack_is_the_same_however_many_parts_write_it(parts: int, data: Path, expected: dict[str, bytes]) -> None:
    pack(data, range(1, parts + 1), parts)
    assert packed(data) == expected


@pytest.mark.usefixtures("small_blocks")
def test_parts_may_be_written_in_any_order(data: Path, expected: dict[str, bytes]) -> None:
    for order in permutations((1, 2, 3)):
        pack(data, order, 3)
        assert packed(data) == expected
        shutil.rmtree(data / "packed")


def test_blocks_that_parts_share_are_left_to_the_one_that_joins(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where machines share files, who writes a part of a block may undo what another one wrote beside it."""
    monkeypatch.setattr(packing, "_BLOCK", 256)
    pack(data, [2], 3)
    (place,) = growing(data)
    first, end = (packing.HEADER + 12 * 30 * utterances for utterances in (6, 13))
    found = (place / "pack/feats.npy").read_bytes()
    begin, stop = -(-first // 256) * 256, end // 256 * 256
    assert len(found) == stop and not any(found[:begin]) and all(np.frombuffer(found[begin:], np.float32))
    assert (len((place / "2/head").read_bytes()), len((place / "2/tail").read_bytes())) == (begin - first, end - stop)


@pytest.mark.usefixtures("small_blocks")
def test_a_part_that_is_there_is_left_alone_and_a_killed_one_written_again(
    data: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read = packing._utterances, []

    def killed(*args: object) -> object:
        for number, each in enumerate(real(*args)):
            if number == 3:
                raise KeyboardInterrupt
            yield each

    pack(data, [1], 3)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_utterances", killed)
        with pytest.raises(KeyboardInterrupt):
            pack(data, [2], 3)
    monkeypatch.setattr(packing, "_utterances", lambda *args: read.append(args[2][0]) or real(*args))
    pack(data, [1, 2, 3], 3)
    assert read == ["b-1", "c-3"] and packed(data) == expected
    pack(data, [1, 2, 3], 3)
    assert read == ["b-1", "c-3"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["sync_tree", "_join_rows", "write_json"])
def test_joining_that_was_killed_is_repeated_by_whoever_comes_next(
    name: str, data: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(data, [1, 2], 3)
    real, calls = getattr(packing, name), []

    def killed(*args: object) -> object:
        calls.append(args)
        if name == "write_json" and len(calls) == 1:  # that of the third part
            return real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packing, name, killed)
        with pytest.raises(KeyboardInterrupt):
            pack(data, [3], 3)
    assert not list((data / "packed").glob("[!.]*"))
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_utterances", lambda *_: pytest.fail("all parts are there"))
        open_or_build(DataDir(data))
    assert packed(data) == expected


def test_one_who_needs_the_pack_before_all_parts_are_there_packs_it(data: Path, expected: dict[str, bytes]) -> None:
    pack(data, [1, 3], 3)
    assert open_or_build(DataDir(data)).digest.encode() == expected["meta.json"]
    pack(data, [2], 3)
    assert packed(data) == expected


def test_a_part_whose_pack_another_process_makes_meanwhile_ends_well(
    data: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = packing._utterances

    def meanwhile(*args: object) -> object:
        monkeypatch.setattr(packing, "_utterances", real)
        open_or_build(DataDir(data))
        yield from real(*args)

    monkeypatch.setattr(packing, "_utterances", meanwhile)
    pack(data, [1], 3)
    assert packed(data) == expected


def test_parts_of_other_sources_are_not_joined(data: Path, expected: dict[str, bytes]) -> None:
    pack(data, [1, 2], 3)
    (old,) = growing(data)
    os.utime(data / "feats.ark", (1, 1))
    pack(data, [3], 3)
    (new,) = growing(data)
    assert new != old and packing.written(new) == {3}
    pack(data, [1, 2], 3)
    assert packed(data) == expected


def test_without_lengths_a_pack_has_one_part(data: Path, expected: dict[str, bytes]) -> None:
    (data / "utt2num_frames").unlink()
    pack(data, [2, 3], 3)
    assert not (data / "packed").exists()
    pack(data, [1], 3)
    assert packed(data) == expected


@pytest.mark.parametrize(
    ("utt", "length", "message"),
    [
        ("c-4", "31", "utterance c-4: 31 frames, but its features have 30; correct the file, or remove it"),
        ("a-1", None, "no utterance a-1; run utils/fix_data_dir.py "),
    ],
)
def test_a_wrong_length_is_named(utt: str, length: str | None, message: str, data: Path) -> None:
    lengths = {name: "30" for name in UTTS if name != utt}
    write_table(data / "utt2num_frames", {**lengths, utt: length} if length else lengths)
    assert_refused(call("pack", "--part", "3/3", data.parent, "data"), f"{data}/utt2num_frames: {message}")
    assert not list((data / "packed").glob("[!.]*"))


def test_parts_of_different_dimensions_are_refused(data: Path, tmp_path: Path) -> None:
    other = read_table(feature_dir(tmp_path / "other", UTTS, dim=4) / "feats.scp")
    mine = read_table(data / "feats.scp")
    write_table(data / "feats.scp", {utt: (mine if utt < "c" else other)[utt] for utt in UTTS})
    pack(data, [1], 2)
    with pytest.raises(ValueError, match=r"feats.scp: utterance c-0: 4 dimensions where those before it have 3;"):
        pack(data, [2], 2)


def test_the_program_packs_the_sets_that_it_is_given(data: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    feature_dir(tmp_path / "test", UTTS)
    for part in ("1/2", "2/2"):
        assert call("pack", "--part", part, tmp_path, "data", "test").code == 0
    assert packed(data) == expected == packed(tmp_path / "test")
    assert f"{data}: packed already" in call("pack", tmp_path, "data").log
    write_table(data / "feats.scp", {utt: f"cat {utt} |" for utt in UTTS})
    assert f"{data}: nothing to pack in part 1" in call("pack", tmp_path, "data").log


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_part_is_refused(part: str, data: Path, capsys: pytest.CaptureFixture) -> None:
    assert call("pack", f"--part={part}", data.parent, "data").code == 2
    assert f"'{part}' is not a part such as 2/4" in capsys.readouterr().err


# Files


@settings(max_examples=25)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=6), kind=st.sampled_from([np.float32, np.int64]))
def test_arrays_come_back_as_they_were_added(
    counts: list[int], kind: type, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """numpy's own reader agrees; so does the checksum of a file with that which was computed as it was written."""
    path = tmp_path_factory.mktemp("place") / "x.npy"
    parts = [np.arange(2 * count, dtype=kind).reshape(count, 2) + number for number, count in enumerate(counts)]
    writer = packing._Writer(path)
    for part in parts:
        writer.add(part)
    written = writer.finish()
    writer.close()
    found = np.load(path)
    assert found.dtype == kind and found.shape == (sum(counts), 2) and (found == np.concatenate(parts)).all()
    assert written == checksum(path, packing.HEADER)
    temporary = mapped(iter(parts))
    assert temporary.dtype == kind and temporary.shape == found.shape and (temporary == found).all()


@given(first=st.binary(max_size=100), second=st.binary(max_size=3000))
def test_a_checksum_is_that_of_its_pieces(first: bytes, second: bytes) -> None:
    assert joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_a_file_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.random.default_rng(0).bytes(1000)
    (tmp_path / "file").write_bytes(content)
    for piece in (1, 7, 500, 5000):
        monkeypatch.setattr(checksums, "_PIECE", piece)
        assert checksum(tmp_path / "file", 128) == f"{zlib.crc32(content[128:] + content[:128]):08x}"
