"""Recorded prompts that several voices say: the side of the split and the slice that a name falls on, and packages."""

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from flowlid.corpora.corpus import order
from flowlid.files import atomic_write

SLICES = 6  # divides evenly by 1, 2 and 3 voices


def part_of(key: str) -> str:
    """Part of a prompt, by the SHA-1 of its key modulo 100: 70 train, 10 dev, 20 test."""
    bucket = int(order(key), 16) % 100
    return "train" if bucket < 70 else "dev" if bucket < 80 else "test"


def slice_of(key: str) -> int:
    """Number of a prompt's slice, 0 to SLICES - 1, whatever its part: n voices that give every n-th slice each are
    about as much speech as one that gives all."""
    return int(order(f"slice of {key}"), 16) % SLICES


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write samples (n,), int16, to a mono WAV file, unless it holds them already."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        with atomic_write(path, "wb") as file:
            file.write(buffer.getvalue())


def fetch_packages(script: Path, place: Path, packages: Sequence[str]) -> Path:
    """Fetch Debian packages into `place` with `script` (local/fetch_debian_packages.sh), and return `place`.

    Raises:
        ValueError: they could not be fetched; what the script said tells what to do.
    """
    if subprocess.run([script, place, *packages], check=False).returncode:
        raise ValueError("packages could not be fetched, as said above; with --corpus DIR they are not fetched")
    return place
