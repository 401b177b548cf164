"""Figures that others published, beside ours: a recipe's reference.yaml, and the tables made from it.

    source: research notebook of March 2020
    figures:
      dnf_120:                                   # an experiment
        - {quantity: "skewness, training", published: 0.0031, ours: sets.train_x.moments.pooled.skew, note: "..."}

`ours` is a path into that experiment's object in results.json: names joined by dots, or a list of names where one has
a dot in it; null where flowlid has no such figure. `note` may be left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowlid.files import read_yaml
from flowlid.report.tables import NONE, Result, Table, count_text, nats_text
from flowlid.wording import nearest

_KEYS = ("source", "figures")
_FIGURE = ("quantity", "published", "ours", "note")
_BY_CLASS = ("moments", "frame_confusion", "utt_confusion")  # their keys are the languages of the set
_FIRST = ("train", "sets", "parameters", "dim", "class_dim")  # keys of an experiment's object that lead to numbers


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        quantity: what was measured.
        published: the value that others give.
        ours: path into an experiment's result; None: flowlid has no such figure.
        note: what to know before comparing the two.
        where: file and entry, for messages.
    """

    quantity: str
    published: int | float
    ours: tuple[str, ...] | None
    note: str
    where: str


@dataclass(frozen=True)
class Reference:
    """Figures per experiment, and their source."""

    source: str
    figures: Mapping[str, Sequence[Figure]]


def read_reference(path: str | Path) -> Reference:
    """Read a reference file.

    Raises:
        ValueError: not YAML, an unknown key, an incomplete entry, or a path that cannot exist.
        FileNotFoundError: no such file.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("figures"), dict):
        raise ValueError(f"{path}: expected the keys `source` (a text) and `figures` (experiment -> list of figures)")
    _check_keys(content, _KEYS, str(path))
    if not isinstance(content.get("source"), str):
        raise ValueError(f"{path}: source: {content.get('source')!r} is not a text that names their source")
    figures = {}
    for name, entries in content["figures"].items():
        if not isinstance(entries, list):
            raise ValueError(f"{path}: figures: {name}: expected a list of figures, not {entries!r}")
        figures[str(name)] = [_figure(entry, f"{path}: {name}: figure {n}") for n, entry in enumerate(entries, 1)]
    return Reference(content["source"], figures)


def reference_tables(reference: Reference, results: Sequence[Result]) -> dict[str, Table]:
    """One table per experiment that has figures: experiment -> table.

    "-" means that our set was not made, or that the value does not apply.

    Raises:
        ValueError: a path that should lead to a number in `results` and does not.
    """
    tables = {}
    for result in results:
        figures = reference.figures.get(result["experiment"])
        if figures:
            tables[result["experiment"]] = _table(reference.source, figures, result)
    return tables


def _table(source: str, figures: Sequence[Figure], result: Result) -> Table:
    rows = []
    for figure in figures:
        ours = _resolve(figure, result)
        rows.append([figure.quantity, figure.note or NONE, *_cells(figure.published, ours)])
    head = ["quantity", "note", "published", "ours", "difference"]
    if all(row[1] == NONE for row in rows):
        rows, head = [[row[0], *row[2:]] for row in rows], [head[0], *head[2:]]
    title = f"Reference figures beside ours (published: {source}; difference: ours - published)"
    return Table(title, head, rows, labels=len(head) - 3)


def _cells(published: int | float, ours: int | float | None) -> list[str]:
    """Published, ours, difference: integers as they are, others with four decimals, or three from 10 on."""
    if isinstance(published, int) and (ours is None or isinstance(ours, int)):
        difference = NONE if ours is None else f"{ours - published:+,}"
        return [count_text(published), count_text(ours), difference]
    digits = 4 if abs(published) < 10 else 3
    if ours is None:
        return [nats_text(published, digits), NONE, NONE]
    difference = round(ours - published, digits) + 0.0
    return [nats_text(published, digits), nats_text(ours, digits), f"{difference:+.{digits}f}"]


def _resolve(figure: Figure, result: Result) -> int | float | None:
    """The number at a figure's path; None where a set was not made, or a value does not apply."""
    if figure.ours is None:
        return None
    value: object = result
    for depth, name in enumerate(figure.ours):
        if not isinstance(value, Mapping):
            raise ValueError(f"{figure.where}: ours: {'.'.join(figure.ours)}: there is nothing below {value!r}")
        if name not in value:
            if figure.ours[0] == "sets" and (depth == 1 or (depth == 3 and figure.ours[2] in _BY_CLASS)):
                return None
            raise ValueError(f"{figure.where}: ours: {'.'.join(figure.ours)}: unknown {name!r}{nearest(name, value)}")
        value = value[name]
        if value is None:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{figure.where}: ours: {'.'.join(figure.ours)}: leads to no number; known: {_listed(value)}")
    return value


def _figure(entry: object, where: str) -> Figure:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected quantity, published, ours and note, not {entry!r}")
    _check_keys(entry, _FIGURE, where)
    for key in ("quantity", "published", "ours"):
        if key not in entry:
            raise ValueError(f"{where}: no {key}")
    published = entry["published"]
    if isinstance(published, bool) or not isinstance(published, int | float):
        raise ValueError(f"{where}: published: {published!r} is not a number")
    for key in ("quantity", "note"):
        if not isinstance(entry.get(key, ""), str):
            raise ValueError(f"{where}: {key}: {entry[key]!r} is not a text; put it in quotes")
    return Figure(entry["quantity"], published, _path(entry["ours"], where), entry.get("note", ""), where)


def _path(ours: object, where: str) -> tuple[str, ...] | None:
    if ours is None:
        return None
    names = ours.split(".") if isinstance(ours, str) else ours
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{where}: ours: {ours!r} is not a path: give names joined by dots, or a list of names")
    if names[0] not in _FIRST:
        raise ValueError(f"{where}: ours: {'.'.join(names)}: unknown {names[0]!r}{nearest(names[0], _FIRST)}")
    return tuple(names)


def _check_keys(content: Mapping[object, object], known: Sequence[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")


def _listed(value: object) -> str:
    return " ".join(value) if isinstance(value, Mapping) else repr(value)
