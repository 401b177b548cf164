"""Data that are not what a model was trained on are refused, and it is said in what they differ."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tools import YAML, call, feature_dir

from flowlid.config import Config, DataConfig, FramesConfig, load_config
from flowlid.frames.agreement import check_features, features_of, training_labels, with_features
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table

OPTIONS = {"fbank.num-mel-bins": "40", "fbank.sample-frequency": "8000.0", "vad.vad-frames-context": "2"}
CONFIG = Config(data=DataConfig(train="train"))


def directory(path: Path, options: dict[str, str] | None = None, dim: int = 3) -> DataDir:
    data = feature_dir(path, {"a-1": "en", "a-2": "en", "b-1": "es", "b-2": "es"}, dim=dim)
    if options:
        write_table(data / "feature_options", options)
    return DataDir(data)


def test_features_are_known_by_their_options_or_by_their_dimension(tmp_path: Path) -> None:
    assert features_of(directory(tmp_path / "ours", OPTIONS)) == OPTIONS
    assert features_of(directory(tmp_path / "own", dim=5)) == {"dim": "5"}


def test_other_options_are_named(tmp_path: Path) -> None:
    config = with_features(CONFIG, directory(tmp_path / "train", OPTIONS))
    check_features(config, directory(tmp_path / "same", OPTIONS))
    check_features(config, directory(tmp_path / "unknown"))  # nothing to compare
    other = directory(tmp_path / "other", {**OPTIONS, "fbank.sample-frequency": "16000.0"})
    with pytest.raises(ValueError, match=r"other: its features .*\n  fbank.sample-frequency: 8000.0, but here 16000.0"):
        check_features(config, other)
    vad = directory(tmp_path / "vad", {**OPTIONS, "vad.vad-frames-context": "0"})
    with pytest.raises(ValueError, match=r"vad\.vad-frames-context: 2, but here 0"):
        check_features(config, vad)
    check_features(replace(config, frames=FramesConfig(vad=False)), vad)  # all frames are used


def test_an_experiment_may_ask_for_options(tmp_path: Path) -> None:
    """As a copy of a trained model's config.yaml does."""
    (tmp_path / "x.yaml").write_text(
        "data: {train: train}\nfeatures: {fbank.num-mel-bins: 23, fbank.snip-edges: true}\n"
    )
    config = load_config(tmp_path / "x.yaml")
    assert config.features == {"fbank.num-mel-bins": "23", "fbank.snip-edges": "true"}
    with pytest.raises(
        ValueError, match=r"experiment's section features asks for:\n  fbank.num-mel-bins: 23, but here 40"
    ):
        with_features(config, directory(tmp_path / "train", OPTIONS))
    (tmp_path / "x.yaml").write_text("data: {train: train}\nfeatures: [23]\n")
    with pytest.raises(ValueError, match="features must be options and their values"):
        load_config(tmp_path / "x.yaml")


def test_labels_are_remembered(tmp_path: Path) -> None:
    labels = training_labels(directory(tmp_path / "train"))
    assert labels["utterances"] == {"en": 2, "es": 2} and len(labels["digest"]) == 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data/train, data/test and the model exp/tiny."""
    path = tmp_path_factory.mktemp("trained")
    directory(path / "data/train", OPTIONS)
    directory(path / "data/test", OPTIONS)
    (path / "tiny.yaml").write_text(YAML)
    assert call("train", "--device", "cpu", path / "tiny.yaml", path / "data", path / "exp/tiny").code == 0
    return path


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_the_options_are_in_the_configuration(trained: Path) -> None:
    assert load_config(trained / "exp/tiny/config.yaml").features == OPTIONS


@pytest.mark.parametrize("program", ["score", "score_nonspeech", "analyse_latents"])
def test_a_model_is_not_used_on_other_features(copy: Path, program: str) -> None:
    write_table(copy / "data/test/feature_options", {**OPTIONS, "fbank.num-mel-bins": "23"})
    ended = call(program, "--device", "cpu", copy / "exp/tiny", copy / "data", "test")
    assert ended.code == 1 and "data/test: its features are not those that the model was trained on:" in ended.log
    assert "fbank.num-mel-bins: 40, but here 23" in ended.log


@pytest.mark.parametrize("program", ["score", "score_nonspeech", "analyse_latents"])
def test_a_model_of_other_labels_is_not_used(copy: Path, program: str) -> None:
    write_table(copy / "data/train/utt2lang", {"a-1": "en", "a-2": "es", "b-1": "es", "b-2": "it"})
    ended = call(program, "--device", "cpu", copy / "exp/tiny", copy / "data", "test")
    assert ended.code == 1
    words = "not the labels that the model was trained on (en: 2 utterances, now 1; it: 0 utterances, now 1)"
    assert f"data/train/utt2lang: {words}" in ended.log
    write_table(copy / "data/train/utt2lang", {"a-1": "es", "a-2": "es", "b-1": "en", "b-2": "en"})
    ended = call(program, "--device", "cpu", copy / "exp/tiny", copy / "data", "test")
    assert ended.code == 1 and "as many utterances of each language, but others" in ended.log


def test_a_model_of_other_features_is_not_replaced(copy: Path) -> None:
    model = (copy / "exp/tiny/final.pt").read_bytes()
    for name in ("train", "test"):
        write_table(copy / "data" / name / "feature_options", {**OPTIONS, "fbank.num-mel-bins": "23"})
    arguments = ("--device", "cpu", copy / "tiny.yaml", copy / "data", copy / "exp/tiny")
    ended = call("train", *arguments)
    assert ended.code == 1 and "trained with another configuration:" in ended.log
    assert "features.fbank.num-mel-bins: 40 -> 23" in ended.log
    assert (copy / "exp/tiny/final.pt").read_bytes() == model
    assert call("train", "--overwrite", "true", *arguments).code == 0
    assert load_config(copy / "exp/tiny/config.yaml").features["fbank.num-mel-bins"] == "23"
