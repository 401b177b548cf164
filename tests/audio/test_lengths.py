"""Lengths: every container's true number of samples, also where its header has none, and cut files are named."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from replicas.sound import write_sphere
from sounds import RATE, SAMPLES, cut, decoded, encode, needs_ffmpeg, read_all, refused, write

from flowlid.audio import mpeg, pcm
from flowlid.audio.headers import blocks, open_recording
from flowlid.audio.samples import read_audio

FORMS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")


def set_length(path: Path, length: int) -> None:
    """Write a length into each place of a header that has one."""
    data = bytearray(path.read_bytes())
    with open(path, "rb") as file:
        found = pcm._PLACES[bytes(data[:4])](file)
    for offset, form, _, _ in found.fields:
        struct.pack_into(form, data, offset, length & (2 ** (8 * struct.calcsize(form)) - 1))
    path.write_bytes(data)


def as_int16(samples: np.ndarray) -> np.ndarray:
    return np.round(samples * 32768).astype(np.int16)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_whole_files(form: str, subtype: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form, subtype, SAMPLES / 32768)
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keep", [0.3, 0.999])
def test_cut_files(form: str, keep: float, tmp_path: Path) -> None:
    refused(cut(write(tmp_path / "a", form), keep), "cut off, [0-9]+ bytes are missing; fetch the file again")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [0, -1, 0x7FFFFFFF, 0x80000000 - 36, 0x7FFFF000])
def test_files_of_unknown_length_are_read_to_the_end(form: str, length: int, tmp_path: Path) -> None:
    if length > 0 and form in ("RF64", "W64", "CAF"):
        length = (length << 32) - 1  # of 64 bits
    set_length(path := write(tmp_path / "a", form), length)
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)
    if form not in ("RF64", "W64", "CAF"):
        set_length(path, 0x90000000)  # no mark, but no length either
        assert np.array_equal(as_int16(read_all(path)), SAMPLES)
    path.write_bytes(path.read_bytes()[:-1])  # half a sample is no sample
    assert len(read_all(path)) == len(SAMPLES) - 1


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "W64", "CAF"])
def test_a_length_of_less_than_a_sample_too_much(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form)
    data = path.read_bytes()
    with open(path, "rb") as file:
        found = pcm._PLACES[data[:4]](file)
    offset, kind, more, _ = found.fields[-1 if form == "AIFF" else 0]
    changed = bytearray(data)
    struct.pack_into(kind, changed, offset, found.promised + more + 1)
    path.write_bytes(changed)
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)


@pytest.mark.parametrize("form", ["WAV", "AIFF", "FLAC"])
def test_tags_before_the_sound(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form)
    path.write_bytes(b"ID3\4\0\0\0\0\0\x15".ljust(31, b"\0") + path.read_bytes())
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)
    refused(cut(path), "cut off")


def test_a_wav_file_without_samples_stays_empty(tmp_path: Path) -> None:
    with soundfile.SoundFile(path := tmp_path / "a.wav", "w", RATE, 1, "PCM_16") as file:
        file.write(SAMPLES[:0])
        file.title = "a chunk after no samples"
    refused(path, "empty, not one sample")


@pytest.mark.parametrize(
    "count", ["sample_count -i 0", "sample_rand -i 9", "sample_count -i -1", "sample_count -i 2147483647"]
)
def test_sphere_without_a_count(count: str, tmp_path: Path) -> None:
    path = write_sphere(tmp_path / "a.sph", SAMPLES, {"database_id": "invented"})
    data = path.read_bytes()
    header = data[:1024].replace(f"sample_count -i {len(SAMPLES)}\n".encode(), f"{count}\n".encode())
    path.write_bytes(header.ljust(1024)[:1024] + data[1024:])
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)


def test_sphere_ends_where_its_header_says(tmp_path: Path) -> None:
    path = write_sphere(tmp_path / "a.sph", SAMPLES, {"database_id": "invented"})
    refused(cut(path), "cut off, [0-9]+ bytes are missing")
    path.write_bytes(path.read_bytes() + bytes(300))
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)


@pytest.mark.parametrize("total", [0, 2**36 - 1])
def test_flac_of_unknown_length(total: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "FLAC")
    data = bytearray(path.read_bytes())
    data[21:26] = (int.from_bytes(data[21:26], "big") & ~(2**36 - 1) | total).to_bytes(5, "big")
    path.write_bytes(data)
    assert np.array_equal(as_int16(read_all(path)), SAMPLES)
    for keep in (0.3, 0.9999):
        refused(cut(path, keep), "cut off, its last frame is not whole")
    path.write_bytes(data + b"TAG".ljust(128))
    assert len(read_all(path)) == len(SAMPLES)


@pytest.mark.parametrize("keep", [0.3, 0.9999])
def test_cut_flac(keep: float, tmp_path: Path) -> None:
    refused(cut(write(tmp_path / "a.flac", "FLAC"), keep), "cut off")


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_ogg(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", "OGG", codec)
    one = read_all(path)
    assert len(one) == len(SAMPLES)
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(3 * path.read_bytes())
    assert np.array_equal(read_all(chained), np.tile(one, 3))
    refused(cut(path), "cut off within a page of Ogg")
    refused(cut(chained), "cut off within a page of Ogg")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS")])  # between two pages
    refused(path, "cut off: the page that should be its last is not there")
    path.write_bytes(path.read_bytes() + data)
    refused(path, "cut off: a stream in it has no last page")


def test_ogg_streams_that_do_not_fit_together(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{rate}.ogg", "OGG", "VORBIS", rate=rate).read_bytes() for rate in (RATE, 8000)]
    (tmp_path / "a.ogg").write_bytes(b"".join(parts))
    refused(tmp_path / "a.ogg", "streams of different .rate, channels.: .*write each to a file of its own")


def mp3(path: Path, rate: int = RATE) -> tuple[bytes, int, int]:
    """An MP3 file's bytes, where its sound begins, and how many frames it has, as its first frame says."""
    data = write(path, "MP3", rate=rate).read_bytes()
    tag = min(data.find(name) % len(data) for name in (b"Xing", b"Info"))
    begin = data.index(data[:2], tag)  # the header of the next frame
    return data, begin, int.from_bytes(data[tag + 8 : tag + 12], "big")


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_mp3_that_does_not_say_its_length(rate: int, tmp_path: Path) -> None:
    data, begin, frames = mp3(tmp_path / "a.mp3", rate)
    assert len(read_all(tmp_path / "a.mp3")) == len(SAMPLES)
    (tmp_path / "b.mp3").write_bytes(data[begin:])
    assert len(read_all(tmp_path / "b.mp3")) == frames * (1152 if rate > 32000 else 576)
    refused(cut(tmp_path / "a.mp3"), "cut off, [0-9]+ of [0-9]+ frames are missing", rate)
    refused(cut(tmp_path / "b.mp3"), "cut off, [0-9]+ bytes of its last frame are missing", rate)


def test_mp3_that_was_joined(tmp_path: Path) -> None:
    data, begin, frames = mp3(tmp_path / "a.mp3")
    id3 = b"ID3\4\0\0\0\0\0\x14".ljust(30, b"\0")
    path = tmp_path / "joined.mp3"
    path.write_bytes(id3 + data + id3 + data + b"TAG".ljust(128))
    joined = read_all(path)
    assert 2 * len(SAMPLES) <= len(joined) <= 2 * frames * 576
    path.write_bytes(data + data[begin:] + data)
    assert len(read_all(path)) == len(joined) + frames * 576
    other = write(tmp_path / "other.mp3", "MP3", rate=8000).read_bytes()
    path.write_bytes(data + other)
    refused(path, "changes at byte [0-9]+ to 8000 Hz and one channel; split it there")


def test_mp3_that_lacks_a_frame_in_the_middle(tmp_path: Path) -> None:
    data, begin, _ = mp3(path := tmp_path / "a.mp3")
    for damaged in (data, data[begin:]):
        place = damaged.index(data[begin : begin + 2], 2000)
        path.write_bytes(damaged[:place] + b"\x7f" + damaged[place + 1 :])
        refused(path, f"damaged: no frame of MPEG audio at byte {place}")


def test_mp3_after_something_else(tmp_path: Path) -> None:
    data, begin, frames = mp3(tmp_path / "a.mp3")
    path = tmp_path / "b.mp3"
    path.write_bytes(bytes(700) + data[begin:])
    assert open_recording(path, "u").num_samples == len(read_audio(str(path), "u", RATE)[0]) == frames * 576


@pytest.mark.parametrize(
    ("old", "new"),
    [("sample_rate -i 16000", "sample_rate -r inf"), ("sample_rate -i 16000", "sample_rate -i 0"),
     ("channel_count -i 1", "channel_count -i -1"), ("sample_n_bytes -i 2", "sample_n_bytes -s1 x")],
)  # fmt: skip
def test_sphere_with_numbers_that_cannot_be(old: str, new: str, tmp_path: Path) -> None:
    path = write_sphere(tmp_path / "a.sph", SAMPLES, {"database_id": "invented"})
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    refused(path, "its SPHERE header (cannot be read|has a rate, channels or bytes below 1)")


def test_a_length_that_is_too_short_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "FLAC")
    data = bytearray(path.read_bytes())
    data[21:26] = (int.from_bytes(data[21:26], "big") ^ 64).to_bytes(5, "big")
    path.write_bytes(data)
    refused(path, f"damaged: its header promises {len(SAMPLES) ^ 64} samples, it has {len(SAMPLES)}")
    set_length(path := write(tmp_path / "a.WAV", "WAV"), 9000)
    refused(path, "damaged: its header promises [0-9]+ bytes of samples, and [0-9]+ more follow them that are no")
    set_length(path := write(tmp_path / "a.AIFF", "AIFF"), 9000)
    refused(path, "damaged: its header promises 18000 bytes of samples in COMM and 8992 in SSND")
    path = write_sphere(tmp_path / "a.sph", SAMPLES, {"database_id": "invented"})
    path.write_bytes(path.read_bytes().replace(b"count -i %d" % len(SAMPLES), b"count -i %04d" % 9))
    refused(path, "damaged: its header promises 9 samples, and [0-9]+ more bytes follow them")


def test_a_flac_header_of_another_rate_than_its_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "FLAC")
    data = bytearray(path.read_bytes())
    rate = int.from_bytes(data[18:21], "big") >> 4
    data[18:21] = (int.from_bytes(data[18:21], "big") ^ 1 << 4).to_bytes(3, "big")
    path.write_bytes(data)
    refused(path, f"damaged: its header says {rate ^ 1} Hz, its frames {rate}; fetch the file again")


def test_an_au_file_that_goes_on_after_its_samples(tmp_path: Path) -> None:
    set_length(path := write(tmp_path / "a.AU", "AU"), 9000)
    refused(path, "damaged: its header promises 9000 bytes of samples, and [0-9]+ more follow them that are no chunk")


def test_an_mp3_whose_last_frame_is_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", "MP3")
    data = path.read_bytes()
    last = mpeg._scan(data).audio[-1][0]
    path.write_bytes(data[:last] + bytes(len(data) - last))
    refused(path, "cut off, 1 of [0-9]+ frames are missing")


def test_samples_of_other_bits_than_aiff_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.AIFF", "AIFF")
    data = bytearray(path.read_bytes())
    bits = data.index(b"COMM") + 14
    assert struct.unpack_from(">H", data, bits) == (16,)
    struct.pack_into(">H", data, bits, 24)
    path.write_bytes(data)
    refused(path, f"damaged: its header promises {3 * len(SAMPLES)} bytes of samples in COMM and {2 * len(SAMPLES)} in")


@pytest.mark.parametrize("form", ["WAV", "RF64", "W64", "CAF"])
def test_frames_too_small_for_their_samples(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form)
    data = bytearray(path.read_bytes())
    bits, order = (48, ">I") if form == "CAF" else (data.index(b"fmt ") + (22 if form != "W64" else 38), "<H")
    assert struct.unpack_from(order, data, bits) == (16,)
    struct.pack_into(order, data, bits, 32)
    path.write_bytes(data)
    refused(path, "damaged: its header says frames of 2 bytes for 1 channels of 32 bits")


def test_flac_that_promises_more_than_it_can_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "FLAC")
    data = bytearray(path.read_bytes())
    data[21:26] = (int.from_bytes(data[21:26], "big") & ~(2**36 - 1) | 2**36 - 2).to_bytes(5, "big")
    path.write_bytes(data)
    refused(path, "damaged: its header promises 68719476734 samples in [0-9]+ bytes")


@pytest.mark.parametrize("name", ["a.caf", "a.w64"])
def test_chunks_that_go_beyond_any_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, name[2:].upper())
    data = bytearray(path.read_bytes())
    place = 12 if name == "a.caf" else 56  # the length of the first chunk
    data[place : place + 8] = b"\xf0" * 8
    path.write_bytes(data)
    refused(path, name)


@needs_ffmpeg
@pytest.mark.parametrize("options", [("-b:a", "64k"), ("-q:a", "7"), ("-ac", "1", "-ar", "22050")])
def test_mp3_from_a_pipe_is_what_ffmpeg_decodes(options: tuple[str, ...], tmp_path: Path) -> None:
    loud = np.concatenate([voice_like(2 * RATE), np.zeros(10 * RATE, np.int16)])
    path = encode(tmp_path / "a.mp3", *options, "-write_xing", "0", "-f", "mp3", samples=loud)
    expected, found = decoded(path), read_all(path)
    assert len(found) == len(expected) and np.abs(found - expected / 32768).max() < 1e-3
    path.write_bytes(3 * encode(path, *options, samples=loud).read_bytes())
    assert len(read_all(path)) == len(decoded(path))


def voice_like(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-9000, 9000, count).astype(np.int16)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.aac", ()), ("a.m4a", ()), ("a.mp4", ("-movflags", "+faststart")), ("a.webm", ("-c:a", "libopus")),
     ("b.webm", ("-c:a", "libopus", "-f", "webm")), ("a.mp2", ())],
)  # fmt: skip
def test_what_ffmpeg_decodes(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    path = encode(tmp_path / name, *options)
    found = read_all(path)
    assert (
        np.array_equal(as_int16(found), decoded(path)) and 0 <= len(found) * RATE / rate_of(path) - len(SAMPLES) < 2400
    )
    assert np.array_equal(np.concatenate(list(blocks(open_recording(path, "u"))))[:, 0], found)
    refused(cut(path), "cut off", rate_of(path))


def rate_of(path: Path) -> int:
    return 48000 if path.suffix == ".webm" else RATE


@needs_ffmpeg
@pytest.mark.parametrize("form", ["aiff", "au", "caf", "flac", "w64", "wav", "ogg", "opus"])
def test_what_ffmpeg_writes_into_a_pipe(form: str, tmp_path: Path) -> None:
    path = encode(tmp_path / f"a.{form}", "-f", form)
    found = read_all(path)
    assert len(found) == len(SAMPLES)
    assert form in ("ogg", "opus") or np.array_equal(as_int16(found), SAMPLES)
