"""Tables of recorded speech, written by hand or with a spreadsheet: read and checked, all errors reported at once."""

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowlid.audio.channels import Channel, read_channel
from flowlid.corpora.corpus import GENDERS
from flowlid.files import raise_problems
from flowlid.wording import closest

REQUIRED = ("utt_id", "path", "speaker", "language")
OPTIONAL = ("set", "start", "end", "channel", "gender", "score")
# names that would hide, or be hidden by, what the manifests hold anyway
RESERVED = {
    "id": "the column of utterance ids is utt_id",
    "recording_id": "recordings are named by the program",
    "part": "the side of the split is the column set",
    "corpus": "its value is the table's name",
    "duration": "the end of an utterance is the column end, in seconds of the file",
}
_LONGEST_SET = 100  # letters, since it is the name of directories
SIDES = ("train", "dev", "test")  # what a set's name starts with
_NOT_IN_LANGUAGES = '+|/\\,$"'  # + is between languages in a model, the others are signs of tables and of plots
_JOINERS = "\u200c\u200d"  # of Indic scripts and Persian: unseen, but part of words
_UNICODE_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Row:
    """One utterance as a table or a directory tree describes it; "" or None for what it does not say.

    Attributes:
        line: of the table, from 1; 0: the row is a file of a directory tree.
        start, end: seconds of the file; end None: to its end.
        channel: of the file, from 0, or "mix".
        fields: columns of other names.
    """

    line: int
    utt_id: str
    path: Path | None
    speaker: str
    language: str
    set: str = ""
    start: float = 0.0
    end: float | None = None
    channel: Channel | None = None
    gender: str | None = None
    score: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"line {self.line}" if self.line else str(self.path)


class Problems:
    """The problems of a table or a directory tree, collected so that all are reported at once."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._found: list[tuple[int, str]] = []

    def add(self, text: str, where: Row | int = 0) -> None:
        """Add a problem; `where` is its row, its line, or 0 for the whole."""
        line = where.line if isinstance(where, Row) else where
        place = where.path if isinstance(where, Row) and not line else self.source
        text = text.removeprefix(f"{place}: ")
        self._found.append((line, f"{place}:{line}: {text}" if line else f"{place}: {text}"))

    def check(self, full_list: Path | None) -> None:
        """Raise ValueError if there are problems, by line; `full_list` gets all where the error cannot hold them."""
        found = [text for _, text in sorted(self._found, key=lambda item: item[0])]
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        raise_problems(found, f"{self.source}: {count}; nothing was prepared:", 50, full_list)


def read_speech_table(path: Path, root: Path | None, problems: Problems) -> tuple[list[Row], list[str]]:
    """The rows of a table that can be read, and the names of its columns.

    The first line that is neither blank nor a comment ("#") names the columns. They are separated by tabs if it has
    one, otherwise by semicolons or commas, and quoted as in CSV files. In a table with tabs quotes are quotes only if
    all names of columns are quoted (as R writes them), otherwise they are letters. Such a table may lack the tabs at
    the end of a line, whose optional values are empty then: editors strip them.

    Args:
        path: UTF-8, with or without a byte-order mark.
        root: where relative paths count from; None: the table's directory.
        problems: gets whatever is wrong with it, but for what takes other rows or the sound to see.
    """
    lines = _lines(path, problems)
    if not lines:
        problems.add("no line that can be read; the first names the columns: " + " ".join((*REQUIRED, "set")))
        return [], []
    number, first = lines[0]
    separator = "\t" if "\t" in first else ";" if first.count(";") > first.count(",") else ","
    quoted = separator != "\t" or all(re.fullmatch('".*"', cell.strip()) for cell in first.split("\t") if cell.strip())
    header = _cells(first, separator, quoted)
    if not isinstance(header, list) or not set(header) & set(REQUIRED):
        problems.add(f"names none of the columns {' '.join(REQUIRED)}; the first line names the columns", number)
        return [], []
    _check_header(header, number, problems)
    rows = []
    for number, line in lines[1:]:
        cells = _cells(line, separator, quoted)
        if not isinstance(cells, list):
            problems.add(cells, number)
            continue
        if separator == "\t" and not {*REQUIRED, "set"} & set(header[len(cells) :]):
            cells += [""] * (len(header) - len(cells))
        if len(cells) != len(header):
            hint = "" if separator == "\t" else f'; put a value that has a "{separator}" in quotes'
            problems.add(f"{len(cells)} fields, but the header names {len(header)}{hint}", number)
        else:
            values = dict(zip(header, cells, strict=True))
            rows.append(_row(values, number, root or path.parent, lambda text, n=number: problems.add(text, n)))
    if not lines[1:]:
        problems.add("names columns, but no row follows", lines[0][0])
    return rows, header


def _lines(path: Path, problems: Problems) -> list[tuple[int, str]]:
    """Number and text of each line that is neither blank nor a comment."""
    data = path.read_bytes()
    if data.startswith(_UNICODE_16) or b"\0" in data:
        problems.add('not UTF-8 but UTF-16, or no text at all; save it as "CSV UTF-8", or as text in UTF-8')
        return []
    lines = []
    for number, raw in enumerate(re.split(rb"\r\n|\r|\n", data.removeprefix(b"\xef\xbb\xbf")), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start + 1} of the line, 0x{raw[error.start]:02X}"
            problems.add(f"not UTF-8 ({byte}); save the table as UTF-8, or convert it with iconv -t UTF-8", number)
            line = "" if lines else raw.decode("utf-8", "replace")  # without a header nothing more could be said
        if line.strip(" \t,;") and not line.lstrip().startswith("#"):  # spreadsheets end in rows of bare separators
            lines.append((number, line))
    return lines


def _cells(line: str, separator: str, quoted: bool) -> list[str] | str:
    """Fields of a line, without blanks around them; or what is wrong with it."""
    if not quoted:
        return [cell.strip() for cell in line.split("\t")]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True))]
    except csv.Error as error:
        return f"its quotes do not match ({error}); a value that has quotes is written " + '"so ""quoted"" here"'


def _check_header(header: Sequence[str], line: int, problems: Problems) -> None:
    unknown = [name for name in header if name and name not in REQUIRED + OPTIONAL]
    for name in REQUIRED:
        if name not in header:
            other = closest(name, unknown)
            hint = f"; rename {other!r}, if it is that" if other else f"; there are {' '.join(filter(None, header))}"
            problems.add(f"no column {name}{hint}", line)
    for number, name in enumerate(header, 1):
        if not name:
            problems.add(f"column {number} has no name", line)
        elif header.index(name) != number - 1:
            problems.add(f"column {name} is there twice", line)
        elif name in RESERVED:
            problems.add(f"no column may be called {name}: {RESERVED[name]}; rename it", line)
        elif is_broken(name):
            problems.add(f"column {name!r} has blanks in its name; rename it", line)
        elif name.lower() in REQUIRED + OPTIONAL and name != name.lower():
            problems.add(f"column {name}: write it {name.lower()}", line)


def _row(values: Mapping[str, str], line: int, root: Path, wrong: Callable[[str], None]) -> Row:
    for name in ("utt_id", "path", "speaker", "language", "set"):
        if values.get(name) == "":
            wrong(f"no {name}")
        elif name != "path" and is_broken(values.get(name, "")):
            wrong(f"{name} {values[name]!r} has blanks or unprintable characters; Kaldi's files cannot hold them")
    check_language(values.get("language", ""), wrong)
    _check_set(values.get("set", ""), wrong)
    start, end, score = (_number(values.get(name, ""), name, wrong) for name in ("start", "end", "score"))
    if start is not None and start < 0:
        wrong(f"start {start:g} is negative")
    if end is not None and end <= (start or 0):
        wrong(f"start {start or 0:g} is not before end {end:g}")
    try:
        channel = read_channel(values.get("channel", ""), "column channel")
    except ValueError as error:
        channel = None
        wrong(str(error))
    gender = values.get("gender", "").lower()
    if gender and gender not in GENDERS:
        wrong(f"gender {values['gender']!r} is none of {' '.join(GENDERS)}; leave it empty where it is not known")
    path = values.get("path", "")
    if path.endswith("|"):
        wrong(f"path {path!r} ends with |, as commands do for Kaldi; rename the file")
    return Row(
        line=line,
        utt_id=values.get("utt_id", ""),
        path=root / path if path else None,
        speaker=values.get("speaker", ""),
        language=values.get("language", ""),
        set=values.get("set", ""),
        start=start or 0.0,
        end=end,
        channel=channel,
        gender=gender if gender in GENDERS else None,
        score=score,
        fields={name: value for name, value in values.items() if value and name not in REQUIRED + OPTIONAL},
    )


def check_language(name: str, wrong: Callable[[str], None]) -> None:
    """Say what is wrong with the name of a language that later stages could not write."""
    signs = sorted(set(name) & set(_NOT_IN_LANGUAGES))
    if signs:
        better = re.sub(r"[^\w.-]+", "_", name).strip("_")
        hint = f", such as {better}" if better else ""
        wrong(
            f"language {name!r} has {' '.join(signs)}, which stands between names in models and tables; rename it{hint}"
        )


def _check_set(name: str, wrong: Callable[[str], None]) -> None:
    if name and not name.startswith(SIDES):
        wrong(f"set {name!r} is of an unknown kind; its name starts with train, dev or test")
    elif name and not re.fullmatch(r"[\w.-]+", name) and not is_broken(name):
        wrong(f"set {name!r} is not a file name; use letters, digits and _ . -")
    elif len(name) > _LONGEST_SET:
        wrong(f"set {name[:20]!r}... has {len(name)} letters; name it with {_LONGEST_SET} at most")


def _number(text: str, name: str, wrong: Callable[[str], None]) -> float | None:
    if not text:
        return None
    try:
        number = float(text) if "_" not in text else math.nan  # Python reads 1_0 as 10
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        wrong(f"{name} {text!r} is not a number" + ("; write a point, not a comma" if "," in text else ""))
        return None
    return number


def is_broken(text: str) -> bool:
    """Whether a name has what Kaldi's files cannot hold, or nobody sees."""
    # of white space only the blank counts as printable
    return " " in text or not text.translate(dict.fromkeys(map(ord, _JOINERS))).isprintable()
