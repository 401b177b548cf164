"""One noise floor for all recordings: speech at a stated level, and the same noise above each recording's own."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flowlid.config import FramesConfig
from flowlid.frames.pack import Pack
from flowlid.frames.selection import voiced_counts

_ROWS = 4096  # changed at once, so that their float64 copy stays in the processor's cache
_GOLDEN, _MIX1, _MIX2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class Floor:
    """What happens to the raw log-mel energies of a set's U utterances, before normalization and splicing.

    Attributes:
        gain: (U,) float64, added to the energies of each utterance; None: nothing.
        noise: log-mel energy of the noise that is added then; None: none.
        seeds: (U,) uint64 of the noise of each utterance, which follow its name.
    """

    gain: np.ndarray | None
    noise: float | None
    seeds: np.ndarray

    def apply(self, feats: np.ndarray, frame: np.ndarray, utt_of: np.ndarray) -> None:
        """Change rows (R, F) in place: frames (R,), counted from the start of their utterances (R,)."""
        for start in range(0, len(feats), _ROWS):
            own = slice(start, start + _ROWS)
            m = feats[own].astype(np.float64)
            if self.gain is not None:
                m += self.gain[utt_of[own], np.newaxis]
            feats[own] = m if self.noise is None else add_noise(m, self.noise, self.seeds[utt_of[own]], frame[own])


def floor_of(config: FramesConfig, pack: Pack, utts: Sequence[str], numbers: np.ndarray) -> Floor | None:
    """The floor of these utterances, by name and number in the pack; None if the experiment has none.

    An utterance's level is the logarithm of the mean energy of its voiced frames, over all mel bins:
    log mean_{t,f} exp(m_{t,f}). `frames.level` less that is its gain.
    """
    if not config.floored:
        return None
    gain = None if config.level is None else config.level - speech_levels(pack, numbers)
    seeds = [hashlib.sha256(utt.encode()).digest()[:8] for utt in utts]
    return Floor(gain, config.floor, np.frombuffer(b"".join(seeds), "<u8"))


def speech_levels(pack: Pack, numbers: np.ndarray) -> np.ndarray:
    """Log of the mean energy of the voiced frames of each of these utterances, which have some: (U,) float64."""
    counts = voiced_counts(pack)
    ends = counts.cumsum()
    levels = [pack.feats[pack.voiced[ends[n] - counts[n] : ends[n]]] for n in numbers]
    return np.array([_log_mean_exp(m) for m in levels])


def _log_mean_exp(m: np.ndarray) -> float:
    highest = float(m.max())
    return highest + float(np.log(np.exp(m.astype(np.float64) - highest).mean()))


def floored(pack: Pack, floor: Floor) -> Iterator[np.ndarray]:
    """The features of each utterance of a pack with the floor of them all, (T, F) float32."""
    for utt, (start, end) in enumerate(itertools.pairwise([0, *pack.ends.tolist()])):
        feats = np.array(pack.feats[start:end])
        floor.apply(feats, np.arange(len(feats)), np.full(len(feats), utt))
        yield feats


def add_noise(m: np.ndarray, level: float, seeds: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Log energies (R, F) of signal and Gaussian noise, whose mean energy is exp(level) in each bin: -> (R, F).

    A bin's energy is |a + n|^2, where |a|^2 = exp(m) is the signal's and n is complex normal noise, E |n|^2 =
    exp(level): a noncentral chi-square with two degrees of freedom, as a spectrum's bins have it. The noise of bin f in
    frame t follows the utterance's seed, t and f alone, whatever is computed beside it; frames are independent.

    Args:
        m: log energies of the signal.
        level: of the noise.
        seeds: (R,) uint64, of the utterance of each row.
        frame: (R,) number of the row in its utterance.
    """
    dim = m.shape[1]
    count = frame.astype(np.uint64)[:, np.newaxis] * np.uint64(dim) + np.arange(dim, dtype=np.uint64)
    radius, angle = _uniform(seeds[:, np.newaxis], count)
    radius = np.sqrt(-np.log(radius))
    angle *= 2 * np.pi
    real = np.exp((m - level) / 2) + radius * np.cos(angle)
    return level + np.log(np.square(real) + np.square(radius * np.sin(angle)))


def _uniform(seeds: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers in (0, 1), at least 2^-33 from its ends, of each seed and count (R, F).

    They are the halves of the output of SplitMix64 (Steele, Lea and Flood 2014) after so many steps from a seed.
    """
    z = seeds + (count + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    z ^= z >> np.uint64(31)
    return tuple((half + 0.5) / 2**32 for half in (z >> np.uint64(32), z & np.uint64(0xFFFFFFFF)))
