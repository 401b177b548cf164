"""Kaldi configuration files: lines `--name=value`."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from flowlid.files import read_lines
from flowlid.wording import brief, nearest

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True)
class Fixed:
    """An option of Kaldi's that a program knows but does not have: what is done is Kaldi's at this `value`.

    Another value of the same type is an error that tells `why`; without `why` the value changes no result.
    """

    value: bool | int | float | str
    why: str = ""


def read_options(path: str | Path, cls: type) -> Any:  # noqa: ANN401  (an instance of cls)
    """Read a Kaldi configuration file: lines `--name=value`, "#" starts a comment; `--name` is `--name=true`.

    `cls` is a dataclass with a field per option; its attribute FIXED names the other options of Kaldi's program.

    Raises:
        ValueError: a line of another form, an unknown option (a known one is suggested), or a
            value of the wrong type, out of range or not supported; the message names the file, and the line if
            one is wrong.
    """
    kinds = {field.name: type(field.default) for field in fields(cls)}
    fixed: dict[str, Fixed] = cls.FIXED
    values: dict[str, Any] = {}
    for number, line in enumerate(read_lines(path), 1):
        for word in _words(line, f"{path}:{number}"):
            name, equals, text = word.removeprefix("--").partition("=")
            key = name.replace("-", "_")
            kind = kinds.get(key) or (type(fixed[key].value) if key in fixed else None)
            if not word.startswith("--") or not (equals or kind in (bool, None)):
                raise ValueError(f"{path}:{number}: {brief(word)} is not an option; write --name=value")
            if kind is None:
                known = [f"--{kind.replace('_', '-')}" for kind in kinds]
                raise ValueError(f"{path}:{number}: unknown option {brief(f'--{name}')}{nearest(f'--{name}', known)}")
            value = _parse(text if equals else "true", kind, f"{path}:{number}: --{name}")
            if key in kinds:
                values[key] = value
            elif fixed[key].why and value != fixed[key].value:
                raise ValueError(f"{path}:{number}: {brief(word)} is not supported: {fixed[key].why}; remove the line")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def options_of(values: Mapping[str, str], cls: type, where: str) -> Any:  # noqa: ANN401  (an instance of cls)
    """The options in a table such as a model's: "num-mel-bins": "40". Args and errors are those of `read_options`.

    Args:
        values: option -> value; an option that is not named has its default.
        cls: as for `read_options`.
        where: what errors begin with.
    """
    kinds = {field.name.replace("_", "-"): type(field.default) for field in fields(cls)}
    unknown = [name for name in values if name not in kinds]
    if unknown:
        raise ValueError(f"{where}: unknown option {brief(unknown[0])}; it was made by another flowlid")
    parsed = {name.replace("-", "_"): _parse(text, kinds[name], f"{where}: {name}") for name, text in values.items()}
    try:
        return cls(**parsed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def check_ranges(options: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise ValueError, in the words of a configuration file, for an option outside its range, or NaN."""
    for name, (least, most) in ranges.items():
        value = getattr(options, name)
        if not least <= value <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be {least} to {most}, not {value}")


def _words(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise ValueError(f"{where}: {brief(line.strip())}: {error}; close the quotation") from error


def _parse(text: str, kind: type, what: str) -> Any:  # noqa: ANN401  (a value of `kind`)
    if kind is bool:  # as Kaldi reads it
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{what} must be true or false, not {brief(text)}")
        return _BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{what} must be a number, not {brief(text)}") from error
