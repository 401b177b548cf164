"""Latents and the choice of frames to look at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tools import feature_dir

from flowlid.config import FramesConfig, ModelConfig
from flowlid.evaluation.latents import balanced, balanced_frames, frame_languages, latents, random_frames
from flowlid.flow.flow import Flow, build_flow
from flowlid.frames.frameset import FrameSet, load_frames, moments_of
from flowlid.kaldi.datadir import DataDir

UTTS = {"a-1": "en", "a-2": "en", "b-1": "es"}


@pytest.fixture
def frames(tmp_path: Path) -> FrameSet:
    return load_frames(DataDir(feature_dir(tmp_path, UTTS)), FramesConfig(context=1))


@pytest.fixture
def flow(frames: FrameSet) -> Flow:
    torch.manual_seed(0)
    made = build_flow(ModelConfig(type="dnf", blocks=2, hidden=8, layers=1), 2, *moments_of(frames))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("batch_size", [1, 7, 8192])
def test_latents_are_those_of_the_chosen_frames_in_their_order(flow: Flow, frames: FrameSet, batch_size: int) -> None:
    chosen = np.array([70, 3, 3, 41, 0, 12, 55, 8])
    z = latents(flow, frames, chosen, batch_size)
    assert z.dtype == np.float32 and z.shape == (8, 9) and not flow.training
    x = flow.inverse(torch.from_numpy(z))[0].detach().numpy()
    assert x == pytest.approx(frames.batch(torch.from_numpy(chosen)).numpy(), abs=1e-3)


def test_language_of_each_frame(frames: FrameSet) -> None:
    assert frame_languages(frames, np.arange(72)).tolist() == ["en"] * 48 + ["es"] * 24
    assert frame_languages(frames, np.array([50, 3, 47])).tolist() == ["es", "en", "en"]


def test_random_frames(frames: FrameSet) -> None:
    chosen = random_frames(frames, 30, seed=1)
    assert len(set(chosen.tolist())) == 30 and (np.diff(chosen) > 0).all() and 0 <= chosen[0] and chosen[-1] < 72
    assert (chosen == random_frames(frames, 30, seed=1)).all()
    assert (chosen != random_frames(frames, 30, seed=2)).any()
    assert random_frames(frames, 1000, seed=1).tolist() == list(range(72))


def test_balanced_frames(frames: FrameSet) -> None:
    languages = np.array(["en"] * 48 + ["es"] * 24)
    chosen = balanced_frames(frames, 20, seed=1)
    assert languages[chosen].tolist() == ["en"] * 20 + ["es"] * 20
    assert len(set(chosen.tolist())) == 40 and (np.diff(chosen) > 0).all()
    assert (chosen == balanced_frames(frames, 20, seed=1)).all()
    assert (chosen != balanced_frames(frames, 20, seed=2)).any()
    # a language with fewer frames gives all that it has
    assert np.unique(languages[balanced_frames(frames, 30, seed=1)], return_counts=True)[1].tolist() == [30, 24]


def test_balanced_choice_is_that_among_all_items_of_a_language() -> None:
    """Groups of a language need not be neighbours; the choice is numpy's own from a list of its items."""
    languages, counts = ["it", "en", "it", "es", "en", "it"], np.array([3, 40, 1, 5, 20, 70])
    each = np.repeat(languages, counts)
    generator, expected = np.random.default_rng(7), []
    for language in ("en", "es", "it"):
        own = np.flatnonzero(each == language)
        expected += generator.choice(own, min(30, len(own)), replace=False).tolist()
    assert balanced(languages, counts, 30, seed=7).tolist() == sorted(expected)


def test_every_frame_of_a_language_can_be_chosen() -> None:
    found = {n for seed in range(60) for n in balanced(["en", "es", "en"], np.array([2, 3, 2]), 1, seed).tolist()}
    assert found == set(range(7))
