"""Reading utterances: what is read is what stands in the file, and each kind of bad file is named."""

import math
import re
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from lhotse import Recording
from tools import SPEECH, write_wav

from flowlid.audio.channels import ChannelMeter
from flowlid.audio.headers import open_recording
from flowlid.audio.samples import SilentChannel, read_audio

NAME = "data/x/wav.scp: utterance u1"


@pytest.fixture
def samples() -> np.ndarray:
    return soundfile.read(SPEECH / "en.wav", dtype="float32")[0]


def read(path: object, **options: object) -> np.ndarray:
    return read_audio(str(path), NAME, 8000, **options)[0]


def refused(path: object, **options: object) -> str:
    """The error, which must name the utterance and the file."""
    with pytest.raises(ValueError) as error:
        read(path, **options)
    assert str(error.value).startswith(NAME) and str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_reads_the_samples(samples: np.ndarray) -> None:
    read_samples = read(SPEECH / "en.wav")
    assert read_samples.dtype == np.float32 and read_samples.shape == samples.shape
    assert (read_samples == samples).all()


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("FLAC", "PCM_16"), ("WAVEX", "PCM_16"), ("AIFF", "PCM_16"), ("WAV", "PCM_24"), ("W64", "FLOAT")],
)
def test_reads_other_headers_and_forms(tmp_path: Path, samples: np.ndarray, form: str, subtype: str) -> None:
    soundfile.write(tmp_path / f"a.{form.lower()}", samples, 8000, format=form, subtype=subtype)
    assert (read(tmp_path / f"a.{form.lower()}") == samples).all()


def test_reads_telephone_codecs(tmp_path: Path, samples: np.ndarray) -> None:
    for codec in ("ULAW", "ALAW"):
        soundfile.write(tmp_path / "a.wav", samples, 8000, subtype=codec)
        assert np.corrcoef(read(tmp_path / "a.wav"), samples)[0, 1] > 0.99


def test_reads_a_codec_without_random_access(tmp_path: Path, samples: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="GSM610")
    whole = read(tmp_path / "a.wav")
    assert np.corrcoef(whole[: len(samples)], samples)[0, 1] > 0.9
    assert np.array_equal(read(tmp_path / "a.wav", start=0.25, end=0.75), whole[2000:6000])


def test_chunks_after_the_samples_are_no_samples(tmp_path: Path, samples: np.ndarray) -> None:
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 8000, 1, "PCM_16") as file:
        file.title = "a prompt"
        file.write(samples)
    assert (read(tmp_path / "a.wav") == samples).all()


def test_segments(samples: np.ndarray) -> None:
    path, whole = SPEECH / "en.wav", len(samples) / 8000
    assert (read(path, start=0.25, end=0.75) == samples[2000:6000]).all()
    assert (read(path, start=0.1, end=whole) == samples[800:]).all()
    assert (read(path, start=1.0) == samples[8000:]).all()
    parts = [read(path, start=first / 8000, end=(first + 1999) / 8000) for first in range(0, 11994, 1999)]
    assert (np.concatenate(parts) == samples[:11994]).all()  # ends and starts that are no short decimal numbers


@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "PCM_16"), ("WAV", "ULAW"), ("FLAC", "PCM_16"), ("WAV", "FLOAT")]
)
def test_samples_are_those_of_lhotse(tmp_path: Path, samples: np.ndarray, form: str, subtype: str) -> None:
    path = tmp_path / f"a.{form.lower()}"
    soundfile.write(path, samples, 8000, format=form, subtype=subtype)
    recording = Recording.from_file(path)
    for start, end in [(0.0, None), (0.2, None), (0.1, 0.3), (1 / 3, 2 / 3), (0.12345, 1.23456), (0.50006, 0.50019)]:
        expected = recording.load_audio(offset=start, duration=None if end is None else end - start)[0]
        found = read(path, start=start, end=end)
        assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_segment_past_the_end(samples: np.ndarray) -> None:
    path, whole = SPEECH / "en.wav", len(samples) / 8000
    message = refused(path, start=0.0, end=whole + 0.51)
    assert f"segment is 0.0 to {whole + 0.51} s" in message and "correct segments" in message
    assert "correct segments" in refused(path, start=whole, end=whole + 0.3)
    # up to half a second too much is cut off, as Kaldi's extract-segments does
    assert (read(path, start=0.0, end=whole + 0.49) == samples).all()


def test_missing_file(tmp_path: Path) -> None:
    assert "no audio file" in refused(tmp_path / "none.wav")
    assert "no audio file" in refused(tmp_path)  # a directory


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.touch()
    assert "not one byte; fetch the file again, or leave it out" in refused(path)


def test_header_without_samples(tmp_path: Path) -> None:
    assert "empty, not one sample; leave it out" in refused(write_wav(tmp_path / "a.wav", np.zeros(0)))


@pytest.mark.parametrize("kept", [30, 44, 45, 1000, 26400])
def test_cut_wav(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.wav"
    whole = (SPEECH / "en.wav").read_bytes()
    path.write_bytes(whole[:kept])
    message = refused(path)
    if kept >= 44:
        assert f"cut off, {len(whole) - kept} bytes are missing; fetch the file again" in message


def test_cut_flac(tmp_path: Path, samples: np.ndarray) -> None:
    soundfile.write(tmp_path / "whole.flac", samples, 8000)
    path = tmp_path / "a.flac"
    path.write_bytes((tmp_path / "whole.flac").read_bytes()[:5000])
    assert "not readable as audio" in refused(path)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000])
def test_wav_of_unknown_length(tmp_path: Path, samples: np.ndarray, length: int) -> None:
    """A program that writes into a pipe cannot know the length: ffmpeg and sox write these."""
    whole = bytearray((SPEECH / "en.wav").read_bytes())
    at = whole.index(b"data")
    whole[at + 4 : at + 8] = whole[4:8] = length.to_bytes(4, "little")
    path = tmp_path / "a.wav"
    path.write_bytes(whole)
    assert (read(path) == samples).all()
    assert (read(f"cat {path} |", allow_pipes=True) == samples).all()


def test_garbage(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert "not readable as audio (Format not recognised" in refused(path)
    path.write_text("<html>404 Not Found</html>\n")
    assert "not readable as audio" in refused(path)


def test_a_file_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(5000))
    assert "not readable as audio" in refused(tmp_path / "a.raw")


def test_resampling(tmp_path: Path, samples: np.ndarray) -> None:
    path = write_wav(tmp_path / "a.wav", samples, 16000)
    halved, rate = read_audio(str(path), NAME, 8000, downsample=True)
    assert rate == 16000 and len(halved) == -(-len(samples) // 2)
    assert np.array_equal(halved, Recording.from_file(path).resample(8000).load_audio()[0])
    with pytest.raises(ValueError, match="sampled at 16000 Hz"):
        read_audio(str(path), NAME, 8000, upsample=True)


@pytest.mark.parametrize("rate", [11025, 22050, 44100])
def test_segments_of_another_rate_are_those_of_lhotse(tmp_path: Path, samples: np.ndarray, rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", samples, rate)
    recording = Recording.from_file(path).resample(8000)
    for start, end in [(0.1, None), (0.14677108048092552, None), (0.21, 0.29), (1 / 7, 0.2), (0.12345, 0.23456)]:
        expected = recording.load_audio(offset=start, duration=None if end is None else end - start)[0]
        found, _ = read_audio(str(path), NAME, 8000, start, end, downsample=True, upsample=True)
        assert np.array_equal(found, expected)


def test_a_part_up_to_the_end_has_no_sample_too_many(samples: np.ndarray) -> None:
    for start in (0.50006, 0.500062, 0.50007, 0.6000625):
        assert np.array_equal(read(SPEECH / "en.wav", start=start), samples[math.floor(start * 8000 + 0.5) :])


@pytest.mark.parametrize("rate", [249, 44101])
def test_rates_that_cannot_be_resampled(tmp_path: Path, samples: np.ndarray, rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", samples, rate)
    assert f"cannot be resampled from {rate} to 8000 Hz" in refused(path, upsample=True, downsample=True)


def test_other_sampling_rate(tmp_path: Path, samples: np.ndarray) -> None:
    message = refused(write_wav(tmp_path / "a.wav", samples, 16000))
    assert "sampled at 16000 Hz, but conf/fbank.conf says 8000; resample" in message


def test_channels(tmp_path: Path, samples: np.ndarray) -> None:
    other = samples[::-1]
    path = write_wav(tmp_path / "a.wav", np.column_stack([samples, other]))
    message = refused(path)
    assert "2 channels; say which one in conf/fbank.conf: --channel=0, 1, ..., or --channel=mix" in message
    assert (read(path, channel=0) == samples).all() and (read(path, channel=1) == other).all()
    assert (read(path, channel="mix") == (samples + other) / 2).all()
    assert (read(path, channel="mix", start=0.25, end=0.75) == ((samples + other) / 2)[2000:6000]).all()
    assert "no channel 2, it has 2; correct --channel" in refused(path, channel=2)
    assert (read(SPEECH / "en.wav", channel=0) == samples).all()  # one channel, by whatever name it is also all of it
    assert (read(SPEECH / "en.wav", channel="mix") == samples).all()
    assert "no channel 1, it has 1" in refused(SPEECH / "en.wav", channel=1)
    halved, rate = read_audio(str(write_wav(path, np.column_stack([other, samples]), 16000)), NAME, 8000,
                              downsample=True, channel=1)  # fmt: skip
    alone = read_audio(str(write_wav(tmp_path / "b.wav", samples, 16000)), NAME, 8000, downsample=True)[0]
    assert rate == 16000 and np.array_equal(halved, alone)


def test_a_silent_channel_is_not_used(tmp_path: Path, samples: np.ndarray) -> None:
    path, meter = tmp_path / "a.wav", ChannelMeter()
    write_wav(path, np.column_stack([0 * samples, samples]))
    with pytest.raises(SilentChannel, match=r"a\.wav: channel 0 is silent, another channel is not; choose that one"):
        read(path, channel=0)
    assert (read(path, channel=1, meter=meter) == samples).all() and meter.verdict() == "channel 0 is silent"
    assert (read(path, channel="mix") == samples / 2).all()
    write_wav(path, np.column_stack([samples, -samples]))
    with pytest.raises(SilentChannel, match="the mean of its channels is silent"):
        read(path, channel="mix")
    write_wav(path, np.column_stack([0 * samples, 0 * samples]))
    assert not read(path, channel=0).any()  # nothing else to choose: it is left out as without speech


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_scale_of_float_files(tmp_path: Path, samples: np.ndarray, subtype: str) -> None:
    path = tmp_path / "a.wav"

    def write(values: np.ndarray) -> None:
        soundfile.write(path, values, 8000, subtype=subtype)

    write(7.9 * samples / np.abs(samples).max())
    assert np.abs(read(path)).max() == np.float32(7.9) and open_recording(path, "u").num_samples == len(samples)
    for values, message in [
        (32768 * samples, rf"float samples up to {np.abs(samples).max() * 32768:g}, where full scale is 1; divide"),
        (np.where(np.arange(len(samples)) == 9000, np.nan, samples), "NaN or Inf among its samples"),
        (np.where(np.arange(len(samples)) == 9000, -np.inf, samples), "NaN or Inf among its samples"),
    ]:
        write(values)
        assert re.search(message, refused(path)) and re.search(message, refused(f"cat {path} |", allow_pipes=True))
        with pytest.raises(ValueError, match=rf"a\.wav: {message}"):
            open_recording(path, "u")


@pytest.mark.parametrize("options", [{}, {"write_function": "soundfile"},
                                     {"write_function": "soundfile", "write_kwargs": {"format": "flac"}}])  # fmt: skip
def test_sound_archives(tmp_path: Path, samples: np.ndarray, options: dict[str, object]) -> None:
    values = np.round(samples * 32768).astype(np.int16)
    scp = tmp_path / "wav.scp"
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u1": (8000, values[:9000]), "u2": (8000, values)}, str(scp), **options)
    first, second = (line.split(None, 1)[1] for line in scp.read_text().splitlines())
    assert (read(first) == samples[:9000]).all() and (read(second, start=0.25, end=0.75) == samples[2000:6000]).all()
    data = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "a.ark").write_bytes(data[:-2000])
    assert (read(first) == samples[:9000]).all() and "cut off" in refused(second)
    assert "no WAV or FLAC at byte 0 of the archive" in refused(f"{tmp_path}/a.ark:0")
    with pytest.raises(ValueError, match=rf"no audio file {tmp_path}/b\.ark; correct the path"):
        read(f"{tmp_path}/b.ark:4")


def test_flac_in_an_archive_ends_where_it_says(tmp_path: Path, samples: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", samples, 8000)
    one = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.ark").write_bytes(b"u1 " + one + b"u2 " + one)
    assert all((read(f"{tmp_path}/a.ark:{place}") == samples).all() for place in (3, 6 + len(one)))


@pytest.mark.parametrize("write", [{"write_function": "pickle"}, {"write_function": "numpy"}, {}])
def test_archives_of_something_else(tmp_path: Path, write: dict[str, str]) -> None:
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u1": np.ones(9, np.float32)}, **write)
    assert "no WAV or FLAC at byte 3 of the archive" in refused(f"{tmp_path}/a.ark:3")


def test_a_relative_path_is_looked_for_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"no audio file wav/a.wav (looked for {tmp_path}/wav/a.wav); correct the path" in refused("wav/a.wav")
    with pytest.raises(ValueError, match=rf"no audio file a\.ark \(looked for {tmp_path}/a\.ark\)"):
        read("a.ark:3")
    write_wav(tmp_path / "a:3", np.ones(9) / 2)
    assert len(read("a:3")) == 9


def test_pipes(tmp_path: Path, samples: np.ndarray) -> None:
    command = f"cat {SPEECH / 'en.wav'} |"
    assert "commands are not run; give --allow-pipes true" in refused(command)
    assert (read(command, allow_pipes=True) == samples).all()
    assert (read(command, start=0.25, end=0.75, allow_pipes=True) == samples[2000:6000]).all()


def test_refused_pipe_is_not_run(tmp_path: Path) -> None:
    refused(f"touch {tmp_path / 'ran'} |")
    assert not (tmp_path / "ran").exists()


def test_pipe_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"utterance u1: command 'exit 7' ended with 7; run it by itself"):
        read("exit 7 |", allow_pipes=True)


@pytest.mark.parametrize("command", ["true |", "echo no audio |"])
def test_pipe_without_audio(command: str) -> None:
    assert "not readable as audio" in refused(command, allow_pipes=True)
