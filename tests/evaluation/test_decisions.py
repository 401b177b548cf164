"""Decisions and the reported numbers, by hand computation and against scikit-learn."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.metrics import accuracy_score, confusion_matrix

from flowlid.evaluation import metrics
from flowlid.evaluation.decisions import (
    MARGINS,
    SetScores,
    class_numbers,
    frame_accuracy,
    llr_per_frame,
    mean_terms,
    reference_class,
    small_margins,
    summarize,
)

CLASSES = ["en", "es", "it"]


def scores_of(loglik: object, frames: object = None, decided: object = None) -> SetScores:
    """Scores whose log-likelihoods are these sums; the log-determinant is 1 a frame."""
    loglik = np.array(loglik, float)
    counts = np.array([10] * len(loglik) if frames is None else frames)
    decided = np.full(loglik.shape, 10 / loglik.shape[1]) if decided is None else np.array(decided, float)
    return SetScores(counts, loglik - counts[:, None], counts.astype(float), decided)


# Numbers


def test_summary_by_hand() -> None:
    # sums over 10 and 30 frames; log-determinant 1 a frame
    scores = scores_of([[-20, -40], [-90, -30]], frames=[10, 30], decided=[[7, 3], [12, 18]])
    summary = summarize(scores, ["en", "es"], ["en", "es"], decides=True)
    assert summary["loglik"] == pytest.approx((-20 - 30) / 40)
    assert summary["logdet"] == pytest.approx(1.0)
    assert summary["logp"] == pytest.approx((-20 - 30) / 40 - 1)
    assert summary["frame_accuracy"] == pytest.approx((7 + 18) / 40)
    assert summary["utt_accuracy"] == 1.0
    assert summary["frame_confusion"] == {"en": {"en": 0.7, "es": 0.3}, "es": {"en": 0.4, "es": 0.6}}
    assert summary["utt_confusion"] == {"en": {"en": 1.0, "es": 0.0}, "es": {"en": 0.0, "es": 1.0}}
    # ratios per frame: targets 2 (en) and 2 (es), the others -2 and -2: no error at any threshold
    assert summary["eer"] == summary["min_dcf"] == summary["cavg"] == 0.0


def test_errors_by_hand() -> None:
    # four utterances of 10 frames; the second one goes wrong, by 1 nat a frame
    scores = scores_of([[0, -20], [-10, 0], [-30, 0], [-40, 0]])
    summary = summarize(scores, ["en", "en", "es", "es"], ["en", "es"], decides=True)
    assert summary["utt_accuracy"] == 0.75
    assert summary["utt_confusion"]["en"] == {"en": 0.5, "es": 0.5}
    # at threshold 0: P_miss(en) = 1/2, P_fa(es given en) = 1/2, nothing of es: (0.25 + 0.25) / 2
    assert summary["cavg"] == pytest.approx(0.25)


def test_summary_agrees_with_sklearn_and_metrics() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 60)
    counts = generator.integers(5, 50, 60)
    loglik = generator.normal(size=(60, 3)) * 8 * counts[:, None] ** 0.5
    loglik[np.arange(60), labels] += 20
    decided = np.stack([generator.multinomial(n, [0.2, 0.3, 0.5]) for n in counts])
    scores, languages = scores_of(loglik, counts, decided), [CLASSES[k] for k in labels]
    summary = summarize(scores, languages, CLASSES, decides=True)
    predicted = [CLASSES[k] for k in loglik.argmax(1)]
    assert summary["utt_accuracy"] == pytest.approx(accuracy_score(languages, predicted))
    expected = confusion_matrix(languages, predicted, labels=CLASSES, normalize="true")
    assert [[summary["utt_confusion"][t][p] for p in CLASSES] for t in CLASSES] == pytest.approx(expected)
    true = np.repeat(labels, counts)
    each = np.concatenate([np.repeat(range(3), row) for row in decided])
    assert summary["frame_accuracy"] == pytest.approx(accuracy_score(true, each))
    expected = confusion_matrix(true, each, normalize="true")
    assert [[summary["frame_confusion"][t][p] for p in CLASSES] for t in CLASSES] == pytest.approx(expected)
    others = np.stack([logsumexp(np.delete(loglik, k, axis=1), axis=1) for k in range(3)], axis=1)
    llr = loglik - others + np.log(2)  # against the average likelihood of the two others
    target = np.eye(3, dtype=bool)[labels]
    assert summary["eer"] == pytest.approx(metrics.eer(llr[target], llr[~target]))
    assert summary["min_dcf"] == pytest.approx(metrics.min_dcf(llr[target], llr[~target]))
    assert summary["cavg"] == pytest.approx(metrics.cavg(llr, labels))


def test_detection_scores_are_likelihood_ratios_of_whole_utterances() -> None:
    # a second class that is half a nat a frame behind: over 100 frames it is out of the question, while a ratio
    # made of averages per frame would accept it at Bayes' threshold
    loglik = np.array([np.roll([0.0, -50, -300, -300, -300], k) for k in range(5)])
    classes = ["a", "b", "c", "d", "e"]
    summary = summarize(scores_of(loglik, [100] * 5), classes, classes, decides=True)
    assert summary["cavg"] == 0
    assert metrics.cavg(metrics.detection_llr(loglik / 100), np.arange(5)) > 0.1


def test_a_set_of_one_language_has_no_detection_costs() -> None:
    summary = summarize(scores_of([[0, -20], [-10, 0]]), ["en", "en"], ["en", "es"], decides=True)
    assert summary["utt_accuracy"] == 0.5
    assert summary["eer"] is summary["min_dcf"] is summary["cavg"] is None


def test_unseen_language_is_reported_under_the_best_class() -> None:
    scores = scores_of([[-50, -20], [-30, -70]])
    summary = summarize(scores, ["it", "fr"], ["en", "es"], decides=True)
    assert reference_class(scores.loglik, np.array([-1, -1])).tolist() == [1, 0]
    assert summary["loglik"] == pytest.approx((-20 - 30) / 20)
    assert summary["logp"] == pytest.approx(summary["loglik"] - 1)
    assert summary["frame_accuracy"] is summary["utt_accuracy"] is None
    assert summary["utt_confusion"] == {"fr": {"en": 1.0, "es": 0.0}, "it": {"en": 0.0, "es": 1.0}}
    assert summary["eer"] is summary["min_dcf"] is summary["cavg"] is None  # no target trial


def test_seen_and_unseen_languages_together() -> None:
    scores = scores_of([[-20, -50], [-50, -20], [-10, -40]], decided=[[9, 1], [0, 10], [10, 0]])
    summary = summarize(scores, ["en", "en", "it"], ["en", "es"], decides=True)
    assert summary["loglik"] == pytest.approx((-20 - 50 - 10) / 30)  # own class for en, the best one for it
    assert summary["frame_accuracy"] == pytest.approx(9 / 20) and summary["utt_accuracy"] == 0.5
    assert summary["utt_macro_accuracy"] is None  # of one language it would be its accuracy
    assert summary["eer"] is not None and summary["min_dcf"] is not None
    assert summary["cavg"] is None  # no utterance of es


def test_cavg_needs_every_class_and_no_other() -> None:
    both = scores_of([[-20, -50], [-50, -20]])
    assert summarize(both, ["en", "es"], ["en", "es"], decides=True)["cavg"] == 0.0
    assert summarize(both, ["en", "en"], ["en", "es"], decides=True)["cavg"] is None


def test_normal_flow_decides_nothing() -> None:
    scores = scores_of([[-20.0], [-50.0]], decided=[[10], [10]])
    summary = summarize(scores, ["en", "it"], ["en+es"], decides=False)
    assert summary["loglik"] == pytest.approx(-70 / 20) and summary["logdet"] == pytest.approx(1.0)
    others = {key: value for key, value in summary.items() if not key.startswith("log")}
    assert set(others) == {
        "frame_accuracy", "utt_accuracy", "utt_macro_accuracy", "frame_confusion", "utt_confusion", "eer", "min_dcf",
        "cavg",
    }  # fmt: skip
    assert set(others.values()) == {None}


def test_mean_terms_weigh_frames_alike() -> None:
    terms = mean_terms(scores_of([[-10, 0], [0, -300]], frames=[10, 100]), np.array([0, 1]))
    assert terms == {"loglik": pytest.approx(-310 / 110), "logp": pytest.approx(-420 / 110), "logdet": pytest.approx(1)}
    assert math.isclose(terms["logp"] + terms["logdet"], terms["loglik"])


def test_frame_accuracy_leaves_unseen_languages_out() -> None:
    scores = scores_of([[0, 0], [0, 0]], decided=[[8, 2], [1, 9]])
    assert frame_accuracy(scores, np.array([0, -1])) == 0.8
    assert frame_accuracy(scores, np.array([-1, -1])) is None


# How sure decisions are


def test_classes_have_numbers_and_unseen_languages_minus_one() -> None:
    assert class_numbers(["es", "it", "en"], ["en", "es"]).tolist() == [1, -1, 0]


def test_ratio_of_two_classes_is_first_to_second_whatever_is_true() -> None:
    scores = scores_of([[-20, -50], [-50, -20], [-40, -40]], frames=[10, 10, 20])
    for labels in ([0, 1, 0], [1, 0, -1]):
        assert llr_per_frame(scores, np.array(labels)) == pytest.approx([3, -3, 0])


def test_ratio_of_several_classes_is_own_to_best_other() -> None:
    scores = scores_of([[-20, -50, -30], [-20, -50, -30], [-20, -50, -30]], frames=[10, 20, 10])
    # own class 0 leads by 10; own class 1 is 30 behind, over 20 frames; unseen: best 10 before the second best
    assert llr_per_frame(scores, np.array([0, 1, -1])) == pytest.approx([1, -1.5, 1])


def test_ratio_of_several_classes_in_general() -> None:
    generator = np.random.default_rng(4)
    counts, labels = generator.integers(5, 50, 40), generator.integers(-1, 5, 40)
    loglik = generator.normal(-300, 40, (40, 5))
    found = llr_per_frame(scores_of(loglik, counts), labels)
    for utt in range(40):
        ranked = sorted(loglik[utt])
        if labels[utt] < 0:
            expected = ranked[-1] - ranked[-2]
        else:
            expected = loglik[utt, labels[utt]] - max(np.delete(loglik[utt], labels[utt]))
        assert found[utt] == pytest.approx(expected / counts[utt])
        if labels[utt] >= 0:
            assert (found[utt] > 0) == (loglik[utt].argmax() == labels[utt])


def test_small_margins_by_hand() -> None:
    # margins of 10 frames: 0.005, 0.05, 0.05, 0.3, 0.7 and 4 nats a frame; the third class is never near
    lead = np.array([0.05, 0.5, 0.5, 3, 7, 40])
    loglik = np.stack([-100 + lead, np.full(6, -100.0), np.full(6, -300.0)], axis=1)
    labels = np.array([1, 0, 2, -1, 0, 0])
    found = small_margins(scores_of(loglik), labels)
    assert [each["nats"] for each in found] == list(MARGINS) == [0.01, 0.1, 0.5, 1.0]
    assert [each["utterances"] for each in found] == [1, 3, 4, 5]
    assert [each["share"] for each in found] == pytest.approx([1 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert [each["accuracy"] for each in found] == pytest.approx([0, 1 / 3, 1 / 3, 2 / 4])  # the unseen one counts not


def test_small_margins_without_a_seen_language_or_a_close_one() -> None:
    found = small_margins(scores_of([[0, -9], [-0.05, 0]]), np.array([-1, -1]))
    assert [(each["share"], each["accuracy"]) for each in found] == [(0.5, None), (0.5, None), (0.5, None), (1.0, None)]
    assert small_margins(scores_of([[0, -90]]), np.array([0]))[0] == {
        "nats": 0.01, "utterances": 0, "share": 0.0, "accuracy": None,
    }  # fmt: skip
