"""Recordings opened by their headers: SPHERE, plain and shorten-coded, AAC, RIFF and FLAC, whole, cut and broken."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from replicas import shorten
from replicas.sound import voice, write_flac, write_riff, write_sphere
from replicas.wsj import write_wv

from flowlid.audio.headers import open_recording
from flowlid.audio.samples import read_audio
from flowlid.audio.sphere import read_header

RATE = 16000
SAMPLES = voice("ann", "native", 0.5)
ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def sphere(path: Path, **fields: str | int) -> Path:
    """SAMPLES in plain PCM."""
    return write_sphere(path, SAMPLES, {"database_id": "invented", **fields})


def edit(path: Path, old: bytes, new: bytes) -> Path:
    """Replace a text of the file's first bytes by another of the same length."""
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def header_of(path: Path) -> dict[str, str | int | float]:
    with open(path, "rb") as file:
        return read_header(file)


def samples_of(path: Path) -> np.ndarray:
    """What lhotse reads, int16 of shape (n,)."""
    return np.round(32768 * open_recording(path, "u").load_audio()[0]).astype(np.int16)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["a.wv1", "A.WAV", "a.wav", "a"])
def test_plain_sphere_may_have_any_suffix(name: str, tmp_path: Path) -> None:
    path = sphere(tmp_path / name, sample_coding="pcm")
    recording = open_recording(path, "u")
    assert (recording.id, recording.sampling_rate, recording.num_samples) == ("u", RATE, len(SAMPLES))
    assert recording.duration == len(SAMPLES) / RATE and recording.sources[0].type == "file"
    assert np.array_equal(samples_of(path), SAMPLES)


def test_a_sphere_header_is_read_by_its_types(tmp_path: Path) -> None:
    path = sphere(tmp_path / "a.wv1", prompt_id="two words", sample_coding="pcm")
    header = header_of(path)
    assert header["header_size"] == 1024 and header["sample_rate"] == RATE and header["sample_n_bytes"] == 2
    assert header["prompt_id"] == "two words" and header["sample_byte_format"] == "01"
    edit(path, b"sample_sig_bits -i 16", b"sample_sig_bits -r 16")
    assert isinstance(header_of(path)["sample_sig_bits"], float)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"   1024\n", b"   10x4\n"), (b"end_head", b"end_herd"), (b"sample_rate -i", b"sample_rate-i "),
     (b"sample_rate -i 16000", b"sample_rate -i 16k00")],
)  # fmt: skip
def test_a_broken_sphere_header_is_named(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = edit(sphere(tmp_path / "a.wv1"), old, new)
    with pytest.raises(ValueError, match=r"a\.wv1: its SPHERE header cannot be read .*fetch the file again"):
        open_recording(path, "u")


def test_a_sphere_header_without_a_rate_is_named(tmp_path: Path) -> None:
    path = edit(sphere(tmp_path / "a.wv1"), b"sample_rate -i", b"sample_rata -i")
    with pytest.raises(ValueError, match=r"a\.wv1: its SPHERE header has no 'sample_rate'"):
        open_recording(path, "u")


@pytest.mark.parametrize("left", [4, 500])
def test_a_sphere_file_cut_within_its_header_is_named(left: int, tmp_path: Path) -> None:
    path = sphere(tmp_path / "a.wv1")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"a\.wv1"):
        open_recording(path, "u")


@pytest.mark.parametrize("missing", [2, 5000])
def test_a_cut_sphere_file_is_named(missing: int, tmp_path: Path) -> None:
    path = sphere(tmp_path / "a.wv1")
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=rf"a\.wv1: cut off, {missing} bytes are missing"):
        open_recording(path, "u")


@ffmpeg
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("length", [1, 255, 256, 257, 8000])
def test_shorten_is_decoded_to_the_very_samples(version: int, length: int, tmp_path: Path) -> None:
    header = {"database_id": "wsj0", "sample_coding": f"pcm,embedded-shorten-v{version}.00"}
    own = SAMPLES[-length:]
    path = write_sphere(tmp_path / "a.wv1", own, header, payload=shorten.encode(own, version))
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-f", "wav", "-"]
    decoded, rate = soundfile.read(io.BytesIO(subprocess.run(command, capture_output=True).stdout), dtype="int16")
    assert rate == RATE and np.array_equal(decoded, own)


@ffmpeg
def test_extreme_samples_survive_shorten(tmp_path: Path) -> None:
    own = np.random.default_rng(0).choice(np.array([-32768, -1, 0, 1, 32767], np.int16), 700)
    path = write_sphere(
        tmp_path / "a.wv1", own, {"sample_coding": "pcm,embedded-shorten-v2.00"}, payload=shorten.encode(own)
    )
    if not shutil.which("sph2pipe"):
        assert np.array_equal(samples_of(path), own)


@ffmpeg
def test_shorten_is_read_through_ffmpeg(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (programs / "ffmpeg").symlink_to(shutil.which("ffmpeg"))
    monkeypatch.setenv("PATH", f"{programs}:/bin")  # lhotse and datadir need a shell
    path = write_wv(tmp_path / "it's one of mine" / "01ic0201.wv1", SAMPLES, "shorten")
    recording = open_recording(path, "u")
    assert (recording.sampling_rate, recording.num_samples) == (RATE, len(SAMPLES))
    assert (recording.sources[0].type, recording.sources[0].source.split()[0]) == ("command", "ffmpeg")
    assert np.array_equal(samples_of(path), SAMPLES)
    found, rate = read_audio(f"{recording.sources[0].source} |", "u", RATE, allow_pipes=True)
    assert rate == RATE and np.array_equal(np.round(32768 * found).astype(np.int16), SAMPLES)


def test_sph2pipe_is_taken_before_ffmpeg(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wv(tmp_path / "my discs" / "01ic0201.wv1", SAMPLES, "shorten")
    decoded = write_riff(tmp_path / "decoded.wav", SAMPLES)
    program(programs / "ffmpeg", "exit 1")
    program(programs / "sph2pipe", f'echo "$@" > {tmp_path}/arguments; cat {decoded}')
    recording = open_recording(path, "u")
    assert (recording.sources[0].type, recording.num_samples) == ("command", len(SAMPLES))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    assert np.array_equal(np.round(32768 * recording.load_audio()[0]), SAMPLES)
    assert (tmp_path / "arguments").read_text() == f"-f wav -p -c 1 {path}\n"


def test_shorten_without_a_decoder_names_both(tmp_path: Path, programs: Path) -> None:
    path = write_wv(tmp_path / "01ic0201.wv1", SAMPLES, "shorten")
    message = r"01ic0201\.wv1: SPHERE coded as pcm,embedded-shorten-v1\.09; install sph2pipe or ffmpeg to decode it"
    with pytest.raises(ValueError, match=message):
        open_recording(path, "u")
    assert open_recording(write_wv(tmp_path / "01ic0202.wv1", SAMPLES), "u").num_samples == len(SAMPLES)  # plain


def test_plain_sphere_called_sph_needs_no_sph2pipe(tmp_path: Path, programs: Path) -> None:
    recording = open_recording(sphere(tmp_path / "a.sph"), "u")
    found, rate = read_audio(recording.sources[0].source, "u", RATE)
    assert rate == RATE and np.array_equal(np.round(32768 * found), SAMPLES)


@pytest.mark.parametrize("name", ["a.wav", "A.WAV", "a.wv1"])
def test_riff_may_have_any_suffix(name: str, tmp_path: Path) -> None:
    path = write_riff(tmp_path / name, SAMPLES)
    assert open_recording(path, "u").num_samples == len(SAMPLES)
    assert np.array_equal(samples_of(path), SAMPLES)


@pytest.mark.parametrize("missing", [2, 5000])
def test_a_cut_wav_is_named(missing: int, tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", SAMPLES)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=rf"a\.wav: cut off, {missing} bytes are missing"):
        open_recording(path, "u")


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_written_as_a_stream_lacks_nothing(length: int, tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", SAMPLES)
    data = path.read_bytes()
    place = data.index(b"data") + 4
    path.write_bytes(data[:place] + length.to_bytes(4, "little") + data[place + 4 :])
    assert open_recording(path, "u").num_samples == len(SAMPLES)


def test_chunks_before_the_samples_are_passed_over(tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", SAMPLES)
    data = path.read_bytes()
    odd = b"note" + (3).to_bytes(4, "little") + b"abc\0"  # filled to an even length
    place = data.index(b"data")
    path.write_bytes(data[:place] + odd + data[place:])
    assert np.array_equal(samples_of(path), SAMPLES)
    path.write_bytes(data[:place] + odd + data[place:-7])
    with pytest.raises(ValueError, match=r"a\.wav: cut off, 7 bytes are missing"):
        open_recording(path, "u")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_cut_flac_is_named(share: float, tmp_path: Path) -> None:
    path = write_flac(tmp_path / "a.flac", SAMPLES)
    assert np.array_equal(samples_of(path), SAMPLES)
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    with pytest.raises(ValueError, match=r"a\.flac: .*(fetch the file again|convert or remove it)"):
        open_recording(path, "u")


def test_what_is_no_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with pytest.raises(ValueError, match=r"no audio file .*a\.wav"):
        open_recording(path, "u")
    path.touch()
    with pytest.raises(ValueError, match=r"a\.wav: empty, not one byte"):
        open_recording(path, "u")
    path.write_text("no sound at all\n" * 9)
    with pytest.raises(ValueError, match=r"a\.wav: not readable as audio"):
        open_recording(path, "u")
    with pytest.raises(ValueError, match=r"b\.wav: empty, not one sample"):
        open_recording(write_riff(tmp_path / "b.wav", SAMPLES[:0]), "u")
    with pytest.raises(ValueError, match=r"c\.wav: 2 channels"):
        open_recording(write_riff(tmp_path / "c.wav", np.stack([SAMPLES, SAMPLES], axis=1)), "u")


def test_two_channels_of_sphere_are_named(tmp_path: Path) -> None:
    path = edit(sphere(tmp_path / "a.wv1"), b"channel_count -i 1", b"channel_count -i 2")
    edit(path, b"sample_count -i 8000", b"sample_count -i 4000")
    with pytest.raises(ValueError, match=r"a\.wv1: 2 channels"):
        open_recording(path, "u")


def encode_aac(path: Path) -> Path:
    """SAMPLES as AAC."""
    source = write_riff(path.with_suffix(".wav"), SAMPLES)
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)
    return path


@ffmpeg
def test_aac_is_read_through_ffmpeg(tmp_path: Path) -> None:
    recording = open_recording(encode_aac(tmp_path / "it's 00001.m4a"), "u")
    assert recording.sampling_rate == RATE and recording.sources[0].type == "command"
    assert recording.num_samples % 1024 == 0 and recording.duration == pytest.approx(0.5, abs=0.07)  # AAC's frames
    found = recording.load_audio()[0]
    assert found.shape == (recording.num_samples,)
    heard = max(np.corrcoef(found[shift : shift + 6000], SAMPLES[:6000])[0, 1] for shift in range(0, 1500))
    assert heard > 0.9
    again, rate = read_audio(f"{recording.sources[0].source} |", "u", RATE, allow_pipes=True)
    assert rate == RATE and np.array_equal(again, found)


@ffmpeg
def test_what_is_no_aac_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_text("no sound at all\n" * 9)
    with pytest.raises(ValueError, match=r"a\.m4a: .*not readable as AAC \(.+\); fetch the file again"):
        open_recording(path, "u")
    data = encode_aac(tmp_path / "b.m4a").read_bytes()
    (tmp_path / "b.m4a").write_bytes(data[: len(data) // 2])  # its table of contents is at its end
    with pytest.raises(ValueError, match=r"b\.m4a: .*not readable as MP4"):
        open_recording(tmp_path / "b.m4a", "u")


def test_aac_without_a_decoder_names_it(tmp_path: Path, programs: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0" * 99)
    with pytest.raises(ValueError, match=r"a\.m4a: AAC; install ffmpeg to decode it"):
        open_recording(path, "u")


@ffmpeg
@pytest.mark.parametrize("damage", ["drop", "zeros", "other"])
def test_aac_with_something_between_its_frames(damage: str, tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", SAMPLES)
    coded = tmp_path / "a.aac"
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-c:a", "aac", "-f", "adts", coded], check=True)
    data = bytearray(coded.read_bytes())
    second = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    first = bytes(data[:second])
    if damage == "drop":
        del data[second - 5 : second]
    elif damage == "zeros":
        data[second : second + 100] = bytes(100)
    else:
        data[second + 2] ^= 1 << 2  # another rate
    coded.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.aac: damaged: no frame of its AAC at byte [0-9]+; fetch the file again"):
        open_recording(coded, "a")
    coded.write_bytes(first + bytes(500))  # padding is no sound
    assert open_recording(coded, "a").num_samples == 1024


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xe4.wav")
    shutil.copy(write_riff(tmp_path / "a.wav", SAMPLES), path)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/.udce4\.wav: its name is not UTF-8; rename it"):
        open_recording(path, "a")
