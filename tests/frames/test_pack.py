"""Packs of normalized features: whole or absent, reused while their sources stay, mapped and not read."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import ROOT, contents, feature_dir

from flowlid.config import FramesConfig
from flowlid.files import read_json
from flowlid.frames.frameset import FrameSet, load_frames
from flowlid.frames.mapped import Arrays, made
from flowlid.kaldi.arks import ArkWriter, ark_path
from flowlid.kaldi.cmvn import cmvn_stats, global_cmvn
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import write_table

UTTS = {"a-1": "en", "a-2": "en", "b-1": "es", "c-1": "es"}
Logged = pytest.LogCaptureFixture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return feature_dir(tmp_path / "data", UTTS)


def every(frames: FrameSet) -> np.ndarray:
    return frames.batch(torch.arange(len(frames))).numpy()


def packs(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "packed").iterdir() if not path.name.startswith("."))


def made_at(data: Path) -> dict[str, int]:
    return {name: (data / "packed" / name / "meta.json").stat().st_ino for name in packs(data)}


def said(messages: Logged, words: str) -> int:
    return sum(words in message for message in messages.messages)


# Reuse


def test_a_pack_is_made_once(data: Path, messages: Logged) -> None:
    first = load_frames(DataDir(data), FramesConfig())
    made_first = made_at(data)
    again = load_frames(DataDir(data), FramesConfig(context=3, subsampling=2))  # neither changes what is packed
    assert made_at(data) == made_first and len(made_first) == 1
    assert said(messages, "packed 120 frames of 4 utterances") == 1
    assert torch.equal(first.feats, again.feats) and first.digest == again.digest


def test_normalizations_and_selections_have_packs_of_their_own(data: Path) -> None:
    stats = global_cmvn(DataDir(data))
    for config, given_stats in [
        (FramesConfig(), None),
        (FramesConfig(vad=False), None),
        (FramesConfig(cmvn="utterance"), None),
        (FramesConfig(cmvn="utterance", norm_vars=True), None),
        (FramesConfig(cmvn="global"), stats),
        (FramesConfig(cmvn="global"), stats * 2 + 1),
    ]:
        load_frames(DataDir(data), config, given_stats)
    load_frames(DataDir(data), FramesConfig(norm_vars=True))  # without a mean nothing is divided
    load_frames(DataDir(data), FramesConfig(context=0), select="nonspeech")
    load_frames(DataDir(data), FramesConfig(subsampling=3), subsample=True)
    names = [name.rpartition("-")[0] for name in packs(data)]
    kinds = [name for name in names if not name.startswith("global")]
    assert kinds == [
        "none_all", "none_vad", "none_vad_nonspeech0_every1", "none_vad_speech_every3", "utterance_vad",
        "utterance_vars_vad",
    ]  # fmt: skip
    assert len(names) == len(set(names)) == 8


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
    assert len(packs(data)) == 1 and not set(packs(data)) & set(old)  # what was selected from the old one is gone too
    assert said(messages, "its sources changed") == 2


def test_a_table_that_changes_is_seen(data: Path) -> None:
    before = load_frames(DataDir(data), FramesConfig(context=0, vad=False))
    table = read_table(data / "feats.scp")
    write_table(data / "feats.scp", {**table, "a-1": table["b-1"], "b-1": table["a-1"]})
    after = load_frames(DataDir(data), FramesConfig(context=0, vad=False))
    assert torch.equal(after.feats[:30], before.feats[60:90]) and torch.equal(after.feats[60:90], before.feats[:30])
    assert after.digest != before.digest


def test_a_speaker_who_changes_is_seen(data: Path) -> None:
    """The statistics that an utterance is normalized with hang on utt2spk too."""
    config = FramesConfig(context=0, cmvn="speaker")
    with ArkWriter(data / "cmvn.ark", data / "cmvn.scp") as write:
        for number, speaker in enumerate("abc"):
            write(speaker, cmvn_stats(np.full((10, 3), number + 1.0)))
    before = load_frames(DataDir(data), config).feats.clone()
    write_table(data / "utt2spk", {"a-1": "a", "a-2": "b", "b-1": "b", "c-1": "c"})
    write_table(data / "spk2utt", {"a": "a-1", "b": "a-2 b-1", "c": "c-1"})
    after = load_frames(DataDir(data), config).feats
    assert torch.equal(before[:30], after[:30]) and torch.equal(before[60:], after[60:])
    assert (before[30:60] - after[30:60]).numpy() == pytest.approx(1.0, abs=1e-5)


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
    every_other = load_frames(DataDir(data), FramesConfig(subsampling=2), subsample=True).digest
    nonspeech = load_frames(DataDir(data), FramesConfig(context=0), select="nonspeech").digest
    assert len({*found, every_other, nonspeech}) == 4


def test_a_damaged_pack_says_what_to_remove(data: Path) -> None:
    load_frames(DataDir(data), FramesConfig())
    (path,) = (data / "packed").glob("none_vad-*")
    (path / "feats").write_bytes(b"1234")
    with pytest.raises(
        ValueError, match=r"none_vad-\w+/feats: damaged, it is not of shape \(120, 3\); remove .*none_vad"
    ):
        load_frames(DataDir(data), FramesConfig())
    shutil.rmtree(data / "packed")
    assert len(load_frames(DataDir(data), FramesConfig())) == 96


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
    assert said(messages, "cannot be written to") == 3  # the features twice
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
        with pytest.raises(OSError, match=r"No space left on device: .*/data/packed/"):
            load_frames(DataDir(data), FramesConfig())
    assert [path.name for path in (data / "packed").iterdir()] == [".lock"]
    assert len(load_frames(DataDir(data), FramesConfig())) == 96


def test_killed_packing_leaves_nothing_half_written_and_can_be_repeated(data: Path) -> None:
    program = (
        "import sys, time\nfrom flowlid.frames import pack\nfrom flowlid.config import FramesConfig\n"
        "from flowlid.kaldi.datadir import DataDir\nfrom flowlid.frames.frameset import load_frames\n"
        "real = pack._utterances\n"
        "def slow(*args):\n"
        "    for number, each in enumerate(real(*args)):\n"
        "        if number == 2:\n            print('half', flush=True)\n            time.sleep(600)\n"
        "        yield each\n"
        "pack._utterances = slow\nload_frames(DataDir(sys.argv[1]), FramesConfig())\n"
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
    frames = load_frames(DataDir(data), FramesConfig())
    assert len(frames) == 96 and not left.exists()
    assert sorted(path.name for path in (data / "packed").iterdir()) == [".lock", *packs(data)]


def test_those_who_want_the_same_at_once_share_one(tmp_path: Path, messages: Logged) -> None:
    """The lock is one of open files: threads, each of which opens it, meet at it as processes do."""
    writing = threading.Barrier(3)

    def make(number: int) -> int:
        def write(new: Path) -> dict[str, object]:
            with Arrays(new, ["who"]) as arrays:
                arrays.add("who", np.array([number]))
                while not said(messages, "another process is at work there") == 2:
                    time.sleep(0.01)
                return arrays.finish()

        writing.wait()
        return int(made(tmp_path / "packed", "x", "y", write)[0]["who"][0])

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(make, range(3)))
    assert len(set(found)) == 1
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == [".lock", "x-y"]


# Arrays


@settings(max_examples=25)
@given(parts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2**40)), max_size=6))
def test_arrays_come_back_as_they_were_added(
    parts: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [np.arange(count * 2, dtype=np.float32).reshape(count, 2) + seed % 97 for count, seed in parts]
    numbers = [np.full(count, seed) for count, seed in parts]

    def write(place: Path) -> dict[str, object]:
        with Arrays(place, ("rows", "numbers", "none")) as arrays:
            for own_rows, own_numbers in zip(rows, numbers, strict=True):
                arrays.add("rows", own_rows)
                arrays.add("numbers", own_numbers)
            return {"more": 7, **arrays.finish()}

    arrays, meta = made(tmp_path_factory.mktemp("place"), "a", "b", write)
    assert (arrays["numbers"].numpy() == np.concatenate([np.empty(0, int), *numbers])).all()
    if parts:
        assert (arrays["rows"].numpy() == np.concatenate(rows)).all() and arrays["rows"].dtype == torch.float32
    assert arrays["none"].shape == (0,) and meta["more"] == 7


def test_mapped_arrays_are_no_anonymous_memory(tmp_path: Path) -> None:
    megabytes = 64

    def write(place: Path) -> dict[str, object]:
        with Arrays(place, ["x"]) as arrays:
            for _ in range(megabytes):
                arrays.add("x", np.ones((256, 1024), np.float32))
            return arrays.finish()

    def anonymous() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) // 1024

    before = anonymous()
    (x,) = made(tmp_path, "a", "b", write)[0].values()
    assert float(x.sum()) == megabytes * 256 * 1024
    assert anonymous() - before < megabytes // 2
    assert read_json(tmp_path / "a-b" / "meta.json")["arrays"] == {"x": {"type": "float32", "shape": [16384, 1024]}}


def test_arrays_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    """Four times as large: a hole in the file takes no place on the disk. Only a mapping for reading allows it."""
    rows = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 4 // 1024

    def write(place: Path) -> dict[str, object]:
        with open(place / "x", "wb") as file:
            file.truncate(rows * 1024)
        return {"arrays": {"x": {"type": "float32", "shape": [rows, 256]}}}

    (x,) = made(tmp_path, "a", "b", write)[0].values()
    assert x.shape == (rows, 256) and x[-1].tolist() == [0.0] * 256
