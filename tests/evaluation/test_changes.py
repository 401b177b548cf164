"""What changed between two runs: flowlid/evaluation/changes.py and utils/compare_results.py."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tools import check_picture, load

from flowlid.evaluation import bootstrap
from flowlid.evaluation.bootstrap import estimate_difference
from flowlid.evaluation.changes import changes, pairs_of
from flowlid.files import write_json
from flowlid.kaldi.tables import write_table
from flowlid.plots.changes import differences

LANGUAGES = {f"s{n // 4}-{n}": ("en", "es")[n % 2] for n in range(40)}  # ten speakers


def experiment(
    path: Path, wrong: Sequence[int], own: float | None = 0.9, languages: dict[str, str] = LANGUAGES
) -> Path:
    """A scored experiment: decisions on utterances `wrong` are, and `own` is the probability of the right language."""
    write_json(path / "train.json", {})
    write_json(path / "score_test/result.json", {"classes": ["en", "es"]})
    utts = list(languages)
    decided = {utt: languages[utt] for utt in utts} | {utts[n]: "?" for n in wrong}
    write_table(path / "score_test/utt2lang", languages)
    write_table(path / "score_test/utt2pred", decided)
    if own is not None:
        rows = {
            utt: f"[ {own} {1 - own} ]" if name == "en" else f"[ {1 - own} {own} ]" for utt, name in languages.items()
        }
        write_table(path / "calibrated_test/utt2prob", rows)
    return path


def data_of(path: Path) -> Path:
    write_table(path / "data/test/utt2spk", {utt: utt.split("-")[0] for utt in LANGUAGES})
    return path / "data"


def test_a_difference_has_the_interval_of_scipy() -> None:
    generator = np.random.default_rng(3)
    ours, theirs = generator.normal(0.2, 1, 60), generator.normal(size=60)
    names = [str(n) for n in range(60)]
    found, p = estimate_difference(ours, theirs, names, names)
    assert found.share == pytest.approx((ours - theirs).mean()) and (found.unit, found.units) == ("speakers", 60)
    theirs_ = stats.bootstrap((ours - theirs,), np.mean, n_resamples=20000, method="percentile", random_state=1)
    assert (found.low, found.high) == pytest.approx(tuple(theirs_.confidence_interval), abs=0.03)
    assert p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, abs=0.03)


def test_p_is_bounded_by_the_resamples_and_1_without_a_difference() -> None:
    names = [str(n) for n in range(50)]
    _, p = estimate_difference(np.ones(50), np.zeros(50), names, names)
    assert p == 2 / (bootstrap.RESAMPLES + 1)
    assert estimate_difference(np.ones(50), np.ones(50), names, names)[1] == 1
    assert estimate_difference([1.0], [0.0], ["a"], ["u"])[1] is None
    with pytest.raises(ValueError, match="2 and 1 values"):
        estimate_difference([1, 0], [1], ["a", "b"], ["u", "v"])


def test_whole_speakers_are_drawn(tmp_path: Path) -> None:
    """One speaker's four utterances are one difference, not four."""
    before, after = experiment(tmp_path / "a", [], own=None), experiment(tmp_path / "b", [0, 1, 2, 3], own=None)
    (change,) = changes("x", before, after, data_of(tmp_path))
    assert (change.before, change.after, change.utterances) == (1.0, 0.9, 40)
    assert (change.difference.unit, change.difference.units) == ("speakers", 10)
    (alone,) = changes("x", before, after)
    assert alone.difference.unit == "utterances"
    # the number of draws of one of n units is binomial: the difference lacks it with (1 - 1/n)^n
    assert change.p == pytest.approx(2 * 0.5 * 0.9**10, abs=0.06) and alone.p < 0.06


def test_accuracy_and_bits_by_hand(tmp_path: Path) -> None:
    before, after = experiment(tmp_path / "a", [0, 1, 2, 3], 0.5), experiment(tmp_path / "b", [0, 5], 0.8)
    found = {change.quantity: change for change in changes("x", before, after, data_of(tmp_path))}
    assert (found["accuracy"].before, found["accuracy"].after) == (0.9, 0.95)
    assert found["accuracy"].difference.share == pytest.approx(0.05)
    assert (found["bits"].before, found["bits"].after) == pytest.approx((1.0, -np.log2(0.8)))
    assert found["bits"].difference.share == pytest.approx(-np.log2(0.8) - 1)


def test_other_utterances_classes_and_places_are_refused(tmp_path: Path) -> None:
    before, fewer = (
        experiment(tmp_path / "a", []),
        experiment(tmp_path / "b", [], languages=dict(list(LANGUAGES.items())[:9])),
    )
    with pytest.raises(ValueError, match="are not of the same utterances"):
        list(changes("x", before, fewer))
    other = experiment(tmp_path / "c", [])
    write_json(other / "score_test/result.json", {"classes": ["en", "it"]})
    with pytest.raises(ValueError, match=r"tells en es apart, .* en it"):
        list(changes("x", before, other))
    write_table(tmp_path / "data/test/utt2spk", {"x": "y"})
    with pytest.raises(ValueError, match="utt2spk: no utterance s0-0"):
        list(changes("x", before, before, tmp_path / "data"))
    with pytest.raises(ValueError, match=r"is an experiment and .* is not"):
        pairs_of(before, tmp_path)
    with pytest.raises(ValueError, match="have no experiment of the same name"):
        pairs_of(tmp_path, tmp_path / "data")
    with pytest.raises(ValueError, match="none: no such directory"):
        pairs_of(before, tmp_path / "none")
    assert [name for name, *_ in pairs_of(tmp_path, tmp_path)] == ["a", "b", "c"]
    assert pairs_of(before, other)[0][0] == "a, c"


def test_damaged_files_are_named(tmp_path: Path) -> None:
    before, after = experiment(tmp_path / "a", []), experiment(tmp_path / "b", [])
    for content in ("[ 0.5 ]", "[ 0.5 x ]", None):
        rows = {utt: content for utt in LANGUAGES} if content else {"s0-0": "[ 0.5 0.5 ]"}
        write_table(after / "calibrated_test/utt2prob", rows)
        with pytest.raises(ValueError, match=r"b/calibrated_test/utt2prob: not the probabilities of this set"):
            list(changes("x", before, after))
    write_table(after / "score_test/utt2pred", {"s0-0": "en"})
    with pytest.raises(ValueError, match=r"b/score_test: utt2lang and utt2pred have different utterances"):
        list(changes("x", before, after))


def test_the_program_prints_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = experiment(tmp_path / "a", range(20)), experiment(tmp_path / "b", [0])
    arguments = ["--data", data_of(tmp_path), "--out", tmp_path / "out/changes", before, after]
    monkeypatch.setattr(sys, "argv", ["compare_results.py", *map(str, arguments)])
    load("utils/compare_results.py").main()
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == "p quantity experiment set utterances before after difference low high over".split()
    assert first.split()[1:8] == ["accuracy", "a,", "b", "test", "40", "0.500", "0.975"]
    assert float(first.split()[0]) < 0.01
    assert second.split()[-5:] == ["+0.000", "+0.000", "+0.000", "10", "speakers"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"changes.tsv", "changes.png", "changes.pdf"}


def test_the_picture(tmp_path: Path) -> None:
    rows = {"accuracy": [("test", 0.1, 0.05, 0.2), ("other", -0.1, None, None)], "bits": [("test", 0.0, -0.1, 0.1)]}
    check_picture(lambda stem: differences(rows, stem), tmp_path)
    with pytest.raises(ValueError, match="no difference to draw"):
        differences({"accuracy": []}, tmp_path / "x")
