"""Kaldi data directories: opened lazily, checked as a whole, and put in order."""

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path

import numpy as np

from flowlid.files import raise_problems
from flowlid.kaldi.arks import read_matrix, read_vector
from flowlid.kaldi.tables import (
    invert,
    is_seconds,
    key_kind,
    parse_segment,
    read_table,
    scan_table,
    select,
    table_names,
    write_directory,
)

_FRAME_SHIFT = 0.01  # seconds, Kaldi's default


class DataDir:
    """A Kaldi data directory; each table is read once, when first asked for. FileNotFoundError: no such directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"{path}: no such data directory; make it with run.sh --stage 1")
        self._tables: dict[str, dict[str, str]] = {}

    @property
    def utts(self) -> list[str]:
        """The utterances, those of utt2spk, in C order."""
        return list(self.table("utt2spk"))

    def has(self, name: str) -> bool:
        """Whether the directory holds the file `name`."""
        return (self.path / name).is_file()

    def table(self, name: str) -> dict[str, str]:
        """The table `name`, such as "utt2lang"; raises as `read_table`."""
        if name not in self._tables:
            self._tables[name] = read_table(self.path / name)
        return self._tables[name]

    def tables(self) -> dict[str, dict[str, str]]:
        """All tables of the directory, by file name."""
        return {name: self.table(name) for name in table_names(self.path)}

    def segments(self) -> dict[str, tuple[str, float, float]]:
        """Utterance -> (recording, start, end), in seconds; empty where there is no segments file."""
        return self._segments

    @cached_property
    def _segments(self) -> dict[str, tuple[str, float, float]]:
        table = self.table("segments") if self.has("segments") else {}
        return {utt: parse_segment(value) for utt, value in table.items()}

    @property
    def frame_shift(self) -> float:
        """Seconds between the frames of the features: from the file frame_shift, which stage 2 writes.

        Without it as Kaldi's get_frame_shift.sh has it: from the first ten utterances' utt2dur and utt2num_frames
        (0.01 if it is within 2% above that: the last frames of an utterance are cut off), else 0.01.

        Raises:
            ValueError: the file holds no number above 0.
        """
        if self.has("frame_shift"):
            text = (self.path / "frame_shift").read_text(encoding="utf-8").strip()
            if not is_seconds(text):
                raise ValueError(
                    f"{self.path}/frame_shift: {text!r} is not a number of seconds above 0; correct it, or run "
                    "stage 2 again"
                )
            return float(text)
        if not (self.has("utt2dur") and self.has("utt2num_frames")):
            return _FRAME_SHIFT
        utts = [utt for utt in self.table("utt2num_frames") if utt in self.table("utt2dur")][:10]
        frames = sum(int(self.table("utt2num_frames")[utt]) for utt in utts)
        shift = sum(float(self.table("utt2dur")[utt]) for utt in utts) / frames if frames else _FRAME_SHIFT
        return _FRAME_SHIFT if _FRAME_SHIFT < shift < 1.02 * _FRAME_SHIFT else shift

    def feats(self, utt: str, allow_pipes: bool = False) -> np.ndarray:
        """Features of an utterance, float32 of shape (T, F); raises as `read_matrix`."""
        return read_matrix(*self._specifier("feats.scp", utt), allow_pipes)

    def vad(self, utt: str, allow_pipes: bool = False) -> np.ndarray:
        """Voice activity of an utterance, bool of shape (T,): true where vad.scp's vector is 1.

        Raises:
            ValueError: as `read_vector`; or a value other than 0 and 1.
        """
        specifier, name = self._specifier("vad.scp", utt)
        vector = read_vector(specifier, name, allow_pipes)
        voiced = vector == 1
        if not (voiced | (vector == 0)).all():
            raise ValueError(f"{name}: {specifier}: values other than 0 and 1; run stage 2 again")
        return voiced

    def _specifier(self, name: str, utt: str) -> tuple[str, str]:
        """The specifier of `utt` in an scp file, and what errors call it."""
        if utt not in self.table(name):
            raise ValueError(f"{self.path / name}: no utterance {utt!r}; run stage 2 again for {self.path}")
        return self.table(name)[utt], f"{self.path / name}: utterance {utt}"

    def validate(self, require: Sequence[str] = ("utt2spk", "spk2utt"), ignore: Sequence[str] = ()) -> None:
        """Check what Kaldi's validate_data_dir.sh checks, in time linear in the number of lines.

        Every table is sorted and unique, with values of the right form; utterances, speakers and recordings
        are the same in all files; spk2utt is the inverse of utt2spk; sorting by utterance also sorts by
        speaker. Disagreements are looked for between the tables that are well formed.

        Args:
            require: files that must be there.
            ignore: files that are not looked at.

        Raises:
            ValueError: lists the problems found ("file:line: problem; fix"), 20 and how many more.
        """
        problems: list[str] = []
        clean: dict[str, dict[str, str]] = {}
        for name in sorted({"utt2spk", *table_names(self.path), *require} - set(ignore)):
            try:
                table, found = scan_table(self.path / name)
            except FileNotFoundError as error:
                found = [str(error)]
            if not found:
                clean[name] = table
            problems += found
        if self.has("segments") and "segments" not in clean:  # what the recordings should be is not known
            clean = {name: table for name, table in clean.items() if key_kind(name) != "rec"}
        if "utt2spk" in clean:
            problems += disagreements(self.path, clean)
        raise_problems(problems)
        self._tables = clean


def disagreements(path: Path, tables: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Problems ("file:line: problem; fix") between the tables of a directory, each well formed by itself.

    Args:
        path: the directory, for the messages.
        tables: file name -> table; utt2spk must be among them.
    """
    utt2spk = tables["utt2spk"]
    spk2utt = invert(utt2spk)
    segments = tables.get("segments")
    recordings = {value.split()[0] for value in segments.values()} if segments else utt2spk.keys()
    wanted = {"utt": utt2spk.keys(), "spk": spk2utt.keys(), "rec": recordings}
    nouns = {"utt": "utterances of utt2spk", "spk": "speakers of utt2spk", "rec": "recordings of the utterances"}
    problems: list[str] = []
    for name, table in tables.items():
        kind = key_kind(name)
        if kind is not None:
            problems += _differences(path / name, table, wanted[kind], nouns[kind])
    problems += [
        f"{path / 'spk2utt'}:{number}: speaker {spk!r} has other utterances than in utt2spk; "
        f"run utils/fix_data_dir.py {path}"
        for number, (spk, utts) in enumerate(tables.get("spk2utt", {}).items(), 1)
        if spk in spk2utt and utts.split() != spk2utt[spk].split()
    ]
    problems += [
        f"{path / 'utt2spk'}:{number}: sorted by utterance, but speaker {spk!r} comes after {before!r}; "
        "make the speaker a prefix of its utterances' names"
        for number, (before, spk) in enumerate(itertools.pairwise(utt2spk.values()), 2)
        if spk < before
    ]
    return problems


def _differences(path: Path, table: Mapping[str, str], wanted: Set[str], noun: str) -> Iterator[str]:
    fix = f"run utils/fix_data_dir.py {path.parent}"
    missing = wanted - table.keys()
    if missing:
        yield f"{path}: {len(missing)} {noun} missing, the first {min(missing)!r}; {fix}"
    unknown = [(number, key) for number, key in enumerate(table, 1) if key not in wanted]
    if unknown:
        number, key = unknown[0]
        yield f"{path}:{number}: {key!r} is not one of the {noun} ({len(unknown)} such lines); {fix}"


def fix_directory(path: str | Path) -> tuple[int, dict[str, list[str]]]:
    """Sort the tables of a directory in C order, and keep only the utterances that all of them hold.

    Repeated identical lines are removed, and so are recordings and speakers that no utterance uses; spk2utt is made
    from utt2spk. The tables as they were go to <path>/.backup.

    Returns:
        The number of utterances kept, and those dropped by the first table that lacks them, sorted.

    Raises:
        ValueError: a malformed line, a key with two values, or nothing left; the directory is as it was.
        FileNotFoundError: no such directory.
    """
    path = DataDir(path).path
    tables: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for name in sorted({"utt2spk", *table_names(path)} - {"spk2utt"}):
        table, found = scan_table(path / name, ordered=False)
        tables[name] = dict(sorted(table.items()))
        problems += found
    raise_problems(problems)
    dropped = _incomplete(tables)
    utts = tables["utt2spk"].keys() - set().union(*dropped.values())
    if not utts:
        raise ValueError(f"{path}: no utterance is in all of {', '.join(tables)}; remove the file that is wrong")
    fixed = select(tables, utts)
    raise_problems(disagreements(path, fixed), f"{path}: cannot be fixed; sorted and filtered, it would still have")
    backup = path / ".backup"
    backup.mkdir(exist_ok=True)
    for name in table_names(path):
        shutil.copy2(path / name, backup / name)
    write_directory(path, fixed)
    return len(utts), dropped


def _incomplete(tables: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Utterances by the first table that lacks them, themselves or their speaker or recording."""
    utt2rec = {utt: parse_segment(value)[0] for utt, value in tables.get("segments", {}).items()}
    key_of = {"utt": {}, "spk": tables["utt2spk"], "rec": utt2rec}
    kept, dropped = set(tables["utt2spk"]), {}
    for name in sorted(tables, key=lambda name: key_kind(name) != "utt"):  # segments before the recordings
        lacking = {utt for utt in kept if key_of[key_kind(name)].get(utt, utt) not in tables[name]}
        if lacking:
            dropped[name] = sorted(lacking)
        kept -= lacking
    return dropped
