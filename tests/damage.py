"""Harm done to data directories and disks, and what a program must say of it."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kaldiio
import numpy as np
from tools import Ended

from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import read_table, write_table


def assert_refused(ended: Ended, *words: str) -> None:
    errors = [line for line in ended.log.splitlines() if line.startswith("ERROR ")]
    assert ended.code == 1 and len(errors) == 1, ended
    for word in words:
        assert word in ended.log


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes: writing more fails in the middle, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


# A damage gets the path of a data directory with features and its first utterance.


def edit(name: str, old: str, new: str) -> Callable[[Path, str], None]:
    """Replace `old` by `new` in a file; X stands for the first utterance."""

    def damage(path: Path, first: str) -> None:
        text, wanted = (path / name).read_text(), old.replace("X", first)
        assert wanted in text
        (path / name).write_text(text.replace(wanted, new.replace("X", first)))

    return damage


def lines_of(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path, str], None]:
    def damage(path: Path, first: str) -> None:
        lines = (path / name).read_text().splitlines(keepends=True)
        (path / name).write_text("".join(change(lines)))

    return damage


def remove(name: str) -> Callable[[Path, str], None]:
    return lambda path, first: (path / name).unlink()


def point(name: str, specifier: str) -> Callable[[Path, str], None]:
    """Let the first utterance's line of an scp file point elsewhere."""
    return lambda path, first: write_table(path / name, {**read_table(path / name), first: specifier})


def put_value(number: float) -> Callable[[Path, str], None]:
    def damage(path: Path, first: str) -> None:
        matrices = {utt: np.array(x) for utt, x in kaldiio.load_scp(str(path / "feats.scp")).items()}
        matrices[first][4, 2] = number
        kaldiio.save_ark(str(path / "feats.ark"), matrices, scp=str(path / "feats.scp"))
        (path / "feats.ark.crc").unlink()  # checksums of what was there before

    return damage


def cut_archive(path: Path, first: str) -> None:
    (path / "feats.ark").write_bytes((path / "feats.ark").read_bytes()[:100])


def flip_bit(name: str, quietly: bool = False) -> Callable[[Path, str], None]:
    """Flip a bit of the first array of an archive; as a disk does it, `quietly`, its time stays."""

    def damage(path: Path, first: str) -> None:
        stat = (path / name).stat()
        content = bytearray((path / name).read_bytes())
        content[60] ^= 1
        (path / name).write_bytes(content)
        if quietly:
            os.utime(path / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return damage


def silence(path: Path, first: str) -> None:
    with ArkWriter(path / "vad.ark", path / "vad.scp") as write:
        for utt in DataDir(path).utts:
            write(utt, np.full(30, float(utt != first), np.float32))
