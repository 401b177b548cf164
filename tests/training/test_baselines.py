"""Baselines: fitted as scikit-learn fits them, and an experiment as a flow is."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from tools import Ended, call, feature_dir, load

from flowlid.config import config_from_dict
from flowlid.files import read_json
from flowlid.flow.checkpoint import load_model
from flowlid.frames.frameset import FrameSet
from flowlid.training.baselines import VARIANCE_FLOOR, fit_baseline, make_baseline
from flowlid.training.experiment import Inputs
from flowlid.training.processes import Processes

MakeFrames = Callable[..., FrameSet]
UTTS = {f"{speaker}-{n}": language for speaker, language in (("a", "en"), ("b", "es")) for n in range(4)}


def inputs(frames: FrameSet, kind: str, most: int = 100000, **model: int) -> Inputs:
    content = {"data": {"train": "train"}, "frames": {"context": 0}, "model": {"type": kind, **model}}
    config = config_from_dict({**content, "training": {"most_frames": most}}, "here")
    return Inputs(config, None, frames, None, sorted(set(frames.languages)), {}, "")


def standardized(frames: FrameSet) -> tuple[np.ndarray, np.ndarray]:
    x = frames.batch(torch.arange(len(frames))).numpy()
    labels = frames.labels(sorted(set(frames.languages)))[frames.utt_of].numpy()
    return (x - x.mean(0)) / x.std(0), labels


@pytest.mark.parametrize("languages", [("en", "es"), ("en", "es", "it")])
def test_log_likelihoods_are_scikit_learns(make_frames: MakeFrames, languages: tuple[str, ...]) -> None:
    frames = make_frames(1, ("en", "es"))
    frames.languages[::3] = [languages[-1]] * len(frames.languages[::3])
    x, labels = standardized(frames)
    raw, logdet = frames.batch(torch.arange(len(frames))), None
    found = {}
    for kind, settings in (("gmm", {"components": 3}), ("lda", {}), ("lr", {})):
        flow, count = fit_baseline(inputs(frames, kind, **settings))
        assert count == len(frames)
        found[kind], logdet = (terms.numpy() for terms in flow.double().log_terms(raw.double()))
        assert found[kind].shape == (len(frames), len(languages)) and logdet.shape == (len(frames),)
    for k in range(len(languages)):
        mixture = GaussianMixture(3, covariance_type="diag", reg_covar=VARIANCE_FLOOR, random_state=1)
        mixture.fit(x[labels == k])
        np.testing.assert_allclose(found["gmm"][:, k], mixture.score_samples(x), rtol=1e-3, atol=0.02)
    priors = np.full(len(languages), 1 / len(languages))
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors).fit(x, labels)
    posteriors = found["lda"] - np.logaddexp.reduce(found["lda"], axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(posteriors), lda.predict_proba(x), atol=1e-4)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x, labels)
    np.testing.assert_allclose(np.exp(found["lr"]), regression.predict_proba(x), atol=1e-4)


def test_the_sample_is_bounded_by_class_and_follows_the_seed(make_frames: MakeFrames) -> None:
    frames = make_frames(1, ("en", "es"))
    flow, count = fit_baseline(inputs(frames, "lda", most=40))
    assert count == 80
    again, whole = (fit_baseline(inputs(frames, "lda", most=most))[0] for most in (40, 10**6))
    assert torch.equal(flow.base.means, again.base.means) and not torch.equal(flow.base.means, whole.base.means)


def test_a_class_of_too_few_frames_is_named(make_frames: MakeFrames) -> None:
    frames = make_frames(1, ("en", "es"))
    with pytest.raises(ValueError, match=r"train: class en has 20 training frames, and a gmm needs 64 or more"):
        fit_baseline(inputs(frames, "gmm", most=20))


def test_a_fit_that_does_not_converge_is_told(
    make_frames: MakeFrames, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fit_baseline.__globals__["_MOST_ITERATIONS"], "lr", 1)
    with caplog.at_level(logging.WARNING, logger="flowlid"):
        fit_baseline(inputs(make_frames(1, ("en", "es")), "lr"))
    assert "not converged in 1 iterations: LogisticRegression" in caplog.text


def test_only_the_first_process_fits(make_frames: MakeFrames, tmp_path: Path) -> None:
    provenance, cpu = {"command": "train"}, torch.device("cpu")
    for rank, files in ((1, set()), (0, {"config.yaml", "final.pt", "train.json"})):
        make_baseline(inputs(make_frames(1, ("en", "es")), "lda"), cpu, tmp_path, Processes(rank), provenance)
        assert {path.name for path in tmp_path.iterdir()} == files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("baselines")
    feature_dir(place / "data/train", UTTS)
    feature_dir(place / "data/test", UTTS, seed=2)
    return place


def run(place: Path, kind: str, step: str, *rest: object, **settings: int) -> Ended:
    model = {"type": kind, **settings}
    (place / f"{kind}.yaml").write_text(f"data: {{train: train, tests: [test]}}\nmodel: {model}\n".replace("'", ""))
    exp = place / kind
    if step == "train":
        return call("train", "--device", "cpu", *rest, place / f"{kind}.yaml", place / "data", exp)
    return call(step, *rest)


@pytest.mark.parametrize(("kind", "settings"), [("gmm", {"components": 2}), ("lr", {})])
def test_a_baseline_is_an_experiment_as_a_flow_is(
    place: Path, kind: str, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = place / kind
    ended = run(place, kind, "train", **settings)
    assert ended.code == 0 and "INFO fitted on 192 of 192 frames in " in ended.log
    summary = read_json(exp / "train.json")
    density = kind == "gmm"
    assert (summary["model"], summary["epochs"], summary["loglik_train"]) == (kind, None, None)
    assert (summary["loglik_eval"] is not None) == density
    assert call("score", "--device", "cpu", exp, place / "data", "test").code == 0
    result = read_json(exp / "score_test/result.json")
    assert (result["loglik"] is not None) == density
    assert result["utt_accuracy"] == 1.0
    latents = call("analyse_latents", "--device", "cpu", exp, place / "data", "train", "test")
    assert latents.code == 0 and f"a baseline (model.type: {kind}) has no latents to analyse" in latents.log
    drawn = []
    for name in ("confusion_shares", "llr_per_frame", "accuracy_duration", "loss_curve", "first_dims"):
        monkeypatch.setattr(load("steps/plot.py"), name, lambda *_, name=name: drawn.append(name))
    plots = call("plot", exp, "test")
    assert plots.code == 0 and "has no epochs and no latents" in plots.log
    assert drawn == ["confusion_shares", "confusion_shares", "llr_per_frame", "accuracy_duration"]
    before = {path: path.read_bytes() for path in exp.glob("*.*")}
    again = run(place, kind, "train", **settings)
    assert f"INFO {exp}: trained already; --overwrite true trains it again" in again.log
    assert before == {path: path.read_bytes() for path in exp.glob("*.*")}


def test_a_baseline_of_another_configuration_is_refused(place: Path) -> None:
    assert run(place, "lda", "train").code == 0
    (place / "lda.yaml").write_text("data: {train: train}\nmodel: {type: lda}\ntraining: {most_frames: 30}\n")
    ended = call("train", "--device", "cpu", place / "lda.yaml", place / "data", place / "lda")
    assert ended.code == 1 and "training.most_frames: 100000 -> 30" in ended.log
    again = call("train", "--device", "cpu", "--overwrite", "true", place / "lda.yaml", place / "data", place / "lda")
    assert again.code == 0 and "fitted on 60 of 192 frames" in again.log
    assert load_model(place / "lda/final.pt").config.training.most_frames == 30
