"""Experiments of every kind through the steps, on tiny features: training, scoring, latents, plots, report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tools import ROOT, call, feature_dir, write_tables

from flowlid.files import read_json
from flowlid.kaldi.tables import write_table

YAML = """\
data: {train: train, dev: '', tests: [test]}
frames: {context: 1, vad: false}
model: {type: %s, blocks: 2, hidden: 8%s}
training: {epochs: 2, batch_size: 40, learning_rate: 1.0e-3, warmup_steps: 2}
"""
KINDS = {
    "nf of two languages": ("nf", ""),
    "dnf": ("dnf", ""),
    "dnf with a residual": ("dnf", ", class_dim: 4, residual_variance: 1000"),
    "dnf with batchnorm": ("dnf", ", normalization: batchnorm"),
    "dnf without normalization": ("dnf", ", normalization: none, scale_bound: null"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_from_features_to_the_report(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, exp, config = tmp_path / "data", tmp_path / "exp/tiny", tmp_path / "tiny.yaml"
    feature_dir(data / "train", {"a-1": "en", "a-2": "en", "a-3": "es", "a-4": "es"})
    feature_dir(data / "test", {"a-1": "en", "a-2": "es", "a-3": "it"}, seed=1)
    config.write_text(YAML % KINDS[kind])
    assert call("train", config, data, exp).code == 0
    assert call("score", exp, data, "test").code == 0
    assert call("analyse_latents", "--sample", "20", exp, data, "train", "test").code == 0
    (exp / "plots").mkdir()
    (exp / "plots/tsne_old.png").write_bytes(b"of a set that is no longer tested")
    ended = call("plot", "--tsne-frames", "60", "--each", "test", exp, "test")
    assert ended.code == 0, ended.log
    assert call("make_report", tmp_path / "exp").code == 0
    (result,) = json.loads((tmp_path / "exp/results.json").read_text())
    decides = not kind.startswith("nf")
    assert result["classes"] == (["en", "es"] if decides else ["en+es"])
    found = result["sets"]["test"]
    assert found["unseen"] == ["it"] and (found["utt_accuracy"] is not None) == decides
    assert found["loglik"] == pytest.approx(found["logp"] + found["logdet"])
    assert (found["moments"]["residual"] is not None) == ("residual" in kind)
    assert set(found["moments"]) == {"en", "es", "it", "pooled", "residual"}
    pictures = {path.stem for path in (exp / "plots").glob("*.png")}
    assert "tsne_old" not in pictures and pictures == {path.stem for path in (exp / "plots").glob("*.pdf")}
    assert {"loss_curve", "tsne_train", "first_dims_test", "histograms_all"} <= pictures
    assert ("confusion_utt" in pictures) == decides
    assert "test (unseen: it)" in capsys.readouterr().out
    assert call("make_report", tmp_path / "exp").code == 0  # in place of its own
    (tmp_path / "exp/RESULTS.md").write_text("# My notes\n")
    ended = call("make_report", tmp_path / "exp")
    assert ended.code == 1 and "RESULTS.md: not written by a report, which would replace it; rename it" in ended.log
    assert (tmp_path / "exp/RESULTS.md").read_text() == "# My notes\n"


def test_a_larger_picture_of_t_sne_has_its_frames(tmp_path: Path) -> None:
    """Of each language as many as it takes, of a set of one language all."""
    data, exp, config = tmp_path / "data", tmp_path / "exp/tiny", tmp_path / "tiny.yaml"
    feature_dir(data / "train", {"a-1": "en", "a-2": "en", "a-3": "es", "a-4": "es"})
    feature_dir(data / "test", {"b-1": "en", "b-2": "en"}, seed=1)
    config.write_text(YAML % KINDS["dnf"])
    assert call("train", config, data, exp).code == 0
    assert call("score", exp, data, "test").code == 0
    for frames, train, test in ((0, [5, 5], [5]), (30, [15, 15], [30]), (41, [21, 21], [41])):
        options = ("--sample", 5, "--tsne-frames", frames)
        assert call("analyse_latents", *options, exp, data, "train", "test").code == 0
        for name, counts in (("train", train), ("test", test)):
            with np.load(exp / f"latent_{name}" / "sample.npz") as sample:
                assert np.unique(sample["language"], return_counts=True)[1].tolist() == counts
    ended = call("plot", "--tsne-frames", 41, exp, "test")
    assert "train: t-SNE of 40 frames in" in ended.log and "test: t-SNE of 41 frames in" in ended.log


def test_stages_4_and_5_make_only_what_is_not_up_to_date(tmp_path: Path) -> None:
    data, exp, config = tmp_path / "data", tmp_path / "exp/tiny", tmp_path / "tiny.yaml"
    feature_dir(data / "train", {"a-1": "en", "a-2": "en", "a-3": "es", "a-4": "es"})
    languages = {"a-1": "en", "a-2": "en", "a-3": "en", "b-4": "es", "c-5": "es", "c-6": "es"}
    feature_dir(data / "test", languages, seed=1)
    write_table(data / "test/utt2score", {**dict.fromkeys(languages, "1"), "a-2": "3", "b-4": "2", "c-5": "5"})
    config.write_text(YAML % KINDS["dnf"])
    assert call("train", config, data, exp).code == 0

    def made(*options: str) -> set[str]:
        """The directories that the two stages made."""
        before = {path.name: path.stat().st_ino for path in exp.iterdir()}
        called = [
            call("score", *options, exp, data, "test"),
            call("calibrate", *options, "--dev", "test", exp, data, "train", "test"),
            call("score_nonspeech", *options, exp, data, "test"),
            call("analyse_latents", *options, exp, data, "train", "test"),
            call("plot", *options, exp, "test"),
            call("score_proficiency", *options, exp, data, "test"),
        ]
        assert {ended.code for ended in called} == {0}
        after = {path.name: path.stat().st_ino for path in exp.iterdir()}
        new = {name for name, place in after.items() if before.get(name) != place}
        log = "\n".join(ended.log for ended in called)
        assert {name for name in everything if f"{name}: up to date" not in log} == new
        return new

    everything = {
        "score_test",
        "calibration",
        "calibrated_test",
        "nonspeech_test",
        "latent_train",
        "latent_test",
        "plots",
        "proficiency_test",
    }
    assert made() == everything and made() == set()
    write_table(data / "test/utt2score", {**dict.fromkeys(languages, "1"), "a-2": "3", "b-4": "2", "c-5": "4"})
    assert made() == {"proficiency_test"}
    (exp / "latent_test/moments.json").unlink()
    assert made() == {"latent_test"}
    (data / "test/frame_shift").write_text("0.02\n")
    assert made() == everything - {"latent_train", "latent_test"}
    assert made("--overwrite", "true") == everything
    assert read_json(exp / "calibrated_test/result.json")["bits"]["share"] < 1
    ended = call("calibrate", exp, data, "train", "test")  # without a dev set there is none, also none of before
    assert ended.code == 0 and "not calibrated: the experiment has no dev set" in ended.log
    assert not list(exp.glob("calibrat*"))


@pytest.mark.parametrize("name", ["plot", "score_proficiency", "calibrate", "fit_openset"])
def test_what_reads_files_alone_starts_without_torch(name: str) -> None:
    code = f"import runpy, sys; runpy.run_path('steps/{name}.py'); print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_lists_of_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "x.yaml"
    config.write_text("data: {train: one, tests: [two, one]}")

    def listed(*options: object) -> list[str]:
        assert call("list_sets", "--data", tmp_path / "data", *options).code == 0
        return capsys.readouterr().out.split()

    assert listed(config) == ["one", "two"]
    assert listed("--role", "dev", config) == []
    for name in ("dev_a", "test_a", "test_b", "_pool"):
        write_tables(tmp_path / "data" / name, {"x-1": "en"})
    other = tmp_path / "y.yaml"
    other.write_text('data: {train: train_y, dev: "dev*", tests: [test_b, "t*_[a-z]"]}')
    assert listed("--role", "dev tests", other) == ["dev_a", "test_b", "test_a"]
    assert listed(config, "--if-made", other) == ["one", "two", "dev_a", "test_b", "test_a"]
    write_tables(tmp_path / "data/dev_b", {"x-1": "en"})
    ended = call("list_sets", "--data", tmp_path / "data", other)
    assert ended.code == 1 and "data.dev: 'dev*' matches dev_a, dev_b" in ended.log
    assert call("list_sets", "--role", "test", config).code == 1
    assert listed("--role", "background", config) == []
    config.write_text("data: {train: one}\nmodel: {background: nf}")
    assert listed("--role", "background", config) == ["nf"] and listed(config) == ["one"]
