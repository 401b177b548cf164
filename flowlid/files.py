"""Files that are whole or absent: every result is written to a temporary name and renamed."""

import difflib
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    The file is flushed to the disk before the rename, so that after a crash or a full disk
    `path` holds either its old content or the whole new one. Text is UTF-8 with "\\n" line ends.

    Args:
        path: the file to write; its directory is created.
        mode: "w" for text or "wb" for bytes.

    Raises:
        OSError: the disk is full or the place cannot be written; `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        os.fchmod(handle, 0o666 & ~_umask())
        with os.fdopen(handle, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # "No space left on device" alone does not tell where
        raise


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty directory to fill, which takes the place of `path` when the block ends well.

    After an exception `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        yield new
        if path.exists():
            os.rename(path, Path(temporary) / "old")
        os.rename(new, path)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; NaN and Inf are refused (JSON has none)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def read_json(path: str | Path) -> Any:  # noqa: ANN401  (JSON is any value)
    """Read a JSON file.

    Raises:
        ValueError: the file is no JSON; the message names it.
        FileNotFoundError: there is no such file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error}); remove it and run its stage again") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


_SHOWN = 20


def nearest(word: str, known: Collection[str]) -> str:
    """What an error says after an unknown name: " (did you mean 'x'?)", or the known ones if none is near.

    They stand in their order; those of a set are sorted.
    """
    names = sorted(known) if isinstance(known, Set) else list(known)
    close = difflib.get_close_matches(word, names, 1)
    return f" (did you mean {close[0]!r}?)" if close else f"; known: {' '.join(names[:_SHOWN])}"
