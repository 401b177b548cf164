"""Synthetic voices, and the files that corpora keep them in. Never passed off as recorded speech."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

_FORMANTS = (500.0, 1500.0, 2500.0)  # Hz, of a neutral vowel


def voice(speaker: str, accent: str, seconds: float, rate: int = 16000, take: int = 0) -> np.ndarray:
    """Babble of one speaker: syllables and pauses, int16 of shape (n,).

    Pitch and vocal tract belong to the speaker, vowels and rhythm to the accent, so that both can be learnt;
    the noise in the pauses is the same for all.
    """
    own = np.random.default_rng(zlib.crc32(speaker.encode()))
    way = np.random.default_rng(zlib.crc32(accent.encode()))
    chance = np.random.default_rng(zlib.crc32(f"{speaker} {accent} {take}".encode()))
    pitch, tract = own.uniform(90, 240), own.uniform(0.9, 1.12)
    vowels = np.array(_FORMANTS) * way.uniform(0.75, 1.3, (3, 3))
    syllable = way.uniform(0.14, 0.24)
    total = round(seconds * rate)
    sound = np.zeros(0)
    while len(sound) < total:
        length = round(syllable * chance.uniform(0.8, 1.2) * rate)
        time = np.arange(length) / rate
        phase = 2 * np.pi * np.cumsum(pitch * chance.uniform(0.9, 1.1) * (1 - 0.3 * time)) / rate
        source = np.sum([np.sin(k * phase) / k for k in range(1, 16)], axis=0) + 0.05 * chance.normal(size=length)
        for formant in vowels[chance.integers(len(vowels))] * tract:
            if formant < 0.45 * rate:
                pole = np.exp(-np.pi * 90 / rate)
                source = lfilter([1 - pole], [1, -2 * pole * np.cos(2 * np.pi * formant / rate), pole**2], source)
        envelope = np.sin(np.pi * np.arange(length) / length)
        pause = np.zeros(round(chance.choice([0.03, 0.25], p=[0.75, 0.25]) * rate))
        sound = np.concatenate([sound, source / (np.abs(source).max() + 1e-9) * envelope, pause])
    noisy = 0.3 * sound[:total] + 3e-4 * chance.normal(size=total)
    return np.round(32767 * np.clip(noisy, -1, 1)).astype(np.int16)


def write_riff(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """RIFF WAV, 16 bit, whatever the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16", format="WAV")
    return path


def write_flac(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """FLAC, 16 bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16", format="FLAC")
    return path


def write_sphere(
    path: Path,
    samples: np.ndarray,
    fields: Mapping[str, str | int | float],
    rate: int = 16000,
    payload: bytes | None = None,
) -> Path:
    """NIST SPHERE with a 1024-byte header, plain PCM unless there is another `payload` (with its sample_coding).

    Args:
        path: of the file.
        samples: (n,) int16.
        fields: what the header says beside counts and rate, in this order.
        rate: in Hz.
        payload: coded samples; the header still counts `samples`.
    """
    values = {
        **fields,
        "channel_count": 1,
        "sample_count": len(samples),
        "sample_rate": rate,
        "sample_min": int(samples.min()),
        "sample_max": int(samples.max()),
        "sample_n_bytes": 2,
        "sample_byte_format": "01",
        "sample_sig_bits": 16,
    }
    lines = ["NIST_1A", "   1024"]
    for name, value in values.items():
        kind = {int: "-i", float: "-r"}.get(type(value), f"-s{len(str(value))}")
        lines.append(f"{name} {kind} {value}")
    head = ("\n".join([*lines, "end_head"]) + "\n").encode("ascii").ljust(1024, b" ")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + (samples.astype("<i2").tobytes() if payload is None else payload))
    return path


def write_mp3(path: Path, samples: np.ndarray, rate: int = 48000) -> Path:
    """MP3 of one channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, format="MP3")
    return path
