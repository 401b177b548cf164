"""Channels of files with several, written to mono files, and what was found of how they differ."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording

from flowlid.audio.channels import Channel, ChannelMeter, pick
from flowlid.audio.headers import blocks, open_recording
from flowlid.corpora.speech_table import Row
from flowlid.corpora.speech_table_audio import Found
from flowlid.files import atomic_write, write_tsv
from flowlid.left_out import LeftOut

log = logging.getLogger("flowlid")

# what libsndfile decodes to whole numbers of 16 bits
_SIXTEEN_BITS = tuple("PCM_16 PCM_U8 PCM_S8 ULAW ALAW GSM610 IMA_ADPCM MS_ADPCM G721_32 VOX_ADPCM".split())
_LONGEST = 50  # letters of a file's name that its channels' files keep, since names have at most 255 bytes


@dataclass
class Written:
    """What came of a file: the recording of each wanted channel, those that are silent, and how its channels differ."""

    recordings: dict[Channel, Recording] = field(default_factory=dict)
    silent: set[Channel] = field(default_factory=set)
    verdict: str | None = None
    damage: str | None = None


def write_channels(rows: Iterable[Row], recordings: Found, audio: Path, jobs: int) -> dict[Path, Written]:
    """Write each wanted channel of the files with several to a mono WAV file below `audio`; what came of each file.

    The values stay as they are: 16 bits for one channel of a file of 16 bits or less, otherwise 32-bit floats.
    Each file is read once.
    """
    wanted: dict[Path, set[Channel]] = defaultdict(set)
    for row in rows:
        if recordings[row.path].num_channels > 1:
            wanted[row.path].add(row.channel)
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        work = pool.map(lambda path: _write(path, recordings[path], sorted(wanted[path], key=str), audio), wanted)
        written = dict(zip(wanted, work, strict=True))
    if written:
        count = sum(len(found.recordings) for found in written.values())
        log.info("wrote %d channels of %d files to mono WAV files in %s", count, len(written), audio)
    return written


def _write(path: Path, recording: Recording, channels: Iterable[Channel], audio: Path) -> Written:
    found, meter, outs = Written(), ChannelMeter(), {}
    unique = f"{path.stem[:_LONGEST]}-{sha1(str(path.absolute()).encode()).hexdigest()[:8]}"
    try:
        with ExitStack() as stack:
            files: dict[Channel, soundfile.SoundFile] = {}
            for block in blocks(recording):
                for channel in channels:
                    if channel not in files:
                        outs[channel] = audio / f"{unique}-{channel if channel == 'mix' else f'c{channel}'}.wav"
                        form = "PCM_16" if _is_16_bit(recording) and channel != "mix" else "FLOAT"
                        out = stack.enter_context(atomic_write(outs[channel], "w+b"))
                        made = soundfile.SoundFile(out, "w", recording.sampling_rate, 1, form, format="WAV")
                        files[channel] = stack.enter_context(made)
                    samples = pick(block, channel)
                    exact = files[channel].subtype == "PCM_16"
                    files[channel].write(np.rint(samples * 32768).astype(np.int16) if exact else samples)
                meter.add(block)
        found.silent = {channel for channel in channels if meter.silent(channel)}
        for channel in found.silent:
            outs.pop(channel).unlink()
        found.recordings = {channel: open_recording(out, out.stem) for channel, out in outs.items()}
        found.verdict = meter.verdict()
    except (ValueError, OSError, RuntimeError) as error:
        found.damage = str(error).removeprefix(f"{path}: ")
    return found


def _is_16_bit(recording: Recording) -> bool:
    """Whether a recording's samples are whole numbers of 16 bits; what a command decodes is (`open_recording`)."""
    (source,) = recording.sources
    return source.type == "command" or soundfile.info(source.source).subtype in _SIXTEEN_BITS


def leave_out_channels(rows: Iterable[Row], written: Mapping[Path, Written], left_out: LeftOut) -> list[Row]:
    """The rows less those whose channel is silent, or whose file broke off, which are noted."""
    kept = []
    for row in rows:
        found = written.get(row.path)
        group = (row.set, row.language)
        if found is not None and found.damage is not None:
            left_out.add_bad("damaged", row.path, found.damage, row.utt_id, group)
        elif found is not None and row.channel in found.silent:
            why = f"nothing on channel {row.channel}, though another has sound; choose that one"
            left_out.add_bad("silent channel", row.path, why, row.utt_id, group)
        else:
            kept.append(row)
    return kept


def say_how_channels_differ(rows: Iterable[Row], written: Mapping[Path, Written], path: Path) -> None:
    """Log in how many files the channels differ, by kind and by language, and write which they are to `path`.

    Its columns: file, its languages, the channels that are used, and how they differ.
    """
    path.unlink(missing_ok=True)
    languages: dict[Path, set[str]] = defaultdict(set)
    for row in rows:
        if row.path in written and written[row.path].verdict:
            languages[row.path].add(row.language)
    if not languages:
        return
    kinds, by_language, lines = Counter(), Counter(), []
    for file, own in sorted(languages.items()):
        kinds[written[file].verdict] += 1
        by_language.update(own)
        used = ",".join(map(str, written[file].recordings))
        lines.append((str(file), ",".join(sorted(own)), used, written[file].verdict))
    write_tsv(path, [("file", "languages", "channels", "difference"), *lines])
    parts = [", ".join(f"{name} {count}" for name, count in counts.most_common()) for counts in (kinds, by_language)]
    message = "%d of %d files with several channels hold different sound in them: %s; by language: %s; named in %s"
    log.warning(message, len(languages), len(written), *parts, path)
