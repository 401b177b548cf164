"""What an experiment's directory may hold when its training starts, and what it holds when training ends."""

import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from tools import YAML, Ended, call, contents, feature_dir
from trainers import STATE

from flowlid.config import FramesConfig, config_from_dict, load_config
from flowlid.files import read_json, write_json
from flowlid.flow.checkpoint import load_model, save_payload
from flowlid.frames.frameset import load_frames
from flowlid.kaldi.datadir import DataDir
from flowlid.training.directory import locked
from flowlid.training.experiment import Inputs, fingerprint, read_inputs

LANGUAGES = {"a-1": "en", "a-2": "en", "b-1": "es", "b-2": "es"}


def test_the_fingerprint_follows_features_selection_languages_and_names(tmp_path: Path) -> None:
    def found(**changes: object) -> str:
        utts = {"a-1": "en", "b-1": changes.get("language", "es"), changes.get("name", "c-1"): "es"}
        data = feature_dir(tmp_path / "data", utts, seed=changes.get("seed", 0))
        config = FramesConfig(context=1, subsampling=changes.get("every", 1), vad=changes.get("vad", True))
        return fingerprint(load_frames(DataDir(data), config, subsample=True))

    once = found()
    assert found() == once
    assert re.fullmatch(r"72 frames of 3 utterances, sha256 [0-9a-f]{16}", once)
    others = [found(seed=1), found(language="it"), found(name="c-2"), found(every=2), found(vad=False)]
    assert len({each.split("sha256 ")[1] for each in [once, *others]}) == 6


@dataclass(frozen=True)
class Experiment:
    """A configuration, data directories and the directory of a model, with results of a test set."""

    config: Path
    data: Path
    exp: Path

    def train(self, *options: str) -> Ended:
        return call("train", "--device", "cpu", *options, self.config, self.data, self.exp)

    def files(self) -> dict[str, bytes]:
        return contents(self.exp)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("experiment")
    made = Experiment(place / "tiny.yaml", place / "data", place / "exp")
    made.config.write_text(YAML.replace("train: train", "train: train, dev: dev"))
    feature_dir(made.data / "train", LANGUAGES)
    feature_dir(made.data / "dev", LANGUAGES, seed=1)
    feature_dir(made.data / "test", LANGUAGES, seed=2)
    assert made.train().code == 0
    assert call("score", "--device", "cpu", made.exp, made.data, "test").code == 0
    return place


@pytest.fixture
def trained(template: Path, tmp_path: Path) -> Experiment:
    """A trained experiment, its data beside it; a test may change both."""
    shutil.copytree(template, tmp_path / "copy")
    place = tmp_path / "copy"
    for file in place.glob("data/*/*.scp"):  # archives are named by absolute paths
        file.write_text(file.read_text().replace(str(template), str(place)))
    return Experiment(place / "tiny.yaml", place / "data", place / "exp")


def test_a_model_that_is_whole_is_not_trained_again(trained: Experiment) -> None:
    before = trained.files()
    ended = trained.train()
    assert ended.code == 0
    assert f"INFO {trained.exp}: trained already (epoch 2 of 2); --overwrite true trains it again" in ended.log
    assert "LogLL" not in ended.log and trained.files() == before


def test_overwrite_trains_from_the_start_and_keeps_the_results_of_the_same_weights(trained: Experiment) -> None:
    before = trained.files()
    ended = trained.train("--overwrite", "true")
    assert ended.code == 0 and "epoch 1 of 2: LogLL" in ended.log and "of an earlier model" not in ended.log
    changed = {name for name, content in trained.files().items() if content != before.get(name)}
    assert changed == {"train.json", "train.jsonl", "config.yaml"}  # times, and the command
    assert trained.files().keys() == before.keys()


@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_model_of_other_data_is_neither_kept_nor_overwritten(trained: Experiment, name: str) -> None:
    feature_dir(trained.data / name, LANGUAGES, seed=9)
    before = trained.files()
    ended = trained.train()
    assert ended.code == 1
    (error,) = re.findall("^ERROR (.*(?:\n.*)*)", ended.log, re.MULTILINE)
    assert re.fullmatch(
        rf"{trained.exp}/final.pt was trained on other data:\n  96 frames of 4 utt.* -> 96 frames of 4 utt.*\n"
        r"give the experiment another name .*, or replace the model: --overwrite true",
        error,
    )
    assert trained.files() == before
    assert trained.train("--overwrite", "true").code == 0
    assert (trained.exp / "score_test").exists() == (name == "dev")  # which changes no weight
    assert "trained already" in trained.train().log


@pytest.mark.parametrize("name", ["final.pt", "train.json"])
def test_a_model_without_one_of_its_files_is_trained_again(trained: Experiment, name: str) -> None:
    (trained.exp / name).unlink()
    ended = trained.train()
    assert ended.code == 0 and "epoch 1 of 2: LogLL" in ended.log
    assert "trained already" in trained.train().log


def test_a_summary_that_does_not_name_its_data_is_not_believed(trained: Experiment) -> None:
    summary = read_json(trained.exp / "train.json")
    del summary["data"]
    write_json(trained.exp / "train.json", summary)
    assert "epoch 1 of 2: LogLL" in trained.train().log


@pytest.mark.parametrize("content", [[], {"provenance": 3}])
def test_a_summary_that_training_did_not_write(content: object, trained: Experiment) -> None:
    write_json(trained.exp / "train.json", content)
    ended = trained.train()
    assert ended.code == 1
    assert f"ERROR {trained.exp}/train.json: not what training writes; remove it and train again" in ended.log


def test_a_checkpoint_that_a_killed_run_left_beside_its_whole_model_goes(trained: Experiment) -> None:
    state = STATE | {"config": load_model(trained.exp / "final.pt").config.to_dict()}
    state["data"] = read_json(trained.exp / "train.json")["data"]
    save_payload(trained.exp / "checkpoint.pt", "training state", state)
    assert "trained already (epoch 2 of 2)" in trained.train().log
    assert not (trained.exp / "checkpoint.pt").exists()


def test_other_test_sets_are_noted_without_training(trained: Experiment) -> None:
    trained.config.write_text(trained.config.read_text().replace("tests: [test]", "tests: [dev, test]"))
    before = trained.files()
    assert "trained already" in trained.train().log
    after = trained.files()
    assert {name for name in after if after[name] != before[name]} == {"config.yaml"}
    assert load_config(trained.exp / "config.yaml").data.tests == ["dev", "test"]
    assert after["config.yaml"].splitlines()[:4] == before["config.yaml"].splitlines()[:4]  # who trained it


def test_two_do_not_train_in_one_directory(trained: Experiment) -> None:
    before = trained.files()
    with locked(trained.exp):
        ended = trained.train("--overwrite", "true")
    assert ended.code == 1
    who = f"pid {os.getpid()} on {socket.gethostname()}"
    assert ended.log.endswith(f"ERROR {trained.exp}: another training is at work here ({who}); wait for it, or end it")
    assert trained.files() == before
    assert trained.train().code == 0


def test_the_lock_names_the_job(trained: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "30")
    (trained.exp / "q").mkdir()
    (trained.exp / "q/train.job").write_text("30 tiny/train.1f2e3d4c\n")
    with locked(trained.exp):
        ended = trained.train()
    assert ended.code == 1
    who = (
        f"pid {os.getpid()} on {socket.gethostname()}, Slurm job 30, {trained.exp}/q/train.job: 30 tiny/train.1f2e3d4c"
    )
    assert f"another training is at work here ({who}); wait for it, or end it" in ended.log


def test_a_restart_does_not_overwrite_what_it_goes_on_with(
    trained: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert "trained already" in trained.train("--overwrite", "true").log
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert "epoch 1 of 2: LogLL" in trained.train("--overwrite", "true").log


def test_so_many_frames_of_each_class_are_trained_on_and_the_dev_set_stays_whole(tmp_path: Path) -> None:
    feature_dir(tmp_path / "train", {**{f"a-{n}": "en" for n in range(6)}, "b-1": "es"})
    feature_dir(tmp_path / "dev", {"c-1": "en", "d-1": "es"})

    def read(seed: int, most: int | None) -> Inputs:
        content = {"data": {"train": "train", "dev": "dev"}, "frames": {"cmvn": "global", "per_class": most}}
        config = config_from_dict({**content, "model": {"type": "dnf"}, "training": {"seed": seed}}, "here")
        return read_inputs(config, tmp_path, pipes=False)

    some, again, other, whole = read(1, 20), read(1, 20), read(2, 20), read(1, None)
    assert some.data == again.data and len({some.data, other.data, whole.data}) == 3  # so do processes agree
    assert (len(some.frames), len(whole.frames), len(some.dev), len(whole.dev)) == (40, 7 * 24, 48, 48)
    assert sorted(some.frames.counts.tolist()) == [3, 3, 3, 3, 4, 4, 20]
    assert (some.stats == whole.stats).all()  # those of cmvn are of all frames
