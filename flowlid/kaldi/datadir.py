"""Kaldi data directories: opened lazily, checked as a whole, and put in order."""

import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path

import numpy as np

from flowlid.files import raise_problems, read_text
from flowlid.kaldi.arks import AGAIN, read_matrix, read_vector
from flowlid.kaldi.tables import (
    Segment,
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
from flowlid.wording import brief, look_alikes

_FRAME_SHIFT = 0.01  # seconds, Kaldi's default


class DataDir:
    """A Kaldi data directory; each table is read once, when first asked for. FileNotFoundError: no such directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"{path}: no such data directory; make it with run.sh --stage 1, or correct --data")
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

    def segments(self) -> dict[str, Segment]:
        """Utterance -> its part of a recording; empty where there is no segments file."""
        return self._segments

    @cached_property
    def _segments(self) -> dict[str, Segment]:
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
            text = read_text(self.path / "frame_shift").strip()
            if not is_seconds(text):
                raise ValueError(
                    f"{self.path}/frame_shift: {brief(text)} is not a number of seconds above 0; correct it, or run "
                    "stage 2 again"
                )
            return float(text)
        if not (self.has("utt2dur") and self.has("utt2num_frames")):
            return _FRAME_SHIFT
        utts = [utt for utt in self.table("utt2num_frames") if utt in self.table("utt2dur")][:10]
        frames = sum(int(self.table("utt2num_frames")[utt]) for utt in utts)
        shift = sum(float(self.table("utt2dur")[utt]) for utt in utts) / frames if frames else _FRAME_SHIFT
        return _FRAME_SHIFT if _FRAME_SHIFT < shift < 1.02 * _FRAME_SHIFT else shift

    @property
    def feature_options(self) -> dict[str, str]:
        """The options that stage 2 made the features with, "fbank.num-mel-bins": "40"; empty where it did not."""
        return self.table("feature_options") if self.has("feature_options") else {}

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
            raise ValueError(f"{name}: {specifier}: values other than 0 and 1; {AGAIN}")
        return voiced

    def _specifier(self, name: str, utt: str) -> tuple[str, str]:
        """The specifier of `utt` in an scp file, and what errors call it."""
        if utt not in self.table(name):
            raise ValueError(f"{self.path / name}: no utterance {brief(utt)}; run stage 2 again for {self.path}")
        return self.table(name)[utt], f"{self.path / name}: utterance {utt}"

    def validate(self, require: Sequence[str] = ("utt2spk", "spk2utt"), ignore: Sequence[str] = ()) -> None:
        """Check what Kaldi's validate_data_dir.sh checks, in time linear in the number of lines.

        Every table is sorted and unique, with values of the right form; utterances, speakers and recordings
        are the same in all files; spk2utt is the inverse of utt2spk; sorting by utterance also sorts by
        speaker. Names that are the same to a person (`alike`) are problems too. Disagreements are looked for
        between the tables that are well formed.

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
            except (FileNotFoundError, ValueError) as error:
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
    """Problems ("file:line: problem; fix") within and between the tables of a directory, each well formed by itself.

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
        f"{path / 'spk2utt'}:{number}: speaker {brief(spk)} has other utterances than in utt2spk; "
        f"run utils/fix_data_dir.py {path}"
        for number, (spk, utts) in enumerate(tables.get("spk2utt", {}).items(), 1)
        if spk in spk2utt and utts.split() != spk2utt[spk].split()
    ]
    problems += [
        f"{path / 'utt2spk'}:{number}: sorted by utterance, but speaker {brief(spk)} comes after {brief(before)}; "
        + _remedy_of_order(utt, spk, other, before)
        for number, ((other, before), (utt, spk)) in enumerate(itertools.pairwise(utt2spk.items()), 2)
        if spk < before
    ]
    return problems + alike({path: tables})


def _remedy_of_order(utt: str, spk: str, other: str, before: str) -> str:
    """What sorts utterances as their speakers: `other` of `before` comes first in C order, then `utt` of `spk`."""
    if not (utt.startswith(spk) and other.startswith(before)):
        return "make the speaker a prefix of its utterances' names"
    return (
        f"it is a prefix of its utterances' names, but of speaker {brief(before)} too, and LC_ALL=C sort puts "
        f"{brief(other)} before {brief(utt)}; give speakers names of one length, or names without '-', and a '-' "
        "between name and rest"
    )


def alike(directories: Mapping[Path, Mapping[str, Mapping[str, str]]]) -> list[str]:
    """Problems ("file:line: problem; fix"): speakers or languages of directories that are the same to a person.

    They differ in case or in how Unicode writes a letter. Of utterances only the second counts: names as video sites
    give them differ in case alone.

    Args:
        directories: path -> tables (file name -> table), of which utt2spk and utt2lang are looked at.
    """
    problems: list[str] = []
    for file, noun in (("utt2spk", "speaker"), ("utt2lang", "language"), ("utt2spk", "utterance")):
        places: dict[str, str] = {}
        for path, tables in directories.items():
            table = tables.get(file, {})
            for number, name in enumerate(table if noun == "utterance" else table.values(), 1):
                if name not in places and not (noun == "utterance" and name.isascii()):
                    places[name] = f"{path / file}:{number}"
        problems += [
            f"{places[other]}: {noun} {brief(other)} looks like {brief(name)} in {places[name]}; write both in one way"
            for name, other in look_alikes(places)
        ]
    return problems


def _differences(path: Path, table: Mapping[str, str], wanted: Set[str], noun: str) -> Iterator[str]:
    fix = f"run utils/fix_data_dir.py {path.parent}"
    missing = wanted - table.keys()
    if missing:
        yield (
            f"{path}: {len(missing)} {noun} missing, the first {brief(min(missing))}; {fix}, which drops what is not "
            "in all files, or add them"
        )
    unknown = [(number, key) for number, key in enumerate(table, 1) if key not in wanted]
    if unknown:
        number, key = unknown[0]
        yield f"{path}:{number}: {brief(key)} is not one of the {noun} ({len(unknown)} such lines); {fix}"


def check_names(paths: Iterable[Path]) -> None:
    """Raise ValueError if names of or in different data directories are the same to a person (`alike`).

    Of a million utterances this takes about 6 s, to read the tables. Paths where there is no directory are left out.
    """
    directories = [DataDir(path) for path in paths if path.is_dir()]
    files = ("utt2spk", "utt2lang")
    tables = {each.path: {file: each.table(file) for file in files if each.has(file)} for each in directories}
    problems = [f"{other}: looks like {name}; rename one" for name, other in look_alikes(map(str, tables))]
    raise_problems(problems + alike(tables))


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
    utt2rec = {utt: parse_segment(value).recording for utt, value in tables.get("segments", {}).items()}
    key_of = {"utt": {}, "spk": tables["utt2spk"], "rec": utt2rec}
    kept, dropped = set(tables["utt2spk"]), {}
    for name in sorted(tables, key=lambda name: key_kind(name) != "utt"):  # segments before the recordings
        lacking = {utt for utt in kept if key_of[key_kind(name)].get(utt, utt) not in tables[name]}
        if lacking:
            dropped[name] = sorted(lacking)
        kept -= lacking
    return dropped
