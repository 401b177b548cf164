"""Answers equal what the stages give for the same recording, whatever way it comes; and what is said of bad ones."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tools import call, speech, write_wav

from flowlid.audio.samples import read_audio
from flowlid.evaluation.openset import UNKNOWN, fit_openset
from flowlid.evaluation.reuse import digest
from flowlid.evaluation.scored import read_scored
from flowlid.files import write_json
from flowlid.flow.checkpoint import load_model, save_model
from flowlid.identify import identifier, recording
from flowlid.identify.answer import NO_SPEECH, Answer
from flowlid.identify.identifier import Identifier, load
from flowlid.identify.inputs import Inputs
from flowlid.identify.recording import Heard, Source
from flowlid.kaldi.tables import read_table


@pytest.fixture(scope="module")
def model(experiment: Path) -> Identifier:
    return load(experiment, "cpu")


def answers(model: Identifier, *paths: object) -> list[Answer]:
    return list(model.answers(Inputs(map(str, paths)), model.decider()))


def test_a_data_directory_has_the_scores_and_probabilities_of_stage_4(experiment: Path, model: Identifier) -> None:
    scored = read_scored(experiment / "score_test")
    found = answers(model, experiment.parent.parent / "data/test")
    assert [answer.name for answer in found] == scored.utts
    loglik = np.array([[answer.loglik[name] for name in model.classes] for answer in found])
    assert np.abs(loglik - scored.mean_loglik).max() < 1e-6  # of the six decimals of utt2loglik
    assert [round(answer.speech / 0.01) for answer in found] == scored.frames.tolist()
    written = read_table(experiment / "calibrated_test/utt2prob")
    for answer in found:
        expected = [float(value) for value in written[answer.name].strip("[] ").split()]
        assert [answer.probabilities[name] for name in model.classes] == pytest.approx(expected, abs=2e-6)
        assert answer.calibrated and answer.language == model.classes[int(np.argmax(expected))]


def test_a_file_alone_or_among_others_or_as_samples_has_the_same_answer(
    model: Identifier, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identifier, "_FIRST", 10)  # one, two and more together
    together = answers(model, *recordings.values(), *recordings.values())
    assert len(together) == 8
    for path, answer in zip([*recordings.values()] * 2, together, strict=True):
        alone = model.identify(path)
        assert (alone.name, alone.language, alone.speech) == (answer.name, answer.language, answer.speech)
        assert alone.loglik == pytest.approx(answer.loglik, abs=1e-6)
        samples, rate = soundfile.read(path, dtype="int16")
        for array in (samples, samples / 32768, samples[:, None]):
            assert model.identify(array, rate).loglik == pytest.approx(alone.loglik, abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_long_recording_is_read_in_pieces_to_the_same_frames(
    model: Identifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    path = write_wav(tmp_path / "long.wav", speech(5.37, 3, rate), rate)
    whole = model.listener.hear(Source("x", str(path)))
    monkeypatch.setattr(recording, "_PIECE", 1)
    monkeypatch.setattr(recording, "_LONG", 2)
    pieces = model.listener.hear(Source("x", str(path)))
    samples, _ = read_audio(str(path), "x", 8000, downsample=True)
    feats, energy = model.listener.extract(samples)
    assert isinstance(pieces.utterance.feats, np.ndarray) and not pieces.utterance.feats.flags.writeable
    for heard in (whole, pieces):
        assert np.abs(heard.utterance.feats - feats).max() < 1e-4 and len(energy) == len(heard.utterance.voiced)
        assert heard.seconds == pytest.approx(5.37) and heard.rate == rate
        assert heard.notes == (() if rate == 8000 else (f"resampled from {rate} to 8000 Hz",))
    assert np.array_equal(whole.utterance.voiced, pieces.utterance.voiced)
    assert np.allclose(whole.utterance.stats, pieces.utterance.stats)


def test_what_is_no_speech_or_cannot_be_read_is_told_and_the_others_go_on(
    model: Identifier, recordings: dict[str, Path], tmp_path: Path
) -> None:
    good = recordings["e-1"]
    (tmp_path / "text.wav").write_text("no sound at all\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("of the recordings")
    write_wav(tmp_path / "silence.wav", np.zeros(8000))
    write_wav(tmp_path / "short.wav", speech(0.02))
    write_wav(tmp_path / "low.wav", speech(0.5, rate=4000), 4000)
    write_wav(tmp_path / "call.wav", np.column_stack([speech(0.5, 1), speech(0.5, 2)]))
    inputs = Inputs([str(tmp_path), str(good), str(tmp_path / "none.wav"), "-"], [f"{good}\n", "\n"])
    found = list(model.answers(inputs, model.decider()))
    assert [Path(answer.name).name for answer in found] == [
        "call.wav", "empty.wav", "low.wav", "short.wav", "silence.wav", "text.wav", "e-1.wav", "none.wav", "e-1.wav",
    ]  # fmt: skip
    call, empty, low, short, silence, text, one, none, other = found
    assert "2 channels; say which one" in call.error and "--channel=0" in call.error
    assert "empty, not one byte" in empty.error and "not readable as audio" in text.error
    assert "correct the path" in none.error and str(tmp_path / "none.wav") in none.error
    assert [answer.language for answer in (short, silence)] == [NO_SPEECH] * 2 and silence.speech == 0
    assert short.notes == ("shorter than a frame of 25 ms",) and not short.probabilities
    assert low.notes[0] == "resampled from 4000 to 8000 Hz" and "nothing above 2000 Hz" in low.notes[1]
    assert one == other and one.language in model.classes
    assert inputs.skipped == 1


def test_a_channel_is_chosen_as_in_the_tables(experiment: Path, tmp_path: Path) -> None:
    left, right = speech(0.6, 1), speech(0.6, 2)
    path = write_wav(tmp_path / "call.wav", np.column_stack([left, right]))
    alone = write_wav(tmp_path / "right.wav", right)
    second = load(experiment, "cpu", channel=1)
    found = second.identify(path)
    assert found.loglik == pytest.approx(second.identify(alone).loglik, abs=1e-6)  # a file of one is taken as it is
    assert found.notes == ("channels differ: different sound",)
    stereo, rate = soundfile.read(path)
    assert second.identify(stereo, rate).loglik == pytest.approx(found.loglik, abs=1e-6)
    empty = write_wav(tmp_path / "empty.wav", np.column_stack([left, 0 * right]))
    with pytest.raises(ValueError, match="channel 1 is silent, another channel is not"):
        second.identify(empty)


def test_segments_and_their_channels(model: Identifier, tmp_path: Path) -> None:
    samples = np.column_stack([speech(2, 1), speech(2, 2)])
    (tmp_path / "wav.scp").write_text(f"rec {write_wav(tmp_path / 'rec.wav', samples)}\n")
    (tmp_path / "segments").write_text("u1 rec 0.5 1.25 1\nu2 rec 1 -1 0\n")
    one, two = answers(model, tmp_path)
    assert (one.name, one.seconds, two.seconds) == ("u1", 0.75, 1.0)
    stored, rate = soundfile.read(tmp_path / "rec.wav")
    assert one.loglik == pytest.approx(model.identify(stored[4000:10000, 1], rate).loglik, abs=1e-6)
    (tmp_path / "segments").write_text("u1 other 0 1\n")
    (failed,) = answers(model, tmp_path)
    assert "no recording 'other', which segments has" in failed.error


def test_blocks_of_a_recording_add_up_to_it(model: Identifier, tmp_path: Path) -> None:
    samples = np.concatenate([speech(1.0, 1), np.zeros(4000), speech(0.7, 2)])
    heard = model.listener.hear_samples(samples, 8000)
    whole, (parts, numbers) = model.score([heard]), model.score_blocks(heard, 25)
    voiced = np.flatnonzero(heard.utterance.voiced)
    assert numbers.tolist() == np.unique(voiced // 25).tolist() and len(numbers) < len(samples) / 80 // 25 + 1
    assert parts.frames.tolist() == np.unique(voiced // 25, return_counts=True)[1].tolist()
    share = parts.frames[:, None] / parts.frames.sum()
    assert (share * parts.mean_loglik).sum(0) == pytest.approx(whole.mean_loglik[0], abs=1e-6)
    assert (share * parts.mean_latents).sum(0) == pytest.approx(whole.mean_latents[0], abs=1e-5)


def test_a_rate_of_rejection_needs_an_open_set(experiment: Path) -> None:
    model = load(experiment, "cpu")
    model.openset = None
    assert model.decider(rate=0).openset is None and model.decider().openset is None
    with pytest.raises(ValueError, match=r"a false-rejection rate of 0\.1: the model has no open set"):
        model.decider(rate=0.1)


def test_what_is_unlike_the_dev_set_is_unknown(experiment: Path, recordings: dict[str, Path], tmp_path: Path) -> None:
    """By the open set as stage 4 fits it; a model directory takes it and its background along."""
    place, name = Path(shutil.copytree(experiment, tmp_path / "exp" / "tiny")), "other"
    other = load_model(experiment / "final.pt")
    with torch.no_grad():
        other.flow.base.means += torch.linspace(-1, 1, other.flow.dim)
    save_model(tmp_path / "exp" / name / "final.pt", other)
    data = experiment.parent.parent / "data"
    heard = {each: answers(load(tmp_path / "exp" / name, "cpu"), data / each) for each in ("dev", "test")}
    scored, dev = (read_scored(experiment / f"score_{name}") for name in ("test", "dev"))
    (place / "openset").mkdir()
    for background in (None, name):
        of = [None if background is None else [max(a.loglik.values()) for a in heard[x]] for x in ("dev", "test")]
        openset = fit_openset(dev, background, of[0])
        write_json(place / "openset/openset.json", openset.to_dict(digest(place / "final.pt")))
        expected = openset.typicality(scored.mean_loglik, scored.frames, scored.mean_latents, of[1])
        assert call("export_model", place, data).code == 0
        rate = float(np.sort(expected)[1])
        for model in (load(place, "cpu"), load(place / "model", "cpu")):
            found = list(model.answers(Inputs([str(path) for path in recordings.values()]), model.decider(rate=rate)))
            assert [answer.typicality for answer in found] == pytest.approx(expected, abs=1e-3)
            assert [answer.language == UNKNOWN for answer in found] == (expected <= rate).tolist()
            assert all(answer.runner_up == answer.ranking[answer.language != UNKNOWN] for answer in found)
    (place / "model/background.pt").unlink()
    with pytest.raises(ValueError, match=r"background\.pt: missing"):
        load(place / "model", "cpu")


def test_samples_that_are_none_are_refused(model: Identifier) -> None:
    for samples, message in (
        (np.zeros(100, np.int32), "type int32"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.full(100, np.nan), "samples up to nan"),
        (np.full(100, 3e4), "divide them by their full scale"),
        (np.zeros((100, 2)), '2 channels; load the model with channel=0, 1, ... or "mix"'),
    ):
        with pytest.raises(ValueError, match=message):
            model.identify(samples, 8000)
    with pytest.raises(ValueError, match="without their rate"):
        model.identify(np.zeros(100))
    with pytest.raises(ValueError, match="cannot be resampled"):
        model.identify(np.zeros(100), 8)


def test_one_bad_likelihood_is_an_error_of_its_own(
    model: Identifier, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = model.listener.hear

    def heard(source: Source) -> Heard:
        found = hear(source)
        if "e-2" not in source.name:
            return found
        spoilt = dataclasses.replace(found.utterance, feats=np.full_like(found.utterance.feats, 1e38))
        return dataclasses.replace(found, utterance=spoilt)

    monkeypatch.setattr(model.listener, "hear", heard)
    found = answers(model, *recordings.values())
    assert [answer.error is None for answer in found] == [True, False, True, True]
    assert "not finite" in found[1].error


def test_a_model_of_foreign_features_is_refused(experiment: Path, model: Identifier) -> None:
    config = dataclasses.replace(model.model.config, features={"dim": "8"})
    with pytest.raises(ValueError, match="their options are not known"):
        recording.Listener(dataclasses.replace(model.model, config=config), str(experiment))
    config = dataclasses.replace(config, features={"fbank.num-mel-bins": "8", "fbank.colour": "red"})
    with pytest.raises(ValueError, match="unknown option 'colour'"):
        recording.Listener(dataclasses.replace(model.model, config=config), str(experiment))
