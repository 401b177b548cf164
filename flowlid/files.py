"""Files that are whole or absent, text, JSON and YAML, and problems that make one error."""

import codecs
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from flowlid.wording import SHOWN, brief, shortened


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    The file is flushed to the disk before the rename, and its directory after it, so that after a crash or a full
    disk `path` holds either its old content or the whole new one. Text is UTF-8 with "\\n" line ends. A temporary file
    that a killed process of this host left for the same `path` is taken over.

    Args:
        path: the file to write; its directory is created.
        mode: "w" for text or "wb" for bytes.

    Raises:
        OSError: the disk is full or the place cannot be written; `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, temporary = _take(path, "tmp")
    try:
        with os.fdopen(handle, mode, **text) as file:  # open, and so locked, until all is done
            os.ftruncate(handle, 0)
            try:
                yield file
                file.flush()
                os.fsync(handle)
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # "No space left on device" alone does not tell where
        raise


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty directory to fill, which takes the place of `path` when the block ends well.

    All its files are flushed to the disk first. After an exception `path` is as it was.
    """
    path = Path(path)
    with temporary_directory(path) as temporary:
        new = temporary / "new"
        new.mkdir()
        yield new
        sync_tree(new)
        old = temporary / "old"
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
        sync(path.parent)


@contextmanager
def temporary_directory(path: str | Path) -> Iterator[Path]:
    """An empty directory beside `path`, removed at the end; one that a killed process of this host left goes first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, lock = _take(path, "lock")
    temporary = lock.with_suffix(".tmp")
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Flush all files below a directory, and the directories, to the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))


def sync(path: Path) -> None:
    """Flush a file, or the names in a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot flush a directory
            raise
    finally:
        os.close(handle)


# In the names of temporary files: other hosts that share the file system may not see a lock of this one.
_HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"


def _take(path: Path, suffix: str) -> tuple[int, Path]:
    """Open and lock a file beside `path` of a name that no living process has.

    The lock ends with its process, which tells what a killed one left from what is in use.
    """
    number = 0
    while True:
        taken = path.with_name(f".{path.name}.{_HOST}.{number}.{suffix}")
        try:
            handle = os.open(taken, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (PermissionError, IsADirectoryError):
            if not taken.exists():
                raise
            number += 1  # another user's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):  # renamed or removed before it was locked
                if os.path.samestat(os.fstat(handle), os.stat(taken)):
                    return handle, taken
        except BlockingIOError:
            number += 1
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; NaN and Inf are refused (JSON has none)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def read_json(path: str | Path) -> Any:  # noqa: ANN401  (JSON is any value)
    """Read a JSON file.

    Raises:
        ValueError: the file is not JSON, which has no NaN; the message names it.
        FileNotFoundError: there is no such file.
    """
    try:
        return json.loads(read_text(path), parse_constant=_refuse)
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error}); remove it and run its stage again") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} in it")


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file, its lines ended by "\n", without a byte-order mark; ValueError names file and fix."""
    try:
        text = read_content(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); convert it with iconv -t UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file; raises as `read_text`. Unlike str.splitlines, only line ends divide them."""
    lines = read_text(path).split("\n")
    return lines if lines[-1] else lines[:-1]


def read_content(path: str | Path) -> bytes:
    """Bytes of a text file without a byte-order mark; ValueError if it is UTF-16, as some tools write, or holds NUL."""
    content = Path(path).read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]:
        raise ValueError(f"{path}: UTF-16, not UTF-8; convert it with iconv -f UTF-16 -t UTF-8")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise ValueError(f"{path}:{line}: a NUL byte; the file is damaged, or no text: write it anew")
    return content.removeprefix(codecs.BOM_UTF8)


def read_yaml(path: str | Path) -> Any:  # noqa: ANN401  (YAML is any value)
    """Read a YAML file of plain values; None if it is empty.

    Stricter than YAML 1.1 where that surprises: a key that is there twice, and a name that YAML takes for something
    else (`no`, `on`, `012`, a date), are errors, not the last value, false, true, 10 and a date.

    Raises:
        ValueError: such a key or name, or no YAML; the message names the file, the line and the fix.
        FileNotFoundError: there is no such file.
    """
    try:
        loader = _YamlLoader(read_text(path))
        loader.path = path
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        where = f"{path}:{mark.line + 1}" if mark else path
        raise ValueError(f"{where}: not a YAML file: {problem}; correct the line") from error


class _YamlLoader(yaml.SafeLoader):
    path: str | Path = ""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            where = f"{self.path}:{key.start_mark.line + 1}"
            text = key.value if isinstance(key, yaml.ScalarNode) else "of several values"
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise ValueError(f"{where}: key {brief(text)} is not a name to YAML; put it in quotes")
            if text in lines:
                raise ValueError(f"{where}: key {brief(text)} is in line {lines[text]} too; remove one of the two")
            lines[text] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def plain(self, node: yaml.ScalarNode, form: str, construct: Callable) -> Any:  # noqa: ANN401  (a number or bool)
        """A value that is written as `form` says; any other spelling of its kind may well be meant as a name."""
        where = f"{self.path}:{node.start_mark.line + 1}: YAML reads {shortened(node.value)}"
        remedy = "put it in quotes if it is a name, or write true, false or a decimal number"
        try:
            value = construct(self, node)
        except ValueError as error:  # a date such as 2026-13-45, a number of thousands of digits
            raise ValueError(f"{where} as a number or date, but {error}; {remedy}") from error
        if not re.fullmatch(form, node.value, re.IGNORECASE):
            raise ValueError(f"{where} as {brief(value)}; {remedy}")
        return value


for _kind, _form in (
    ("bool", "true|false"), ("int", r"[-+]?(0|[1-9][0-9_]*)"), ("float", "[^:]+"), ("timestamp", "(?!)"),
):  # fmt: skip
    _tag = f"tag:yaml.org,2002:{_kind}"
    _YamlLoader.add_constructor(
        _tag,
        lambda loader, node, form=_form, construct=yaml.SafeLoader.yaml_constructors[_tag]: loader.plain(
            node, form, construct
        ),
    )


def raise_problems(
    problems: Sequence[str], heading: str = "", most: int = SHOWN, full_list: str | Path | None = None
) -> None:
    """Raise ValueError if there are problems: the first three of each cause, one per line, and how many more there are.

    Problems have one cause if they differ only in their places, numbers, paths, and names in quotes.

    Args:
        problems: "place: what is wrong; fix", of a line each.
        heading: line before them.
        most: lines of the error that name problems.
        full_list: file that gets all of them where the error does not name each.
    """
    if not problems:
        return
    causes = list(map(_cause, problems))
    same, seen, lines, told = Counter(causes), Counter(), [], 0
    for problem, cause in zip(problems, causes, strict=True):
        seen[cause] += 1
        if seen[cause] > _EXAMPLES or len(lines) >= most:
            continue
        lines.append(problem)
        told += 1
        if seen[cause] == _EXAMPLES < same[cause]:
            lines.append(f"... and {same[cause] - _EXAMPLES} more of this kind")
            told += same[cause] - _EXAMPLES
    if told < len(problems):
        lines.append(f"... and {len(problems) - told} more problems")
    if full_list is not None and lines != list(problems):
        with atomic_write(full_list) as file:
            for problem in problems:  # a file's name need not be UTF-8
                file.write(problem.encode(errors="backslashreplace").decode() + "\n")
        lines.append(f"all of them are in {full_list}")
    raise ValueError("\n".join([*([heading] if heading else []), *lines]))


_EXAMPLES = 3  # problems of one cause that an error names


def _cause(problem: str) -> str:
    """What is left of a problem without its place, and without the names and numbers that make it one of many."""
    text = re.sub(r"^[^:]*:(\d+:)* ", "", problem)
    return re.sub(r"""'[^']*'|"[^"]*"|\S*/\S*|[-+]?\d[\d.,e]*""", "_", text)


def write_tsv(path: str | Path, rows: Iterable[Iterable[object]]) -> None:
    """Write rows of cells that hold neither tabs nor line breaks, atomically."""
    with atomic_write(path) as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
