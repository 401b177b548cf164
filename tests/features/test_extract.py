"""Extraction of a job: channels of recordings with several, and which utterances are told."""

from pathlib import Path

import numpy as np
import pytest
from tools import audio_dir, call, left_out, speech, write_wav

from flowlid.features.pool import gather, write_options
from flowlid.files import write_tsv
from flowlid.kaldi.datadir import DataDir, read_table


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
