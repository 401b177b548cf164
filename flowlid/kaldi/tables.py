"""The tables of Kaldi data directories: read, written and filtered, sorted as LC_ALL=C sorts."""

import math
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flowlid.files import atomic_write, raise_problems, read_content, sync, sync_tree, temporary_directory
from flowlid.wording import brief

_SPACE = " \t\n\r\v\f"  # what separates fields for Kaldi; Python's str.split takes more
_STAGE_2 = ("feats.scp", "vad.scp", "utt2num_frames", "cmvn.scp")
_LINES = {
    "utt2spk": "UTTERANCE SPEAKER",
    "utt2lang": "UTTERANCE LANGUAGE",
    "wav.scp": "RECORDING PATH",
    "segments": "UTTERANCE RECORDING START END",
    "utt2dur": "UTTERANCE SECONDS",
    "reco2dur": "RECORDING SECONDS",
    "spk2gender": "SPEAKER m|f",
    "utt2score": "UTTERANCE SCORE",
    "text": "UTTERANCE WORDS",
}
_KINDS = {
    "utt": re.compile(r"text|segments|feats\.scp|vad\.scp|utt2\w+"),
    "spk": re.compile(r"cmvn\.scp|spk2\w+"),
    "rec": re.compile(r"wav\.scp|reco2\w+"),
}


def key_kind(name: str) -> str | None:
    """What the first column of a data directory's file names: "utt", "spk", "rec", or None (another file).

    wav.scp is "rec"; without a segments file each recording is an utterance of the same name.
    """
    return next((kind for kind, names in _KINDS.items() if names.fullmatch(name)), None)


def table_names(path: str | Path) -> list[str]:
    """The files of a directory that are Kaldi tables by their name (`key_kind`), sorted."""
    return sorted(file.name for file in Path(path).iterdir() if key_kind(file.name) and file.is_file())


class Segment(NamedTuple):
    """A part of a recording: start and end in seconds; an end of None is the recording's; its channel, if named."""

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None


def parse_segment(value: str) -> Segment:
    """The segment that a line of segments tells: RECORDING START END, and a channel that may follow, from 0.

    As in Kaldi an END of -1 is the end of the recording, and a channel of -1 is not known.

    Raises:
        ValueError: unless 0 <= START < END.
    """
    recording, first, last, *rest = value.split()
    start, end, channel = float(first), float(last), int(rest[0]) if rest else -1
    if len(rest) > 1 or channel < -1 or not 0 <= start < (math.inf if end == -1 else end) or end == math.inf:
        raise ValueError(f"{brief(value)} does not hold 0 <= start < end")
    return Segment(recording, start, None if end == -1 else end, None if channel == -1 else channel)


def _is_segment(value: str) -> bool:
    try:
        return bool(parse_segment(value))
    except ValueError:
        return False


_TOKEN = re.compile(r"\S+").fullmatch
is_seconds = re.compile(r"(?=.*[1-9])\d*\.?\d+([eE][+-]?\d+)?").fullmatch
_FORMS = {
    "utt2spk": (_TOKEN, "one speaker"),
    "utt2lang": (_TOKEN, "one language"),
    "utt2dur": (is_seconds, "a positive number of seconds"),
    "reco2dur": (is_seconds, "a positive number of seconds"),
    "utt2num_frames": (re.compile(r"0*[1-9]\d*").fullmatch, "a positive number of frames"),
    "feature_options": (_TOKEN, "one value"),
    "spk2gender": (re.compile(r"[mf]").fullmatch, "m or f"),
    "segments": (_is_segment, "RECORDING START END with 0 <= START < END, in seconds (END -1: to the end)"),
}


def read_table(path: str | Path) -> dict[str, str]:
    """Read a Kaldi table: the first token of each line -> the rest of the line, stripped.

    In text a key may be alone: an empty transcript, "". A byte-order mark before the first key is no part of it.

    Raises:
        FileNotFoundError: there is no such file; the message tells how to make it.
        ValueError: names each empty line, key without a value, duplicate key, key not sorted in C order,
            byte that is not UTF-8, Windows line end, and value that does not suit the file (two speakers in
            utt2spk, a segment that ends before it starts, ...); or the file is empty, or UTF-16.
    """
    table, problems = scan_table(path)
    raise_problems(problems)
    return table


def scan_table(path: str | Path, ordered: bool = True) -> tuple[dict[str, str], list[str]]:
    """Read a Kaldi table as `read_table`, and return it with its problems ("file:line: problem; fix").

    Args:
        path: the file.
        ordered: whether unsorted keys and repeated lines are problems. If not, the same line may come
            twice; one key with two values stays a problem.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is UTF-16.
    """
    path = Path(path)
    form, _ = _FORMS.get(path.name, (None, ""))
    lines = _lines(path)
    table: dict[str, str] = {}
    problems = [] if lines else [f"{path}: empty; remove it and run the stage that makes it"]
    fix = f"run utils/fix_data_dir.py {path.parent}"
    previous = ""
    for number, line in enumerate(lines, 1):
        try:
            words = line.split(None, 1)
            first, rest = words if len(words) != 1 or path.name != "text" else (words[0], b"")
            key, value = first.decode(), rest.rstrip().decode()
        except ValueError as error:
            problems.append(f"{path}:{number}: {_malformed(line, error)}")
            continue
        if not key.isprintable() or line.endswith(b"\r") or not (form is None or form(value)):
            problems += [f"{path}:{number}: {problem}" for problem in _wrong_in(line, key, value, path.name)]
        if key in table and table[key] != value:
            problems.append(
                f"{path}:{number}: duplicate key {brief(key)} with another value {brief(value)}; remove one"
            )
        elif ordered and key in table:
            problems.append(f"{path}:{number}: duplicate key {brief(key)}; {fix}")
        elif ordered and key < previous:  # code points sort as UTF-8 bytes do: this is C order
            problems.append(f"{path}:{number}: not sorted in C order, {brief(key)} after {brief(previous)}; {fix}")
        table.setdefault(key, value)
        previous = key
    return table, problems


def _lines(path: Path) -> list[bytes]:
    try:
        lines = read_content(path).split(b"\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; {_how_to_make(path)}") from None
    return lines if lines[-1] else lines[:-1]


def _how_to_make(path: Path) -> str:
    if path.name == "spk2utt":
        return f"utils/fix_data_dir.py {path.parent} makes it"
    if path.name in _STAGE_2:
        return "make it with run.sh --stage 2"
    line = _LINES.get(path.name, "KEY VALUE")
    return f"write it: lines of {line!r} in the order of LC_ALL=C sort (run.sh --stage 1 does, where stage 0 was run)"


def _wrong_in(line: bytes, key: str, value: str, name: str) -> Iterator[str]:
    """What is wrong with a line by itself, which has a key and a value."""
    form, meaning = _FORMS.get(name, (None, ""))
    if len(key.split()) != 1 or "\ufeff" in key:
        yield f"key {brief(key)} holds white space or a mark of Unicode; rename it"
    if line.endswith(b"\r"):
        yield "Windows line end; convert the file with sed -i 's/\\r$//'"
    if form is not None and not form(value):
        yield f"{brief(value)} is not {meaning}; correct the line"


def _malformed(line: bytes, error: ValueError) -> str:
    """What is wrong with a line that gave no key and value."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason}); convert the file with iconv -t UTF-8"
    key = line.strip().decode(errors="replace")
    return f"{f'key {brief(key)} has no value' if key else 'empty line'}; correct or remove the line"


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write a Kaldi table of "key value" lines, sorted as LC_ALL=C sorts, atomically.

    Raises:
        ValueError: an empty table, a key with white space, a value that has line breaks or, but in text, is empty.
    """
    with atomic_write(path) as file:
        file.writelines(_lines_of(path, table))


def _lines_of(path: str | Path, table: Mapping[str, str]) -> Iterator[str]:
    if not table:
        raise ValueError(f"{path}: nothing to write; a Kaldi table needs at least one line")
    may_be_empty = Path(path).name == "text"
    for key in sorted(table):
        value = table[key]
        empty = not value.strip(_SPACE)
        if not key or any(map(key.__contains__, _SPACE)) or (empty and not may_be_empty) or "\n" in value:
            raise ValueError(f"{path}: {key!r}, {value!r} make no line; a key has no white space, a value is one line")
        yield f"{key}\n" if empty else f"{key} {value}\n"


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """The spk2utt table of a utt2spk table: speaker -> "u1 u2 ...", in C order."""
    spk2utt: dict[str, list[str]] = {}
    for utt in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return {spk: " ".join(spk2utt[spk]) for spk in sorted(spk2utt)}


def select(tables: Mapping[str, Mapping[str, str]], utts: Collection[str]) -> dict[str, dict[str, str]]:
    """The tables of a data directory (file name -> table) cut down to some of its utterances.

    Only recordings and speakers of these utterances remain; spk2utt is made anew.
    """
    return split(tables, [utts])[0]


def split(tables: Mapping[str, Mapping[str, str]], parts: Sequence[Collection[str]]) -> list[dict[str, dict[str, str]]]:
    """The tables of each part of a data directory, given by its utterances, as `select` makes them.

    Takes one pass over the tables, whatever the number of parts.
    """
    utt2spk, segments = tables["utt2spk"], tables.get("segments")
    part_of: dict[str, dict[str, dict[int, None]]] = {"utt": {}, "spk": {}, "rec": {}}
    for number, utts in enumerate(parts):
        for utt in utts:
            recording = parse_segment(segments[utt]).recording if segments else utt
            for kind, key in (("utt", utt), ("spk", utt2spk[utt]), ("rec", recording)):
                part_of[kind].setdefault(key, {})[number] = None
    made: list[dict[str, dict[str, str]]] = [{name: {} for name in tables} for _ in parts]
    for name, table in tables.items():
        numbers = part_of[key_kind(name)]
        for key, value in table.items():
            for number in numbers.get(key, ()):
                made[number][name][key] = value
    return [{**part, "spk2utt": invert(part["utt2spk"])} for part in made]


OF_FEATURES = ("frame_shift", "feature_options")  # how features were made, beside the tables


def other_files(path: str | Path) -> dict[str, bytes]:
    """What a data directory says of its features beside its tables: `OF_FEATURES` and conf/*, by file name."""
    path = Path(path)
    files = [*(path / name for name in OF_FEATURES), *path.glob("conf/*")]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def write_directory(
    path: str | Path, tables: Mapping[str, Mapping[str, str]], others: Mapping[str, bytes] | None = None
) -> None:
    """Write the tables (file name -> table) of a data directory; other tables of an old one are removed.

    A new directory appears whole or not at all. In an old one utt2spk goes first and comes back last,
    so that an interruption leaves an invalid data directory.

    Args:
        path: the directory.
        tables: its tables.
        others: what `other_files` gives, in place of an old directory's; None leaves those.

    Raises:
        ValueError: as `write_table`; `path` is as it was.
    """
    path = Path(path)
    with temporary_directory(path) as temporary:
        new = temporary / "new"
        new.mkdir()
        for name, table in tables.items():
            with open(new / name, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(_lines_of(path / name, table))
        for name, content in (others or {}).items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_bytes(content)
        sync_tree(new)
        if not path.exists():
            os.rename(new, path)
            sync(path.parent)
            return
        for name in sorted(table_names(path), key=lambda name: name != "utt2spk"):
            (path / name).unlink()
        for name in OF_FEATURES if others is not None else ():
            (path / name).unlink(missing_ok=True)
        for file in sorted(new.iterdir(), key=lambda file: file.name == "utt2spk"):
            if file.is_dir():
                shutil.rmtree(path / file.name, ignore_errors=True)
            os.replace(file, path / file.name)
        sync(path)
