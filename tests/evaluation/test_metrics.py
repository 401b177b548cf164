"""Metrics: by hand, against scikit-learn and scipy, and what no change of scale may alter."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp
from sklearn.metrics import balanced_accuracy_score, det_curve, roc_curve

from flowlid.evaluation import metrics

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


def test_roc_by_hand_with_a_tie_across_the_two_lists() -> None:
    p_miss, p_fa, thresholds = metrics.roc([1.0, 2.0], [0.0, 1.0])
    # threshold 0 accepts all; 1 accepts the targets and the tied non-target; 2 one target; inf none
    assert thresholds.tolist() == [0, 1, 2, math.inf]
    assert p_miss.tolist() == [0, 0, 0.5, 1]
    assert p_fa.tolist() == [1, 0.5, 0, 0]


def test_roc_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    target, nontarget = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 60).round(1)
    truth, scores = np.repeat([1, 0], [40, 60]), np.concatenate([target, nontarget])
    p_miss, p_fa, thresholds = metrics.roc(target, nontarget)
    fpr, tpr, expected = roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_array_equal(thresholds[::-1], expected)
    np.testing.assert_allclose(p_fa[::-1], fpr, atol=1e-12)
    np.testing.assert_allclose(p_miss[::-1], 1 - tpr, atol=1e-12)
    fpr, fnr, at = det_curve(truth, scores)
    here = np.searchsorted(thresholds, at[np.isfinite(at)])
    np.testing.assert_allclose(p_fa[here], fpr[np.isfinite(at)], atol=1e-12)
    np.testing.assert_allclose(p_miss[here], fnr[np.isfinite(at)], atol=1e-12)


@pytest.mark.parametrize(
    ("target", "nontarget", "expected"),
    [
        ([2, 3], [0, 1], 0.0),  # apart
        ([0, 1], [2, 3], 1.0),  # apart, the wrong way round
        ([1], [1], 0.5),  # cannot be told apart: half way between (0, 1) and (1, 0)
        ([0, 2, 3, 4], [-2, -1, 0.5, 1], 0.25),  # at threshold 1: one of four missed, one of four accepted
        # threshold 1: (0, 1/2); threshold 2: (1/3, 1/2); threshold 3: (1/3, 0): crosses at P_miss = 1/3
        ([1, 3, 4], [0, 2], 1 / 3),
        # threshold 1: (0, 1/2), threshold 2: (1/2, 0): the line between crosses at 1/4
        ([1, 2], [0, 1], 0.25),
    ],
)
def test_eer_by_hand(target: list[float], nontarget: list[float], expected: float) -> None:
    assert metrics.eer(target, nontarget) == pytest.approx(expected, abs=1e-12)


def test_eer_of_two_gaussians() -> None:
    q = (np.arange(20000) + 0.5) / 20000
    apart = 2.0  # EER = Phi(-apart / 2)
    found = metrics.eer(stats.norm.ppf(q) + apart, stats.norm.ppf(q))
    assert found == pytest.approx(stats.norm.cdf(-1.0), abs=1e-4)


def test_min_dcf_by_hand() -> None:
    target, nontarget = [1, 3, 4], [0, 2]
    # points (P_miss, P_fa): (0, 1) (0, 1/2) (1/3, 1/2) (1/3, 0) (2/3, 0) (1, 0)
    assert metrics.min_dcf(target, nontarget) == pytest.approx(1 / 6)  # 0.5 * 1/3 + 0
    assert metrics.min_dcf(target, nontarget, p_target=0.9) == pytest.approx(0.05)  # 0 + 0.1 * 1/2
    assert metrics.min_dcf(target, nontarget, p_target=0.9, c_fa=10) == pytest.approx(0.3)  # 0.9 * 1/3
    assert metrics.min_dcf(target, nontarget, c_miss=0.5) == pytest.approx(1 / 12)  # 0.5 * 0.5 * 1/3


@given(SCORES, SCORES)
def test_only_the_order_of_scores_counts(target: list[int], nontarget: list[int]) -> None:
    bent = [[math.exp(x / 2) + 3 * x - 7 for x in scores] for scores in (target, nontarget)]
    assert metrics.eer(*bent) == pytest.approx(metrics.eer(target, nontarget), abs=1e-12)
    assert metrics.min_dcf(*bent, p_target=0.3) == pytest.approx(metrics.min_dcf(target, nontarget, p_target=0.3))


@given(SCORES, SCORES)
def test_swapped_roles_mirror(target: list[int], nontarget: list[int]) -> None:
    swapped = [-x for x in nontarget], [-x for x in target]
    assert metrics.eer(*swapped) == pytest.approx(metrics.eer(target, nontarget), abs=1e-12)
    cost = metrics.min_dcf(target, nontarget, p_target=0.2, c_miss=3, c_fa=2)
    assert metrics.min_dcf(*swapped, p_target=0.8, c_miss=2, c_fa=3) == pytest.approx(cost)


@given(SCORES, SCORES)
def test_errors_are_rates_and_the_cost_never_beats_a_constant_answer(target: list[int], nontarget: list[int]) -> None:
    p_miss, p_fa, _ = metrics.roc(target, nontarget)
    assert (p_miss[0], p_fa[0], p_miss[-1], p_fa[-1]) == (0, 1, 1, 0)
    assert (np.diff(p_miss) >= 0).all() and (np.diff(p_fa) <= 0).all()
    assert 0 <= metrics.eer(target, nontarget) <= 1
    assert 0 <= metrics.min_dcf(target, nontarget, p_target=0.1) <= 0.1


def test_cavg_three_classes_by_hand() -> None:
    scores = np.array(
        [
            [1, -1, -1],  # class 0: right
            [-1, 1, -1],  # class 0: missed, called 1
            [-1, 1, 1],  # class 1: right, and called 2
            [-1, 1, -1],  # class 1: right
            [1, -1, -1],  # class 2: missed, called 0
            [-1, -1, 1],  # class 2: right
            [-1, 1, 1],  # class 2: right, and called 1
            [-1, -1, 1],  # class 2: right
        ]
    )
    labels = [0, 0, 1, 1, 2, 2, 2, 2]
    # class 0: P_miss 1/2, P_fa from 1: 0,   from 2: 1/4 -> 0.5 * 0.5  + 0.25 * (0 + 0.25)    = 0.3125
    # class 1: P_miss 0,   P_fa from 0: 1/2, from 2: 1/4 -> 0          + 0.25 * (0.5 + 0.25)  = 0.1875
    # class 2: P_miss 1/4, P_fa from 0: 0,   from 1: 1/2 -> 0.5 * 0.25 + 0.25 * (0 + 0.5)     = 0.25
    assert metrics.cavg(scores, labels) == pytest.approx(0.25)
    # P_target 0.2, C_miss 10, C_fa 2 (threshold log 0.8 < 0, decisions as before), P_nontarget 0.4:
    # (10 * 0.2 * 0.5 + 0.8 * 0.25 + 0 + 0.8 * 0.75 + 10 * 0.2 * 0.25 + 0.8 * 0.5) / 3
    assert metrics.cavg(scores, labels, p_target=0.2, c_miss=10, c_fa=2) == pytest.approx(2.7 / 3)


def test_cavg_of_two_classes_is_the_mean_of_miss_and_false_alarm_rates() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [30, 10])
    scores = rng.normal(0, 1, (40, 2)) + 0.7 * np.eye(2)[labels]
    rates = []
    for k in (0, 1):
        own, other = scores[labels == k, k], scores[labels != k, k]
        rates.append(((own < 0).mean() + (other >= 0).mean()) / 2)
    assert metrics.cavg(scores, labels) == pytest.approx(np.mean(rates))


def test_cavg_decides_at_the_bayes_threshold_unless_told() -> None:
    scores, labels = [[1.0, -1.0], [-1.0, 1.0]], [0, 1]
    assert metrics.cavg(scores, labels) == 0
    assert metrics.cavg(scores, labels, p_target=0.2) == pytest.approx(0.2)  # log 4 > 1: all missed
    assert metrics.cavg(scores, labels, p_target=0.2, threshold=0) == 0
    assert metrics.cavg(scores, labels, threshold=1) == 0  # a score on the threshold is accepted


def test_detection_llr_of_many_classes_is_scipys() -> None:
    loglik = np.random.default_rng(1).normal(-5e4, 300, size=(20, 107))
    others = np.stack([logsumexp(np.delete(loglik, k, axis=1), axis=1) for k in range(107)], axis=1)
    np.testing.assert_allclose(metrics.detection_llr(loglik), loglik - others + np.log(106), atol=1e-9)


def test_macro_accuracy_is_scikit_learns_balanced_accuracy() -> None:
    generator = np.random.default_rng(2)
    true = generator.choice(["a", "b", "c", "d"], 300, p=[0.7, 0.2, 0.08, 0.02]).tolist()
    predicted = [name if right else "a" for name, right in zip(true, generator.random(300) < 0.6, strict=True)]
    assert metrics.macro_accuracy(true, predicted) == pytest.approx(balanced_accuracy_score(true, predicted))
    assert metrics.macro_accuracy(true, predicted) < metrics.accuracy(true, predicted) - 0.1
    with pytest.raises(ValueError, match="0 true languages"):
        metrics.macro_accuracy([], [])


def test_detection_llr_by_hand_and_far_below_underflow() -> None:
    loglik = np.log([[0.6, 0.3, 0.1]])
    expected = np.log([[0.6 / 0.2, 0.3 / 0.35, 0.1 / 0.45]])
    np.testing.assert_allclose(metrics.detection_llr(loglik), expected, atol=1e-12)
    np.testing.assert_allclose(metrics.detection_llr(loglik - 50000), expected, atol=1e-9)
    np.testing.assert_allclose(metrics.detection_llr([[-506.357, -508.215]]), [[1.858, -1.858]], atol=1e-9)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.roc([], [1]), "target scores: need a list of at least one"),
        (lambda: metrics.eer([1], []), "nontarget scores: need a list of at least one"),
        (lambda: metrics.min_dcf([1, math.nan], [0]), "target scores: NaN or Inf at trial 1"),
        (lambda: metrics.min_dcf([1], [0], p_target=1), "p_target 1"),
        (lambda: metrics.cavg([[1, 0], [1, 0]], [0, 0]), "class 1 of 2 has no utterances"),
        (lambda: metrics.cavg([[1, 0], [1, 0], [0, 1]], [0, 1, 2]), "outside 0 to 1"),
        (lambda: metrics.cavg([[1, 0], [1, 0]], [0.0, 1.0]), "integers"),
        (lambda: metrics.cavg([[1], [1]], [0, 0]), "K >= 2"),
        (lambda: metrics.detection_llr([[1.0]]), "K >= 2"),
        (lambda: metrics.detection_llr([[0, 1], [math.inf, 1]]), "row 1"),
        (lambda: metrics.confusion([], []), "0 true languages"),
        (lambda: metrics.accuracy(["a"], ["a", "b"]), "1 true languages, 2 predictions"),
        (lambda: metrics.accuracy(["a"], ["a"], [-1]), "weights"),
        (lambda: metrics.accuracy(["a"], ["a"], [0]), "zero"),
        (lambda: metrics.confusion(["a", "b"], ["a", "a"], [1, 0]), "language b"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()


def test_confusion_and_accuracy_by_hand() -> None:
    true, predicted = ["en", "en", "zh", "en"], ["en", "zh", "zh", "en"]
    assert metrics.confusion(true, predicted) == {
        "en": {"en": pytest.approx(2 / 3), "zh": pytest.approx(1 / 3)},
        "zh": {"en": 0.0, "zh": 1.0},
    }
    assert metrics.accuracy(true, predicted) == 0.75
    frames = [100, 700, 50, 150]
    assert metrics.accuracy(true, predicted, frames) == pytest.approx(0.3)
    weighted = metrics.confusion(true, predicted, frames)
    assert weighted["en"] == {"en": pytest.approx(250 / 950), "zh": pytest.approx(700 / 950)}
    assert metrics.confusion(["ja"], ["en"], classes=["en", "zh"]) == {"ja": {"en": 1.0, "zh": 0.0}}


def test_moments_are_scipys_averaged_over_dims() -> None:
    rng = np.random.default_rng(3)
    z = rng.gamma(2.0, size=(500, 70)).astype(np.float32)
    skew, kurt = metrics.moments(z)
    assert skew == pytest.approx(stats.skew(z.astype(float)).mean(), rel=1e-9)
    assert kurt == pytest.approx(stats.kurtosis(z.astype(float)).mean(), rel=1e-9)
    # by hand: -1 and 1 in equal shares have m_3 = 0 and m_4 / m_2^2 = 1
    assert metrics.moments([[-1.0], [1.0], [-1.0], [1.0]]) == (0.0, -2.0)
    # 0 0 0 1: m_2 = 3/16, m_3 = 3/32, m_4 = 21/256
    skew, kurt = metrics.moments([[0.0], [0.0], [0.0], [1.0]])
    assert (skew, kurt) == (pytest.approx(2 / math.sqrt(3)), pytest.approx(7 / 3 - 3))


def test_moments_far_from_zero_keep_their_precision() -> None:
    z = np.random.default_rng(4).normal(size=(1000, 2))
    np.testing.assert_allclose(metrics.moments(z + 1e6), metrics.moments(z), atol=1e-6)


def test_latent_moments_by_part_and_language() -> None:
    rng = np.random.default_rng(5)
    z = np.concatenate([rng.normal(size=(60, 3)), rng.exponential(size=(40, 3))]).astype(np.float32)
    labels = ["en"] * 60 + ["zh"] * 37 + ["ja"] * 3
    found = metrics.latent_moments(z, labels, class_dim=2)
    assert list(found) == ["en", "ja", "zh", "pooled", "residual"]
    assert found["ja"] is None  # three frames
    for name, part in {"en": z[:60, :2], "zh": z[60:97, :2], "pooled": z[:, :2], "residual": z[:, 2:]}.items():
        skew, kurt = metrics.moments(part)
        assert found[name] == {"skew": skew, "kurt": kurt}
    assert metrics.latent_moments(z, labels, class_dim=3)["residual"] is None


@pytest.mark.parametrize(
    ("z", "labels", "class_dim", "match"),
    [
        (np.eye(4), ["a"] * 3, 4, "3 labels"),
        (np.eye(4), ["a"] * 4, 5, "class_dim 5"),
        (np.eye(4), ["pooled"] * 4, 4, "no language may be called pooled"),
        (np.eye(4) * [1, 0, 1, 1], ["a"] * 4, 4, "language a: .*dimension 1 is constant"),
        (np.diag([1, 1, 1, math.nan]), ["a"] * 4, 4, "NaN"),
    ],
)
def test_latents_without_moments_are_refused(z: np.ndarray, labels: list[str], class_dim: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        metrics.latent_moments(z, labels, class_dim)


def test_moments_need_four_samples() -> None:
    with pytest.raises(ValueError, match="n >= 4"):
        metrics.moments(np.eye(3))
