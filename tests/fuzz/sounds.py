"""Sound files of each container that libsndfile writes, read by their path and as the output of a command."""

import io
import re
import shlex
import struct
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile

from flowlid.audio.channels import MIX
from flowlid.audio.headers import open_recording
from flowlid.audio.samples import read_audio

from . import fields
from .fields import Field, set_field
from .kinds import Kind, tone
from .mutations import BYTES, Mutation, flip_head

RATE = 8000
SECONDS = 0.5
PACKETS = {".webm": 960, ".aac": 1024}  # samples of a packet; those of Opus are of 20 ms, at 48 kHz
TAIL = 512
UNCHECKED = (".wav", ".wav24", ".wavfloat", ".wavulaw", ".wavadpcm", ".rf64", ".w64", ".aiff", ".au", ".caf", ".sph")
LOUDEST = 4.0  # peak from which on samples are not believable


def _header_line(random: Random, data: bytes) -> bytes:
    """Another number in the text header of a SPHERE file, which keeps its length."""
    found = list(re.finditer(rb"-i (\d+)\n", data[:1024]))
    if not found:
        return data
    match = random.choice(found)
    old = int(match[1])
    new = random.choice((0, 1, old + 1, old - 1, 2 * old, old // 2, 2**31, 10**18))
    text, end = b"-i %d\n" % new, data.find(b"end_head\n") + 9
    head = data[: match.start()] + text + data[match.end() : end]
    return head.ljust(1024, b" ")[:1024] + data[1024:]


def _lie_in_riff(random: Random, data: bytes) -> bytes:
    """A chunk doubled, dropped, put elsewhere or put in: in any order, as the format allows or not."""
    chunks, start = [], 12
    while start + 8 <= len(data):
        end = start + 8 + (size := int.from_bytes(data[start + 4 : start + 8], "little")) + size % 2
        chunks.append(data[start:end])
        start = end
    if not chunks:
        return data
    place = random.randrange(len(chunks))
    extra = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    action = random.choice(("double", "drop", "move", "insert"))
    if action == "double":
        chunks.append(chunks[place])
    elif action == "insert":
        chunks.insert(place, random.choice((extra, b"junk" + struct.pack("<I", 0), b"fact" + struct.pack("<II", 4, 9))))
    else:
        chunk = chunks.pop(place)
        chunks += [chunk] if action == "move" else []
    return data[:4] + struct.pack("<I", 4 + sum(map(len, chunks))) + data[8:12] + b"".join(chunks)


# name -> format and subtype of libsndfile, fields, further mutations
FORMATS: dict[str, tuple[str, str, Callable[[bytes], list[Field]], tuple[Mutation, ...]]] = {
    "wav": ("WAV", "PCM_16", fields.riff, (_lie_in_riff,)),
    "wav24": ("WAVEX", "PCM_24", fields.riff, (_lie_in_riff,)),
    "wavfloat": ("WAV", "FLOAT", fields.riff, (_lie_in_riff,)),
    "wavulaw": ("WAV", "ULAW", fields.riff, (_lie_in_riff,)),
    "wavadpcm": ("WAV", "IMA_ADPCM", fields.riff, (_lie_in_riff,)),
    "rf64": ("RF64", "PCM_16", fields.rf64, ()),
    "w64": ("W64", "PCM_16", fields.w64, ()),
    "aiff": ("AIFF", "PCM_16", fields.aiff, ()),
    "au": ("AU", "PCM_16", fields.au, ()),
    "caf": ("CAF", "PCM_16", fields.caf, ()),
    "sph": ("NIST", "PCM_16", lambda data: [(8, 8, "big")], (_header_line,)),
    "flac": ("FLAC", "PCM_16", fields.flac, ()),
    "ogg": ("OGG", "VORBIS", fields.ogg, ()),
    "opus": ("OGG", "OPUS", fields.ogg, ()),
    "mp3": ("MP3", "MPEG_LAYER_III", fields.mp3, ()),
}


def _make(name: str, place: Path) -> None:
    form, subtype, *_ = FORMATS[name]
    content = io.BytesIO()
    soundfile.write(content, tone(SECONDS, 1, RATE), RATE, format=form, subtype=subtype)
    (place / f"a.{name}").write_bytes(content.getvalue())


def _by_path(name: str, place: Path) -> dict[str, Any]:
    """Samples of a file as stage 2 reads them, after it was opened as stage 0 does."""
    path = place / f"a.{name}"
    recording = open_recording(path, "a")
    source = recording.sources[0]  # ffmpeg's command, as stage 1 writes it to wav.scp, or the file
    specifier = str(path) if source.type == "file" else f"{source.source} |"
    found = read_audio(specifier, f"{place}/wav.scp: utterance a", recording.sampling_rate, allow_pipes=True)
    return _value(*found, recording.num_samples)


def _by_pipe(name: str, place: Path) -> dict[str, Any]:
    command = f"cat {shlex.quote(str(place / f'a.{name}'))} |"
    return _value(*read_audio(command, f"{place}/wav.scp: utterance a", RATE, allow_pipes=True))


def _resampled(name: str, place: Path) -> dict[str, Any]:
    path = str(place / f"a.{name}")
    return _value(*read_audio(path, f"{place}/wav.scp: utterance a", 2 * RATE, upsample=True))


def _value(samples: np.ndarray, rate: int, promised: int | None = None) -> dict[str, Any]:
    count = len(samples)
    return {"samples": count, "rate": rate, "promised": promised or count, "content": samples.tobytes()}


def _check(place: Path, value: dict[str, Any], undamaged: dict[str, Any], mutations: Sequence[str]) -> str | None:
    """A sound that is as long as what was written, however it sounds."""
    count, wanted = value["samples"], undamaged["samples"]
    samples = np.frombuffer(value["content"], np.float32)
    (path,) = place.iterdir()
    if count < wanted - _spare(path, wanted) and not _cannot_be_known(path, value["rate"], mutations):
        return f"{count} samples of {wanted}"
    if value["promised"] != count:
        return f"its header was taken to say {value['promised']} samples, and {count} were read"
    if not np.isfinite(samples).all() or np.abs(samples).max() > LOUDEST:
        return "samples that are not finite, or far beyond full scale"
    return None


def _spare(path: Path, wanted: int) -> int:
    """Samples at the end that may be missing without a word."""
    if path.suffix in PACKETS:  # they have no checksums, and ffmpeg says nothing of a packet that it makes nothing of
        return PACKETS[path.suffix]
    twice = 2 if wanted > round(SECONDS * RATE) else 1  # resampled
    # of these as many bytes after the samples as a tag has are taken for one
    return twice * (TAIL if path.suffix.startswith((".wav", ".aif", ".rf64", ".au")) else 1)


def _cannot_be_known(path: Path, rate: int, mutations: Sequence[str]) -> bool:
    """Whether nothing in a file contradicts what its length was made by this damage."""
    if path.suffix in (".mp3", ".aac") and ({"cut_start"} & set(mutations) or len(mutations) > 1):
        return True  # they are frames without end: each could be the first
    if path.suffix == ".au" and path.read_bytes()[12:16] != (3).to_bytes(4, "big"):
        return True  # another coding than 16 bits, which no other field tells
    if rate != RATE:
        return True  # it takes other seconds, and fewer samples at another rate; nothing else tells the rate
    # One damage may make the length one that stands for "unknown", and then hides that another one cut the samples.
    return path.suffix in UNCHECKED and len(mutations) > 1


def _kind(name: str, way: str, read: Callable[[str, Path], Any]) -> Kind:
    _, _, known, more = FORMATS[name]
    mutations = (*BYTES, flip_head, *(2 * (set_field(known),)), *more)
    checked = " flip_bit flip_head flip_tail zeros noise field" if name == "flac" else ""  # by sums in each frame
    exact = [("*", f"empty other_file{checked}")]
    return Kind(f"{name} {way}", partial(_make, name), partial(read, name), {f"a.{name}": mutations}, exact, _check)


def _make_stereo(place: Path) -> None:
    sides = np.stack([tone(SECONDS, 1, RATE), tone(SECONDS, 2, RATE)], axis=1)
    soundfile.write(place / "a.wav", sides, RATE, subtype="PCM_16")


def _channel(channel: int | str, place: Path) -> dict[str, Any]:
    path = place / "a.wav"
    recording = open_recording(path, "a", mono=False)
    where = f"{place}/wav.scp: utterance a"
    return _value(*read_audio(str(path), where, RATE, channel=channel), recording.num_samples)


def _make_coded(name: str, place: Path) -> None:
    soundfile.write(place / "whole.wav", tone(SECONDS, 1, RATE), RATE, subtype="PCM_16")
    command = ["ffmpeg", "-v", "error", "-i", place / "whole.wav", *CODED[name].split(), place / f"a.{name}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (place / "whole.wav").unlink()


CODED = {  # options of ffmpeg, for files that it decodes
    "aac": "-c:a aac -f adts",
    "m4a": "-c:a aac -f mp4",
    "webm": "-c:a libopus -f webm",
}
KINDS = [
    *(
        Kind(
            f"stereo, channel {channel}",
            _make_stereo,
            partial(_channel, channel),
            {"a.wav": (*BYTES, *(2 * (set_field(fields.riff),)), _lie_in_riff)},
            [("*", "empty other_file")],
            _check,
        )
        for channel in (0, 1, MIX)
    ),
    *(
        Kind(
            name,
            partial(_make_coded, name),
            partial(_by_path, name),
            {f"a.{name}": BYTES},
            [("*", "empty other_file")],
            _check,
            needs="ffmpeg",
        )
        for name in CODED
    ),
    *(_kind(name, way, read) for name in FORMATS for way, read in (("by path", _by_path), ("by pipe", _by_pipe))),
    *(_kind(name, "resampled", _resampled) for name in ("wav", "flac", "ogg", "mp3", "sph")),
]
