"""Energy voice activity detection, as Kaldi computes it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flowlid.kaldi.options import Fixed, check_ranges

_RANGES = {
    "vad_energy_threshold": (-1000, 1000),  # of a log energy, which is between -16 and some 40
    "vad_energy_mean_scale": (-1000, 1000),
    "vad_frames_context": (0, 100_000),  # more is longer than any utterance
    "vad_proportion_threshold": (0, 1),
}


@dataclass(frozen=True)
class VadOptions:
    """Options of Kaldi's `compute-vad`, with its names and defaults."""

    vad_energy_threshold: float = 5.0  # constant term of the threshold on log energy
    vad_energy_mean_scale: float = 0.5  # of the utterance's mean log energy, added to the threshold
    vad_frames_context: int = 0  # frames on each side that vote
    vad_proportion_threshold: float = 0.6  # share of votes that makes a frame voiced

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)

    FIXED: ClassVar[dict[str, Fixed]] = {
        "omit_unvoiced_utts": Fixed(True),  # they are named in left_out.tsv
        "verbose": Fixed(0),
        "print_args": Fixed(True),
    }


def energy_vad(log_energy: np.ndarray, options: VadOptions) -> np.ndarray:
    """Voiced frames by energy: (T,) raw log energies -> (T,) bool.

    A frame's own vote is log energy > threshold + mean_scale x mean(log energy); the frame is voiced
    if at least `vad_proportion_threshold` of the votes within `vad_frames_context` frames (those
    that exist) say so.

    Source: Kaldi's `ivector/voice-activity-detection.cc`, which reads coefficient 0 of MFCC made
    with energy; here it is the frame's true energy, never a mel bin.
    """
    if len(log_energy) == 0:
        return np.zeros(0, bool)
    energy = log_energy.astype(np.float64)
    votes = energy > options.vad_energy_threshold + options.vad_energy_mean_scale * energy.mean()
    context = options.vad_frames_context
    counts = np.concatenate([[0], np.cumsum(votes)])
    frame = np.arange(len(votes))
    first, last = np.maximum(frame - context, 0), np.minimum(frame + context + 1, len(votes))
    return counts[last] - counts[first] >= options.vad_proportion_threshold * (last - first)
