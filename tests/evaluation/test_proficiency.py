"""Correlation with human scores: against scipy and scikit-learn, without leaks between speakers, and as a step."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tools import call, feature_dir

from flowlid.evaluation import bootstrap, proficiency
from flowlid.evaluation.scored import ScoredSet
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table


def some(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


def speakers_of(count: int, each: int) -> list[str]:
    return [f"s{number // each:03}" for number in range(count * each)]


@given(
    values=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 3)), min_size=3, max_size=12),
)
def test_weights_count_as_copies(values: list[tuple[int, int, int]]) -> None:
    x, y, weights = (np.array(column, float) for column in zip(*values, strict=True))
    copies = weights.astype(int)
    many_x, many_y = np.repeat(x, copies), np.repeat(y, copies)
    if len(many_x) == 0:
        return
    batch = np.stack([weights, weights])
    ranks = proficiency.weighted_ranks(x, batch)
    np.testing.assert_allclose(np.repeat(ranks[0], copies), stats.rankdata(many_x))
    pearson = proficiency.weighted_pearson(x, y, batch)
    spearman = proficiency.weighted_pearson(ranks, proficiency.weighted_ranks(y, batch), batch)
    if np.ptp(many_x) == 0 or np.ptp(many_y) == 0:
        assert np.isnan(pearson).all() and np.isnan(spearman).all()
    else:
        assert pearson == pytest.approx([stats.pearsonr(many_x, many_y).statistic] * 2)
        assert spearman == pytest.approx([stats.spearmanr(many_x, many_y).statistic] * 2)


def test_correlations_are_scipy_s() -> None:
    x = some(60)
    y = np.round(x + some(60, 1), 1)
    found = proficiency.correlate(x, y, speakers_of(12, 5))
    pearson = stats.pearsonr(x, y)
    assert found["pearson"] == pytest.approx(pearson.statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (found["fisher_low"], found["fisher_high"]) == pytest.approx(tuple(pearson.confidence_interval(0.95)))
    assert found["unit"] == "speakers"


def test_the_bootstrap_draws_as_scipy_s_does() -> None:
    x = some(60)
    y, speakers = x + some(60, 1), speakers_of(12, 5)
    rows = np.arange(60).reshape(12, 5)

    def statistic(drawn: np.ndarray, of: Callable[..., object]) -> float:
        chosen = rows[drawn].ravel()
        return of(x[chosen], y[chosen]).statistic

    found = proficiency.correlate(x, y, speakers)
    for name, of in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        reference = stats.bootstrap(
            (np.arange(12),), lambda drawn, of=of: statistic(drawn, of), vectorized=False, n_resamples=2000,
            method="percentile", random_state=np.random.default_rng(5),
        ).confidence_interval  # fmt: skip
        assert found[f"{name}_low"] == pytest.approx(reference.low, abs=0.04)
        assert found[f"{name}_high"] == pytest.approx(reference.high, abs=0.04)


def test_utterances_of_one_speaker_are_no_independent_evidence() -> None:
    """Speakers who differ in both values, 50 utterances each: the interval over speakers is much the wider one."""
    own_x, own_y = some(8, 1), some(8, 2)
    x = np.repeat(own_x, 50) + 0.1 * some(400, 3)
    y = np.repeat(own_y, 50) + 0.1 * some(400, 4)
    found = proficiency.correlate(x, y, speakers_of(8, 50))
    assert found["pearson_high"] - found["pearson_low"] > 3 * (found["fisher_high"] - found["fisher_low"])
    assert found["pearson_low"] < found["pearson"] < found["pearson_high"]


def test_few_speakers_draw_utterances() -> None:
    x = some(40)
    found = proficiency.correlate(x, x + some(40, 1), speakers_of(4, 10))
    assert found["unit"] == "utterances" and found["pearson_low"] < found["pearson"] < found["pearson_high"]


def test_resamples_in_small_batches_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """And take the memory of a batch: all resamples of 2,000 utterances at once would be 32 MB."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=2000)
    y = np.round(x + generator.normal(size=2000))
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    whole = proficiency.correlate(x, y, ["s"] * 2000)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 10_000)
    tracemalloc.start()
    parts = proficiency.correlate(x, y, ["s"] * 2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parts == pytest.approx(whole, abs=1e-12) and peak < 2e6


def test_a_perfect_correlation_has_an_interval_of_one_point() -> None:
    x = np.arange(20.0)
    found = proficiency.correlate(x, 3 - 2 * x, speakers_of(10, 2))
    for key in ("pearson", "pearson_low", "pearson_high", "spearman", "spearman_low", "spearman_high", "fisher_low"):
        assert found[key] == pytest.approx(-1), key


def test_ridge_is_scikit_learn_s_where_the_penalty_does_not_matter() -> None:
    """One informative dimension with little noise: the smallest penalties are the best, and hardly differ."""
    speakers = speakers_of(10, 20)
    x = np.random.default_rng(1).normal(size=(200, 3))
    y = 5 + x[:, 0] + 0.01 * some(200, 2)
    found = proficiency.ridge_predictions(x, y, speakers)
    folds = list(GroupKFold(5).split(x, groups=speakers))
    reference = cross_val_predict(make_pipeline(StandardScaler(), Ridge(0.1)), x, y, cv=folds)
    for train, test in folds:
        reference[test] -= y[train].mean()
    np.testing.assert_allclose(found, reference, atol=0.01)


def test_ridge_never_sees_the_speaker_that_it_predicts() -> None:
    """Latents that tell the speaker alone: with others of his utterances in training, his score would be known."""
    generator = np.random.default_rng(3)
    speakers = speakers_of(30, 10)
    voice = generator.normal(size=(30, 40))
    x = np.repeat(voice, 10, axis=0) + 0.05 * generator.normal(size=(300, 40))
    y = np.repeat(generator.normal(size=30), 10)
    leaking = proficiency.ridge_predictions(x, y, [f"u{number}" for number in range(300)])
    assert stats.pearsonr(leaking, y).statistic > 0.95
    disjoint = proficiency.ridge_predictions(x, y, speakers)
    assert stats.pearsonr(disjoint, y).statistic < 0.3


def test_ridge_makes_no_negative_correlation_out_of_nothing() -> None:
    """Where latents say nothing, the mean of the other speakers' scores is all there is to say, and that misleads."""
    found, naive = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        x, speakers = generator.normal(size=(24, 4)), speakers_of(6, 4)
        y = np.repeat(generator.normal(size=6), 4)
        found.append(stats.pearsonr(proficiency.ridge_predictions(x, y, speakers), y).statistic)
        means = cross_val_predict(DummyRegressor(), x, y, cv=GroupKFold(5), groups=speakers)
        naive.append(stats.pearsonr(means, y).statistic)
    assert np.mean(naive) < -0.8
    assert abs(np.mean(found)) < 0.2


def test_each_prediction_hangs_on_no_utterance_of_its_speaker() -> None:
    generator = np.random.default_rng(4)
    x, speakers = generator.normal(size=(40, 3)), speakers_of(5, 8)  # five folds of one speaker each
    y = x[:, 0] + generator.normal(size=40)
    before = proficiency.ridge_predictions(x, y, speakers)
    y[:8] += 100
    after = proficiency.ridge_predictions(x, y, speakers)
    np.testing.assert_array_equal(before[:8], after[:8])
    assert (after[8:] != before[8:]).all()


def test_ridge_needs_three_speakers() -> None:
    with pytest.raises(ValueError, match="2 speakers, at least 3"):
        proficiency.ridge_predictions(np.eye(4), np.arange(4), ["a", "a", "b", "b"])


def test_log_likelihoods_by_hand() -> None:
    """Two utterances, three classes; the second one's language is unseen."""
    loglik = np.array([[1.0, -1.0, -2.0], [-2.0, 0.0, -1.0]])
    classes = ["arabic", "hindi", "native"]
    assert proficiency.utterance_loglik(loglik, ["arabic", "korean"], classes).tolist() == [-2, -1]  # of native
    assert proficiency.utterance_loglik(loglik, ["hindi", "korean"], ["arabic", "hindi", "us"]).tolist() == [-1, 0]
    assert proficiency.native_llr(loglik, 2).tolist() == [-3, -1]


def scored_set(classes: list[str], count: int) -> ScoredSet:
    generator = np.random.default_rng(1)
    loglik, latents = generator.normal(size=(count, len(classes))), generator.normal(size=(count, 8))
    frames = np.full(count, 100)
    return ScoredSet(
        [f"u{n:02}" for n in range(count)], ["en"] * count, classes, frames, loglik, latents.astype(np.float32)
    )


def test_a_latent_that_holds_the_score_is_found() -> None:
    scored = scored_set(["en", "native"], 24)
    found = proficiency.assess(scored, speakers_of(12, 2), 3 + scored.mean_latents @ np.linspace(-1, 1, 8))
    assert found["ridge"]["pearson"] > 0.9 and found["ridge"]["pearson_low"] > 0.5
    assert (found["utterances"], found["speakers"], found["native"]) == (24, 12, "native")
    assert found["reasons"] == {} and found["score_min"] < found["score_mean"] < found["score_max"]


@pytest.mark.parametrize(
    ("kind", "utterances", "human", "reasons"),
    [
        ("nf", 8, np.arange(8.0), {"llr": "a normal flow has one class"}),
        ("dnf", 8, np.full(8, 3.0), dict.fromkeys(("loglik", "llr", "ridge"), "all scores are equal")),
        ("dnf", 4, np.arange(4.0), {"ridge": "2 speakers; cross-validation by speakers needs 3"}),
        ("foreign", 8, np.arange(8.0), {"llr": "no class is called native"}),
        (
            "nf", 2, np.arange(2.0),
            {
                "llr": "a normal flow has one class", "ridge": "1 speakers; cross-validation by speakers needs 3",
                "loglik": "2 utterances; a correlation needs 4",
            },
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_none_with_its_reason(
    kind: str, utterances: int, human: np.ndarray, reasons: dict[str, str]
) -> None:
    classes = {"nf": ["en"], "dnf": ["en", "native"], "foreign": ["en", "es"]}[kind]
    found = proficiency.assess(scored_set(classes, utterances), speakers_of(utterances // 2, 2), human)
    assert found["reasons"] == reasons
    assert {name for name in proficiency.PREDICTORS if found[name] is None} == set(reasons)
    assert found["native"] == ("native" if kind == "dnf" else None)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"a": "3", "b": "good"}, "utterance b: 'good' is not a number"),
        ({"a": "3", "b": "nan"}, "utterance b: 'nan' is not a number"),
        ({"a": "3"}, "no utterance b; run stage 1"),
    ],
)
def test_bad_scores_are_named(table: dict[str, str], match: str, tmp_path: Path) -> None:
    write_table(tmp_path / "utt2score", table)
    with pytest.raises(ValueError, match=f"utt2score.*{match}"):
        proficiency.human_scores(DataDir(tmp_path), ["a", "b"])


YAML = """\
data: {train: train, tests: [test, plain, bare]}
frames: {context: 1}
model: {type: dnf, blocks: 2, hidden: 8, layers: 1}
training: {epochs: 2, batch_size: 64, warmup_steps: 2}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A tiny model, a test set with scores and two without."""
    root = tmp_path_factory.mktemp("proficiency")
    feature_dir(root / "data/train", {"a-1": "native", "a-2": "native", "b-1": "zh", "b-2": "zh"})
    utts = {f"{speaker}-{take}": "zh" for speaker in "cdefgh" for take in range(3)}
    for name in ("test", "plain", "bare"):
        feature_dir(root / "data" / name, utts, seed=1)
    write_table(root / "data/test/utt2score", {utt: f"{1 + number % 5}" for number, utt in enumerate(utts)})
    (root / "x.yaml").write_text(YAML)
    assert call("train", root / "x.yaml", root / "data", root / "exp/x").code == 0
    assert call("score", root / "exp/x", root / "data", "test", "plain", "bare").code == 0
    return root


def test_the_step_writes_what_the_report_prints(trained: Path) -> None:
    exp = trained / "exp/x"
    sets = ("test", "plain", "bare")
    ended = call("score_proficiency", "--expected", "te* ba*", exp, trained / "data", *sets)
    assert ended.code == 0, ended.log
    found = json.loads((exp / "proficiency_test/result.json").read_text())
    assert (found["set"], found["utterances"], found["speakers"], found["native"]) == ("test", 18, 6, "native")
    assert (found["score_min"], found["score_max"]) == (1, 5)
    assert not (exp / "proficiency_plain").exists()
    bare = json.loads((exp / "proficiency_bare/result.json").read_text())
    assert bare["loglik"] is bare["ridge"] is bare["utterances"] is None
    assert "no scores in the data directory of bare" in bare["reasons"]["llr"] and "WARNING" in ended.log
    # the figures are those of the scores that stage 4 wrote
    human = {
        line.split()[0]: float(line.split()[1]) for line in (trained / "data/test/utt2score").read_text().splitlines()
    }
    rows = {line.split()[0]: line.split()[2:4] for line in (exp / "score_test/utt2loglik").read_text().splitlines()}
    native, own = np.array([rows[utt] for utt in sorted(human)], float).T
    scores = [human[utt] for utt in sorted(human)]
    assert found["loglik"]["pearson"] == pytest.approx(stats.pearsonr(native, scores).statistic, abs=1e-4)
    assert found["llr"]["spearman"] == pytest.approx(stats.spearmanr(native - own, scores).statistic, abs=1e-4)

    assert call("make_report", trained / "exp").code == 0
    (result,) = json.loads((trained / "exp/results.json").read_text())
    assert result["sets"]["test"]["proficiency"]["llr"] == found["llr"]
    assert result["sets"]["plain"]["proficiency"] is None
    text, html = (trained / "exp/RESULTS.md").read_text(), (trained / "exp/report.html").read_text()
    title = "Proficiency: correlation with the human scores"
    assert title in text and title in html
    values = found["loglik"]
    interval = f"{values['pearson_low']:.3f} to {values['pearson_high']:.3f}"
    assert f"| test | LogLL per frame under native | - | 18 | 6 | {values['pearson']:.3f} | {interval} |" in text
    assert "| test | log-likelihood ratio per frame, native against the best other class | - | 18 |" in text
    assert "| bare | - | no scores in the data directory of bare" in text and "no scores in the data" in html
    assert "| plain | LogLL per frame" not in text


def test_a_report_without_scores_has_no_such_table(trained: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    assert call("train", trained / "x.yaml", trained / "data", exp / "x").code == 0
    assert call("score", exp / "x", trained / "data", "plain").code == 0
    (exp / "x/proficiency_plain").mkdir()  # of an earlier run
    ended = call("score_proficiency", exp / "x", trained / "data", "plain")
    assert ended.code == 0 and not (exp / "x/proficiency_plain").exists()
    assert call("make_report", exp).code == 0
    assert "Proficiency: correlation with the human scores" not in (exp / "RESULTS.md").read_text()


def test_the_step_names_a_bad_score(trained: Path, tmp_path: Path) -> None:
    feature_dir(tmp_path / "data/odd", {"c-1": "zh", "c-2": "zh"})
    write_table(tmp_path / "data/odd/utt2score", {"c-1": "4", "c-2": "x"})
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/final.pt").write_bytes((trained / "exp/x/final.pt").read_bytes())
    ended = call("score_proficiency", tmp_path / "exp", tmp_path / "data", "odd")
    assert ended.code == 1 and "score_odd/result.json: no such file; score the set first (stage 4)" in ended.log
    assert call("score", tmp_path / "exp", tmp_path / "data", "odd").code == 0
    ended = call("score_proficiency", tmp_path / "exp", tmp_path / "data", "odd")
    assert ended.code == 1 and "utterance c-2: 'x' is not a number" in ended.log
