"""flowlid.features.vad: voice activity by energy, held against Kaldi's loop written out."""

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import SPEECH

from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.vad import VadOptions, energy_vad


def kaldi_loops(energy: np.ndarray, options: VadOptions) -> list[bool]:
    """ComputeVadEnergy, word by word: votes counted in a window that the edges cut short."""
    threshold = options.vad_energy_threshold
    if options.vad_energy_mean_scale != 0:
        threshold += options.vad_energy_mean_scale * sum(map(float, energy)) / len(energy)
    voiced = []
    for t in range(len(energy)):
        votes = count = 0
        for neighbour in range(t - options.vad_frames_context, t + options.vad_frames_context + 1):
            if 0 <= neighbour < len(energy):
                count += 1
                votes += float(energy[neighbour]) > threshold
        voiced.append(votes >= count * options.vad_proportion_threshold)
    return voiced


@settings(max_examples=100, deadline=None)
@given(
    energy=st.lists(st.integers(-16, 25), min_size=1, max_size=30).map(lambda e: np.array(e, np.float32)),
    options=st.builds(
        VadOptions,
        vad_energy_threshold=st.integers(-10, 30).map(lambda half: half / 2),
        vad_energy_mean_scale=st.sampled_from((0.0, 0.25, 0.5, 1.0)),
        vad_frames_context=st.integers(0, 6),
        vad_proportion_threshold=st.floats(0.01, 0.99),
    ),
)
def test_vad_is_kaldis(energy: np.ndarray, options: VadOptions) -> None:
    voiced = energy_vad(energy, options)
    assert voiced.dtype == bool and voiced.tolist() == kaldi_loops(energy, options)


def test_vad_by_hand() -> None:
    # mean 8: threshold 5 + 0.5 x 8 = 9
    energy = np.array([16, 16, 9, 0, 16, 0, 0, 7], np.float32)
    own_votes = [True, True, False, False, True, False, False, False]
    assert energy_vad(energy, VadOptions()).tolist() == own_votes
    # one frame on each side: shares 2/2 2/3 1/3 1/3 1/3 1/3 0/3 0/2
    wide = VadOptions(vad_frames_context=1, vad_proportion_threshold=0.5)
    assert energy_vad(energy, wide).tolist() == [True, True, False, False, False, False, False, False]
    third = VadOptions(vad_frames_context=1, vad_proportion_threshold=1 / 3)  # a share equal to it is enough
    assert energy_vad(energy, third).tolist() == [True, True, True, True, True, True, False, False]


def test_vad_hears_the_speech_and_not_the_pause() -> None:
    pause = np.random.default_rng(0).normal(size=8000) / 32768  # 1 s at 0 dB re one step
    _, energy = FeatureExtractor(FbankOptions(sample_frequency=8000))(
        np.concatenate([soundfile.read(SPEECH / "en.wav")[0], pause])
    )
    voiced = energy_vad(energy, VadOptions(vad_frames_context=2, vad_proportion_threshold=0.5))
    assert voiced[:160].mean() > 0.8 and not voiced[170:].any()


def test_vad_of_nothing() -> None:
    assert energy_vad(np.zeros(0, np.float32), VadOptions()).shape == (0,)
