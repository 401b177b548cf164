"""Marks of finished jobs: they count as long as neither inputs nor files have changed."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import flip_bit
from tools import ROOT, audio_dir, call

from flowlid.features.marks import MARK, inputs_digest, is_done, wait_for_marks, write_mark
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import read_table, write_table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sounds in files, in a command, and in an archive; and the options."""
    path = audio_dir(tmp_path / "data", {"a-1": "en", "b-1": "es", "c-1": "es"})
    files = read_table(path / "wav.scp")
    Path(files["c-1"]).rename(path / "wav.ark")
    write_table(path / "wav.scp", {**files, "b-1": f"cat {files['b-1']} |", "c-1": f"{path}/wav.ark:4"})
    (tmp_path / "fbank.conf").write_text("--sample-frequency=8000\n")
    return path


def digest(data: Path, place: str = "out", pipes: bool = False) -> str:
    return inputs_digest([data.parent / "fbank.conf"], [data], data.parent / place, pipes)


def append(name: str, text: str = "\n") -> Callable[[Path], None]:
    return lambda data: (data / name).write_text((data / name).read_text() + text)


def touch(name: str) -> Callable[[Path], None]:
    return lambda data: os.utime(data / name, (1, 1))


@pytest.mark.parametrize(
    "change",
    [
        append("../fbank.conf"), append("utt2spk"), append("wav.scp"), lambda data: (data / "segments").write_text("x"),
        lambda data: (data / "reco2dur").write_text("x"), touch("wav/a-1.wav"), touch("wav/b-1.wav"), touch("wav.ark"),
        lambda data: (data / "wav/a-1.wav").unlink(),
    ],
)  # fmt: skip
def test_what_features_depend_on_changes_the_digest(change: Callable[[Path], None], data: Path) -> None:
    before = digest(data)
    assert digest(data) == before
    change(data)
    assert digest(data) != before


def test_other_things_do_not_but_the_place_and_commands_do(data: Path) -> None:
    before = digest(data)
    (data / "utt2lang").write_text("a-1 it\n")
    (data / "utt2spk").touch()
    assert digest(data) == before
    assert len({before, digest(data, "elsewhere"), digest(data, pipes=True)}) == 3


def test_the_code_of_extraction_counts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = digest(data), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b"#" * (path.name == "vad.py"))
    assert digest(data) != before


def test_a_mark_counts_while_nothing_changes(tmp_path: Path) -> None:
    place = tmp_path / "1"
    place.mkdir()
    (place / "feats.ark").write_bytes(b"1234")
    assert not is_done(place, "inputs") and not is_done(tmp_path / "2", "inputs")
    write_mark(place, "inputs", "0")
    assert is_done(place, "inputs") and not is_done(place, "others")
    for change in (
        lambda: (place / "feats.ark").write_bytes(b"123"), lambda: os.utime(place / "feats.ark", (1, 1)),
        lambda: (place / "more").touch(), lambda: (place / "feats.ark").unlink(),
        lambda: (place / MARK).write_text("{}"), lambda: (place / MARK).write_text("[]"),
        lambda: (place / MARK).write_text('{"inputs": "inp'), lambda: (place / MARK).unlink(),
    ):  # fmt: skip
        change()
        assert not is_done(place, "inputs")
        (place / "feats.ark").touch()
        write_mark(place, "inputs", "0")
        assert is_done(place, "inputs")


def test_files_that_are_seen_late_are_waited_for(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    """As where a file server's answers are remembered: the mark first, then what it names."""
    for job in "12":
        (tmp_path / job).mkdir()
        (tmp_path / job / "feats.ark").touch()
        write_mark(tmp_path / job, "", "0")
    (tmp_path / "2" / "feats.ark").rename(tmp_path / "feats.ark")

    def appear() -> None:
        while "waiting up to 60 s" not in messages.text:
            time.sleep(0.01)
        (tmp_path / "feats.ark").rename(tmp_path / "2" / "feats.ark")

    thread = threading.Thread(target=appear)
    thread.start()
    wait_for_marks([tmp_path / "1", tmp_path / "2"], 60)
    thread.join()
    assert f"{tmp_path}/2: its files are not seen here yet" in messages.text


def test_what_never_comes_is_named_with_how_long_it_was_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}/1: not finished, .* after waiting for 0 s, nor 1 more; run "):
        wait_for_marks([tmp_path / "1", tmp_path / "2"], 0)


@pytest.mark.parametrize("harm", ["flip", "missing", "mark", "another"])
def test_statistics_that_are_not_those_of_the_features_are_refused(harm: str, tmp_path: Path) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en", "a-2": "en"})
    (tmp_path / "fbank.conf").write_text("--sample-frequency=8000\n")
    place = data / "fbank/1"
    conf = (tmp_path / "fbank.conf", ROOT / "egs/prompts/conf/vad.conf")
    assert call("compute_fbank", *conf, data, place).code == call("gather_fbank", data, 1).code == 0
    if harm == "flip":
        flip_bit("cmvn.npy", quietly=True)(place, "")
    elif harm == "another":
        write_table(data / "feats.scp", {"a-1": DataDir(data).table("feats.scp")["a-1"]})
    else:
        (place / ("cmvn.npy" if harm == "missing" else MARK)).unlink()
    ended = call("copy_features", "--max-bad", 1, data, data)
    message = "of 2 utterances, but feats.scp has 1" if harm == "another" else "missing, or damaged"
    assert ended.code == 1 and f"{place}/cmvn.npy: {message}" in ended.log and "--overwrite true" in ended.log
