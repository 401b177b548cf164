"""steps/make_features.sh: features of several sets over one pool, made again only when something has changed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from damage import flip_bit
from tools import ROOT, audio_dir, contents

from flowlid.kaldi.cmvn import speaker_cmvn
from flowlid.kaldi.datadir import DataDir, read_table


def make(data: Path, *options: str) -> str:
    """What the program says; sets are train and test."""
    conf = ["--fbank-config", data.parent / "fbank.conf", "--vad-config", data.parent / "vad.conf"]
    command = ["steps/make_features.sh", "--nj", "2", *conf, *options, data, "train", "test"]
    environment = os.environ | {"FLOWLID_PROGRESS": str(data.parent / "progress")}  # as run.sh calls it
    # from a recipe's directory, which has links to programs only
    done = subprocess.run(command, cwd=ROOT / "egs/table", env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count(" No such ")) == (0, 0), done.stderr
    return done.stdout


def made_at(data: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (data / "_pool/fbank").rglob("*.ark")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "fbank.conf").write_text("--sample-frequency=8000\n--num-mel-bins=23\n")
    (tmp_path / "vad.conf").write_text("")
    data = tmp_path / "data"
    audio_dir(data / "train", {"a-1": "en", "a-2": "es", "b-1": "en"})
    audio_dir(data / "test", {"c-1": "en", "c-2": "es"})
    assert "up to date" not in make(data)
    return data


def test_what_is_the_same_is_not_made_again(data: Path) -> None:
    before, when = contents(data), made_at(data)
    assert make(data) == "features: up to date\n"
    assert contents(data) == before and made_at(data) == when
    assert "up to date" not in make(data, "--overwrite", "true")
    assert contents(data / "train") == {
        name.removeprefix("train/"): content for name, content in before.items() if name.startswith("train/")
    }
    assert all(made_at(data)[name] > time for name, time in when.items())


def change_audio(data: Path) -> None:
    os.utime(data / "test/wav/c-1.wav", (1, 1))


def change_options(data: Path) -> None:
    (data.parent / "fbank.conf").write_text("--sample-frequency=8000\n--num-mel-bins=20\n")


def change_vad_options(data: Path) -> None:
    (data.parent / "vad.conf").write_text("--vad-energy-threshold=4.0\n")


def change_tables(data: Path) -> None:
    text = (data / "test/wav.scp").read_text().replace("c-2.wav", "c-1.wav")
    (data / "test/wav.scp").write_text(text)


def cut_an_archive(data: Path) -> None:
    path = next((data / "_pool/fbank").rglob("feats.ark"))
    path.write_bytes(path.read_bytes()[:100])


def remove_a_table(data: Path) -> None:
    (data / "_pool/vad.scp").unlink()


def end_while_it_makes_them(data: Path) -> None:
    (data / "_pool/.made").unlink()


def test_what_has_changed_is_made_again(data: Path) -> None:
    dim = 23
    for change in (
        change_audio, change_vad_options, change_options, change_tables, cut_an_archive, remove_a_table,
        end_while_it_makes_them,
    ):  # fmt: skip
        change(data)
        assert "up to date" not in make(data), change.__name__
        dim = 20 if change is change_options else dim
        feats = DataDir(data / "test").feats("c-2")
        assert feats.shape[1] == dim and np.isfinite(feats).all()
    assert make(data) == "features: up to date\n"


@pytest.mark.parametrize("name", ["feats.ark", "vad.ark", "cmvn.ark"])
def test_an_archive_with_a_flipped_bit_is_named_with_what_mends_it(name: str, data: Path) -> None:
    """Neither its size nor its time tells, so that stage 2 finds it up to date."""
    before = contents(data / "test")
    place = data / "test" if name == "cmvn.ark" else data / "_pool/fbank/2"
    flip_bit(name, quietly=True)(place, "")

    def read() -> None:
        for directory in (DataDir(data / "train"), DataDir(data / "test")):
            for utt in directory.utts:
                directory.feats(utt), directory.vad(utt)
            speaker_cmvn(directory)

    assert make(data) == "features: up to date\n"
    with pytest.raises(ValueError, match=rf"/{name[:-4]}.scp: .*{place}/{name}:\d+: damaged.* --overwrite true\)"):
        read()
    make(data, "--overwrite", "true")
    read()
    assert contents(data / "test") == before


def test_segments_in_some_sets_only(data: Path) -> None:
    """A set without segments keeps its features, to the bit, and open ends go to the end of the recording."""
    feats = {utt: DataDir(data / "train").feats(utt) for utt in DataDir(data / "train").utts}
    whole = DataDir(data / "test").feats("c-1")
    (data / "test/segments").write_text("c-1 c-1 0 -1\nc-2 c-1 0.1 -1\n")
    (data / "test/wav.scp").write_text((data / "test/wav.scp").read_text().splitlines(keepends=True)[0])
    make(data)
    found = {utt: DataDir(data / "train").feats(utt) for utt in DataDir(data / "train").utts}
    assert all(np.array_equal(found[utt], feats[utt]) for utt in feats) and len(found) == len(feats)
    test = DataDir(data / "test")
    assert np.array_equal(test.feats("c-1"), whole)
    assert np.abs(test.feats("c-2") - whole[10:]).max() < 1e-3  # 0.1 s later; a frame of 10 ms starts there


def test_a_job_wrapper_that_is_not_there_is_named(data: Path) -> None:
    (data / "_pool/.made").unlink()
    conf = ["--fbank-config", data.parent / "fbank.conf", "--vad-config", data.parent / "vad.conf"]
    command = ["steps/make_features.sh", "--cmd", "no-such-wrapper --mem 1G", *conf, data, "train", "test"]
    done = subprocess.run(command, cwd=ROOT / "egs/table", capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no-such-wrapper: command not found" in done.stderr, done.stderr


@pytest.mark.parametrize("program", ["make_features.sh", "make_fbank.sh"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_gives_128_and_the_signal(program: str, number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "fbank.conf").touch()
    (tmp_path / "vad.conf").touch()
    (tmp_path / "wrapper").write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 60\n")
    (tmp_path / "wrapper").chmod(0o755)
    audio_dir(tmp_path / "data/train", {"a-1": "en"})
    where = [tmp_path / "data", "train"] if program == "make_features.sh" else [tmp_path / "data/train"]
    conf = ["--fbank-config", tmp_path / "fbank.conf", "--vad-config", tmp_path / "vad.conf"]
    command = [f"steps/{program}", "--cmd", tmp_path / "wrapper", *conf, *where]
    with subprocess.Popen(command, cwd=ROOT / "egs/table", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.05)
        run.send_signal(number)
        assert run.wait(30) == 128 + number


def test_a_set_that_was_made_anew_gets_its_features_from_the_pool(data: Path) -> None:
    before, when = contents(data / "test"), made_at(data)
    for name in ("feats.scp", "vad.scp", "utt2num_frames", "cmvn.scp"):
        (data / "test" / name).unlink()
    assert make(data) == "features: up to date\n"
    assert contents(data / "test") == before and made_at(data) == when
    assert read_table(data / "test/utt2num_frames") == {"c-1": "28", "c-2": "28"}


def without_marks(data: Path) -> dict[str, bytes]:
    """All files but those that tell times."""
    return {name: content for name, content in contents(data).items() if Path(name).name not in ("done.json", ".made")}


def test_only_the_jobs_whose_inputs_changed_are_repeated(data: Path) -> None:
    before, when = without_marks(data), made_at(data)
    (data / "_pool/.made").unlink()
    os.utime(data / "test/wav/c-1.wav", (1, 1))  # it is the second job's
    make(data)
    after = made_at(data)
    assert without_marks(data).keys() == before.keys()
    assert {name: name.split("/")[-2] == "2" for name in when} == {name: after[name] != when[name] for name in when}
    feats = {name: content for name, content in before.items() if name.endswith(("ark", "scp", "npy"))}
    assert {name: contents(data)[name] for name in feats} == feats


def test_a_killed_stage_that_is_repeated_keeps_finished_jobs_and_gives_the_same(data: Path) -> None:
    expected = without_marks(data)
    for path in (data / "_pool/.made", *data.glob("_pool/fbank/*/done.json")):
        path.unlink()
    wrapper = data.parent / "wrapper"
    wrapper.write_text('#!/bin/sh\nshift\nutils/run.py JOB=2:2 "$@"\nkill -9 $PPID\n')  # the script that called it
    wrapper.chmod(0o755)
    conf = ["--fbank-config", data.parent / "fbank.conf", "--vad-config", data.parent / "vad.conf"]
    command = ["steps/make_features.sh", "--nj", "2", "--cmd", wrapper, *conf, data, "train", "test"]
    assert subprocess.run(command, cwd=ROOT / "egs/table", capture_output=True, check=False).returncode != 0
    assert not list(data.glob("*/feats.scp")) and (data / "_pool/fbank/2/done.json").exists()
    when = made_at(data)
    make(data)
    assert {name.split("/")[-2] for name, time in made_at(data).items() if time != when[name]} == {"1"}
    found = without_marks(data)
    assert {name: found[name] for name in expected if ".log" not in name} == {
        name: content for name, content in expected.items() if ".log" not in name
    }


def test_jobs_of_a_run_that_had_more_are_removed(data: Path) -> None:
    before = contents(data / "test")
    make(data, "--nj", "3", "--overwrite", "true")
    assert sorted(path.name for path in (data / "_pool/fbank").iterdir()) == ["1", "2", "3"]
    make(data, "--overwrite", "true")
    assert sorted(path.name for path in (data / "_pool/fbank").iterdir()) == ["1", "2"]
    assert contents(data / "test") == before
