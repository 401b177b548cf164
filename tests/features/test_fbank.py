"""Filterbanks against kaldi_native_fbank and a plain numpy implementation; VAD against Kaldi's loops."""

import kaldi_native_fbank
import lhotse
import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly
from tools import SPEECH

from flowlid.features.fbank import FbankOptions, FeatureExtractor

NAMES = ("en", "es", "it", "gsm")
EPSILON = np.finfo(np.float32).eps  # Kaldi's floor of energies


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Recorded speech at 8 kHz; "gsm" went through the GSM 06.10 codec."""
    samples = {name: soundfile.read(SPEECH / f"{name}.wav")[0] for name in ("en", "es", "it")}
    path = tmp_path_factory.mktemp("gsm") / "es.wav"
    soundfile.write(path, samples["es"], 8000, subtype="GSM610")
    return {**samples, "gsm": soundfile.read(path)[0]}


def wideband(samples: np.ndarray) -> np.ndarray:
    """Speech at 16 kHz, rounded to 16 bits, with noise: without it the upper half band would be rounding alone."""
    noise = np.random.default_rng(1).normal(scale=10, size=2 * len(samples))
    return np.round(resample_poly(samples, 2, 1) * 32768 + noise).clip(-32768, 32767) / 32768


def native(samples: np.ndarray, rate: int, bins: int) -> np.ndarray:
    """Log energy and filterbank of kaldi_native_fbank, Kaldi's own arithmetic (float32): (T, 1 + bins)."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = bins
    options.mel_opts.low_freq, options.mel_opts.high_freq = 20, 0
    options.use_energy, options.raw_energy, options.energy_floor = True, True, 0
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(rate, (samples * 32768).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(t) for t in range(fbank.num_frames_ready)])


def plain(samples: np.ndarray, rate: int, bins: int) -> np.ndarray:
    """The same, from the definition, in float64."""
    length, shift, padded = rate // 40, rate // 100, 256 if rate == 8000 else 512
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))) ** 0.85

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    low, high = mel(20), mel(rate / 2)
    width = (high - low) / (bins + 1)
    centres = low + width * np.arange(1, bins + 1)
    fft_bins = mel(np.arange(padded // 2) * rate / padded)  # without the Nyquist frequency
    triangles = np.maximum(0, 1 - np.abs(fft_bins[None, :] - centres[:, None]) / width)
    rows = []
    for first in range(0, len(samples) - length + 1, shift):
        frame = samples[first : first + length] * 32768
        frame = frame - frame.mean()
        energy = (frame**2).sum()
        emphasized = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(emphasized * window, padded)[:-1]) ** 2
        rows.append(np.log(np.maximum(np.concatenate([[energy], triangles @ power]), EPSILON)))
    return np.stack(rows)


@pytest.mark.parametrize(("rate", "bins"), [(8000, 40), (16000, 40), (16000, 80)])
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_kaldi_on_recorded_speech(recordings: dict[str, np.ndarray], name: str, rate: int, bins: int) -> None:
    samples = recordings[name] if rate == 8000 else wideband(recordings[name])
    feats, energy = FeatureExtractor(FbankOptions(sample_frequency=rate, num_mel_bins=bins))(samples)
    kaldi = native(samples, rate, bins)
    assert feats.shape == (len(kaldi), bins) and energy.shape == (len(kaldi),)
    assert feats.dtype == energy.dtype == np.float32
    assert np.abs(feats - kaldi[:, 1:]).max() < 1e-3
    assert np.abs(energy - kaldi[:, 0]).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_the_definition_in_float64(recordings: dict[str, np.ndarray], name: str, rate: int) -> None:
    samples = recordings[name] if rate == 8000 else wideband(recordings[name])
    feats, energy = FeatureExtractor(FbankOptions(sample_frequency=rate, num_mel_bins=40))(samples)
    expected = plain(samples, rate, 40)
    assert np.abs(feats - expected[:, 1:]).max() < 1e-4
    assert np.abs(energy - expected[:, 0]).max() < 1e-4


def test_digital_silence_has_the_least_energy_of_kaldi(recordings: dict[str, np.ndarray]) -> None:
    samples = np.concatenate([np.zeros(400), recordings["it"][:800]])
    feats, energy = FeatureExtractor(FbankOptions(sample_frequency=8000))(samples)
    kaldi = native(samples, 8000, 40)
    assert energy[:3] == pytest.approx([np.log(EPSILON)] * 3)
    assert feats[:3] == pytest.approx(np.full((3, 40), np.log(EPSILON)))
    assert np.abs(np.column_stack([energy, feats]) - kaldi).max() < 1e-3


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"snip_edges": False},
        {"raw_energy": False},
        {"remove_dc_offset": False},
        {"preemphasis_coefficient": 0.0},
        {"round_to_power_of_two": False},
        {"window_type": "hamming", "low_freq": 100.0, "high_freq": -200.0},
        {"frame_length": 32.0, "frame_shift": 8.0},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*__array_wrap__:DeprecationWarning", "ignore:.*snip_edges:UserWarning")
def test_equal_to_lhotse_s_own_extractor_in_float64(recordings: dict[str, np.ndarray], changed: dict) -> None:
    """Of more frames than are made at a time, and of an offset that its removal takes away."""
    options = FbankOptions(sample_frequency=8000, **changed)
    samples = np.concatenate([recordings[name] for name in ("en", "es", "it")] * 3) + 0.01
    config = lhotse.FbankConfig(
        sampling_rate=8000,
        frame_length=options.frame_length / 1000,
        frame_shift=options.frame_shift / 1000,
        round_to_power_of_two=options.round_to_power_of_two,
        remove_dc_offset=options.remove_dc_offset,
        preemph_coeff=options.preemphasis_coefficient,
        window_type=options.window_type,
        snip_edges=options.snip_edges,
        energy_floor=0.0,
        raw_energy=options.raw_energy,
        use_energy=True,
        low_freq=options.low_freq,
        high_freq=options.high_freq,
        num_filters=options.num_mel_bins,
    )
    theirs = lhotse.Fbank(config)
    theirs.extractor.double()
    expected = theirs.extract(samples * 32768, 8000)
    feats, energy = FeatureExtractor(options)(samples)
    assert feats.shape == expected[:, 1:].shape and len(feats) > 1024
    assert np.abs(feats - expected[:, 1:]).max() < 2e-6  # float32 has no more digits
    assert np.abs(energy - expected[:, 0]).max() < 2e-6


@pytest.mark.parametrize("snip_edges", [True, False])
def test_utterances_made_together_are_those_made_alone(recordings: dict[str, np.ndarray], snip_edges: bool) -> None:
    """Whatever their lengths and their neighbours, one of which is not sound."""
    extract = FeatureExtractor(FbankOptions(sample_frequency=8000, snip_edges=snip_edges))
    speech = np.concatenate([recordings["en"], recordings["es"]])
    lengths = (2000, 200, 280, 279, 281, 8007, 25_000, 1000)
    utterances = [speech[: 1000 + length][-length:] for length in lengths]
    utterances[3] = np.full(279, np.nan)
    if snip_edges:
        utterances += [speech[:199], speech[:0], speech[:640]]
    found = extract.batch(utterances)
    assert len(found) == len(utterances)
    for number, ((feats, energy), samples) in enumerate(zip(found, utterances, strict=True)):
        alone, alone_energy = extract(samples)
        assert feats.shape == alone.shape and energy.shape == alone_energy.shape
        if number == 3:
            assert np.isnan(feats).all()
        elif len(alone):
            assert np.abs(feats - alone).max() < 2e-6 and np.abs(energy - alone_energy).max() < 2e-6
    assert extract.batch([]) == []


def test_frames_made_together_are_those_made_alone(recordings: dict[str, np.ndarray]) -> None:
    """And a short utterance after a long one finds nothing of it."""
    extract = FeatureExtractor(FbankOptions(sample_frequency=8000))
    samples = np.concatenate([recordings["en"], recordings["es"], recordings["it"]] * 2)
    feats, energy = extract(samples)
    for first in (0, 300, 511, 512, 513, len(feats) - 7):
        part, part_energy = extract(samples[80 * first : 80 * first + 80 * 6 + 200])
        assert np.abs(part - feats[first : first + 7]).max() < 2e-6
        assert np.abs(part_energy - energy[first : first + 7]).max() < 2e-6


@pytest.mark.parametrize("rate", [8000, 16000])
def test_number_of_frames(rate: int) -> None:
    extract = FeatureExtractor(FbankOptions(sample_frequency=rate))
    length, shift = rate // 40, rate // 100
    noise = np.random.default_rng(0).normal(size=2 * length) / 10
    assert extract.frame_samples == length
    counts = (0, 1, length - 1, length, length + 1, length + shift - 1, length + shift, 2 * length)
    for count in counts:
        feats, energy = extract(noise[:count])
        expected = 0 if count < length else 1 + (count - length) // shift
        assert feats.shape == (expected, 40) and energy.shape == (expected,)
        assert feats.dtype == energy.dtype == np.float32


@pytest.mark.filterwarnings("ignore:.*__array_wrap__:DeprecationWarning")
def test_defaults_of_lhotse_are_not_kaldis(recordings: dict[str, np.ndarray]) -> None:
    samples = recordings["en"]
    defaults = lhotse.Fbank(lhotse.FbankConfig(sampling_rate=8000, num_filters=40))
    theirs = defaults.extract(samples.astype(np.float32), 8000)
    feats, _ = FeatureExtractor(FbankOptions(sample_frequency=8000))(samples)
    assert len(theirs) > len(feats)
    assert np.abs(np.median(theirs[: len(feats)] - feats)) > 10  # samples in [-1, 1]: 2 log 32768 = 20.8 nats less


def test_extraction_can_be_repeated(recordings: dict[str, np.ndarray]) -> None:
    first, again = (FeatureExtractor(FbankOptions(sample_frequency=8000))(recordings["en"])[0] for _ in range(2))
    assert (first == again).all()


def test_more_bins_than_a_frame_has_frequencies() -> None:
    message = r"fbank\.conf: 1 of --num-mel-bins=128 bins hold no frequency of a frame's spectrum; give fewer"
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(FbankOptions(num_mel_bins=128))
