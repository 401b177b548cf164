"""The non-speech check: against scikit-learn, by hand, and on sets whose silence tells or does not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from tools import call, write_tables

from flowlid.config import FramesConfig
from flowlid.evaluation.nonspeech import chance, linear_decisions, recall_with_interval, utterance_means, warning
from flowlid.files import read_json
from flowlid.frames.frameset import NoFrames, load_frames
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.datadir import DataDir

CONFIG = """\
data: {train: train, tests: [test]}
frames: {context: 1%s}
model: {type: %s, blocks: 1, hidden: 8, layers: 1}
training: {epochs: 3, batch_size: 400, learning_rate: 1.0e-2, warmup_steps: 2}
"""
LANGUAGES = ("en", "es", "it")
KEYS = ["set", "classes", "utterances", "left_out", "frames", "chance", "flow", "linear", "warning", "reason", "hours"]


def utterances(languages: str, speakers: int = 6, each: int = 3) -> dict[str, str]:
    return {f"{name}{s}-{n}": name for name in languages.split() for s in range(speakers) for n in range(each)}


def channel_dir(path: Path, languages: dict[str, str], noise: float, seed: int, silent: object = None) -> Path:
    """Speech tells the languages apart, silence only by `noise` times as much; 20 frames of each an utterance.

    Utterances that are not `silent` (a condition on their name) are speech from beginning to end.
    """
    generator = np.random.default_rng(seed)
    write_tables(path, languages)
    with (
        ArkWriter(path / "feats.ark", path / "feats.scp") as write_feats,
        ArkWriter(path / "vad.ark", path / "vad.scp") as write_vad,
    ):
        for utt in sorted(languages):
            vad = np.repeat([0.0, 1.0, 0.0], [10, 20, 10])
            shift = 2.0 * LANGUAGES.index(languages[utt]) * np.where(vad == 1, 1, noise)
            write_feats(utt, (generator.normal(size=(40, 3)) + shift[:, None]).astype(np.float32))
            write_vad(utt, (vad if silent is None or silent(utt) else np.ones(40)).astype(np.float32))
    return path


def checked(tmp_path: Path, noise: float, kind: str = "dnf", frames: str = "") -> dict:
    """Train, make the non-speech check of the test set, and give what it wrote."""
    data, exp = tmp_path / "data", tmp_path / "exp" / "tiny"
    channel_dir(data / "train", utterances("en es"), noise, seed=0)
    channel_dir(data / "test", utterances("en es"), noise, seed=1)
    (tmp_path / "tiny.yaml").write_text(CONFIG % (frames, kind))
    assert call("train", tmp_path / "tiny.yaml", data, exp).code == 0
    ended = call("score_nonspeech", exp, data, "test")
    assert ended.code == 0, ended.log
    result = read_json(exp / "nonspeech_test" / "result.json")
    assert (result["warning"] is not None) == ("WARNING" in ended.log)
    assert result["warning"] is None or result["warning"] in ended.log
    return result


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> tuple[Path, dict]:
    """An experiment whose silence tells the classes apart, and what the check found."""
    path = tmp_path_factory.mktemp("telling")
    return path, checked(path, noise=1.0)


@pytest.fixture
def trained(telling: tuple[Path, dict], tmp_path: Path) -> Path:
    """The same experiment, for a test to change: `data` and `exp/tiny`."""
    shutil.copytree(telling[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


# Parts


def test_means_are_those_of_the_selected_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = channel_dir(tmp_path, utterances("en es", 2), 1, seed=3)
    frames = load_frames(DataDir(path), FramesConfig(context=2), select="nonspeech")
    data = DataDir(path)
    expected = [data.feats(utt)[[*range(8), *range(32, 40)]].mean(0) for utt in frames.utts]
    for at_once in (7, 65536):
        monkeypatch.setattr("flowlid.evaluation.nonspeech._FRAMES_AT_ONCE", at_once)
        assert utterance_means(frames) == pytest.approx(np.array(expected), abs=1e-6)


def test_linear_decisions_are_fishers() -> None:
    """Two classes of one shared covariance, unequally many: the plane halfway between the means, by the formula."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [4000, 1000])
    shape = np.array([[1.0, 0.8], [0.0, 0.5]])
    x = generator.normal(size=(5000, 2)) @ shape + np.array([100.0, -3.0]) + labels[:, None] * [0.5, 1.0]
    tested = generator.normal(size=(500, 2)) @ shape * 2 + np.array([100.0, -3.0])
    means = [x[labels == k].mean(0) for k in (0, 1)]
    inside = np.mean([np.cov(x[labels == k].T) for k in (0, 1)], axis=0)
    direction = np.linalg.solve(inside, means[1] - means[0])
    expected = (tested - (means[0] + means[1]) / 2) @ direction > 0
    found = linear_decisions(x, labels, tested, ["a", "b"])
    assert 0.1 < expected.mean() < 0.9
    assert (found == expected).mean() > 0.99  # the shrinkage moves the plane by a little


def test_linear_decisions_are_scikit_learns_whatever_the_scale() -> None:
    generator = np.random.default_rng(1)
    labels = generator.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    x = generator.normal(size=(60, 5)) + labels[:, None]
    tested = generator.normal(size=(40, 5)) + 1
    scaled = (x - x.mean(0)) / x.std(0), (tested - x.mean(0)) / x.std(0)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[1 / 3] * 3).fit(scaled[0], labels)
    expected = model.predict(scaled[1])
    assert len(set(expected.tolist())) == 3
    assert (linear_decisions(x, labels, tested, ["a", "b", "c"]) == expected).all()
    scale = np.array([1e-3, 1, 10, 1e3, 1])
    assert (linear_decisions(x * scale + 7, labels, tested * scale + 7, ["a", "b", "c"]) == expected).all()


def test_a_class_with_one_training_utterance_is_named() -> None:
    with pytest.raises(NoFrames, match="of zh 1 training utterances have non-speech frames; two of each"):
        linear_decisions(np.eye(3), np.array([0, 0, 1]), np.eye(3), ["en", "zh"])


def test_recalls_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1, -1], [30, 10, 5])
    decided = np.where(generator.random(45) < 0.7, np.maximum(labels, 0), generator.integers(0, 3, 45))
    speakers = [f"s{n % 9}" for n in range(45)]
    found = recall_with_interval(decided, labels, speakers, [str(n) for n in range(45)])
    assert found["accuracy"] == pytest.approx((decided[:40] == labels[:40]).mean())
    recalls = [(decided[labels == k] == k).mean() for k in (0, 1)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    two = np.isin(decided[:40], [0, 1])  # scikit-learn warns of a predicted class that is nowhere true
    assert balanced_accuracy_score(labels[:40][two], decided[:40][two]) == pytest.approx(
        recall_with_interval(decided[:40][two], labels[:40][two], np.array(speakers[:40])[two], range(two.sum()))[
            "balanced_accuracy"
        ]
    )
    assert (found["unit"], found["units"]) == ("speakers", 9)
    assert found["low"] < found["balanced_accuracy"] < found["high"]


def test_one_language_has_a_plain_share_and_no_language_has_none() -> None:
    names = list("abcd")
    one = recall_with_interval(np.array([0, 0, 1, 0]), np.zeros(4, int), names, names)
    assert one.pop("accuracy") == 0.75 and set(one.values()) == {None}
    assert set(recall_with_interval(np.zeros(4, int), np.full(4, -1), names, names).values()) == {None}


def test_chance_is_one_answer_given_to_all() -> None:
    labels = np.array([0, 0, 0, 2, -1])
    decided = np.zeros(5, int)
    names = list("abcde")
    assert chance(labels) == 0.5 == recall_with_interval(decided, labels, names, names)["balanced_accuracy"]
    assert chance(np.array([0, 1, 2])) == pytest.approx(1 / 3)
    assert chance(np.array([1, 1])) is None and chance(np.array([-1, -1])) is None


def test_the_warning_goes_by_the_lower_end_of_the_interval() -> None:
    labels = np.array([0, 1] * 10)

    def with_low(low: float | None) -> dict:
        return {"balanced_accuracy": 0.93, "low": low}

    text = warning("test_en_es", {"flow": with_low(0.55), "linear": with_low(0.61)}, labels)
    assert text == (
        "Warning: on test_en_es the non-speech frames alone tell the seen classes apart (balanced accuracy 0.93 by a "
        "linear classifier of their means, chance 0.50): the recordings of the classes differ in channel or noise, and "
        "the accuracy on speech may be due to that."
    )
    assert "under this flow" in warning("x", {"flow": with_low(0.7), "linear": with_low(0.61)}, labels)
    assert "under this flow" in warning("x", {"flow": with_low(0.7), "linear": None}, labels)
    for quiet in (0.6, 0.3, None):
        assert warning("x", {"flow": with_low(quiet), "linear": with_low(quiet)}, labels) is None
    assert warning("x", {"flow": None, "linear": None}, labels) is None
    assert warning("x", {"flow": with_low(0.9)}, np.append(labels, -1))  # of the seen ones
    assert warning("x", {"flow": with_low(0.9)}, labels[1:]) is None  # nine utterances of a class
    assert warning("x", {"flow": with_low(0.9)}, np.zeros(20, int)) is None  # one language


# The program


def test_silence_that_tells_the_classes_apart_is_warned_of(telling: tuple[Path, dict]) -> None:
    result = telling[1]
    assert list(result) == KEYS
    for scorer in ("flow", "linear"):
        assert result[scorer]["balanced_accuracy"] > 0.9 and result[scorer]["low"] > 0.6
        assert (result[scorer]["unit"], result[scorer]["units"]) == ("speakers", 12)
    assert result["warning"].startswith("Warning: on test the non-speech frames alone tell the seen classes apart")
    assert (result["utterances"], result["left_out"], result["frames"]) == (36, 0, 36 * 18)  # 2 touch speech
    assert result["chance"] == 0.5 and result["reason"] is None and result["hours"] == pytest.approx(36 * 18 / 360000)


def test_silence_that_is_the_same_for_all_is_not_warned_of(tmp_path: Path, one_thread: None) -> None:
    result = checked(tmp_path, noise=0.0)
    assert list(result) == KEYS
    assert result["flow"]["balanced_accuracy"] < 0.6 and 0.2 < result["linear"]["balanced_accuracy"] < 0.8
    assert result["warning"] is None
    exp, data = tmp_path / "exp" / "tiny", tmp_path / "data"
    assert call("score", exp, data, "test").code == 0
    assert read_json(exp / "score_test" / "result.json")["utt_accuracy"] > 0.9  # speech does tell


def test_the_linear_classifier_is_the_one_of_the_training_set(tmp_path: Path, one_thread: None) -> None:
    result = checked(tmp_path, noise=0.2)
    parts = {}
    for name in ("train", "test"):
        data = DataDir(tmp_path / "data" / name)
        silent = [*range(9), *range(31, 40)]
        means = np.stack([data.feats(utt)[silent].mean(0) for utt in data.utts])
        parts[name] = means, np.array([data.table("utt2lang")[utt] for utt in data.utts])
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    mean, std = parts["train"][0].mean(0), parts["train"][0].std(0)
    predicted = lda.fit((parts["train"][0] - mean) / std, parts["train"][1]).predict((parts["test"][0] - mean) / std)
    expected = balanced_accuracy_score(parts["test"][1], predicted)
    assert 0.5 < expected < 1 and result["linear"]["balanced_accuracy"] == pytest.approx(expected)


def test_few_training_utterances_are_drawn_of_each_class_alike(trained: Path) -> None:
    exp, data = trained / "exp" / "tiny", trained / "data"
    (data / "test/frame_shift").write_text("0.02\n")
    assert call("score_nonspeech", "--max-train", 4, exp, data, "test").code == 0
    result = read_json(exp / "nonspeech_test" / "result.json")
    assert result["linear"]["balanced_accuracy"] > 0.9 and result["hours"] == pytest.approx(36 * 18 / 180000)


def test_utterances_without_non_speech_are_left_out_and_counted(trained: Path) -> None:
    exp, data = trained / "exp" / "tiny", trained / "data"
    channel_dir(data / "some", utterances("en es"), 1.0, seed=2, silent=lambda utt: utt.startswith("e") and "-0" in utt)
    channel_dir(data / "none", utterances("en es"), 1.0, seed=2, silent=lambda utt: False)
    channel_dir(data / "spanish", utterances("es"), 1.0, seed=2)
    channel_dir(data / "unseen", utterances("en es it"), 1.0, seed=2)
    (channel_dir(data / "deaf", utterances("en es"), 1.0, seed=2) / "vad.scp").unlink()
    ended = call("score_nonspeech", exp, data, "some", "none", "spanish", "unseen", "deaf")
    assert ended.code == 0, ended.log
    some, none, spanish, unseen, deaf = (
        read_json(exp / f"nonspeech_{name}" / "result.json") for name in ("some", "none", "spanish", "unseen", "deaf")
    )
    assert (some["utterances"], some["left_out"], some["frames"]) == (12, 24, 12 * 18)
    assert none["reason"] == f"{data}/none: no utterance has nonspeech frames"
    assert deaf["reason"] == f"{data}/deaf has no vad.scp" and deaf["set"] == "deaf"
    for result in (none, deaf):
        assert list(result) == KEYS and {result[key] for key in ("flow", "linear", "warning", "chance")} == {None}
    assert spanish["linear"]["accuracy"] > 0.5 and spanish["linear"]["balanced_accuracy"] is None
    assert spanish["warning"] is None and spanish["chance"] is None
    assert unseen["linear"]["balanced_accuracy"] > 0.9 and "on unseen" in unseen["warning"]


def test_training_without_non_speech_leaves_the_flow_alone(trained: Path) -> None:
    exp, data = trained / "exp" / "tiny", trained / "data"
    for silent, reason in (
        (lambda utt: False, "the training set has no non-speech frames"),
        (lambda utt: "n" in utt, "of es 0 training utterances have non-speech frames; two of each class are needed"),
    ):
        channel_dir(data / "train", utterances("en es"), 1.0, seed=0, silent=silent)
        assert call("score_nonspeech", exp, data, "test").code == 0
        result = read_json(exp / "nonspeech_test" / "result.json")
        assert result["linear"] is None and result["reason"] == reason
        assert result["flow"]["balanced_accuracy"] > 0.9 and "under this flow" in result["warning"]


@pytest.mark.parametrize(
    ("kind", "frames", "reason"),
    [
        ("nf", "", "a normal flow decides nothing"),
        ("dnf", ", vad: false", "the experiment has frames.vad: false, so that no frame counts as non-speech"),
    ],
)
def test_experiments_without_a_check(kind: str, frames: str, reason: str, tmp_path: Path, one_thread: None) -> None:
    result = checked(tmp_path, 1.0, kind=kind, frames=frames)
    assert result["reason"] == reason and result["flow"] is result["linear"] is None


def test_a_likelihood_that_is_not_finite_leaves_the_linear_classifier(trained: Path) -> None:
    exp, data = trained / "exp" / "tiny", trained / "data"
    payload = torch.load(exp / "final.pt", weights_only=True)
    payload["state"]["base.means"][0, 0] = 1e30
    torch.save(payload, exp / "final.pt")
    assert call("score_nonspeech", exp, data, "test").code == 0
    result = read_json(exp / "nonspeech_test" / "result.json")
    assert result["flow"] is None and "not finite" in result["reason"]
    assert result["linear"]["balanced_accuracy"] > 0.9 and "linear classifier" in result["warning"]


def test_another_model_s_check_is_removed(trained: Path) -> None:
    exp, data, config = trained / "exp" / "tiny", trained / "data", trained / "tiny.yaml"
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 2"))
    assert call("train", "--overwrite", "true", config, data, exp).code == 0
    assert not (exp / "nonspeech_test").exists()
