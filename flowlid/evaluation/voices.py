"""What a model says of each voice, and means over voices: whoever is new to a model matters, not how much they said."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowlid.evaluation.bootstrap import RESAMPLES, Estimate, percentile_interval
from flowlid.evaluation.calibrated import read_calibration
from flowlid.evaluation.costs import CONFIDENT
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.reuse import digest
from flowlid.files import read_json
from flowlid.kaldi.tables import read_table

_LEAST = 1e-6  # a probability below that counts as it: no utterance costs more than 20 bits


@dataclass(frozen=True)
class Voice:
    """Decisions on a voice: one speaker in one language.

    Attributes:
        accuracy: share of its utterances that are decided correctly, at flat priors: by the best class before what is
            new is answered with flat probabilities.
        bits: mean of -log2 P(its language | utterance) after calibration, at flat priors; knowing nothing is log2 K.
        sure: share of its utterances that are decided with a probability of 0.9 or more.
        sure_wrong: share of its utterances, all of them, that are decided so and wrongly.
    """

    language: str
    speaker: str
    utterances: int
    accuracy: float
    bits: float
    sure: float
    sure_wrong: float


MEANS = ("accuracy", "bits", "sure", "sure_wrong")  # what a voice has of its utterances


def read_voices(exp: Path, data: Path, name: str) -> tuple[list[Voice], list[str]]:
    """The voices of a scored and calibrated set of an experiment, and the model's classes.

    Raises:
        FileNotFoundError: the set was not scored, or there is no calibration for it.
        ValueError: a table is damaged, or an utterance's language is none of the classes.
    """
    place = exp / f"calibrated_{name}"
    if not (place / "utt2prob").is_file():
        raise FileNotFoundError(f"{place / 'utt2prob'}: no such file; run stage 4, with a dev set that has all classes")
    classes = read_json(place / "result.json")["classes"]
    prob = read_table(place / "utt2prob")
    languages, speakers = read_table(exp / f"score_{name}" / "utt2lang"), read_table(data / name / "utt2spk")
    if not prob.keys() == languages.keys() <= speakers.keys():
        raise ValueError(f"{place}: not of the utterances of {data / name}; run stage 4 again with --overwrite true")
    values = _numbers(prob)
    labels = class_numbers(list(languages.values()), classes)
    if (labels < 0).any():
        unknown = list(languages.values())[int(np.flatnonzero(labels < 0)[0])]
        raise ValueError(f"{exp}: {name} has {unknown}, which is none of the classes {' '.join(classes)}")
    decided = _decided(exp, name, list(prob))
    of_voice: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (utt, language) in enumerate(languages.items()):
        of_voice[language, speakers[utt]].append(row)
    right = decided == labels
    return [_voice(*who, values[own], right[own], labels[own]) for who, own in sorted(of_voice.items())], classes


def _decided(exp: Path, name: str, utts: Sequence[str]) -> NDArray[np.int64]:
    """Number of the calibrated map's best class for each utterance: flat probabilities have none."""
    scores = exp / f"score_{name}"
    loglik, frames = read_table(scores / "utt2loglik"), read_table(scores / "utt2num_frames")
    calibration = read_calibration(exp / "calibration" / "calibration.json", digest(exp / "final.pt"))
    values = _numbers({utt: loglik[utt] for utt in utts})
    return calibration.affine(values, np.array([int(frames[utt]) for utt in utts])).argmax(axis=1)


def _numbers(table: Mapping[str, str]) -> NDArray[np.float64]:
    return np.array([row.strip("[] ").split() for row in table.values()], dtype=float)


def _voice(
    language: str, speaker: str, prob: NDArray[np.float64], right: NDArray[np.bool_], labels: NDArray[np.int64]
) -> Voice:
    cost = -np.log2(np.maximum(prob[np.arange(len(labels)), labels], _LEAST))
    sure = prob.max(axis=1) >= CONFIDENT
    return Voice(language, speaker, len(labels), *(float(each.mean()) for each in (right, cost, sure, sure & ~right)))


def averaged(voices: Iterable[Voice]) -> list[Voice]:
    """One `Voice` per speaker and language: the means of several models' decisions on the same utterances."""
    of_voice: dict[tuple[str, str], list[Voice]] = defaultdict(list)
    for voice in voices:
        of_voice[voice.language, voice.speaker].append(voice)
    return [
        Voice(*who, same[0].utterances, *(float(np.mean([getattr(v, key) for v in same])) for key in MEANS))
        for who, same in sorted(of_voice.items())
    ]


def mean_over_voices(values: Mapping[str, Sequence[float]], seed: int = 1) -> Estimate:
    """Mean over the languages of the mean over each one's voices, with its 95% interval over voices.

    The bootstrap draws the voices of each language with replacement, so that the interval says nothing of a language
    with one voice; low and high are None if all have one.

    Args:
        values: language -> one value per voice.
        seed: of the resamples.

    Raises:
        ValueError: no language, or one without voices.
    """
    if not values or not all(len(own) for own in values.values()):
        raise ValueError("a mean over voices needs at least one language, and a voice of each")
    groups = [np.asarray(own, float)[:, None] for own in values.values()]
    mean, drawn = _resampled(groups, seed)
    low, high = (None, None) if drawn is None else percentile_interval(drawn[:, 0])
    return Estimate(float(mean[0]), low, high, "voices", sum(map(len, groups)))


def wrong_of_sure(voices: Sequence[Voice], seed: int = 1) -> Estimate | None:
    """Share of the decisions stated with 0.9 or more that are wrong, with its 95% interval over voices.

    It is the ratio of the means over voices (`mean_over_voices`) of `sure_wrong` and `sure`; None if none is stated so.
    """
    of_language: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for voice in voices:
        of_language[voice.language].append((voice.sure_wrong, voice.sure))
    mean, drawn = _resampled([np.array(own) for own in of_language.values()], seed)
    if not mean[1]:
        return None
    low, high = None, None
    if drawn is not None:
        ratio = np.divide(drawn[:, 0], drawn[:, 1], out=np.full(RESAMPLES, np.nan), where=drawn[:, 1] > 0)
        low, high = percentile_interval(ratio)
    return Estimate(float(mean[0] / mean[1]), low, high, "voices", len(voices))


def _resampled(groups: Sequence[NDArray[np.float64]], seed: int) -> tuple[NDArray, NDArray | None]:
    """Means (M,) over groups of the means of their rows (V, M), and those of resamples (R, M) of the rows of each.

    No resamples if every group has one row.
    """
    mean = np.mean([own.mean(axis=0) for own in groups], axis=0)
    if all(len(own) == 1 for own in groups):
        return mean, None
    generator = np.random.default_rng(seed)
    drawn = [own[generator.integers(len(own), size=(RESAMPLES, len(own)))].mean(axis=1) for own in groups]
    return mean, np.mean(drawn, axis=0)
