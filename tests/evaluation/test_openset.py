"""Open set: the statistics by hand, the rate of false rejections, and that what is strange is rejected."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import combine_pvalues, norm

from flowlid.evaluation.openset import OpenSet, fit_openset, no_openset, read_openset, statistics
from flowlid.evaluation.scored import ScoredSet
from flowlid.evaluation.typicality import Law
from flowlid.files import read_json, write_json

DIM, CENTRES = 6, np.array([[2.0, 0, 0, 0, 0, 0], [-2.0, 0, 0, 0, 0, 0]])


def made(count: int, seed: int, centres: np.ndarray = CENTRES, languages: str = "en es") -> ScoredSet:
    """Utterances with mean latents around a centre, the nearer the longer they are, and a flow's log-likelihoods."""
    generator = np.random.default_rng(seed)
    frames, own = generator.integers(30, 800, count), generator.integers(0, len(centres), count)
    spread = np.sqrt(0.05 + 20 / frames)[:, None]
    latents = centres[own] + spread * generator.normal(size=(count, DIM))
    distance = ((latents[:, None] - CENTRES) ** 2).sum(2)
    names = languages.split()
    return ScoredSet(
        [f"u{n:04}" for n in range(count)], [names[k] for k in own], ["en", "es"], frames, -100 - distance / 2,
        latents.astype(np.float32),
    )  # fmt: skip


def of(scored: ScoredSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return scored.mean_loglik, scored.frames, scored.mean_latents


def test_statistics_by_hand() -> None:
    centres = np.array([[0.0, 0.0], [3.0, 1.0]])
    found, decided = statistics(centres, [[-5.0, -7.0], [-9.0, -8.5]], [[1.0, 2.0], [3.0, 3.0]])
    assert decided.tolist() == [0, 1]
    assert found["shift"] == pytest.approx(np.log([5 / 2, 4 / 2]))
    assert found["margin"] == pytest.approx([-2.0, -0.5])
    assert found["loglik"] == pytest.approx([5.0, 8.5])
    ratio, _ = statistics(centres, [[-5.0, -7.0]], [[1.0, 2.0]], [-6.0])
    assert ratio["loglik"] == pytest.approx([-1.0])
    one, _ = statistics(centres[:1], [[-5.0]], [[1.0, 2.0]])
    assert sorted(one) == ["loglik", "shift"]  # a normal flow has no second best class


def test_surprise_is_fishers_combination_of_p_values() -> None:
    openset = fit_openset(made(300, 1))
    scored = made(5, 2)
    z, surprise = openset.deviations(*of(scored)), openset.surprise(*of(scored))
    assert sorted(z) == ["loglik", "margin", "shift"]
    for number in range(5):
        p = [norm.sf(values[number]) for values in z.values()]
        assert 2 * surprise[number] == pytest.approx(combine_pvalues(p, method="fisher").statistic)


def test_typicality_is_the_share_of_the_dev_set_that_is_as_surprising() -> None:
    openset = OpenSet(
        ("en",), np.zeros((1, 2)), {n: Law((0.0,), 0, (1.0,), 0) for n in ("shift", "loglik")}, np.array([1.0, 2, 3, 4])
    )
    latents = np.exp(np.array([[-1.0], [0.0], [2.0]]) / 2) * np.ones((3, 2))  # shifts of -1, 0 and 2
    surprise = openset.surprise(np.zeros((3, 1)), [9] * 3, latents)
    assert surprise == pytest.approx(-norm.logsf([-1, 0, 2]) - norm.logsf(0), abs=1e-6)  # 0.87, 1.39, 4.48
    typicality = openset.typicality(np.zeros((3, 1)), [9] * 3, latents)
    assert typicality == pytest.approx([5 / 5, 4 / 5, 1 / 5])
    assert openset.rejects(np.zeros((3, 1)), [9] * 3, latents, rate=0.2).tolist() == [False, False, True]


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_as_many_are_rejected_falsely_as_stated_at_each_duration(rate: float) -> None:
    openset, known = fit_openset(made(2000, 3)), made(4000, 4)
    rejected = openset.rejects(*of(known), rate=rate)
    for own in (known.frames < 100, known.frames > 400):
        assert rejected[own].mean() == pytest.approx(rate, abs=0.025)


def test_few_dev_utterances_do_not_make_rejections_many() -> None:
    """The centres were made from the same utterances: the dev set's own distances are as of others."""
    shares = [fit_openset(made(12, seed)).rejects(*of(made(300, 99)), rate=0.1).mean() for seed in range(20)]
    assert np.mean(shares) < 0.2


@pytest.mark.parametrize("centre", [[0.0, 0, 0, 0, 0, 0], [-2.0, 4, 0, 0, 0, 0], [5.0, 0, 0, 0, 0, 0]])
def test_what_is_strange_is_rejected(centre: list[float]) -> None:
    """In between the classes, beside one of them, and beyond one."""
    openset = fit_openset(made(500, 5))
    strange = made(200, 6, np.array([centre]), "it")
    assert openset.rejects(*of(strange)).mean() > 0.8


def test_languages_that_the_model_does_not_know_do_not_count() -> None:
    dev, other = made(100, 7), made(50, 8, CENTRES[:1] + 30, "it")
    names = ("frames", "mean_loglik", "mean_latents")
    arrays = (np.concatenate([getattr(dev, name), getattr(other, name)]) for name in names)
    both = ScoredSet(dev.utts + other.utts, dev.languages + other.languages, dev.classes, *arrays)
    assert fit_openset(both).to_dict("m") == fit_openset(dev).to_dict("m")


def test_a_background_is_subtracted_and_must_be_given() -> None:
    dev = made(300, 9)
    openset = fit_openset(dev, "nf", dev.mean_loglik.max(1) - 1.0 + 0.1 * np.random.default_rng(1).normal(size=300))
    known = made(5, 10)
    best = known.mean_loglik.max(1)
    near, far = (openset.deviations(*of(known), best + nats)["loglik"] for nats in (-1.0, 2.0))
    assert (far > near + 10).all()
    with pytest.raises(ValueError, match="needs the log-likelihoods of its background flow: nf"):
        openset.typicality(*of(known))
    with pytest.raises(ValueError, match="background flow: none"):
        fit_openset(dev).typicality(*of(known), best)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    openset, known = fit_openset(made(100, 11)), made(20, 12)
    write_json(tmp_path / "openset.json", openset.to_dict("m"))
    found = read_openset(tmp_path / "openset.json", "m")
    assert found.typicality(*of(known)).tolist() == openset.typicality(*of(known)).tolist()
    with pytest.raises(ValueError, match=r"openset\.json: the open set of another model \(m, not n\)"):
        read_openset(tmp_path / "openset.json", "n")
    with pytest.raises(ValueError, match="do not fit; fit it again"):
        found.typicality(known.mean_loglik, known.frames, known.mean_latents[:, :3])


@pytest.mark.parametrize(
    "change",
    [{"laws": {}}, {"laws": 3}, {"centres": []}, {"surprises": []}, {"classes": ["en"]}, {"background": 7}],
)
def test_a_damaged_file_is_named(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "openset.json"
    write_json(path, fit_openset(made(50, 13)).to_dict("m") | change)
    with pytest.raises(ValueError, match=r"openset\.json: no open set .* run stage 4 again"):
        read_openset(path, "m")
    write_json(path, {key: value for key, value in read_json(path).items() if key != "background"})
    with pytest.raises(ValueError, match="no open set"):
        read_openset(path, "m")


def test_why_there_is_none() -> None:
    assert no_openset(made(50, 14)) is None
    assert no_openset(None) == "the experiment has no dev set"
    assert no_openset(made(50, 15, CENTRES[:1])) == "the dev set has fewer than two utterances of es"
    assert no_openset(made(18, 16)) == "18 utterances of the dev set do not tell a rate of 0.05: needs 19"
    assert no_openset(made(19, 16)) is None
    assert fit_openset(made(19, 16)).rejects(*of(made(50, 17, CENTRES[:1] + 9))).all()


@pytest.mark.parametrize("rate", [0.05, 0.07, 0.2, 0.5])
def test_what_is_rejected_is_what_is_as_typical_as_the_rate_or_less(rate: float) -> None:
    openset, scored = fit_openset(made(99, 18)), made(500, 19)
    rejected = openset.rejects(*of(scored), rate=rate)
    assert rejected.tolist() == (openset.typicality(*of(scored)) <= rate + 1e-9).tolist()
