"""The sound files of a table or tree of recorded speech: found, opened and checked, and their channels settled."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lhotse import Recording

from flowlid.audio.channels import MIX, Channel
from flowlid.audio.headers import MissingDecoder, open_recording
from flowlid.corpora.layout import walk
from flowlid.corpora.speech_table import Problems, Row, check_language, is_broken
from flowlid.left_out import LeftOut
from flowlid.wording import some

log = logging.getLogger("flowlid")

AUDIO = tuple(
    ".wav .flac .sph .nist .wv1 .wv2 .mp3 .ogg .oga .opus .m4a .mp4 .aac .webm .aif .aiff .aifc .au .caf .w64".split()
)
TOLERANCE = 0.01  # seconds that an end may lie after the file's, since tables hold rounded numbers
_NO_LANGUAGES = ("train", "training", "dev", "valid", "validation", "test", "eval", "wav", "audio", "data")

Found = dict[Path, Recording]


def read_tree(root: Path, problems: Problems) -> list[Row]:
    """A row for each sound file of a tree language/speaker/file; other files are counted, and skipped.

    The names of folders are those of languages and speakers as they are. In the names of files "_" stands for what
    Kaldi's files cannot hold; should two become one, that is a problem as any id that is there twice.
    """
    rows, passed = [], Counter()
    for path in walk(root):
        parts = path.relative_to(root).with_suffix("").parts
        if path.suffix.lower() not in AUDIO:
            passed[path.suffix.lower() or path.name] += 1
        elif len(parts) < 3:
            problems.add(f"{path.relative_to(root)} is not where it should be: language/speaker/file{path.suffix}")
        else:
            language, speaker, *rest = parts
            name = without_blanks("-".join([speaker, language, *rest]))
            rows.append(Row(0, name, path, speaker, language))
    found = {row.language: set() for row in rows}
    for row in rows:
        found[row.language].add(row.speaker)
    for language, speakers in found.items():
        _check_folders(root, language, speakers, problems)
        log.info("%s: found language %s, %d speakers", root, language, len(speakers))
        if language.lower() in _NO_LANGUAGES:
            problems.add(f"folder {language} is not a language; expected language/speaker/file, or give a table")
    if passed:
        kinds = some([f"{suffix} ({count})" for suffix, count in passed.most_common()])
        log.info("%s: skipped %d files that are not audio: %s", root, passed.total(), kinds)
    if not rows:
        problems.add(f"no sound below it; expected language/speaker/file, file ending in {' '.join(AUDIO)}")
    return rows


def without_blanks(name: str) -> str:
    """A name with _ for each character that Kaldi's files cannot hold."""
    return "".join("_" if is_broken(char) else char for char in name)


def _check_folders(root: Path, language: str, speakers: Iterable[str], problems: Problems) -> None:
    check_language(language, lambda text: problems.add(f"{root / language}: {text}"))
    for kind, folder in (("language", root / language), *(("speaker", root / language / name) for name in speakers)):
        if is_broken(folder.name):
            problems.add(
                f"{folder}: {kind} {folder.name!r} has blanks or unprintable characters, which Kaldi's files cannot "
                f"hold; rename the folder, such as {without_blanks(folder.name)}"
            )


def open_files(rows: Iterable[Row], jobs: int, problems: Problems) -> tuple[Found, dict[Path, str]]:
    """The recording of each file, from its header; second, what is wrong with each that cannot be read.

    A file whose decoder is not installed is a problem, since nothing is wrong with it.
    """
    paths = list(dict.fromkeys(row.path for row in rows if row.path is not None))

    def look(path: Path) -> Recording | str | None:
        try:
            return open_recording(path, path.stem, mono=False)
        except MissingDecoder as error:
            problems.add(str(error))
            return None
        except (ValueError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        opened = dict(zip(paths, pool.map(look, paths), strict=True))
    recordings = {path: found for path, found in opened.items() if isinstance(found, Recording)}
    return recordings, {path: found for path, found in opened.items() if isinstance(found, str)}


def leave_out(rows: Iterable[Row], bad: dict[Path, str], left_out: LeftOut) -> list[Row]:
    """The rows less those of files that cannot be read, which are noted."""
    kept = []
    for row in rows:
        if row.path not in bad:
            kept.append(row)
        else:
            reason = "damaged" if row.path.exists() else "missing"
            why = bad[row.path].removeprefix(f"{row.path}: ")
            left_out.add_bad(reason, row.path, why, row.utt_id, (row.set, row.language))
    return kept


def add_bad_files(rows: Iterable[Row], bad: dict[Path, str], problems: Problems) -> None:
    """Make a problem of each file that cannot be read, where they are too many to be left out."""
    rows_of: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        if row.path in bad:
            rows_of[row.path].append(row)
    for path, own in rows_of.items():
        problems.add(bad[path] + (f" (so in {len(own)} rows)" if len(own) > 1 else ""), own[0])


def settle_channels(rows: Sequence[Row], recordings: Found, channel: Channel | None, problems: Problems) -> list[Row]:
    """The rows, with a channel for those of files with several, and none for those of files with one.

    Args:
        rows: of the table or tree.
        recordings: of their files, as far as those can be read.
        channel: for the rows that name none; None: that there are such rows is a problem.
        problems: gets that, in one, and channels that a file does not have.
    """
    settled, without = [], {}
    for row in rows:
        channels = recordings[row.path].num_channels if row.path in recordings else 1
        wanted = row.channel if row.channel is not None or channels == 1 else channel
        if wanted is None and channels > 1:
            without.setdefault(row.path, channels)
        elif wanted not in (None, MIX) and row.path in recordings and wanted >= channels:
            there = "only channel 0" if channels == 1 else f"channels 0 to {channels - 1}"
            problems.add(f"there is no channel {wanted}: {row.path} has {there}", row)
        settled.append(replace(row, channel=wanted if channels > 1 else None))
    if without:
        examples = some([f"{path} ({channels})" for path, channels in without.items()], 3)
        problems.add(
            f"{len(without)} of {len(recordings)} files have several channels, and their rows name none: {examples}; "
            f"say which to use with --channel 0, 1, ... or {MIX} (the mean of all), or in a column channel"
        )
    return settled


def check_times(rows: Iterable[Row], recordings: Found, problems: Problems) -> None:
    """Check the times of each row against its file."""
    for row in rows:
        if row.path not in recordings:
            continue
        length = recordings[row.path].duration
        if row.start > length - 1 / recordings[row.path].sampling_rate:
            problems.add(f"start {row.start:g} is past the end of {row.path}, {length:.3f} s", row)
        elif row.end is not None and row.end > length + TOLERANCE:
            problems.add(f"end {row.end:g} is past the end of {row.path}, {length:.3f} s", row)
