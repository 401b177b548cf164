"""What changed between two runs: the same utterances, decided by two models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowlid.evaluation.bootstrap import Estimate, estimate_difference
from flowlid.evaluation.scored import read_decisions
from flowlid.files import read_json
from flowlid.kaldi.tables import read_table


@dataclass(frozen=True)
class Change:
    """A quantity of a set in two runs.

    Attributes:
        experiment: its name, or both names: "dnf_120, dnf_120_disc".
        set: the test set.
        quantity: "accuracy" of utterances, or "bits" after calibration.
        before, after: of each run.
        difference: after - before, with its interval over speakers or utterances.
        p: of no difference, None where there is none.
        utterances: of seen languages, in both runs.
    """

    experiment: str
    set: str
    quantity: str
    before: float
    after: float
    difference: Estimate
    p: float | None
    utterances: int


def is_experiment(path: Path) -> bool:
    """Whether a directory is an experiment, not the place of several."""
    return (path / "train.json").is_file()


def pairs_of(before: Path, after: Path) -> list[tuple[str, Path, Path]]:
    """The experiments to compare: two directories, or all names that both places have; each with its name.

    Raises:
        ValueError: one is an experiment and the other a place of several, or no experiment is in both.
    """
    for path in (before, after):
        if not path.is_dir():
            raise ValueError(f"{path}: no such directory; give two places such as exp, or two experiments in them")
    if is_experiment(before) != is_experiment(after):
        one, other = (before, after) if is_experiment(before) else (after, before)
        raise ValueError(f"{one} is an experiment and {other} is not; give two experiments, or two places of several")
    if is_experiment(before):
        name = before.name if before.name == after.name else f"{before.name}, {after.name}"
        return [(name, before, after)]
    names = [{path.parent.name for path in place.glob("*/train.json")} for place in (before, after)]
    if not names[0] & names[1]:
        raise ValueError(f"{before} and {after} have no experiment of the same name; name two: {before}/A {after}/B")
    return [(name, before / name, after / name) for name in sorted(names[0] & names[1])]


def changes(name: str, before: Path, after: Path, data: Path | None = None) -> Iterator[Change]:
    """The changes of each set that both experiments have scored.

    Args:
        name: of the experiment.
        before, after: their directories.
        data: data directories whose utt2spk names the speakers; None: utterances count as independent.

    Raises:
        ValueError: a set has other utterances, or other classes, in one of them, or a damaged file.
    """
    sets = [{path.parent.name for path in place.glob("score_*/result.json")} for place in (before, after)]
    for directory in sorted(sets[0] & sets[1]):
        places = before / directory, after / directory
        languages, decided = zip(*map(read_decisions, places), strict=True)
        if languages[0] != languages[1]:
            raise ValueError(f"{places[0]} and {places[1]} are not of the same utterances; score the same data again")
        classes = [read_json(place / "result.json")["classes"] for place in places]
        if classes[0] != classes[1]:
            raise ValueError(f"{before} tells {' '.join(classes[0])} apart, {after} {' '.join(classes[1])}")
        utts = [utt for utt, language in languages[0].items() if language in classes[0]]
        if len(classes[0]) < 2 or not utts:
            continue
        own, test = [languages[0][utt] for utt in utts], directory.removeprefix("score_")
        speakers = _speakers(data, test, utts)
        right = [np.array([table[utt] == languages[0][utt] for utt in utts], float) for table in decided]
        yield _change(name, test, "accuracy", *right, speakers, utts, None)
        costs = [_costs(place / f"calibrated_{test}", utts, own, classes[0]) for place in (before, after)]
        if costs[0] is not None and costs[1] is not None:
            yield _change(name, test, "bits", *costs, speakers, utts, own)


def _speakers(data: Path | None, name: str, utts: list[str]) -> list[str]:
    if data is None:
        return ["one"] * len(utts)
    table = read_table(data / name / "utt2spk")
    missing = [utt for utt in utts if utt not in table]
    if missing:
        raise ValueError(f"{data / name / 'utt2spk'}: no utterance {missing[0]}; are the scores of other data?")
    return [table[utt] for utt in utts]


def _costs(place: Path, utts: list[str], languages: list[str], classes: list[str]) -> NDArray[np.float64] | None:
    """-log2 of each utterance's calibrated probability of its language; None if the set was not calibrated."""
    path = place / "utt2prob"
    if not path.is_file():
        return None
    table = read_table(path)
    try:
        rows = [np.array(table[utt].strip("[] ").split(), float) for utt in utts]
        own = [row[classes.index(language)] for row, language in zip(rows, languages, strict=True)]
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: not the probabilities of this set ({error!r}); run stage 4 again") from error
    return -np.log2(np.maximum(own, np.finfo(float).tiny))


def _change(
    name: str,
    test: str,
    quantity: str,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    speakers: list[str],
    utts: list[str],
    classes: list[str] | None,
) -> Change:
    """A change; the mean over classes where they are given, as bits are."""
    labels = np.zeros(len(utts), int) if classes is None else np.unique(classes, return_inverse=True)[1]
    means = [np.mean([values[labels == k].mean() for k in np.unique(labels)]) for values in (before, after)]
    estimate, p = estimate_difference(after, before, speakers, utts, labels)
    return Change(name, test, quantity, float(means[0]), float(means[1]), estimate, p, len(utts))
