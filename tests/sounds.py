"""Sound files for the tests of this folder, and the three ways in which a user hands one over."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from replicas.sound import voice

from flowlid.audio.headers import open_recording
from flowlid.audio.samples import read_audio

RATE = 16000
SAMPLES = voice("ann", "native", 1.5)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def write(path: Path, form: str, subtype: str | None = None, samples: np.ndarray = SAMPLES, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, format=form, subtype=subtype)
    return path


def encode(path: Path, *options: str, samples: np.ndarray = SAMPLES) -> Path:
    """Samples as ffmpeg writes them into a file; options "-f FORM" and "-" are for a pipe."""
    source = write(path.with_name("source.wav"), "WAV", samples=samples)
    pipe = ["-"] if "-f" in options else [str(path)]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), *options, *pipe]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    if done.stdout:
        path.write_bytes(done.stdout)
    return path


def decoded(path: Path) -> np.ndarray:
    """Every sample that ffmpeg decodes, (n,) int16."""
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", str(path), "-f", "s16le", "-c:a", "pcm_s16le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, "<i2")


def read_all(path: Path) -> np.ndarray:
    """Samples of a mono file as stage 2 reads them: the same by path, through a pipe, and as many as stage 0 counts."""
    recording = open_recording(path, "u")
    samples, rate = read_audio(str(path), "u", recording.sampling_rate)
    piped, _ = read_audio(f"cat '{path}' |", "u", rate, allow_pipes=True)
    part, _ = read_audio(str(path), "u", rate, start=0.25, end=0.5)
    assert recording.num_samples == len(samples) and np.array_equal(samples, piped)
    first = -(-rate // 4)
    assert abs(len(part) - first) <= 1 and np.allclose(
        part, samples[first : first + len(part)], atol=1e-3
    )  # codecs differ after a jump
    return samples


def refused(path: Path, message: str, rate: int = RATE) -> None:
    """Each of the three ways ends with an error that names the file and says the message."""
    for way in (
        lambda: open_recording(path, "u"),
        lambda: read_audio(str(path), "u", rate),
        lambda: read_audio(f"cat '{path}' |", "u", rate, allow_pipes=True),
    ):
        with pytest.raises(ValueError, match=message) as error:
            way()
        assert str(path) in str(error.value)


def cut(path: Path, keep: float = 0.6) -> Path:
    """The first share of a file's bytes, beside it."""
    data = path.read_bytes()
    place = path.with_name(f"cut-{path.name}")
    place.write_bytes(data[: round(keep * len(data))])
    return place
