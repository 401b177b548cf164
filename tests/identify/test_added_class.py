"""A class added to a trained flow: its log-likelihoods against the flow that has it, and the program."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tools import call, speech, write_wav

from flowlid.evaluation.scored import read_scored
from flowlid.evaluation.scoring import score_frames
from flowlid.flow.checkpoint import Model, load_model
from flowlid.frames.frameset import FrameSet, load_model_frames
from flowlid.frames.utterances import frames_of
from flowlid.identify.added_class import extended, score_new, with_class
from flowlid.identify.identifier import load
from flowlid.kaldi.datadir import DataDir


@pytest.fixture(scope="module")
def italian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 0.8 s, and one that is long enough to be cut."""
    place = tmp_path_factory.mktemp("it")
    for name, seconds in (("short", 0.8), ("long", 12.4)):
        write_wav(place / f"{name}.wav", speech(seconds, 21))
    return place


def load_scores(model: Model, frames: FrameSet) -> np.ndarray:
    """Log-likelihoods per frame, (U, K), in the precision of the experiment's scores on this machine."""
    return score_frames(model.to(torch.device("cpu")).flow, frames).mean_loglik


def test_log_likelihoods_are_those_of_the_extended_flow(experiment: Path, italian: Path) -> None:
    model = load(experiment, "cpu")
    heard = [model.listener.hear_samples(speech(seconds, 21), 8000, str(seconds)) for seconds in (0.8, 12.4)]
    frames = frames_of(model.model, [each.utterance for each in heard])
    new = score_new(model.model, frames, 0.01)
    assert new.frames.sum() == len(frames) and len(new.utts) == 4  # 0.8 s, 5 s, 5 s and the rest
    whole = model.score(heard)
    share = new.frames[1:, None] / new.frames[1:].sum()
    assert (share * new.mean_loglik[1:]).sum(0) == pytest.approx(whole.mean_loglik[1], abs=1e-4)
    dev = read_scored(experiment / "score_dev")
    joined, mean = with_class(dev, new, model.model, "it")
    assert mean == pytest.approx(whole.frames @ whole.mean_latents / whole.frames.sum(), abs=1e-5)
    assert joined.classes == ["en", "es", "it"] and joined.languages[-4:] == ["it"] * 4
    larger = extended(load_model(experiment / "final.pt"), "it", mean)
    data = DataDir(experiment.parent.parent / "data/dev")
    expected = load_scores(larger, load_model_frames(larger, data))
    assert np.abs(joined.mean_loglik[: len(dev.utts)] - expected).max() < 1e-3  # float32, and bfloat16 products
    assert np.allclose([own.mean(0)[2] for own in joined.blocks[: len(dev.utts)]], expected[:, 2], atol=1e-3)
    rest = new.frames[1:] @ new.mean_latents[1:] / new.frames[1:].sum()
    others = extended(load_model(experiment / "final.pt"), "it", rest)
    alone = load_scores(others, frames_of(others, [heard[0].utterance]))
    assert joined.mean_loglik[len(dev.utts)] == pytest.approx(alone[0], abs=1e-3)  # not by its own mean


def test_the_program_writes_a_model_that_knows_the_language(experiment: Path, italian: Path, tmp_path: Path) -> None:
    data, out = experiment.parent.parent / "data", tmp_path / "it_model"
    done = call("add_class", experiment, data, "it", italian, italian / "none.wav", out)
    assert done.code == 0 and "left out: no audio file" in done.log and "of the old classes" in done.log, done.log
    model = load(out, "cpu")
    assert model.classes == ["en", "es", "it"]
    assert model.identify(italian / "short.wav").language == "it"
    assert "it: the mean latent of 0.2 minutes of speech in 2 recordings" in (out / "card.md").read_text()
    for arguments, message in (
        ((experiment, data, "en", italian, out), "the model has this class already"),
        ((experiment, data, "unknown", italian, out), "'unknown': no name for a language"),
        ((experiment, data, "an accent", italian, out), "'an accent': no name for a language"),
        ((out, data, "fr", italian, tmp_path / "again"), "a model directory, not an experiment"),
        ((experiment, data, "it", italian / "none.wav", out), "no speech in"),
        ((experiment, data, "it", italian / "short.wav", out), "give 3, or one of more than 10 s"),
        ((experiment, data, "it", italian, tmp_path), "there already, and no model directory"),
    ):
        done = call("add_class", *arguments)
        assert done.code == 1 and message in done.log
