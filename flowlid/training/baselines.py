"""Baselines, which scikit-learn fits on a sample of the training frames."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from flowlid.config import Config
from flowlid.evaluation.decisions import frame_accuracy, mean_terms
from flowlid.evaluation.latents import balanced_frames
from flowlid.evaluation.scoring import score_frames
from flowlid.files import write_json
from flowlid.flow.baselines import GaussianMixtures, LogPosteriors, SharedGaussians
from flowlid.flow.checkpoint import Model, load_model, save_model
from flowlid.flow.flow import Flow, build_flow
from flowlid.flow.transforms import Standardization
from flowlid.frames.frameset import moments_of
from flowlid.training import directory
from flowlid.training.experiment import Inputs
from flowlid.training.processes import Processes

VARIANCE_FLOOR = 1e-3  # of a mixture's Gaussians, added to their variances; frames are standardized
_MOST_ITERATIONS = {"gmm": 100, "lr": 1000}
log = logging.getLogger("flowlid")


def make_baseline(
    inputs: Inputs, device: torch.device, exp: Path, processes: Processes, provenance: dict[str, str]
) -> None:
    """Fit a baseline, in the first process alone, and write all files of `exp`.

    Raises:
        ValueError: a class with too few frames.
    """
    if processes.world_size > 1:
        log.info("one process is enough for a baseline: the first of %d fits it", processes.world_size)
    with processes.first_alone():
        if processes.first:
            _make(inputs, device, exp, provenance)
    processes.wait()


def _make(inputs: Inputs, device: torch.device, exp: Path, provenance: dict[str, str]) -> None:
    config, frames, began = inputs.config, inputs.frames, time.monotonic()
    flow, fitted = fit_baseline(inputs)
    seconds = time.monotonic() - began
    model = Model(flow, config, inputs.classes, frames.feats.shape[1], inputs.stats, inputs.labels)
    directory.write_config(config, exp, provenance)
    directory.remove_results_of_another_model(exp, model)
    (exp / "train.jsonl").unlink(missing_ok=True)  # of a flow that it replaces
    save_model(exp / "final.pt", model)
    scores = score_frames(load_model(exp / "final.pt").to(device).flow, frames)
    labels = frames.labels(inputs.classes).numpy()
    found = mean_terms(scores, labels) if config.model.is_density else dict.fromkeys(("loglik", "logp", "logdet"))
    likelihood = f"LogLL {found['loglik']:.3f} nats per frame, " if config.model.is_density else ""
    write_json(exp / "train.json", _summary(exp.name, inputs, flow, found, seconds) | {"provenance": provenance})
    (exp / "checkpoint.pt").unlink(missing_ok=True)
    words = "fitted on %s of %s frames in %.1f s: %straining frames' accuracy %.4f"
    log.info(words, f"{fitted:,}", f"{len(frames):,}", seconds, likelihood, frame_accuracy(scores, labels))


def fit_baseline(inputs: Inputs) -> tuple[Flow, int]:
    """The configured baseline, fitted on up to `training.most_frames` random frames of each class, and their number.

    All classes count alike, whatever their share of the frames. The sample is held in memory: K x most_frames x D
    numbers of 4 bytes, and as much again while scikit-learn works.

    Raises:
        ValueError: a class with too few frames.
    """
    config, frames = inputs.config, inputs.frames
    mean, std = moments_of(frames)
    chosen = balanced_frames(frames, config.training.most_frames, config.training.seed)
    x = Standardization(mean, std)(frames.batch(torch.from_numpy(chosen)))[0].numpy()
    labels = frames.labels(inputs.classes)[frames.utt_of[chosen]].numpy()
    counts = np.bincount(labels, minlength=len(inputs.classes))
    least = max(2, config.model.components if config.model.type == "gmm" else 2)
    if counts.min() < least:
        raise ValueError(
            f"{config.data.train}: class {inputs.classes[counts.argmin()]} has {counts.min()} training frames, and a "
            f"{config.model.type} needs {least} or more of each" + ": model.components" * (least > 2)
        )
    flow = build_flow(config.model, len(inputs.classes), mean, std)
    _FITS[config.model.type](flow.base, x, labels, config, inputs.classes)
    return flow.eval(), len(chosen)


def _fit_mixtures(
    base: GaussianMixtures, x: np.ndarray, labels: np.ndarray, config: Config, classes: list[str]
) -> None:
    for number, name in enumerate(classes):
        began, own = time.monotonic(), x[labels == number]
        mixture = GaussianMixture(
            config.model.components,
            covariance_type="diag",
            reg_covar=VARIANCE_FLOOR,
            max_iter=_MOST_ITERATIONS["gmm"],
            random_state=config.training.seed,
        )
        _fit(mixture, own)
        _put(base.log_weights[number], np.log(mixture.weights_))
        _put(base.means[number], mixture.means_)
        _put(base.variances[number], mixture.covariances_)
        words = "%s: %d Gaussians on %s frames, %d iterations, %.1f s"
        log.info(words, name, config.model.components, f"{len(own):,}", mixture.n_iter_, time.monotonic() - began)


def _fit_lda(base: SharedGaussians, x: np.ndarray, labels: np.ndarray, config: Config, classes: list[str]) -> None:
    """Covariances are shrunk (Ledoit and Wolf 2004)."""
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(len(classes), 1 / len(classes)))
    lda.fit(x, labels)
    _put(base.means, lda.means_)
    _put(base.whitening, np.linalg.inv(np.linalg.cholesky(lda.covariance_)))


def _fit_posteriors(base: LogPosteriors, x: np.ndarray, labels: np.ndarray, config: Config, classes: list[str]) -> None:
    """With scikit-learn's own penalty, C = 1, of L2."""
    regression = LogisticRegression(class_weight="balanced", max_iter=_MOST_ITERATIONS["lr"])
    _fit(regression, x, labels)
    weights, offsets = regression.coef_, regression.intercept_
    if len(classes) == 2:  # it has the second class against the first
        weights, offsets = np.concatenate([0 * weights, weights]), np.concatenate([0 * offsets, offsets])
    _put(base.weights, weights)
    _put(base.offsets, offsets)
    log.info("logistic regression: %d iterations", regression.n_iter_.max())


_FITS = {"gmm": _fit_mixtures, "lda": _fit_lda, "lr": _fit_posteriors}


def _fit(estimator: GaussianMixture | LogisticRegression, *args: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(*args)
    if np.max(estimator.n_iter_) >= estimator.max_iter:
        log.warning("not converged in %d iterations: %s", estimator.max_iter, type(estimator).__name__)


def _put(tensor: Tensor | nn.Parameter, values: np.ndarray) -> None:
    tensor.copy_(torch.from_numpy(np.asarray(values)))


def _summary(name: str, inputs: Inputs, flow: Flow, found: dict[str, float | None], seconds: float) -> dict[str, Any]:
    """What train.json says of it: as of a flow, None where that does not apply."""
    config = inputs.config
    epochs = ("class_dim", "epochs", "selected_epoch", "loglik_train", "logp_train", "logdet_train", "normalization")
    return {
        "experiment": name,
        "model": config.model.type,
        "classes": inputs.classes,
        "dim": inputs.frames.dim,
        "frames": len(inputs.frames),
        **dict.fromkeys(epochs),
        **{f"{key}_eval": value for key, value in found.items()},
        "parameters": sum(p.numel() for p in flow.parameters()),
        "cmvn": config.frames.cmvn + ("+variance" if config.frames.norm_vars else ""),
        "precision": flow.precision,
        "device": "cpu",
        "processes": 1,
        "seconds": round(seconds, 1),
        "data": inputs.data,
    }
