"""The frames of a small data directory, by loops and by other readers: what `flowlid.frames` is held against."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from tools import contents

from flowlid.config import FramesConfig
from flowlid.frames.frameset import FrameSet, load_frames
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir

UTTS = {"a-1": "en", "a-2": "en", "b-1": "es", "c-1": "es"}


def loops(x: np.ndarray, context: int) -> np.ndarray:
    """Kaldi's splice-feats, word by word."""
    rows = []
    for t in range(len(x)):
        row = []
        for offset in range(-context, context + 1):
            neighbour = min(max(t + offset, 0), len(x) - 1)
            row.extend(x[neighbour].tolist())
        rows.append(row)
    return np.array(rows, np.float32)


def features(path: Path) -> dict[str, np.ndarray]:
    return {utt: np.array(matrix) for utt, matrix in kaldiio.load_scp(str(path / "feats.scp")).items()}


def voiced(path: Path) -> dict[str, np.ndarray]:
    return {utt: np.array(vad) == 1 for utt, vad in kaldiio.load_scp(str(path / "vad.scp")).items()}


def every(frames: FrameSet) -> np.ndarray:
    return frames.batch(torch.arange(len(frames))).numpy()


def write_vad(path: Path, decisions: dict[str, list[int]]) -> None:
    with ArkWriter(path / "vad.ark", path / "vad.scp") as write:
        for utt in sorted(decisions):
            write(utt, np.array(decisions[utt], np.float32))


def refused(path: Path, config: FramesConfig, match: str, **options: object) -> None:
    """load_frames says so, and touches none of the user's files."""
    before = users_files(path)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        load_frames(DataDir(path), config, **options)
    assert users_files(path) == before
    assert not list(path.glob("packed/.*.tmp"))


def users_files(path: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(path).items() if not name.startswith("packed/")}
