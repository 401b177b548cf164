"""Kaldi configuration files: lines `--name=value`."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from flowlid.files import nearest, read_lines


def read_options(path: str | Path, cls: type) -> Any:  # noqa: ANN401  (an instance of cls)
    """Read a Kaldi configuration file: lines `--name=value`, "#" starts a comment.

    Raises:
        ValueError: a line of another form, an unknown option (a known one is suggested), or a
            value of the wrong type or out of range; the message names the file, and the line if one is wrong.
    """
    kinds = {field.name: type(field.default) for field in fields(cls)}
    values: dict[str, Any] = {}
    for number, line in enumerate(read_lines(path), 1):
        for word in _words(line, f"{path}:{number}"):
            name, equals, text = word.removeprefix("--").partition("=")
            key = name.replace("-", "_")
            if not word.startswith("--") or not equals:
                raise ValueError(f"{path}:{number}: {word!r} is not an option; write --name=value")
            if key not in kinds:
                known = [f"--{kind.replace('_', '-')}" for kind in kinds]
                raise ValueError(f"{path}:{number}: unknown option --{name}{nearest(f'--{name}', known)}")
            values[key] = _parse(text, kinds[key], f"{path}:{number}: --{name}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _words(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise ValueError(f"{where}: {line.strip()!r}: {error}; close the quotation") from error


def _parse(text: str, kind: type, what: str) -> Any:  # noqa: ANN401  (a value of `kind`)
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{what} must be true or false, not {text!r}")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{what} must be a number, not {text!r}") from error
