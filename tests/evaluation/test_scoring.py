"""Scores and mean latents of utterances, against sums of single frames; and the program that writes them."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tools import YAML, call, contents, feature_dir

from flowlid.config import FramesConfig, ModelConfig
from flowlid.evaluation import blocks
from flowlid.evaluation.scored import ScoredSet, read_scored
from flowlid.evaluation.scoring import NotFinite, score_frames
from flowlid.files import read_json, write_json
from flowlid.flow.checkpoint import load_model
from flowlid.flow.flow import Flow, build_flow
from flowlid.frames.frameset import FrameSet, load_frames, load_model_frames, moments_of
from flowlid.kaldi.arks import read_vector
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import read_table

UTTS = {"a-1": "en", "a-2": "en", "b-1": "es", "c-1": "it"}
CLASSES = ["en", "es", "it"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    return load_frames(DataDir(feature_dir(tmp_path_factory.mktemp("data"), UTTS)), FramesConfig(context=1))


@pytest.fixture(scope="module")
def flow(frames: FrameSet) -> Flow:
    torch.manual_seed(0)
    config = ModelConfig(type="dnf", blocks=2, hidden=8, layers=1, class_dim=4, residual_variance=1.5)
    made = build_flow(config, 3, *moments_of(frames))
    made.initialize(frames.batch(torch.arange(len(frames))), frames.labels(CLASSES)[frames.utt_of])
    with torch.no_grad():  # an untrained coupling is the identity
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


# Scoring


@pytest.mark.parametrize("batch_size", [5, 24, 8192])
def test_scores_are_sums_of_single_frames(flow: Flow, frames: FrameSet, batch_size: int) -> None:
    scores = score_frames(flow, frames, batch_size)
    with torch.no_grad():
        single = [flow.log_prob(frames.batch(torch.tensor([n])))[0].double().numpy() for n in range(len(frames))]
    single, utt = np.stack(single), frames.utt_of.numpy()
    assert scores.frames.tolist() == [24, 24, 24, 24]
    for number in range(4):
        own = single[utt == number]
        assert scores.loglik[number] == pytest.approx(own.sum(0), rel=1e-5)
        assert scores.mean_loglik[number] == pytest.approx(own.mean(0), rel=1e-5)
        assert scores.decided[number].tolist() == np.bincount(own.argmax(1), minlength=3).tolist()


@pytest.mark.parametrize("batch_size", [5, 13, 8192])
@pytest.mark.parametrize("length", [1, 7, 10, 24, 100])
def test_blocks_are_sums_of_their_own_frames(flow: Flow, frames: FrameSet, batch_size: int, length: int) -> None:
    """Utterances of 24, 20, 3 and 24 frames: blocks neither go on into the next one nor take a remainder in."""
    kept = np.delete(np.arange(len(frames)), [*range(44, 48), *range(51, 72)])
    cut = dataclasses.replace(frames, index=frames.index[kept], utt_of=frames.utt_of[kept])
    kept = {}
    found = score_frames(
        flow, cut, batch_size, block=length, keep=lambda utt, _, blocks: kept.setdefault(utt, blocks)
    ).blocks
    with torch.no_grad():
        z, logdet = flow(cut.batch(torch.arange(len(cut))))
        single = torch.cat([flow.base.log_prob(z) + logdet[:, None], z], dim=1).double().numpy()
    sums, utt_of = [], []
    for utt, own in enumerate(np.split(single, np.cumsum([24, 20, 3]))):
        pieces = [own[first : first + length] for first in range(0, len(own), length)]
        np.testing.assert_allclose(kept[cut.utts[utt]], [piece.mean(0) for piece in pieces], rtol=1e-4, atol=1e-4)
        sums += [piece[:, :3].sum(0) for piece in pieces if len(piece) == length]
        utt_of += [utt] * (len(own) // length)
    assert found.utt_of.tolist() == utt_of
    assert found.loglik.dtype == np.float64 and found.loglik.shape == (len(sums), 3)
    if sums:
        assert found.loglik == pytest.approx(np.array(sums), rel=1e-5)


def test_blocks_are_only_summed_where_asked_for(flow: Flow, frames: FrameSet) -> None:
    assert score_frames(flow, frames).blocks is None


def test_the_log_determinant_is_that_of_the_flow(flow: Flow, frames: FrameSet) -> None:
    scores = score_frames(flow, frames)
    with torch.no_grad():
        logdet = flow(frames.batch(torch.arange(len(frames))))[1].double().numpy()
    expected = [logdet[frames.utt_of.numpy() == number].sum() for number in range(4)]
    assert scores.logdet == pytest.approx(expected, rel=1e-5)
    assert np.ptp(logdet) > 0.01  # it does depend on the frame
    assert scores.loglik == pytest.approx(scores.logp + np.array(expected)[:, None], rel=1e-5)


def test_a_training_flow_is_scored_in_evaluation_mode(flow: Flow, frames: FrameSet) -> None:
    before = score_frames(flow, frames).loglik
    flow.train()
    assert (score_frames(flow, frames).loglik == before).all() and not flow.training


def test_the_scores_are_those_of_log_terms_bit_by_bit(flow: Flow, frames: FrameSet) -> None:
    logp, logdet = torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    with torch.no_grad():
        for x, utt in frames.batches(37):
            terms, det = flow.log_terms(x)
            logp.index_add_(0, utt, terms.double())
            logdet.index_add_(0, utt, det.double())
    found = score_frames(flow, frames, 37, block=10, keep=lambda utt, mean, blocks: None)
    assert (found.logp == logp.numpy()).all() and (found.logdet == logdet.numpy()).all()


@pytest.mark.parametrize("batch_size", [1, 5, 24, 37, 8192])
@pytest.mark.parametrize("held", [1, 3, 1024])
def test_mean_latents_are_those_of_each_utterance(
    batch_size: int, held: int, flow: Flow, frames: FrameSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of utterances of 24, 20, 3 and 24 frames; batches cut through them, or hold several."""
    monkeypatch.setattr(blocks, "_HELD", held)
    kept = np.delete(np.arange(len(frames)), [*range(44, 48), *range(51, 72)])
    cut = dataclasses.replace(frames, index=frames.index[kept], utt_of=frames.utt_of[kept])
    found = {}
    score_frames(flow, cut, batch_size, block=7, keep=lambda utt, mean, _: found.setdefault(utt, mean))
    assert list(found) == frames.utts
    with torch.no_grad():
        z = flow(cut.batch(torch.arange(len(cut))))[0]
    for number, mean in enumerate(found.values()):
        assert mean.dtype == np.float32 and mean.shape == (9,)
        np.testing.assert_allclose(mean, z[cut.utt_of == number].mean(0).numpy(), atol=1e-5)


def test_mean_latents_do_not_wait_for_the_end(flow: Flow, frames: FrameSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An utterance's mean is given away once its last frame was seen: the memory does not grow with the set."""
    monkeypatch.setattr(blocks, "_HELD", 1)
    told = []
    score_frames(flow, frames, 30, lambda done, _: told.append(done), 7, lambda utt, *_: told.append(utt))
    assert told == ["a-1", 30, "a-2", 60, "b-1", 90, "c-1", 96]


def test_progress_is_told(flow: Flow, frames: FrameSet) -> None:
    told = []
    score_frames(flow, frames, 40, lambda done, total: told.append((done, total)))
    assert told == [(40, 96), (80, 96), (96, 96)]


def test_likelihood_that_is_not_finite_names_the_utterance(flow: Flow, frames: FrameSet) -> None:
    feats = frames.feats.clone()
    feats[frames.first[2] : frames.last[3] + 1] = 1e30
    far = dataclasses.replace(frames, feats=feats)
    with pytest.raises(NotFinite, match=r"utterance b-1: .*not finite.*\(2 such\)"):
        score_frames(flow, far)


# The program, and what it wrote read back


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """`data` and a tiny experiment `exp` that scored its test set."""
    root = tmp_path_factory.mktemp("scored")
    feature_dir(root / "data/train", {utt: name for utt, name in UTTS.items() if name != "it"})
    feature_dir(root / "data/test", UTTS, seed=1)
    (root / "x.yaml").write_text(YAML)
    assert call("train", root / "x.yaml", root / "data", root / "exp").code == 0
    assert call("score", root / "exp", root / "data", "test").code == 0
    return root


@pytest.fixture
def own(scored: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to change."""
    return Path(shutil.copytree(scored, tmp_path / "own"))


def test_what_is_read_back_is_what_was_scored(scored: Path) -> None:
    place = scored / "exp/score_test"
    found = read_scored(place)
    model = load_model(scored / "exp/final.pt").to(torch.device("cpu"))
    frames = load_model_frames(model, DataDir(scored / "data/test"))
    means, own = {}, {}

    def keep(utt: str, mean: np.ndarray, blocks: np.ndarray) -> None:
        means[utt], own[utt] = mean, blocks

    scores = score_frames(model.flow, frames, block=100, keep=keep)
    assert (found.utts, found.languages, found.classes) == (frames.utts, frames.languages, ["en", "es"])
    np.testing.assert_allclose(found.mean_loglik, scores.mean_loglik, rtol=0, atol=5.1e-7)
    np.testing.assert_array_equal(found.mean_latents, np.stack(list(means.values())))
    assert found.block == 100 and all(
        (ours == own[utt]).all() for utt, ours in zip(found.utts, found.blocks, strict=True)
    )
    for utt, specifier in read_table(place / "mean_latents.scp").items():  # as Kaldi's tools go about it
        np.testing.assert_array_equal(read_vector(specifier, utt), means[utt])
    result = read_json(place / "result.json")
    assert result["unseen"] == ["it"] and result["provenance"]["command"].startswith("score.py")


def test_pieces_are_means_of_whole_blocks() -> None:
    generator = np.random.default_rng(0)
    single = [generator.normal(size=(count, 5)) for count in (45, 9, 40)]  # two classes, three dims; blocks of 10
    blocks = [
        np.stack([own[first : first + 10].mean(0) for first in range(0, len(own), 10)]).astype(np.float32)
        for own in single
    ]
    means = np.stack([own.mean(0) for own in single])
    scored = ScoredSet(
        ["u", "v", "w"], ["en", "es", "it"], ["en", "es"], np.array([45, 9, 40]), means[:, :2], means[:, 2:], 10, blocks
    )
    found = scored.pieces(2)
    assert (found.utts, found.languages) == (["u", "u", "w", "w"], ["en", "en", "it", "it"])
    assert found.frames.tolist() == [20] * 4
    expected = np.stack([single[n][first : first + 20].mean(0) for n, first in ((0, 0), (0, 20), (2, 0), (2, 20))])
    np.testing.assert_allclose(found.mean_loglik, expected[:, :2], atol=1e-6)
    np.testing.assert_allclose(found.mean_latents, expected[:, 2:], atol=1e-6)
    assert scored.pieces(5).utts == [] and scored.pieces(5).mean_loglik.shape == (0, 2)


def test_a_moved_experiment_is_read_where_it_is(own: Path, scored: Path) -> None:
    (own / "exp").rename(own / "moved")
    expected = read_scored(scored / "exp/score_test").mean_latents
    np.testing.assert_array_equal(read_scored(own / "moved/score_test").mean_latents, expected)


def test_scores_that_are_missing_or_damaged_are_named(own: Path) -> None:
    place = own / "exp/score_test"
    archive = (place / "mean_latents.ark").read_bytes()
    (place / "mean_latents.ark").write_bytes(archive[:-20])
    with pytest.raises(ValueError, match=r"score_test: utt2loglik, mean_latents.ark or blocks.ark is damaged; score"):
        read_scored(place)
    (place / "utt2lang").write_text("a-1 en\n")
    with pytest.raises(ValueError, match="score_test: its files are not of the same utterances; score the set again"):
        read_scored(place)
    (place / "blocks.scp").unlink()  # as an older flowlid left it
    with pytest.raises(FileNotFoundError, match=r"blocks.scp: no such file; score the set first \(stage 4\)"):
        read_scored(place)


def test_a_model_without_finite_likelihoods_writes_nothing(own: Path) -> None:
    payload = torch.load(own / "exp/final.pt", weights_only=True)
    payload["state"]["transform.transforms.0.mean"][0] = float("inf")
    torch.save(payload, own / "exp/final.pt")
    before = contents(own / "exp/score_test")
    ended = call("score", own / "exp", own / "data", "test")
    assert ended.code == 1 and "utterance a-1: its log-likelihood under this model is not finite (4 such)" in ended.log
    assert contents(own / "exp/score_test") == before


def test_a_set_is_scored_again_when_anything_of_it_changed(own: Path) -> None:
    place = own / "exp/score_test"

    def scores_again(*options: str) -> bool:
        before = (place / "result.json").stat().st_ino
        ended = call("score", *options, own / "exp", own / "data", "test")
        assert ended.code == 0, ended.log
        again = (place / "result.json").stat().st_ino != before
        assert ("score_test: up to date" in ended.log) != again
        return again

    assert not scores_again() and scores_again("--overwrite", "true") and not scores_again()
    (place / "utt2llr").unlink()
    assert scores_again() and (place / "utt2llr").exists()
    made = read_json(place / "made_from.json")
    made["inputs"].pop("archives")  # as an older flowlid left it
    write_json(place / "made_from.json", made)
    assert scores_again()
    (own / "data/test/utt2lang").write_text("a-1 en\na-2 es\nb-1 es\nc-1 it\n")
    assert scores_again()
    (own / "data/test/frame_shift").write_text("0.02\n")
    assert scores_again() and read_json(place / "result.json")["hours"] == pytest.approx(4 * 24 * 0.02 / 3600)
    feature_dir(own / "data/test", UTTS, seed=2)
    assert scores_again() and not scores_again()
    (own / "x.yaml").write_text(YAML.replace("epochs: 2", "epochs: 3"))
    assert call("train", "--overwrite", "true", own / "x.yaml", own / "data", own / "exp").code == 0
    assert not place.exists()
    assert call("score", own / "exp", own / "data", "test").code == 0 and not scores_again()
