"""Shares rejected, and the area under the ROC, against scikit-learn's; and the program that writes them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tools import YAML, call, feature_dir

from flowlid.evaluation.rejection import estimate_auroc
from flowlid.files import read_json
from flowlid.kaldi.tables import read_table


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_scikit_learns(ties: bool) -> None:
    generator = np.random.default_rng(1)
    positive = generator.random(200) < 0.3
    scores = generator.normal(size=200) + positive
    scores = scores.round() if ties else scores
    found = estimate_auroc(scores, positive, ["a"] * 200, list(map(str, range(200))))
    assert found.share == pytest.approx(roc_auc_score(positive, scores))
    assert found.low < found.share < found.high and (found.unit, found.units) == ("utterances", 200)


def test_the_interval_is_that_of_resampled_speakers() -> None:
    """Against a bootstrap that copies the trials of the drawn speakers."""
    generator = np.random.default_rng(2)
    speakers = np.repeat(np.arange(12), 10)
    positive = speakers % 2 == 1
    scores = generator.normal(size=120) + 0.8 * positive + generator.normal(size=12)[speakers]
    found = estimate_auroc(scores, positive, list(map(str, speakers)), list(map(str, range(120))))
    drawn = []
    while len(drawn) < 2000:
        rows = np.concatenate([np.flatnonzero(speakers == one) for one in generator.integers(0, 12, 12)])
        if 0 < positive[rows].sum() < len(rows):
            won = scores[rows][positive[rows]][:, None] > scores[rows][~positive[rows]]
            drawn.append(won.mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)
    assert (found.unit, found.units) == ("speakers", 12)


def test_utterances_are_drawn_where_one_kind_has_few_speakers() -> None:
    generator = np.random.default_rng(3)
    speakers, positive = [*map(str, range(6)), *"aaaaaa"], [False] * 6 + [True] * 6
    assert estimate_auroc(generator.normal(size=12), positive, speakers, list("uvwxyzUVWXYZ")).unit == "utterances"


def test_what_is_told_apart_without_an_error_has_an_area_of_one() -> None:
    found = estimate_auroc([1, 2, 3, 4], [False, False, True, True], ["a"] * 4, list("wxyz"))
    assert (found.share, found.low, found.high) == (1.0, 1.0, 1.0)


# The program


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A tiny experiment `exp/dnf`, and a normal flow `exp/nf`, with scores of the sets `dev`, `test` and `other`."""
    root = tmp_path_factory.mktemp("openset")
    for number, (name, languages) in enumerate({"train": "es", "dev": "es", "test": "es", "other": "it"}.items()):
        utts = {f"a-{n:02}": "en" for n in range(12)} if name != "other" else {}
        utts |= {f"b-{n:02}": languages for n in range(12)}
        feature_dir(root / "data" / name, utts, seed=number)
    for kind in ("dnf", "nf"):
        (root / f"{kind}.yaml").write_text(YAML.replace("dnf", kind))
        assert call("train", root / f"{kind}.yaml", root / "data", root / "exp" / kind).code == 0
        assert call("score", root / "exp" / kind, root / "data", "dev", "test", "other").code == 0
    return root


@pytest.fixture
def own(experiments: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(experiments, tmp_path / "own"))


def fit(root: Path, *options: object, code: int = 0) -> str:
    ended = call("fit_openset", *options, root / "exp/dnf", root / "data", "train", "dev", "test", "other")
    assert ended.code == code, ended.log
    return ended.log


def test_the_program_judges_every_set(own: Path) -> None:
    assert "AUROC" in fit(own, "--dev", "dev")
    test, other = (read_json(own / f"exp/dnf/openset_{name}/result.json") for name in ("test", "other"))
    assert (test["seen"], test["unseen"], test["new_voices"], test["accepted"], test["auroc"]) == (24, 0, 0, None, None)
    assert (other["seen"], other["unseen"], other["rejected"], other["against"]) == (0, 12, None, "test")
    assert sorted(other["auroc"]) == ["all", "loglik", "margin", "shift"]
    predicted = read_table(own / "exp/dnf/openset_other/utt2pred")
    assert list(predicted.values()).count("unknown") == round(12 * (1 - other["accepted"]["share"]))
    typicality = read_table(own / "exp/dnf/openset_other/utt2typicality")
    assert {utt for utt, value in typicality.items() if float(value) <= 0.05} == {
        utt for utt, name in predicted.items() if name == "unknown"
    }
    assert fit(own, "--dev", "dev").count("up to date") == 4


def test_a_background_is_another_experiment_that_scored_the_sets(own: Path) -> None:
    options = ("--dev", "dev", "--background", own / "exp/nf")
    fit(own, *options)
    assert read_json(own / "exp/dnf/openset/openset.json")["background"] == "nf"
    first = (own / "exp/dnf/openset_test/utt2surprise").read_text()
    fit(own, "--dev", "dev")  # without it again: made anew
    assert (own / "exp/dnf/openset_test/utt2surprise").read_text() != first
    shutil.rmtree(own / "exp/nf/score_dev")
    log = fit(own, *options, code=1)
    assert "exp/nf/score_dev: no such directory; name the set in data.tests of the background experiment nf" in log
    shutil.copytree(own / "exp/dnf/score_dev", own / "exp/nf/score_dev")
    assert "a background has one class, not en, es; take a normal flow" in fit(own, *options, code=1)
    shutil.rmtree(own / "exp/nf/score_dev")
    shutil.copytree(own / "exp/nf/score_other", own / "exp/nf/score_dev")
    assert "other utterances than the set has now; score both experiments again" in fit(own, *options, code=1)


def test_scores_of_another_model_and_a_background_of_itself_are_refused(own: Path) -> None:
    assert "cannot be its own background" in fit(own, "--dev", "dev", "--background", own / "exp/dnf", code=1)
    shutil.rmtree(own / "exp/dnf/score_other")
    assert "score_other/result.json: no such file; score the set first" in fit(own, "--dev", "dev", code=1)
    shutil.copy(own / "exp/nf/final.pt", own / "exp/dnf/final.pt")
    assert "score_dev: scores of another model than" in fit(own, "--dev", "dev", code=1)


def test_why_there_is_none_is_said_and_what_is_stale_goes(own: Path) -> None:
    fit(own, "--dev", "dev")
    assert "no open set: the experiment has no dev set" in fit(own)
    assert not list((own / "exp/dnf").glob("openset*"))
    assert "fewer than two utterances of en, es" in fit(own, "--dev", "other")
