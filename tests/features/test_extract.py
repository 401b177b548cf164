"""Extraction of a job: channels of recordings with several, and which utterances are told."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from tools import audio_dir, call, left_out, speech, write_wav

from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.pool import gather, write_options
from flowlid.files import write_tsv
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import write_table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Recordings of two channels: with the same sound, two talkers, opposite phase, and an empty left one."""
    (tmp_path / "vad.conf").write_text("")
    one, two = speech(0.6, seed=1), speech(0.6, seed=2)
    channels = {"u-same": (one, one), "u-call": (one, two), "u-phase": (one, -one), "u-left": (0 * one, one)}
    audio_dir(tmp_path / "data", dict.fromkeys(channels, "en"))
    for utt, path in read_table(tmp_path / "data/wav.scp").items():
        write_wav(Path(path), np.column_stack(channels[utt]))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("channel", "told", "silent"),
    [
        ("0", {"u-call": "different sound", "u-phase": "opposite phase"}, ["u-left"]),
        ("1", {"u-call": "different sound", "u-phase": "opposite phase", "u-left": "channel 0 is silent"}, []),
        ("mix", {"u-call": "different sound", "u-left": "channel 0 is silent"}, ["u-phase"]),
    ],
)
def test_channels(data: Path, channel: str, told: dict[str, str], silent: list[str]) -> None:
    conf = data.parent / "fbank.conf"
    conf.write_text(f"--sample-frequency=8000\n--channel={channel}\n")
    assert call("compute_fbank", conf, data.parent / "vad.conf", data, data / "fbank/1").code == 0
    rows = dict(line.split("\t") for line in (data / "fbank/1/channels.tsv").read_text().splitlines())
    assert rows == told
    lines = left_out(data / "fbank/1/left_out.tsv")
    assert [line.split(": ")[0] for line in lines] == ["(silent channel)"] * len(silent)
    assert all(
        utt in line and "choose that one with --channel" in line for utt, line in zip(silent, lines, strict=True)
    )


def test_a_recording_of_one_channel_is_taken_as_it_is(data: Path) -> None:
    """Whatever --channel says of others; a channel that segments name has to be there."""
    table = read_table(data / "wav.scp")
    samples = speech(0.6, seed=3)
    write_wav(Path(table["u-same"]), samples)
    conf = data.parent / "fbank.conf"
    conf.write_text("--sample-frequency=8000\n--channel=1\n")
    assert call("compute_fbank", conf, data.parent / "vad.conf", data, data / "fbank/1").code == 0
    assert "u-same" in read_table(data / "fbank/1/feats.scp")
    write_table(data / "segments", {utt: f"{utt} 0 0.5 {0 if utt == 'u-call' else 1}" for utt in table})
    assert call("compute_fbank", conf, data.parent / "vad.conf", data, data / "fbank/2").code == 0
    (row,) = left_out(data / "fbank/2/left_out.tsv")
    assert "no channel 1, it has 1; correct --channel in conf/fbank.conf, or segments" in row
    found = kaldiio.load_scp(str(data / "fbank/2/feats.scp"))
    expected, _ = FeatureExtractor(FbankOptions(sample_frequency=8000))(soundfile.read(table["u-call"])[0][:4000, 0])
    assert np.abs(found["u-call"] - expected).max() < 1e-3  # the segment's channel, not the option's


def test_channels_of_all_jobs_are_told_once(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    jobs = [data / "fbank/1", data / "fbank/2"]
    for job, rows in zip(jobs, (["u-call\tdifferent sound"], ["u-left\tchannel 0 is silent"]), strict=True):
        job.mkdir(parents=True)
        write_tsv(job / "channels.tsv", [row.split("\t") for row in rows])
        write_options(job, 0.01, {"fbank.num-mel-bins": "40"})
    with pytest.raises(ValueError, match="cannot be used"):  # no job has features: it is told nevertheless
        gather(DataDir(data), jobs, 0.05)
    told = "channels differ in 2 utterances (different sound: 1, channel 0 is silent: 1): u-call, u-left; all in "
    assert sum(message.startswith(told) for message in caplog.messages) == 1
    listed = (data / "channels.tsv").read_text()
    assert listed == "utterance\tchannels\nu-call\tdifferent sound\nu-left\tchannel 0 is silent\n"


def test_several_channels_and_none_named(data: Path) -> None:
    conf = data.parent / "fbank.conf"
    conf.write_text("--sample-frequency=8000\n")
    (data / "fbank/1").mkdir(parents=True)
    (data / "fbank/1/channels.tsv").touch()
    assert call("compute_fbank", conf, data.parent / "vad.conf", data, data / "fbank/1").code == 0
    assert not (data / "fbank/1/channels.tsv").exists()
    lines = left_out(data / "fbank/1/left_out.tsv")
    assert len(lines) == 4 and all(
        "2 channels; say which one in conf/fbank.conf: --channel=0" in line for line in lines
    )
