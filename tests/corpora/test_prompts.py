"""Parts and slices of prompts by their names."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flowlid.corpora.prompts import SLICES, part_of, slice_of, write_wav


def test_parts_and_slices_are_fixed_by_the_name_and_even() -> None:
    names = [f"prompt-{number}" for number in range(3000)]
    assert slice_of("frog") == int(hashlib.sha1(b"slice of frog").hexdigest(), 16) % 6
    slices = [slice_of(name) for name in names]
    assert min(slices.count(number) for number in range(SLICES)) > 430  # 500 less three standard deviations
    # each part has all slices alike: neither says anything of the other
    train = [number for name, number in zip(names, slices, strict=True) if part_of(name) == "train"]
    assert train.count(0) / len(train) == pytest.approx(1 / SLICES, abs=0.025)


def test_every_number_of_voices_up_to_three_shares_the_slices_evenly() -> None:
    assert all(SLICES % count == 0 for count in (1, 2, 3))


def test_a_wav_is_written_once(tmp_path: Path) -> None:
    samples = np.array([1, -2, 32767, -32768], np.int16)
    path = tmp_path / "a" / "b.wav"
    write_wav(path, samples, 8000)
    written, rate = soundfile.read(path, dtype="int16")
    assert rate == 8000 and written.tolist() == samples.tolist()
    first = path.stat().st_mtime_ns
    write_wav(path, samples, 8000)
    assert path.stat().st_mtime_ns == first
    write_wav(path, samples[::-1], 8000)
    assert soundfile.read(path, dtype="int16")[0].tolist() == samples[::-1].tolist()
