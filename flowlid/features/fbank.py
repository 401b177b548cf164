"""Filterbanks and voice activity as Kaldi computes them, through lhotse's extractor.

Of lhotse come the framing, the window, the dither and the mel bank. The steps from a frame to its filterbank
are lhotse's too, written out once more to work in place on some hundred frames at a time: that takes half the
time of lhotse's in float64, and as long as lhotse's in float32, for the same values (tests/benchmarks/features.py).

lhotse's defaults are not Kaldi's. What is set here, and why:

- samples are scaled to 16-bit range (x 32768): Kaldi works on integer samples;
- `snip_edges` is true: only frames that fit wholly into the audio;
- `high_freq` is 0, the Nyquist frequency (lhotse: 400 Hz below it);
- `dither` is 0, so that a run can be repeated;
- the energy floor is 0 (lhotse: 1e-10), and frame energy is "raw": before pre-emphasis and window;
- log energy is at least log(1.2e-7), as in Kaldi: digital silence counts -15.9, not lhotse's -34.5;
- the arithmetic is float64: in float32 a mel bin far below its frame's energy is rounding noise.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from lhotse.features.kaldi.layers import Wav2LogFilterBank, Wav2Win
from torch import Tensor

from flowlid.audio.channels import Channel, read_channel
from flowlid.kaldi.options import Fixed, check_ranges
from flowlid.wording import brief

_WINDOWS = ("povey", "hanning", "hamming", "blackman", "rectangular")
_CHUNK = 512  # frames: of 8 kHz their buffers and spectra take 4 MB, and more at once are hardly faster
_SCALE = 32768.0  # to the range of 16-bit samples
# What is beyond these is no speech, or takes memory without end.
_RANGES = {
    "sample_frequency": (1, 1_000_000),  # Hz; recorders go up to 768,000
    "frame_length": (0, 10_000),  # ms
    "frame_shift": (0, 10_000),  # ms
    "num_mel_bins": (3, 1000),
    "low_freq": (0, 500_000),
    "high_freq": (-500_000, 500_000),
    "preemphasis_coefficient": (0, 1),  # as in Kaldi
    "dither": (0, 32768),  # in samples of 16 bits
}
_LONGEST = 32768  # samples of a frame: the buffers of a chunk of such frames take 0.5 GB
_LEAST_LOG_ENERGY = np.float32(math.log(np.finfo(np.float32).eps))


@dataclass(frozen=True)
class FbankOptions:
    """Options of Kaldi's `compute-fbank-feats`, with Kaldi's names, units and (but for dither and bins) defaults."""

    sample_frequency: float = 16000.0  # Hz
    frame_length: float = 25.0  # ms
    frame_shift: float = 10.0  # ms
    num_mel_bins: int = 40
    low_freq: float = 20.0  # Hz
    high_freq: float = 0.0  # Hz; 0 or less: so far from the Nyquist frequency
    preemphasis_coefficient: float = 0.97
    window_type: str = "povey"
    remove_dc_offset: bool = True
    round_to_power_of_two: bool = True
    snip_edges: bool = True
    raw_energy: bool = True
    dither: float = 0.0
    allow_downsample: bool = False  # resample recordings of a higher rate, instead of refusing them
    allow_upsample: bool = False  # the same of a lower rate; what lies above stays empty
    channel: str = "-1"  # of files with several: a number from 0, or "mix" for their mean; -1: such files are refused

    # What else Kaldi's program has.
    FIXED: ClassVar[dict[str, Fixed]] = {
        "use_energy": Fixed(False, "energy is no dimension of the features here; VAD has its own"),
        "use_log_fbank": Fixed(True, "features are log-mel energies here"),
        "use_power": Fixed(True, "mel energies are of the power spectrum here"),
        "subtract_mean": Fixed(False, "means are subtracted in training here: frames.cmvn of the experiment"),
        "vtln_warp": Fixed(1.0, "there is no VTLN here"),
        "vtln_map": Fixed("", "there is no VTLN here"),
        "min_duration": Fixed(0.0, "utterances of one frame or more are used here"),
        "output_format": Fixed("kaldi", "archives are Kaldi's here"),
        "blackman_coeff": Fixed(0.42, "the Blackman window has 0.42 here"),
        "write_utt2dur": Fixed("", "utt2dur is written by stage 1 here"),
        "htk_compat": Fixed(False),  # the place of the energy
        "energy_floor": Fixed(0.0),  # of the energy
        "vtln_low": Fixed(100.0),
        "vtln_high": Fixed(-500.0),
        "debug_mel": Fixed(False),
        "max_feature_vectors": Fixed(-1),  # kept in memory
        "utt2spk": Fixed(""),  # for vtln_map
        "verbose": Fixed(0),
        "print_args": Fixed(True),
    }

    @property
    def chosen_channel(self) -> Channel | None:
        """The channel of files with several; None: such files are refused."""
        return None if self.channel == "-1" else read_channel(self.channel, "--channel")

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)
        nyquist = self.sample_frequency / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if self.window_type not in _WINDOWS:
            raise ValueError(f"--window-type must be one of {', '.join(_WINDOWS)}, not {brief(self.window_type)}")
        if not 0 <= self.low_freq < high <= nyquist:
            raise ValueError(
                f"--low-freq={self.low_freq} and --high-freq={self.high_freq} are not a band within 0 to {nyquist} Hz, "
                "half of --sample-frequency"
            )
        if not all(self.sample_frequency * ms >= 1000 for ms in (self.frame_length, self.frame_shift)):
            raise ValueError("--frame-length and --frame-shift must be one sample or more, in ms")
        samples = self.sample_frequency * self.frame_length / 1000
        if samples > _LONGEST:
            raise ValueError(f"--frame-length={self.frame_length} ms is {samples:.0f} samples; give {_LONGEST} or less")
        _ = self.chosen_channel


class FeatureExtractor:
    """Log-mel filterbanks and log energy of frames, equal to Kaldi's.

    Calling it with samples (n,) in [-1, 1] gives the filterbank (T, F) and the raw log energy (T,),
    both float32; T = 1 + (n - frame length) // frame shift, or 0.

    Source: Kaldi's `compute-fbank-feats`; checked against kaldi_native_fbank in the tests.
    """

    def __init__(self, options: FbankOptions) -> None:
        self.options = options
        with warnings.catch_warnings():
            # lhotse warns that snip_edges breaks its own duration arithmetic, which is not used here
            warnings.filterwarnings("ignore", message=".*snip_edges.*")
            # of a numpy interface that torch implements as it was before numpy 2
            warnings.filterwarnings("ignore", message=".*__array_wrap__.*")
            self._filterbank = _Filterbank(options)

    @property
    def frame_samples(self) -> int:
        """Samples that one frame needs."""
        return self._filterbank.length

    @property
    def shift_samples(self) -> int:
        """Samples from the start of a frame to that of the next one."""
        return self._filterbank.shift

    def __call__(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.batch([samples])[0]

    def batch(self, utterances: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """What a call gives for each of these utterances; many short ones together take two thirds of the time."""
        if not self.options.snip_edges:  # what lies before the first sample is the utterance's own
            return [self._framed(np.multiply(samples, _SCALE, dtype=np.float64)) for samples in utterances]
        # End to end, each from a multiple of the shift on; the frames that reach into the next one are left out.
        length, shift = self._filterbank.length, self._filterbank.shift
        starts = np.cumsum([0, *(-(-len(samples) // shift) for samples in utterances)]).tolist()
        joined = np.zeros(starts[-1] * shift + length)
        for samples, start in zip(utterances, starts, strict=False):
            np.multiply(samples, _SCALE, out=joined[start * shift : start * shift + len(samples)])
        feats, energy = self._framed(joined)
        parts = [
            slice(start, start + max(0, 1 + (len(samples) - length) // shift))
            for samples, start in zip(utterances, starts, strict=False)
        ]
        return [(feats[part], energy[part]) for part in parts]

    @torch.inference_mode()
    def _framed(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filterbank and log energy of all frames of samples (n,) in 16-bit range."""
        if len(scaled) < self.frame_samples:
            return np.zeros((0, self.options.num_mel_bins), np.float32), np.zeros(0, np.float32)
        feats, energy = self._filterbank(torch.from_numpy(scaled).unsqueeze(0))
        return feats.numpy(), np.maximum(energy.numpy(), _LEAST_LOG_ENERGY)


class _Frames(Wav2Win):
    """lhotse's framing alone: the steps that follow it there are `_Filterbank`'s."""

    def _forward_strided(self, x_strided: Tensor) -> tuple[Tensor, None]:
        return x_strided, None


class _Filterbank(Wav2LogFilterBank):
    """Samples (1, n) float64 -> log-mel filterbank (T, F) and log energy (T,), both float32.

    lhotse's layer with its constants in float64, with two differences in how it goes about it: a chunk of
    frames at a time in buffers that are used again, and |X|^2 as a sum of squares, not the square of a root.
    """

    def __init__(self, options: FbankOptions) -> None:
        shared = {
            "sampling_rate": round(options.sample_frequency),
            "frame_length": options.frame_length / 1000,
            "frame_shift": options.frame_shift / 1000,
            "remove_dc_offset": options.remove_dc_offset,
            "preemph_coeff": options.preemphasis_coefficient,
            "window_type": options.window_type,
            "dither": options.dither,
            "snip_edges": options.snip_edges,
            "energy_floor": 0.0,
            "raw_energy": options.raw_energy,
        }
        super().__init__(
            **shared,
            round_to_power_of_two=options.round_to_power_of_two,
            use_energy=True,
            low_freq=options.low_freq,
            high_freq=options.high_freq,
            num_filters=options.num_mel_bins,
        )
        empty = int((self._fb == 0).all(dim=0).sum())
        if empty:  # a dimension that is the same for every frame; Kaldi ends here too
            raise ValueError(
                f"conf/fbank.conf: {empty} of --num-mel-bins={options.num_mel_bins} bins hold no frequency of a "
                "frame's spectrum; give fewer, or a longer --frame-length"
            )
        self.wav2win = _Frames(**shared, pad_length=self.fft_length)
        self.double()
        self.length, self.shift = self.wav2win._length, self.wav2win._shift
        self._floor = self._eps.item()
        self._padded = torch.zeros(_CHUNK, self.fft_length, dtype=torch.float64)  # beyond a frame's length always 0
        self._centred = torch.empty(_CHUNK, self.length, dtype=torch.float64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.wav2win(x)[0][0]
        feats, energy = torch.empty(len(frames), self.num_filters), torch.empty(len(frames))
        for first in range(0, len(frames), _CHUNK):
            part = slice(first, first + _CHUNK)
            feats[part], energy[part] = self._chunk(frames[part])
        return feats, energy

    def _chunk(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (n, length), n <= _CHUNK -> filterbank (n, F) and log energy (n,), float64."""
        padded, centred = self._padded[: len(frames)], self._centred[: len(frames)]
        framed = padded[:, : self.length]
        if self.remove_dc_offset:
            torch.sub(frames, frames.mean(dim=1, keepdim=True), out=centred)
        else:
            centred.copy_(frames)
        torch.sub(centred[:, 1:], centred[:, :-1], alpha=self.preemph_coeff, out=framed[:, 1:])
        torch.mul(centred[:, 0], 1 - self.preemph_coeff, out=framed[:, 0])  # as if the first sample were there twice
        framed *= self.wav2win._window
        measured = centred if self.wav2win.raw_energy else framed
        energy = (torch.linalg.vecdot(measured, measured) + 1e-15).log_()
        real, imaginary = torch.view_as_real(torch.fft.rfft(padded)).unbind(-1)
        power = real.square().addcmul_(imaginary, imaginary)
        return (power @ self._fb).clamp_(min=self._floor).log_(), energy
