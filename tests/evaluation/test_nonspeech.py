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
from flowlid.evaluation.nonspeech import (
    chance,
    judged_labels,
    linear_decisions,
    mark,
    recall_with_interval,
    utterance_means,
    warning,
)
from flowlid.files import read_json
from flowlid.flow.checkpoint import load_model
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
SETS = ("some", "none", "spanish", "unseen", "deaf", "italian")
KEYS = [
    "set", "classes", "utterances", "left_out", "frames", "chance", "flow", "linear", "mark", "warning", "reason",
    "hours",
]  # fmt: skip


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
    assert (result["warning"] is not None) == (result["mark"] == "apart") == ("WARNING" in ended.log)
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


def recall(low: float | None, high: float | None, share: float = 0.93) -> dict:
    return {"balanced_accuracy": share, "low": low, "high": high}


LABELS = np.array([0, 1] * 10)  # chance 0.5, so that 0.6 is the limit


@pytest.mark.parametrize(
    ("flow", "linear", "expected", "words"),
    [
        ((0.55, 0.7), (0.61, 0.9), "apart", ""),
        ((0.61, 0.7), (0.4, 0.55), "apart", ""),
        ((0.61, 0.7), None, "apart", ""),
        ((0.4, 0.55), (0.5, 0.6), "not apart", ""),
        (
            (0.4, 0.55),
            (0.6, 0.8),
            "cannot tell",
            "linear classifier of their means the interval, 0.60 to 0.80, has 0.6",
        ),
        ((0.3, 0.65), (0.4, 0.55), "cannot tell", "under this flow the interval, 0.30 to 0.65, has 0.60 in it"),
        ((0.4, 0.55), None, "cannot tell", "by a linear classifier of their means there is no interval"),
        ((0.4, 0.55), (None, None), "cannot tell", "by a linear classifier of their means there is no interval"),
        (None, None, "cannot tell", "under this flow there is no interval"),
    ],
)
def test_the_mark_goes_by_both_ends_of_the_intervals(
    flow: tuple | None, linear: tuple | None, expected: str, words: str
) -> None:
    found = {"flow": flow and recall(*flow), "linear": linear and recall(*linear)}
    verdict, why = mark(found, LABELS)
    assert verdict == expected and (words in why if words else why is None)


def test_the_warning_is_about_the_surer_classifier() -> None:
    text = warning("test_en_es", {"flow": recall(0.55, 1), "linear": recall(0.61, 1)}, 0.5)
    assert text == (
        "Warning: on test_en_es the non-speech frames alone tell the seen classes apart (balanced accuracy 0.93 by a "
        "linear classifier of their means, chance 0.50): the recordings of the classes differ in channel or noise, and "
        "the accuracy on speech may be due to that."
    )
    assert "under this flow" in warning("x", {"flow": recall(0.7, 1), "linear": recall(0.61, 1)}, 0.5)
    assert "under this flow" in warning("x", {"flow": recall(0.7, 1), "linear": None}, 0.5)


def test_classes_with_few_utterances_are_left_out_of_the_judgement() -> None:
    labels = np.repeat([0, 1, 2, -1], [10, 12, 9, 3])
    assert judged_labels(labels).tolist() == np.repeat([0, 1, -1, -1], [10, 12, 9, 3]).tolist()
    assert chance(judged_labels(labels)) == 0.5
    sure = {"flow": recall(0.61, 1), "linear": None}
    assert mark(sure, judged_labels(labels)) == ("apart", None)  # 0.61 would not be enough of one in three, 0.43
    for counts, words in (((10, 9, 9), "only one class has 10 or more"), ((9, 9, 9), "no class has 10 or more")):
        few = np.repeat([0, 1, 2], counts)
        assert (judged_labels(few) == few).all()  # what there is, is shown
        verdict, why = mark({"flow": recall(0.9, 1), "linear": recall(0.9, 1)}, few)
        assert verdict == "cannot tell" and why == f"{words} utterances with non-speech frames; two are needed"
    assert mark(sure, np.full(20, -1))[0] == mark(sure, np.zeros(20, int))[0] == "cannot tell"


def test_a_set_of_short_words_is_marked_though_one_class_has_few() -> None:
    """129 utterances of three classes, seven of one: 0.9 of the others are right, by hand (54 / 60 + 56 / 62) / 2."""
    labels = np.repeat([0, 1, 2], [60, 62, 7])
    decided = labels.copy()
    decided[np.r_[0:6, 60:66]] = [1] * 6 + [2] * 6
    judged, names = judged_labels(labels), [str(n) for n in range(129)]
    found = recall_with_interval(decided, judged, ["one"] * 129, names)
    assert found["balanced_accuracy"] == pytest.approx((54 / 60 + 56 / 62) / 2) and found["units"] == 122
    assert mark({"flow": found, "linear": found}, judged) == ("apart", None)


# The program


def test_silence_that_tells_the_classes_apart_is_warned_of(telling: tuple[Path, dict]) -> None:
    result = telling[1]
    assert list(result) == KEYS
    for scorer in ("flow", "linear"):
        assert result[scorer]["balanced_accuracy"] > 0.9 and result[scorer]["low"] > 0.6
        assert (result[scorer]["unit"], result[scorer]["units"]) == ("speakers", 12)
    assert result["warning"].startswith("Warning: on test the non-speech frames alone tell the seen classes apart")
    assert (result["utterances"], result["left_out"], result["frames"]) == (36, 0, 36 * 18)  # 2 touch speech
    assert (
        result["chance"] == 0.5
        and result["reason"] is None
        and result["mark"] == "apart"
        and result["hours"] == pytest.approx(36 * 18 / 360000)
    )


def test_silence_that_is_the_same_for_all_is_not_warned_of(tmp_path: Path, one_thread: None) -> None:
    result = checked(tmp_path, noise=0.0)
    assert list(result) == KEYS
    assert result["flow"]["balanced_accuracy"] < 0.6 and 0.2 < result["linear"]["balanced_accuracy"] < 0.8
    assert result["mark"] == "cannot tell" and "in it" in result["reason"]  # 36 utterances are few for an interval
    exp, data = tmp_path / "exp" / "tiny", tmp_path / "data"
    assert call("score", exp, data, "test").code == 0
    assert read_json(exp / "score_test" / "result.json")["utt_accuracy"] > 0.9  # speech does tell


def test_a_floor_drowns_what_silence_tells(tmp_path: Path, one_thread: None) -> None:
    """Everything, here: the model's floor is that of the flow's training, of its frames, and of the classifier's."""
    result = checked(tmp_path, noise=1.0, frames=", floor: 12")
    for scorer in ("flow", "linear"):
        assert 0.3 < result[scorer]["balanced_accuracy"] < 0.7
    exp, data = tmp_path / "exp" / "tiny", tmp_path / "data"
    assert call("score", exp, data, "test").code == 0
    assert read_json(exp / "score_test" / "result.json")["utt_accuracy"] < 0.8
    assert load_model(exp / "final.pt").config.frames.floor == 12


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
    channel_dir(data / "italian", utterances("it"), 1.0, seed=2)
    (channel_dir(data / "deaf", utterances("en es"), 1.0, seed=2) / "vad.scp").unlink()
    ended = call("score_nonspeech", exp, data, *SETS)
    assert ended.code == 0, ended.log
    some, none, spanish, unseen, deaf, italian = (read_json(exp / f"nonspeech_{name}" / "result.json") for name in SETS)
    assert (some["utterances"], some["left_out"], some["frames"]) == (12, 24, 12 * 18)
    assert some["linear"]["balanced_accuracy"] > 0.9 and some["mark"] == "cannot tell"
    assert some["reason"] == "no class has 10 or more utterances with non-speech frames; two are needed"
    assert none["reason"] == f"{data}/none: no utterance has nonspeech frames"
    assert deaf["reason"] == f"{data}/deaf has no vad.scp" and deaf["set"] == "deaf"
    for result in (none, deaf):
        assert list(result) == KEYS and {result[key] for key in ("flow", "linear", "warning", "chance")} == {None}
        assert result["mark"] == "cannot tell"
    assert spanish["linear"]["accuracy"] > 0.5 and spanish["linear"]["balanced_accuracy"] is None
    assert spanish["mark"] == "cannot tell" and spanish["chance"] is None and "only one class" in spanish["reason"]
    assert italian["mark"] is None and italian["reason"] == "no language of the set was in training"
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
    ("kind", "frames", "mark", "reason"),
    [
        ("nf", "", None, "a normal flow decides nothing"),
        (
            "dnf",
            ", vad: false",
            "cannot tell",
            "the experiment has frames.vad: false, so that no frame counts as non-s",
        ),
    ],
)
def test_experiments_without_a_check(
    kind: str, frames: str, mark: str, reason: str, tmp_path: Path, one_thread: None
) -> None:
    result = checked(tmp_path, 1.0, kind=kind, frames=frames)
    assert result["reason"].startswith(reason) and result["mark"] == mark and result["flow"] is result["linear"] is None


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
