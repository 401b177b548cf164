"""Packs of features: whole or absent, shared by all normalizations and selections, checked when opened, mapped."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from splicing import UTTS, every
from tools import ROOT, contents, feature_dir

from flowlid.config import FramesConfig
from flowlid.files import read_json
from flowlid.frames import pack as module
from flowlid.frames.frameset import load_frames
from flowlid.frames.normalization import global_cmvn
from flowlid.frames.pack import mapped, open_or_build
from flowlid.kaldi.arks import ArkWriter, ark_path
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import write_table

Logged = pytest.LogCaptureFixture


def packs(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "packed").iterdir() if not path.name.startswith("."))


def made_at(data: Path) -> dict[str, int]:
    return {name: (data / "packed" / name / "meta.json").stat().st_ino for name in packs(data)}


def said(messages: Logged, words: str) -> int:
    return sum(words in message for message in messages.messages)


# Reuse


def test_all_normalizations_and_selections_share_one_pack(data: Path, messages: Logged) -> None:
    """Their frames differ, and so do their digests."""
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
        for number, speaker in enumerate("abc"):
            write(speaker, cmvn_stats(np.full((10, 3), number + 1.0)))
    stats = global_cmvn(DataDir(data), FramesConfig())
    digests = [
        load_frames(DataDir(data), FramesConfig(**config), **options).digest
        for config, options in [
            ({}, {}),
            ({"vad": False}, {}),
            ({"subsampling": 2}, {"subsample": True}),
            ({"subsampling": 3}, {"subsample": True}),
            ({"context": 0}, {"select": "nonspeech"}),
            ({}, {"utts": ["a-1", "b-1"]}),
            ({"cmvn": "utterance"}, {}),
            ({"cmvn": "utterance", "norm_vars": True}, {}),
            ({"cmvn": "speaker"}, {}),
            ({"cmvn": "global"}, {"global_stats": stats}),
            ({"cmvn": "global"}, {"global_stats": stats * 2 + 1}),
        ]
    ]
    assert len(set(digests)) == len(digests) and len(packs(data)) == 1
    assert said(messages, "packed 120 frames of 4 utterances") == 1
    same = [FramesConfig(context=3), FramesConfig(subsampling=2), FramesConfig(norm_vars=True)]  # nothing is divided
    assert [load_frames(DataDir(data), config).digest for config in same] == [digests[0]] * 3


def test_what_a_pack_holds(data: Path) -> None:
    pack = open_or_build(DataDir(data))
    feats = [DataDir(data).feats(utt) for utt in sorted(UTTS)]
    assert pack.feats.dtype == np.float32 and (pack.feats == np.concatenate(feats)).all()
    assert pack.ends.tolist() == [30, 60, 90, 120]
    assert (pack.stats == np.stack([cmvn_stats(x) for x in feats])).all()
    voiced = [row for row in range(120) if row % 5 > 0]
    assert pack.voiced.tolist() == voiced and pack.utt_of.tolist() == [row // 30 for row in voiced]
    (data / "vad.scp").unlink()
    assert open_or_build(DataDir(data)).voiced.tolist() == list(range(120))


@pytest.mark.parametrize("utterances", [1, 2, 300])
def test_global_statistics_are_the_sums_of_the_utterances_in_their_order(utterances: int, tmp_path: Path) -> None:
    data = DataDir(feature_dir(tmp_path, {f"u{n:03}-1": "en" for n in range(utterances)}))
    total = np.zeros((2, 4))
    for utt in data.utts:
        total = total + cmvn_stats(data.feats(utt))
    found = global_cmvn(data, FramesConfig())
    assert found.tobytes() == total.tobytes() and found[0, -1] == 30 * utterances
    assert type(found) is np.ndarray and found.flags.owndata  # it is saved with a model


@pytest.mark.parametrize("what", ["feats", "vad"])
def test_features_made_again_are_packed_again(what: str, data: Path, messages: Logged) -> None:
    def write(values: dict[str, np.ndarray]) -> None:
        with ArkWriter(data / f"{what}.ark", data / f"{what}.scp") as writer:
            for utt, array in values.items():
                writer(utt, array)

    load_frames(DataDir(data), FramesConfig(context=0))
    load_frames(DataDir(data), FramesConfig(context=0), select="nonspeech")
    old = packs(data)
    generator = np.random.default_rng(1)
    shape = (30, 3) if what == "feats" else (30,)
    values = {utt: (generator.normal(size=shape) > 0).astype(np.float32) for utt in sorted(UTTS)}
    write(values)  # of the same sizes, at the same places
    frames = load_frames(DataDir(data), FramesConfig(context=0))
    if what == "feats":
        voiced = np.arange(30) % 5 > 0
        assert (every(frames) == np.concatenate([x[voiced] for x in values.values()])).all()
    else:
        assert frames.counts.tolist() == [array.sum() for array in values.values()]
    assert len(packs(data)) == 1 and packs(data) != old
    assert said(messages, "its sources changed") == 1


def test_a_table_that_changes_is_seen(data: Path) -> None:
    before = load_frames(DataDir(data), FramesConfig(context=0, vad=False))
    table = read_table(data / "feats.scp")
    write_table(data / "feats.scp", {**table, "a-1": table["b-1"], "b-1": table["a-1"]})
    after = load_frames(DataDir(data), FramesConfig(context=0, vad=False))
    assert torch.equal(after.feats[:30], before.feats[60:90]) and torch.equal(after.feats[60:90], before.feats[:30])
    assert after.digest != before.digest


def test_a_speaker_who_changes_is_seen(data: Path) -> None:
    """The statistics that an utterance is normalized with depend on utt2spk too."""
    config = FramesConfig(context=0, cmvn="speaker")
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
        for number, speaker in enumerate("abc"):
            write(speaker, cmvn_stats(np.full((10, 3), number + 1.0)))
    before = load_frames(DataDir(data), config)
    write_table(data / "utt2spk", {"a-1": "a", "a-2": "b", "b-1": "b", "c-1": "c"})
    write_table(data / "spk2utt", {"a": "a-1", "b": "a-2 b-1", "c": "c-1"})
    after = load_frames(DataDir(data), config)
    moved = every(before) - every(after)
    assert moved[24:48] == pytest.approx(1.0, abs=1e-5) and not moved[:24].any() and not moved[48:].any()
    assert before.digest != after.digest


def test_languages_may_change_without_a_new_pack(data: Path) -> None:
    load_frames(DataDir(data), FramesConfig())
    before = made_at(data)
    write_table(data / "utt2lang", {utt: "it" for utt in UTTS})
    assert load_frames(DataDir(data), FramesConfig()).languages == ["it"] * 4
    assert made_at(data) == before


def test_the_digest_is_of_the_content_alone(data: Path, tmp_path: Path) -> None:
    copy = feature_dir(tmp_path / "elsewhere", UTTS)
    other = feature_dir(tmp_path / "other", UTTS, seed=1)
    found = [load_frames(DataDir(path), FramesConfig()).digest for path in (data, copy, other)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", ["feats.npy", "ends.npy", "stats.npy", "voiced.npy", "utt_of.npy", "meta.json"])
def test_damage_is_found_when_a_pack_is_opened(name: str, data: Path) -> None:
    """Wherever a bit flips, in the header too; where the end is missing; where there is no such file."""
    load_frames(DataDir(data), FramesConfig())
    path = data / "packed" / packs(data)[0]
    whole = (path / name).read_bytes()
    places = [0, 60, 127, 128, len(whole) // 2, len(whole) - 2]
    flipped = [whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in places for bit in (0, 6)]
    for content in [*flipped, whole[:-4], whole + b"\0", b"", b"{}", b"null"]:
        (path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: damaged, .*; remove {path}, and it is made again"):
            load_frames(DataDir(data), FramesConfig())
    (path / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: missing; remove {path}, and it is made again"):
        load_frames(DataDir(data), FramesConfig())
    shutil.rmtree(path)
    assert len(load_frames(DataDir(data), FramesConfig())) == 96 and (path / name).read_bytes() == whole


def test_the_pack_of_another_signature_is_not_taken(data: Path) -> None:
    load_frames(DataDir(data), FramesConfig())
    old = packs(data)[0]
    os.utime(data / "feats.ark", (1, 1))
    load_frames(DataDir(data), FramesConfig())
    path = data / "packed" / packs(data)[0]
    os.utime(data / "feats.ark", (2, 2))
    load_frames(DataDir(data), FramesConfig())
    new = data / "packed" / packs(data)[0]
    assert len({old, path.name, new.name}) == 3
    os.utime(data / "feats.ark", (1, 1))
    new.rename(path)  # as if someone had copied it
    with pytest.raises(ValueError, match=r"meta.json: damaged, it does not describe this pack"):
        load_frames(DataDir(data), FramesConfig())


def test_what_older_versions_left_is_removed(data: Path) -> None:
    for name in ("none_vad-0123456789ab", "none_vad_speech_every4-0123456789ab"):
        (data / "packed" / name).mkdir(parents=True)
        (data / "packed" / name / "feats").write_bytes(b"1234")
    load_frames(DataDir(data), FramesConfig())
    assert len(packs(data)) == 1 and packs(data)[0].isalnum()


def test_an_archive_of_a_specifier() -> None:
    assert ark_path("/a/b.ark:123") == "/a/b.ark"
    assert ark_path("a b.ark:5[0:9,1:2]") == "a b.ark"
    assert ark_path("a.mat") == "a.mat"
    assert ark_path("gunzip -c a.gz |") is None


def test_tools_that_make_directories_of_others_leave_packs_behind(data: Path, tmp_path: Path) -> None:
    load_frames(DataDir(data), FramesConfig())
    before = contents(data / "packed")
    for command in (
        ["utils/subset_data_dir.py", data, 2, tmp_path / "subset"],
        ["utils/combine_data.py", tmp_path / "both", data],
        ["utils/split_data.py", data, 2],
        ["utils/fix_data_dir.py", data],
        ["utils/validate_data_dir.py", "--no-wav", data],
    ):
        subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True, capture_output=True)
    assert contents(data / "packed") == before
    made_there = [*(tmp_path / "subset").rglob("*"), *(tmp_path / "both").rglob("*"), *(data / "split2").rglob("*")]
    assert made_there and not [path for path in made_there if "packed" in path.parts]


# Whole or absent


def test_a_read_only_directory_is_packed_elsewhere_and_nothing_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: Logged
) -> None:
    """As root no mode keeps one from writing: the error is made up."""
    expected = every(load_frames(DataDir(data), FramesConfig()))
    shutil.rmtree(data / "packed")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    real = Path.mkdir

    def refuse(self: Path, *args: object, **options: object) -> None:
        if self.name == "packed":
            raise PermissionError(13, "Permission denied", str(self))
        real(self, *args, **options)

    before = contents(data)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        frames = load_frames(DataDir(data), FramesConfig())
        silence = load_frames(DataDir(data), FramesConfig(context=0), select="nonspeech")
    assert (every(frames) == expected).all() and len(silence) == 24
    assert said(messages, "cannot be written to") == 2
    assert contents(data) == before and not list(scratch.iterdir())


def test_a_pack_of_the_owner_is_used_where_one_may_only_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = every(load_frames(DataDir(data), FramesConfig()))
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("nothing is to be made"))
    assert (every(load_frames(DataDir(data), FramesConfig())) == expected).all()


def test_a_full_disk_is_told_with_its_place_and_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: .*/data/packed'"):
            load_frames(DataDir(data), FramesConfig())
    assert [path.name for path in (data / "packed").iterdir()] == [".lock"]
    assert len(load_frames(DataDir(data), FramesConfig())) == 96


def test_killed_packing_leaves_nothing_half_written_and_can_be_repeated(data: Path) -> None:
    program = (
        "import sys, time\nfrom flowlid.frames import packing\nfrom flowlid.config import FramesConfig\n"
        "from flowlid.kaldi.datadir import DataDir\nfrom flowlid.frames.frameset import load_frames\n"
        "real = packing._utterances\n"
        "def slow(*args):\n"
        "    for number, each in enumerate(real(*args)):\n"
        "        if number == 2:\n            print('half', flush=True)\n            time.sleep(600)\n"
        "        yield each\n"
        "packing._utterances = slow\nload_frames(DataDir(sys.argv[1]), FramesConfig())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program, data], stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout.readline() == b"half\n"
        (left,) = (data / "packed").glob(".*.tmp")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert left.is_dir() and packs(data) == []
    os.utime(data / "feats.ark", (1, 1))  # the next one has another name
    frames = load_frames(DataDir(data), FramesConfig())
    assert len(frames) == 96 and not left.exists()
    assert sorted(path.name for path in (data / "packed").iterdir()) == [".lock", *packs(data)]


def test_those_who_want_the_same_at_once_share_one(
    data: Path, messages: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is one of open files: threads, each of which opens it, meet at it as processes do."""
    writing, real = threading.Barrier(3), module.write_part

    def write(*args: object) -> None:
        while not said(messages, "another process is packing") == 2:
            time.sleep(0.01)
        real(*args)

    def make(number: int) -> str:
        writing.wait()
        return open_or_build(DataDir(data)).digest

    monkeypatch.setattr(module, "write_part", write)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(make, range(3)))
    assert len(set(found)) == 1 and said(messages, "packed 120 frames") == 1
    assert sorted(path.name for path in (data / "packed").iterdir()) == [".lock", *packs(data)]


def test_a_pack_that_is_replaced_while_it_is_opened_is_made_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with newer sources removed it: that is no damage."""
    open_or_build(DataDir(data))
    path, real = data / "packed" / packs(data)[0], module.checksum

    def remove(file: Path, header: int) -> str:
        monkeypatch.setattr(module, "checksum", real)
        shutil.rmtree(path)
        return real(file, header)

    monkeypatch.setattr(module, "checksum", remove)
    assert open_or_build(DataDir(data)).ends.tolist() == [30, 60, 90, 120]


# Arrays


def anonymous() -> int:
    """Megabytes of this process's memory that are not of a file."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) // 1024


def test_mapped_arrays_are_no_anonymous_memory(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    megabytes, before = 64, anonymous()
    x = mapped(np.ones((256, 1024), np.float32) for _ in range(megabytes))
    assert float(x.sum()) == megabytes * 256 * 1024
    big = [(np.ones((256, 1024), np.float32), np.arange(256))] * megabytes
    monkeypatch.setattr("flowlid.frames.packing._utterances", lambda *_: iter(big))
    pack = open_or_build(DataDir(data))
    assert float(pack.feats.sum()) == megabytes * 256 * 1024
    assert anonymous() - before < megabytes // 2


def test_features_may_be_larger_than_the_memory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as large: a hole in the file takes no place on the disk. Only a mapping for reading allows it."""
    rows = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 4 // 1024
    open_or_build(DataDir(data))
    path = data / "packed" / packs(data)[0]
    with open(path / "feats.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, 256)})
        file.truncate(128 + rows * 1024)
    written = read_json(path / "meta.json")["crc32"]
    monkeypatch.setattr(module, "checksum", lambda file, _: written[file.name])  # it would read all
    feats = open_or_build(DataDir(data)).feats
    assert feats.shape == (rows, 256) and feats[-1].tolist() == [0.0] * 256
