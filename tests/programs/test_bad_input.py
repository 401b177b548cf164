"""Bad input through the programs: exit status 1, one message that names the place and the fix, old output intact."""

import errno
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from damage import assert_refused, cut_archive, edit, flip_bit, full_disk, lines_of, point, put_value, remove, silence
from tools import ROOT, YAML, Ended, call, contents, feature_dir

from flowlid.files import read_json
from flowlid.flow import precision
from flowlid.flow.checkpoint import load_payload, save_payload
from flowlid.kaldi.tables import write_table
from flowlid.training.trainer import Trainer

TRAIN = {"a-1": "en", "a-2": "en", "b-1": "es", "b-2": "es"}
TEST = {"c-1": "en", "c-2": "en", "d-1": "es", "d-2": "es"}


@dataclass(frozen=True)
class Experiment:
    """A trained experiment with scores of its test set."""

    config: Path
    data: Path
    exp: Path

    def train(self, *options: str) -> Ended:
        return call("train", "--device", "cpu", *options, self.config, self.data, self.exp)

    def score(self, *options: str, name: str = "test") -> Ended:
        return call("score", "--device", "cpu", *options, self.exp, self.data, name)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template")
    made = Experiment(path / "tiny.yaml", path / "data", path / "exp" / "tiny")
    made.config.write_text(YAML)
    feature_dir(made.data / "train", TRAIN)
    feature_dir(made.data / "test", TEST, seed=1)
    assert made.train().code == made.score().code == 0
    return path


@pytest.fixture
def trained(template: Path, tmp_path: Path) -> Experiment:
    """A copy of the trained experiment, to do harm to."""
    shutil.copytree(template, tmp_path / "run")
    run = tmp_path / "run"
    for file in run.glob("data/*/*.scp"):  # archives are named by absolute paths
        file.write_text(file.read_text().replace(str(template), str(run)))
    return Experiment(run / "tiny.yaml", run / "data", run / "exp" / "tiny")


# A data directory with features, read by training and scoring

DAMAGES = {
    "no directory": (lambda path, first: shutil.rmtree(path), ": no such data directory; make it with run.sh --st"),
    "no utt2spk": (remove("utt2spk"), "/utt2spk: no such file; write it: lines of 'UTTERANCE SPEAKER' in"),
    "no spk2utt": (remove("spk2utt"), "/spk2utt: no such file; utils/fix_data_dir.py"),
    "no utt2lang": (remove("utt2lang"), "/utt2lang: no such file; write it: lines of 'UTTERANCE LANGUAGE' in"),
    "no feats.scp": (remove("feats.scp"), "/feats.scp: no such file; make it with run.sh --stage 2"),
    "no vad.scp": (remove("vad.scp"), "/vad.scp: no such file; make it with run.sh --stage 2"),
    "empty utt2lang": (lines_of("utt2lang", lambda lines: []), "/utt2lang: empty; "),
    "empty feats.scp": (lines_of("feats.scp", lambda lines: []), "/feats.scp: empty; "),
    "unsorted": (lines_of("utt2lang", lambda lines: lines[::-1]), "/utt2lang:2: not sorted in C order"),
    "duplicate": (lines_of("feats.scp", lambda lines: lines[:1] + lines), "/feats.scp:2: duplicate key 'X'; run"),
    "no language": (edit("utt2lang", "X en\n", ""), "/utt2lang: 1 utterances of utt2spk missing, the first 'X'; run"),
    "two languages": (edit("utt2lang", "X en\n", "X en us\n"), "/utt2lang:1: 'en us' is not one language; correct"),
    "points nowhere": (point("feats.scp", "/none.ark:5"), "/feats.scp: utterance X: no archive /none.ark; run stage 2"),
    "no vad archive": (point("vad.scp", "/none.ark:5"), "/vad.scp: utterance X: no archive /none.ark; run stage 2"),
    "cut archive": (cut_archive, "goes on past the end of the file; run stage 2 again"),
    "flipped bit": (flip_bit("feats.ark"), "/feats.scp: utterance X: "),
    "flipped bit of a VAD": (flip_bit("vad.ark"), "is not what was written (by "),
    "NaN": (put_value(np.nan), "NaN or Inf in row 4; check its audio and run stage 2 again"),
    "Inf": (put_value(-np.inf), "NaN or Inf in row 4; check its audio and run stage 2 again"),
    "no voiced frame": (silence, "/vad.scp: utterance X has no voiced frame; take it out"),
    "pipe": (point("feats.scp", "cat a |"), "utterance X: 'cat a |' is a command, and commands are not run; give"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_data_directory(trained: Experiment, name: str) -> None:
    damage, message = DAMAGES[name]
    before = contents(trained.exp.parent)
    for run, path, first in (
        (trained.score, trained.data / "test", "c-1"),
        (trained.train, trained.data / "train", "a-1"),
    ):
        damage(path, first)
        assert_refused(run(), str(path), message.replace("X", first))
        assert contents(trained.exp.parent) == before


def test_pipe_that_is_allowed(trained: Experiment) -> None:
    path = trained.data / "test"
    expected = contents(trained.exp / "score_test")
    matrix = np.array(kaldiio.load_scp(str(path / "feats.scp"))["c-1"])
    kaldiio.save_mat(str(path / "c-1.mat"), matrix)
    point("feats.scp", f"cat {path}/c-1.mat |")(path, "c-1")
    assert trained.score("--allow-pipes", "true").code == 0
    assert contents(trained.exp / "score_test") == expected


# Scoring


def test_language_that_training_did_not_have(trained: Experiment) -> None:
    write_table(trained.data / "test" / "utt2lang", {"c-1": "en", "c-2": "en", "d-1": "it", "d-2": "it"})
    assert trained.score().code == 0
    result = read_json(trained.exp / "score_test" / "result.json")
    assert result["classes"] == ["en", "es"] and result["languages"] == ["en", "it"] and result["unseen"] == ["it"]
    assert set(result["utt_confusion"]) == {"en", "it"} and result["cavg"] is None


def test_dimension_of_another_model(trained: Experiment) -> None:
    feature_dir(trained.data / "wide", TEST, dim=5)
    before = contents(trained.exp)
    assert_refused(trained.score(name="wide"), f"{trained.data}/wide: its features are not", "dim: 3, but here 5")
    assert contents(trained.exp) == before


def test_dimension_of_another_model_with_global_normalization(trained: Experiment) -> None:
    trained.config.write_text(YAML.replace("context: 1", "context: 1, cmvn: global"))
    assert trained.train("--overwrite", "true").code == 0
    feature_dir(trained.data / "wide", TEST, dim=5)
    assert_refused(trained.score(name="wide"), f"{trained.data}/wide: its features are not", "dim: 3, but here 5")


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_truncated_model(trained: Experiment, kept: int) -> None:
    model = trained.exp / "final.pt"
    model.write_bytes(model.read_bytes()[:kept])
    before = contents(trained.exp)
    for ended in (trained.score(), trained.train()):
        assert_refused(ended, f"{model}: truncated, or no model of flowlid; remove it and train again (stage 3)")
    assert contents(trained.exp) == before


def test_no_model(trained: Experiment) -> None:
    (trained.exp / "final.pt").unlink()
    assert_refused(trained.score(), f"{trained.exp}/final.pt: no such model; train it first (stage 3)")


def test_a_model_that_holds_code_is_not_run(trained: Experiment, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"flowlid": "model", "version": 2, "state": Bomb()}, trained.exp / "final.pt")
    assert_refused(trained.score(), "final.pt: truncated, or no model of flowlid")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("limit", [0, 100, 400])
def test_disk_full_while_scoring(trained: Experiment, limit: int) -> None:
    before, names = contents(trained.exp), sorted(trained.exp.rglob("*"))
    with full_disk(limit):
        ended = trained.score()
    assert_refused(ended, "File too large")
    assert contents(trained.exp) == before and sorted(trained.exp.rglob("*")) == names


def test_disk_full_at_the_last_flush(trained: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may tell only when it is asked to write back."""
    before, names = contents(trained.exp), sorted(trained.exp.rglob("*"))
    calls = []

    def fsync(_: int) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    assert_refused(trained.score(), "No space left on device")
    assert contents(trained.exp) == before and sorted(trained.exp.rglob("*")) == names


# Training


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs", "epoch", "unknown key training.epoch (did you mean 'epochs'?)"),
        ("training", "trainig", "unknown key trainig (did you mean 'training'?)"),
        ("epochs: 2", "epochs: two", "training.epochs must be a whole number, not 'two'"),
        ("type: dnf", "type: gan", "model.type must be one of dnf, nf, gmm, lda, lr, not 'gan'"),
        ("train: train, ", "", "data.train is missing: name the training set's directory"),
        ("{epochs", "{{epochs", "not a YAML file"),
        ("train: train", "train: trian", "data/trian: no such data directory; make it with run.sh --stage 1"),
    ],
)
def test_bad_configuration(trained: Experiment, old: str, new: str, message: str) -> None:
    trained.config.write_text(YAML.replace(old, new))
    before = contents(trained.exp)
    assert_refused(trained.train("--overwrite", "true"), message)
    assert contents(trained.exp) == before


def test_no_configuration(trained: Experiment) -> None:
    trained.config.unlink()
    assert_refused(trained.train(), f"{trained.config}")


def test_changed_configuration(trained: Experiment) -> None:
    trained.config.write_text(YAML.replace("epochs: 2", "epochs: 3").replace("hidden: 8", "hidden: 4"))
    before = contents(trained.exp)
    ended = trained.train()
    assert_refused(ended, f"{trained.exp}/final.pt was trained with another configuration", "--overwrite true")
    assert "\n  model.hidden: 8 -> 4\n  training.epochs: 2 -> 3\n" in ended.log
    assert contents(trained.exp) == before
    assert trained.train("--overwrite", "true").code == 0
    assert read_json(trained.exp / "train.json")["epochs"] == 3
    assert len((trained.exp / "train.jsonl").read_text().splitlines()) == 3


def test_results_of_an_earlier_model_do_not_stay_under_a_new_one(trained: Experiment) -> None:
    results = trained.exp / "score_test" / "result.json"
    before = results.read_bytes()
    assert trained.train().code == 0  # the same model again
    assert results.read_bytes() == before
    trained.config.write_text(YAML.replace("hidden: 8", "hidden: 4"))
    ended = trained.train("--overwrite", "true")
    assert ended.code == 0 and f"{trained.exp}/score_test: removed, it is of an earlier model" in ended.log
    assert not results.exists()


def test_a_model_file_with_missing_parts(trained: Experiment) -> None:
    path = trained.exp / "final.pt"
    payload = load_payload(path, "model")
    del payload["state"]
    save_payload(path, "model", {key: payload[key] for key in payload if key not in ("flowlid", "version")})
    assert_refused(trained.score(), f"{path}: state of the model missing or of another type", "train again")


def test_overwriting_keeps_the_old_model_until_the_data_were_read(trained: Experiment) -> None:
    trained.config.write_text(YAML.replace("epochs: 2", "epochs: 3"))
    (trained.data / "train" / "utt2lang").unlink()
    before = contents(trained.exp)
    assert_refused(trained.train("--overwrite", "true"), "utt2lang: no such file")
    assert contents(trained.exp) == before


def test_changed_test_sets_are_no_other_configuration(trained: Experiment) -> None:
    trained.config.write_text(YAML.replace("tests: [test]", "tests: []"))
    assert trained.train().code == 0


@pytest.fixture
def cut_off(trained: Experiment, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment whose training ended after its first epoch: only a checkpoint is there."""
    shutil.rmtree(trained.exp)
    with monkeypatch.context() as patch:
        second = Trainer._epoch

        def stop(self: Trainer, epoch: int, progress: object) -> dict[str, object]:
            if epoch == 2:
                raise OSError(errno.EIO, "cut off")
            return second(self, epoch, progress)

        patch.setattr(Trainer, "_epoch", stop)
        assert trained.train().code == 1
    assert sorted(path.name for path in trained.exp.glob("[!.]*")) == ["checkpoint.pt", "train.jsonl"]
    return trained


def test_training_goes_on_after_a_checkpoint(cut_off: Experiment) -> None:
    ended = cut_off.train()
    assert ended.code == 0 and "going on after epoch 1 of 2" in ended.log
    assert not (cut_off.exp / "checkpoint.pt").exists() and (cut_off.exp / "final.pt").exists()


@pytest.mark.parametrize(("began", "here"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_training_goes_on_in_the_precision_that_it_began_with(
    began: str, here: str, cut_off: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cut_off.exp / "checkpoint.pt"
    state = load_payload(path, "training state")
    state["precision"] = began
    save_payload(path, "training state", {key: state[key] for key in state if key not in ("flowlid", "version")})
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda device: here == "bfloat16")
    ended = cut_off.train()
    assert ended.code == 0
    assert f"WARNING products in {began}, as training began; here: {here}" in ended.log
    assert json.loads((cut_off.exp / "train.json").read_text())["precision"] == began


def test_checkpoint_of_other_data(cut_off: Experiment) -> None:
    feature_dir(cut_off.data / "train", TRAIN, seed=9)
    before = contents(cut_off.exp)
    assert_refused(
        cut_off.train(), "checkpoint.pt was trained on other data:\n  96 frames of 4 utt", "--overwrite true"
    )
    assert contents(cut_off.exp) == before
    ended = cut_off.train("--overwrite", "true")
    assert ended.code == 0 and "going on" not in ended.log and "epoch 1 of 2" in ended.log


def test_truncated_checkpoint(cut_off: Experiment) -> None:
    path = cut_off.exp / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    before = contents(cut_off.exp)
    assert_refused(cut_off.train(), f"{path}: truncated, or no training state of flowlid; remove it and train again")
    assert contents(cut_off.exp) == before


def test_disk_full_while_a_checkpoint_is_written(cut_off: Experiment) -> None:
    before = contents(cut_off.exp)
    with full_disk(5000):
        ended = cut_off.train()
    assert_refused(ended, "File too large")
    assert contents(cut_off.exp) == before
    assert cut_off.train().code == 0  # and goes on once there is room


def test_one_language_for_a_discriminative_flow(trained: Experiment) -> None:
    feature_dir(trained.data / "train", dict.fromkeys(TRAIN, "en"))
    assert_refused(trained.train(), f"{trained.data}/train/utt2lang: one language, en; ", "a normal flow (nf) one")


# Feature extraction


def test_other_experiments_are_listed() -> None:
    ended = subprocess.run(["./run.sh", "--experiments", "nope"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "no experiment nope" in ended.stderr and "dnf_120.yaml" in ended.stderr and "nf_120.yaml" in ended.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--experiment", "nf_120"], "--experiment"),
        (["--stage"], "--stage"),
        (["--recipe", "/nowhere"], "no recipe /nowhere"),
        (["nf_120"], "unexpected argument 'nf_120'"),
    ],
)
def test_bad_options_of_the_stage_machine(options: list[str], message: str) -> None:
    ended = subprocess.run(["./run.sh", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and message in ended.stderr
    assert "Traceback" not in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_written_json_has_no_nan(trained: Experiment) -> None:
    for path in trained.exp.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
