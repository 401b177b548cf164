"""The sound files of a table or tree of recorded speech: found, opened and checked, and their channels taken apart."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording

from flowlid.audio.headers import blocks, open_recording
from flowlid.corpora.layout import walk
from flowlid.corpora.speech_table import Problems, Row
from flowlid.files import atomic_write, some

log = logging.getLogger("flowlid")

AUDIO = tuple(
    ".wav .flac .sph .nist .wv1 .wv2 .mp3 .ogg .oga .opus .m4a .mp4 .aac .webm .aif .aiff .aifc .au .caf .w64".split()
)
TOLERANCE = 0.01  # seconds that an end may lie after the file's, since tables hold rounded numbers
_NO_LANGUAGES = ("train", "training", "dev", "valid", "validation", "test", "eval", "wav", "audio", "data")

Found = dict[Path, Recording]


def read_tree(root: Path, problems: Problems) -> list[Row]:
    """A row for each sound file of a tree language/speaker/file; other files are counted, and skipped."""
    rows, passed = [], Counter()
    for path in walk(root):
        parts = path.relative_to(root).with_suffix("").parts
        if path.suffix.lower() not in AUDIO:
            passed[path.suffix.lower() or path.name] += 1
        elif len(parts) < 3:
            problems.add(f"{path.relative_to(root)} is not where it should be: language/speaker/file{path.suffix}")
        else:
            language, speaker, *rest = (re.sub(r"[^\w.-]", "_", part) for part in parts)
            rows.append(Row(0, "-".join([speaker, language, *rest]), path, speaker, language))
    found = {row.language: set() for row in rows}
    for row in rows:
        found[row.language].add(row.speaker)
    for language, speakers in found.items():
        log.info("%s: found language %s, %d speakers", root, language, len(speakers))
        if language.lower() in _NO_LANGUAGES:
            problems.add(f"folder {language} is not a language; expected language/speaker/file, or give a table")
    if passed:
        kinds = some([f"{suffix} ({count})" for suffix, count in passed.most_common()])
        log.info("%s: skipped %d files that are not audio: %s", root, passed.total(), kinds)
    if not rows:
        problems.add(f"no sound below it; expected language/speaker/file, file ending in {' '.join(AUDIO)}")
    return rows


def open_files(rows: Iterable[Row], jobs: int, problems: Problems) -> Found:
    """The recording of each file, from its header; a file that cannot be read is a problem of its first row."""
    rows_of: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        if row.path is not None:
            rows_of[row.path].append(row)

    def look(path: Path) -> Recording | str:
        try:
            return open_recording(path, path.stem, mono=False)
        except (ValueError, OSError) as error:
            return str(error)

    recordings = {}
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for (path, own), found in zip(rows_of.items(), pool.map(look, rows_of), strict=True):
            if isinstance(found, Recording):
                recordings[path] = found
            else:
                problems.add(f"{found} (so in {len(own)} rows)" if len(own) > 1 else found, own[0])
    return recordings


def check_sound(rows: Iterable[Row], recordings: Found, problems: Problems) -> None:
    """Check the times and the channel of each row against its file."""
    for row in rows:
        if row.path not in recordings:
            continue
        length, channels = recordings[row.path].duration, recordings[row.path].num_channels
        if row.start > length - 1 / recordings[row.path].sampling_rate:
            problems.add(f"start {row.start:g} is past the end of {row.path}, {length:.3f} s", row)
        elif row.end is not None and row.end > length + TOLERANCE:
            problems.add(f"end {row.end:g} is past the end of {row.path}, {length:.3f} s", row)
        if channels > 1 and row.channel is None:
            how = "name one in a column channel, from 0" if row.line else "write one to a file, or give a table"
            problems.add(f"{row.path} has {channels} channels; {how}", row)
        elif row.channel is not None and row.channel >= channels:
            there = "only channel 0" if channels == 1 else f"channels 0 to {channels - 1}"
            problems.add(f"there is no channel {row.channel}: {row.path} has {there}", row)


def write_channels(rows: Iterable[Row], recordings: Found, audio: Path, jobs: int) -> dict[tuple[Path, int], Recording]:
    """Write each wanted channel of a file with several to a mono WAV file of 16 bits; (path, channel) -> recording."""
    wanted = sorted({(row.path, row.channel) for row in rows if recordings[row.path].num_channels > 1})

    def write(item: tuple[Path, int]) -> Recording:
        path, channel = item
        out = audio / f"{path.stem}-{sha1(str(path.absolute()).encode()).hexdigest()[:8]}-c{channel}.wav"
        with (
            atomic_write(out, "w+b") as file,
            soundfile.SoundFile(file, "w", recordings[path].sampling_rate, 1, "PCM_16", format="WAV") as wav,
        ):
            for block in blocks(recordings[path]):
                wav.write(np.clip(np.rint(block[:, channel] * 32768), -32768, 32767).astype(np.int16))
        return open_recording(out, out.stem)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        written = dict(zip(wanted, pool.map(write, wanted), strict=True))
    if written:
        files = len({path for path, _ in written})
        log.info("wrote %d channels of %d files to mono WAV files in %s", len(written), files, audio)
    return written
