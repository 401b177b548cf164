"""The tables of Kaldi data directories: read, written and filtered, sorted as LC_ALL=C sorts."""

import math
import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from flowlid.files import atomic_write, raise_problems

_SPACE = " \t\n\r\v\f"  # what separates fields for Kaldi; Python's str.split takes more
_STAGE_2 = ("feats.scp", "vad.scp", "utt2num_frames", "cmvn.scp")
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


def parse_segment(value: str) -> tuple[str, float, float]:
    """Recording, start and end in seconds, of a line of segments; ValueError unless 0 <= start < end."""
    recording, first, last = value.split()
    start, end = float(first), float(last)
    if not 0 <= start < end < math.inf:
        raise ValueError(f"{value!r} does not hold 0 <= start < end")
    return recording, start, end


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
    "spk2gender": (re.compile(r"[mf]").fullmatch, "m or f"),
    "segments": (_is_segment, "RECORDING START END with 0 <= START < END, in seconds"),
}


def read_table(path: str | Path) -> dict[str, str]:
    """Read a Kaldi table: the first token of each line -> the rest of the line, stripped.

    Raises:
        FileNotFoundError: there is no such file; the message tells which stage makes it.
        ValueError: names each empty line, key without a value, duplicate key, key not sorted in C order,
            byte that is not UTF-8, Windows line end, and value that does not suit the file (two speakers in
            utt2spk, a segment that ends before it starts, ...); or the file is empty.
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
    """
    path = Path(path)
    form, meaning = _FORMS.get(path.name, (None, ""))
    lines = _lines(path)
    table: dict[str, str] = {}
    problems = [] if lines else [f"{path}: empty; remove it and run the stage that makes it"]
    fix = f"run utils/fix_data_dir.py {path.parent}"
    previous = ""
    for number, line in enumerate(lines, 1):
        try:
            first, rest = line.split(None, 1)
            key, value = first.decode(), rest.rstrip().decode()
        except ValueError as error:
            problems.append(f"{path}:{number}: {_malformed(line, error)}")
            continue
        if line.endswith(b"\r"):
            problems.append(f"{path}:{number}: Windows line end; convert the file with sed -i 's/\\r$//'")
        if form is not None and not form(value):
            problems.append(f"{path}:{number}: {value!r} is not {meaning}; correct the line")
        if key in table and table[key] != value:
            problems.append(f"{path}:{number}: duplicate key {key!r} with another value {value!r}; remove one")
        elif ordered and key in table:
            problems.append(f"{path}:{number}: duplicate key {key!r}; {fix}")
        elif ordered and key < previous:  # code points sort as UTF-8 bytes do: this is C order
            problems.append(f"{path}:{number}: not sorted in C order, {key!r} after {previous!r}; {fix}")
        table.setdefault(key, value)
        previous = key
    return table, problems


def _lines(path: Path) -> list[bytes]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        stage = 2 if path.name in _STAGE_2 else 1
        raise FileNotFoundError(f"{path}: no such file; make it with run.sh --stage {stage}") from None
    return lines if lines[-1] else lines[:-1]


def _malformed(line: bytes, error: ValueError) -> str:
    """What is wrong with a line that gave no key and value."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason}); convert the file with iconv -t UTF-8"
    key = line.strip().decode(errors="replace")
    return f"{f'key {key!r} has no value' if key else 'empty line'}; correct or remove the line"


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write a Kaldi table of "key value" lines, sorted as LC_ALL=C sorts, atomically.

    Raises:
        ValueError: an empty table, a key with white space, or a value that is empty or has line breaks.
    """
    if not table:
        raise ValueError(f"{path}: nothing to write; a Kaldi table needs at least one line")
    for key, value in table.items():
        if not key or any(map(key.__contains__, _SPACE)) or not value.strip(_SPACE) or "\n" in value:
            raise ValueError(f"{path}: {key!r}, {value!r} make no line; a key has no white space, a value is one line")
    with atomic_write(path) as file:
        file.writelines(f"{key} {table[key]}\n" for key in sorted(table))


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
            recording = parse_segment(segments[utt])[0] if segments else utt
            for kind, key in (("utt", utt), ("spk", utt2spk[utt]), ("rec", recording)):
                part_of[kind].setdefault(key, {})[number] = None
    made: list[dict[str, dict[str, str]]] = [{name: {} for name in tables} for _ in parts]
    for name, table in tables.items():
        numbers = part_of[key_kind(name)]
        for key, value in table.items():
            for number in numbers.get(key, ()):
                made[number][name][key] = value
    return [{**part, "spk2utt": invert(part["utt2spk"])} for part in made]


def write_directory(path: str | Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Write the tables (file name -> table) of a data directory; other tables of an old one are removed.

    A new directory appears whole or not at all. In an old one utt2spk goes first and comes back last,
    so that an interruption leaves an invalid data directory.

    Raises:
        ValueError: as `write_table`; `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        for name, table in tables.items():
            write_table(new / name, table)
        if not path.exists():
            os.rename(new, path)
            return
        for name in sorted(table_names(path), key=lambda name: name != "utt2spk"):
            (path / name).unlink()
        for name in sorted(tables, key=lambda name: name == "utt2spk"):
            os.replace(new / name, path / name)
