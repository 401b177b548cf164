"""Extraction of bad audio: what cannot be used is named and left out, too much of it is an error."""

from pathlib import Path

import numpy as np
import pytest
from damage import assert_refused, full_disk
from tools import SPEECH, audio_dir, call, contents, left_out, speech, write_wav

from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import write_table

FBANK = "--sample-frequency=8000\n"


VAD = "--vad-energy-threshold=5\n"


@pytest.fixture
def conf(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "fbank.conf").write_text(FBANK)
    (tmp_path / "vad.conf").write_text(VAD)
    return tmp_path / "fbank.conf", tmp_path / "vad.conf"


def bad_audio(path: Path) -> dict[str, str]:
    """An utterance of each kind of bad audio in `path`, and what the log must say of it."""
    whole = (SPEECH / "en.wav").read_bytes()
    for name, content in (("cut", whole[:9000]), ("empty", b""), ("garbage", whole[1:]), ("header", whole[:44])):
        (path / f"u-{name}.wav").write_bytes(content)
    write_wav(path / "u-rate.wav", speech(0.3), 16000)
    write_wav(path / "u-channels.wav", np.column_stack([speech(0.3)] * 2))
    write_wav(path / "u-short.wav", speech(0.3)[:199])
    write_wav(path / "u-silent.wav", np.zeros(2400))
    write_wav(path / "u-nothing.wav", np.zeros(0))
    return {
        "u-channels": "2 channels; say which one in conf/fbank.conf: --channel=0",
        "u-cut": "cut off, 17402 bytes are missing; fetch the file again",
        "u-empty": "empty, not one byte; fetch the file again, or leave it out",
        "u-garbage": "not readable as audio",
        "u-header": "cut off, 26358 bytes are missing",
        "u-missing": "no audio file",
        "u-nothing": "empty, not one sample; leave it out",
        "u-rate": "sampled at 16000 Hz, but conf/fbank.conf says 8000; resample",
        "u-short": "199 samples, less than one frame (200); remove it",
        "u-silent": "no voiced frame; remove it, or lower --vad-energy-threshold",
    }


def test_bad_audio_is_named_and_too_much_of_it_fails(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data, wav = tmp_path / "data", tmp_path / "bad"
    wav.mkdir()
    expected = bad_audio(wav)
    audio_dir(data, {**dict.fromkeys(expected, "en"), "u-good": "en"})
    good = read_table(data / "wav.scp")["u-good"]
    write_table(data / "wav.scp", {**{utt: str(wav / f"{utt}.wav") for utt in expected}, "u-good": good})
    before = contents(data)
    ended = call("compute_fbank", *conf, data, data / "fbank" / "1")
    assert ended.code == 0 and "features of 1 of 11 utterances" in ended.log
    reasons = {"u-short": "short", "u-silent": "no speech"}
    for line, (utt, message) in zip(left_out(data / "fbank" / "1" / "left_out.tsv"), expected.items(), strict=True):
        reason = reasons.get(utt, "unreadable")
        assert line.startswith(f"({reason}): {wav}/{utt}.wav: {data}/wav.scp: utterance {utt}: ") and message in line
    assert list(read_table(data / "fbank" / "1" / "feats.scp")) == ["u-good"]
    ended = call("gather_fbank", data, 1)
    assert_refused(
        ended, "10 of 11 utterances cannot be used, more than 0.05 of all", f"all are named in {data}/left_out.tsv"
    )
    assert f"WARNING {data}: left out (unreadable): 8, named in {data}/left_out.tsv" in ended.log
    assert [line.split(": ")[1] for line in left_out(data / "left_out.tsv")] == [f"{wav}/{utt}.wav" for utt in expected]
    made = ("fbank", "left_out.tsv")
    assert {name: content for name, content in contents(data).items() if not name.startswith(made)} == before


def test_a_few_bad_files_are_taken_out(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {f"a-{number:02}": "en" for number in range(20)})
    (data / "wav" / "a-07.wav").write_bytes(b"")
    assert call("compute_fbank", *conf, data, data / "fbank" / "1").code == 0
    gathered = call("gather_fbank", data, 1)
    assert gathered.code == 0
    assert f"WARNING {data}: left out (unreadable): 1, named in {data}/left_out.tsv" in gathered.log
    copied = call("copy_features", data, data)
    assert copied.code == 0
    assert f"{data}: 1 utterances without features taken out: {data}/left_out.tsv" in copied.log
    DataDir(data).validate(require=("utt2spk", "spk2utt", "utt2lang", "wav.scp", "feats.scp", "vad.scp", "cmvn.scp"))
    assert len(DataDir(data).utts) == 19 and "a-07" not in DataDir(data).utts


def test_a_coded_file_that_was_cut_off_is_noticed(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en", "a-2": "en"}, seconds=0.5)
    table = read_table(data / "wav.scp")
    # what a decoder gives of half a file: it ends well, with half of the sound
    write_wav(tmp_path / "half.wav", speech(0.2, 1))
    write_table(data / "wav.scp", {"a-1": table["a-1"], "a-2": f"cat {tmp_path}/half.wav |"})
    write_table(data / "reco2dur", {"a-1": "0.500", "a-2": "0.500"})
    call("compute_fbank", "--allow-pipes", "true", *conf, data, tmp_path / "out")
    (row,) = left_out(tmp_path / "out/left_out.tsv")
    assert "utterance a-2: 0.20 s of the 0.50 s that reco2dur says" in row
    assert list(read_table(tmp_path / "out/feats.scp")) == ["a-1"]


def test_resampling_is_done_if_allowed_and_said(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en", "a-2": "en"})
    write_wav(data / "wav/a-2.wav", speech(0.3, 1, rate=44100), 44100)
    call("compute_fbank", *conf, data, tmp_path / "out")
    (row,) = left_out(tmp_path / "out/left_out.tsv")
    assert "sampled at 44100 Hz, but conf/fbank.conf says 8000" in row and "--allow-downsample=true" in row
    fbank = tmp_path / "down.conf"
    fbank.write_text(conf[0].read_text() + "--allow-downsample=true\n")
    ended = call("compute_fbank", fbank, conf[1], data, tmp_path / "out")
    assert "resampled 1 utterances from 44100 to 8000 Hz" in ended.log
    assert read_table(tmp_path / "out/utt2num_frames") == {"a-1": "28", "a-2": "28"}


def test_nothing_usable(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en"}, seconds=0.01)
    assert call("compute_fbank", *conf, data, data / "fbank/1").code == 0  # one job of many may find nothing
    ended = call("gather_fbank", data, 1)
    assert ended.code == 1 and f"{data}: 1 of 1 utterances cannot be used" in ended.log


def test_disk_full_while_extracting(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en", "a-2": "en"})
    assert call("compute_fbank", *conf, data, tmp_path / "out").code == 0
    before = contents(tmp_path / "out")
    mark = before.pop("done.json")  # has times
    (tmp_path / "out/done.json").unlink()
    with full_disk(6000):
        ended = call("compute_fbank", *conf, data, tmp_path / "out")
    assert_refused(ended, "File too large")
    scp = before.pop("feats.scp")  # who counts its lines sees what is done of this time
    assert contents(tmp_path / "out") == before
    assert call("compute_fbank", *conf, data, tmp_path / "out").code == 0
    after = contents(tmp_path / "out")
    assert after.pop("done.json") != mark and after == {**before, "feats.scp": scp}


def test_pipes_in_wav_scp(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en", "a-2": "en"})
    table = read_table(data / "wav.scp")
    write_table(data / "wav.scp", {**table, "a-1": f"cat {table['a-1']} |"})
    call("compute_fbank", *conf, data, tmp_path / "out")
    (row,) = left_out(tmp_path / "out/left_out.tsv")
    assert "utterance a-1: " in row and "give --allow-pipes true" in row
    assert list(read_table(tmp_path / "out" / "feats.scp")) == ["a-2"]
    ended = call("compute_fbank", "--allow-pipes", "true", *conf, data, tmp_path / "out")
    assert ended.code == 0 and list(read_table(tmp_path / "out" / "feats.scp")) == ["a-1", "a-2"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "fbank.conf",
            "--num-mel-bin=40\n",
            "fbank.conf:1: unknown option '--num-mel-bin' (did you mean '--num-mel",
        ),
        ("vad.conf", "--vad-energy-threshold=low\n", "vad.conf:1: --vad-energy-threshold must be a number, not 'low'"),
    ],
)
def test_bad_options_of_extraction(tmp_path: Path, conf: tuple[Path, Path], name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    data = audio_dir(tmp_path / "data", {"a-1": "en"})
    assert_refused(call("compute_fbank", *conf, data, tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["utt2spk", "spk2utt", "wav.scp"])
def test_missing_file_of_extraction(tmp_path: Path, conf: tuple[Path, Path], name: str) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en"})
    (data / name).unlink()
    assert_refused(call("compute_fbank", *conf, data, tmp_path / "out"), f"{data}/{name}: no such file; ")
    assert not (tmp_path / "out").exists()


def test_segment_past_the_end_of_its_recording(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {"a-1": "en", "a-2": "en"})
    write_table(data / "segments", {"a-1": "a-1 0 0.25", "a-2": "a-2 0.1 0.9"})
    call("compute_fbank", *conf, data, tmp_path / "out")
    (row,) = left_out(tmp_path / "out/left_out.tsv")
    assert f"a-2.wav: {data}/wav.scp: utterance a-2: " in row and "segment is 0.1 to 0.9 s, but" in row
    assert read_table(tmp_path / "out" / "utt2num_frames") == {"a-1": "23"}  # 1 + (2000 - 200) / 80


def test_utterances_that_no_job_wrote_are_named(tmp_path: Path, conf: tuple[Path, Path]) -> None:
    data = audio_dir(tmp_path / "data", {f"a-{number:02}": "en" for number in range(40)})
    for job, first in ((1, 0), (2, 19)):
        part = audio_dir(tmp_path / str(job), {f"a-{number:02}": "en" for number in range(first, first + 19)})
        assert call("compute_fbank", *conf, part, data / "fbank" / str(job)).code == 0
    ended = call("gather_fbank", "--wait-file", 0, data, 3)
    assert_refused(ended, f"{data}/fbank/3: not finished, or not seen here after waiting for 0 s; run stage 2 again")
    ended = call("gather_fbank", data, 2)  # the jobs had other utterances
    assert ended.code == 0 and "left out (not extracted): 2, named in" in ended.log
    assert left_out(data / "left_out.tsv") == [
        f"(not extracted): {data}/wav.scp: a-{number}: no job wrote it; see {data}/log/make_fbank.*.log"
        for number in (38, 39)
    ]
    assert len(read_table(data / "feats.scp")) == 38
