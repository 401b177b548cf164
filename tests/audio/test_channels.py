"""Channels: which one a word means, and what is said of files whose channels differ."""

import numpy as np
import pytest
import soundfile
from tools import SPEECH

from flowlid.audio.channels import MIX, Channel, ChannelMeter, pick, read_channel

EN, OTHER = (soundfile.read(SPEECH / f"{name}.wav", dtype="float32")[0][:5000] for name in ("en", "it"))


def meter(*channels: np.ndarray, block: int = 5000) -> ChannelMeter:
    measured, samples = ChannelMeter(), np.column_stack(channels)
    for first in range(0, len(samples), block):
        measured.add(samples[first : first + block])
    return measured


@pytest.mark.parametrize(("text", "channel"), [("", None), (" ", None), ("0", 0), ("1", 1), ("11", 11), ("mix", MIX)])
def test_words_for_channels(text: str, channel: Channel | None) -> None:
    assert read_channel(text, "t.tsv:3") == channel


@pytest.mark.parametrize("text", ["-1", "left", "1.0", "0,1", "²", "Mix"])
def test_other_words_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r't\.tsv:3: channel .*; write a number from 0, or "mix"'):
        read_channel(text, "t.tsv:3")


def test_pick() -> None:
    samples = np.array([[1, 0], [0.5, -0.5], [0.25, 0.5]], np.float32)
    assert pick(samples, 0).tolist() == [1, 0.5, 0.25] and pick(samples, 1).tolist() == [0, -0.5, 0.5]
    assert pick(samples, MIX).tolist() == [0.5, 0, 0.375] and pick(samples, MIX).dtype == np.float32
    with pytest.raises(IndexError):
        pick(samples, 2)


@pytest.mark.parametrize(
    ("channels", "verdict"),
    [
        ((EN,), None),
        ((EN, EN), None),
        ((EN, 0.1 * EN + 0.02), None),  # another level, and an offset
        ((EN, 0 * EN), "channel 1 is silent"),
        ((0 * EN + 0.25, EN), "channel 0 is silent"),  # a constant is no sound
        ((EN, 0 * EN, 0 * EN), "channels 1, 2 are silent"),
        ((EN, 0.0009 * OTHER), "channel 1 is silent"),
        ((EN, 0.1 * OTHER), "different sound"),
        ((EN, -EN), "opposite phase"),
        ((EN, -0.5 * EN + 0.1 * OTHER), "opposite phase"),
        ((EN, EN, -EN), "opposite phase"),
        ((EN, OTHER), "different sound"),
        ((EN, EN, OTHER), "different sound"),
        ((EN, EN + 0.3 * OTHER), None),
        ((0 * EN, 0 * EN), None),
        ((0 * EN + 0.3, 0 * EN), None),
    ],
)
@pytest.mark.parametrize("block", [700, 10**6])
def test_verdicts(channels: tuple[np.ndarray, ...], verdict: str | None, block: int) -> None:
    assert meter(*channels, block=block).verdict() == verdict


def test_silent_channels() -> None:
    one = meter(EN, 0 * EN)
    assert not one.silent(0) and one.silent(1) and not one.silent(MIX)
    assert meter(EN, -EN).silent(MIX) and not meter(EN, -EN).silent(0)
    nothing = meter(0 * EN, 0 * EN)
    assert not nothing.silent(0) and not nothing.silent(MIX)  # no other channel would be better
    assert not meter(EN).silent(0) and not ChannelMeter().silent(1) and ChannelMeter().verdict() is None
