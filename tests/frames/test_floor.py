"""Level and floor: against scipy's distributions, by hand, and the same whatever is loaded beside it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import expon, ks_2samp, kstest, ncx2
from splicing import UTTS, every, features, loops, refused, voiced, write_vad
from tools import feature_dir

from flowlid.config import FramesConfig
from flowlid.frames import floor as module
from flowlid.frames.floor import _uniform, add_noise
from flowlid.frames.frameset import load_frames
from flowlid.frames.normalization import global_cmvn
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir


def with_floor(data: Path, level: float | None, floor: float | None) -> dict[str, np.ndarray]:
    """The features of each utterance, all frames, as a model with this level and floor gets them."""
    frames = load_frames(DataDir(data), FramesConfig(context=0, vad=False, level=level, floor=floor))
    return dict(zip(frames.utts, np.split(every(frames), frames.counts.cumsum(0)[:-1].tolist()), strict=True))


def test_numbers_are_those_of_splitmix64() -> None:
    """The first three outputs from the seed 0, and any others by whole numbers of Python."""
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]

    def by_hand(seed: int, count: int) -> int:
        z = (seed + (count + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    assert [by_hand(0, count) for count in range(3)] == known
    for seed in (0, 1, 2**64 - 1):
        first, second = _uniform(np.array([[seed]], np.uint64), np.arange(50, dtype=np.uint64)[None])
        outputs = [by_hand(seed, count) for count in range(50)]
        assert (first[0] * 2**32 - 0.5).astype(int).tolist() == [output >> 32 for output in outputs]
        assert (second[0] * 2**32 - 0.5).astype(int).tolist() == [output % 2**32 for output in outputs]
        assert 0 < first.min() and first.max() < 1


@pytest.mark.parametrize("m", [-15.9, 10.0, 13.0, 16.0])
def test_energies_of_signal_and_noise_are_noncentral_chi_square(m: float) -> None:
    """2 e^(x - n) has two degrees of freedom and the noncentrality 2 e^(m - n); without a signal it is exponential."""
    found = add_noise(np.full((500, 40), m), 13.0, np.full(500, 7, np.uint64), np.arange(500)).ravel()
    assert np.exp(found).mean() == pytest.approx(np.exp(m) + np.exp(13.0), rel=0.03)
    assert kstest(2 * np.exp(found - 13.0), ncx2(2, 2 * np.exp(m - 13.0)).cdf).pvalue > 0.01
    assert (kstest(np.exp(found - 13.0), expon.cdf).pvalue > 0.01) == (m == -15.9)


def test_frames_bins_and_utterances_have_noise_of_their_own() -> None:
    seeds = np.repeat(np.array([1, 2], np.uint64), 2000)
    noise = add_noise(np.full((4000, 3), -15.9), 0.0, seeds, np.tile(np.arange(2000), 2))
    pairs = [(noise[:, 0], noise[:, 1]), (noise[:-1, 0], noise[1:, 0]), (noise[:-1, 2], noise[1:, 0])]
    pairs += [(noise[:2000, 0], noise[2000:, 0])]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.07
    assert ks_2samp(noise[:2000].ravel(), noise[2000:].ravel()).pvalue > 0.01


def test_far_above_the_floor_nothing_changes_and_nothing_overflows() -> None:
    m = np.array([[60.0, 600.0, -600.0, -np.inf]])
    found = add_noise(m, 0.0, np.array([3], np.uint64), np.array([0]))
    assert found[0, :2] == pytest.approx(m[0, :2]) and np.isfinite(found).all()


def test_level_by_hand(tmp_path: Path) -> None:
    """Voiced energies 1, 3, 5, 7 (mean 4) go to a mean of 8; what is unvoiced is doubled too."""
    data = feature_dir(tmp_path, {"a-1": "en"}, dim=2, frames=3)
    with ArkWriter(data / "feats.ark", data / "feats.scp") as write:
        write("a-1", np.log(np.array([[1, 3], [100, 200], [5, 7]])).astype(np.float32))
    write_vad(data, {"a-1": [1, 0, 1]})
    found = with_floor(data, np.log(8.0), None)["a-1"]
    assert np.exp(found) == pytest.approx(np.array([[2, 6], [200, 400], [10, 14]]), rel=1e-6)


def test_speech_is_at_the_level_and_noise_follows(data: Path) -> None:
    raised, noisy, vad = with_floor(data, 20.0, None), with_floor(data, 20.0, 19.0), voiced(data)
    for utt, x in features(data).items():
        gain = 20.0 - (logsumexp(x[vad[utt]].astype(float)) - np.log(x[vad[utt]].size))
        assert raised[utt] == pytest.approx(x + gain, abs=1e-5)
        # what was added after that differs from frame to frame, and from one utterance to another
        assert len(np.unique(noisy[utt] - raised[utt])) > 80
    seeds = {utt: tuple(np.round(with_floor(data, None, 30.0)[utt][0], 3)) for utt in UTTS}
    assert len(set(seeds.values())) == 4


@pytest.mark.parametrize("rows", [1, 7, 4096])
@pytest.mark.parametrize("level", [None, 3.0])
def test_a_frame_is_the_same_whatever_is_loaded_beside_it(
    data: Path, rows: int, level: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splicing repeats an utterance's first and last frame with their noise, as Kaldi would, had it been recorded."""
    whole, vad = with_floor(data, level, 1.0), voiced(data)
    monkeypatch.setattr(module, "_ROWS", rows)
    config = FramesConfig(context=2, subsampling=3, level=level, floor=1.0)
    frames = load_frames(DataDir(data), config)
    assert (every(frames) == np.concatenate([loops(whole[utt], 2)[vad[utt]] for utt in sorted(UTTS)])).all()
    backwards = torch.arange(len(frames)).flip(0)
    assert (frames.batch(backwards).numpy() == every(frames)[::-1]).all()
    third = load_frames(DataDir(data), config, subsample=True, utts=["a-2", "c-1"])
    assert (every(third) == np.concatenate([loops(whole[u], 2)[vad[u]][::3] for u in ("a-2", "c-1")])).all()
    silent = load_frames(DataDir(data), FramesConfig(context=0, level=level, floor=1.0), select="nonspeech")
    assert (every(silent) == np.concatenate([whole[utt][~vad[utt]] for utt in sorted(UTTS)])).all()


def test_noise_follows_the_name_of_the_utterance_not_its_directory(data: Path, tmp_path: Path) -> None:
    other = feature_dir(tmp_path / "other", {"0-0": "en", "b-1": "en"})
    same = with_floor(other, None, 50.0)["b-1"]
    assert (np.round(same, 3) == np.round(with_floor(data, None, 50.0)["b-1"], 3)).all()


@pytest.mark.parametrize("norm_vars", [False, True])
@pytest.mark.parametrize("cmvn", ["utterance", "speaker", "global"])
@pytest.mark.parametrize(("level", "floor"), [(None, 1.0), (2.0, 1.0), (2.0, None)])
def test_normalization_is_that_of_features_with_their_floor(
    data: Path, cmvn: str, norm_vars: bool, level: float | None, floor: float | None
) -> None:
    """Statistics of features as they were recorded (cmvn.scp, the pack) do not count; each group has mean 0."""
    whole = with_floor(data, level, floor)
    config = FramesConfig(context=0, vad=False, cmvn=cmvn, norm_vars=norm_vars, level=level, floor=floor)
    stats = global_cmvn(DataDir(data), config) if cmvn == "global" else None
    frames = load_frames(DataDir(data), config, stats)
    group = {"utterance": lambda utt: utt, "speaker": lambda utt: utt[0], "global": lambda utt: ""}[cmvn]
    expected = []
    for utt in sorted(UTTS):
        x = np.concatenate([whole[other] for other in sorted(UTTS) if group(other) == group(utt)]).astype(float)
        expected.append((whole[utt] - x.mean(0)) / (x.std(0) if norm_vars else 1))
    assert every(frames) == pytest.approx(np.concatenate(expected), abs=1e-4)


def test_without_level_and_floor_nothing_is_done(data: Path) -> None:
    frames = load_frames(DataDir(data), FramesConfig())
    assert frames.floor is None
    digests = {frames.digest}
    for config in (FramesConfig(floor=1.0), FramesConfig(level=1.0), FramesConfig(level=1.0, floor=1.0)):
        digests.add(load_frames(DataDir(data), config).digest)
    assert len(digests) == 4


def test_a_level_needs_voiced_frames(data: Path) -> None:
    config = FramesConfig(vad=False, level=20.0)
    write_vad(data, {utt: [int(utt != "b-1")] * 30 for utt in UTTS})
    refused(data, config, r"data/vad.scp: utterance b-1 has no voiced frame; .* and no frames.level")
    (data / "vad.scp").unlink()
    refused(data, config, r"data/vad.scp: no such file")
