"""Duplicate recordings in a corpus, copied with another gain, dither or length."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy.signal import correlate

_SAME = 0.9  # in eight voices of prompts, copies correlate above 0.98 and everything else below 0.8
_MAX_SHIFT = 0.05  # seconds that a copy is longer or shorter at most
_HOP = 0.02  # seconds, of the loudness that is compared before the samples are


class Sound:
    """Samples of one recording, int16 of shape (n,), with what a comparison needs of them.

    Args:
        samples: (n,) int16, not all zero.
        rate: sampling rate in Hz.
    """

    def __init__(self, samples: np.ndarray, rate: int) -> None:
        self.samples, self.rate = samples, rate

    @cached_property
    def digest(self) -> str:
        """Checksum of the samples."""
        return hashlib.sha1(self.samples.tobytes()).hexdigest()

    @cached_property
    def loudness(self) -> np.ndarray:
        """Root mean square in steps of 20 ms, less its mean."""
        hop = int(_HOP * self.rate)
        padded = np.pad(self.samples.astype(np.float32), (0, -len(self.samples) % hop))
        loudness = np.sqrt((padded.reshape(-1, hop) ** 2).mean(axis=1))
        return loudness - loudness.mean()

    def may_repeat(self, other: "Sound") -> bool:
        """Whether the two are near enough in length to be copies."""
        return abs(len(self.samples) - len(other.samples)) <= _MAX_SHIFT * self.rate


_S = TypeVar("_S", bound=Sound)


def same_recording(a: Sound, b: Sound) -> bool:
    """Whether two sounds are one recording: the same samples, or a normalized cross-correlation of 0.9 or more."""
    if a.digest == b.digest:
        return True
    if not a.may_repeat(b) or _peak(a.loudness, b.loudness) < _SAME:
        return False
    return _peak(a.samples.astype(np.float32), b.samples.astype(np.float32)) >= _SAME


def find_repeated(sounds: Iterable[_S], name: Callable[[_S], str]) -> dict[_S, _S]:
    """Sounds that repeat another one, each with the one, first by name, that it repeats."""
    repeated: dict[_S, _S] = {}
    by_length = sorted(sounds, key=lambda sound: len(sound.samples))
    for index, a in enumerate(by_length):
        for b in by_length[index + 1 :]:
            if not a.may_repeat(b):
                break
            if same_recording(a, b):
                first, second = sorted((repeated.get(a, a), repeated.get(b, b)), key=name)
                if first is not second:
                    repeated[second] = first
                    repeated.update({sound: first for sound, other in repeated.items() if other is second})
    return repeated


def find_shared(sounds: Iterable[_S], owner: Callable[[_S], Hashable], name: Callable[[_S], str]) -> dict[_S, _S]:
    """Sounds that another owner has too, each with the first that it is found to repeat; symmetric.

    Compared are sounds of one name, and of the same samples under any name.
    """
    groups: dict[tuple[str, str], list[_S]] = defaultdict(list)
    for sound in sounds:
        groups["name", name(sound)].append(sound)
        groups["samples", sound.digest].append(sound)
    shared: dict[_S, _S] = {}
    for group in groups.values():
        for a, b in combinations(group, 2):
            if owner(a) != owner(b) and same_recording(a, b):
                shared.setdefault(a, b)
                shared.setdefault(b, a)
    return shared


def _peak(a: np.ndarray, b: np.ndarray) -> float:
    """Largest cosine between a and a shifted b: 1 for copies, whatever their gain."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.abs(correlate(a, b, method="fft")).max()) / norm if norm > 0 else 0.0
