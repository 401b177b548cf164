"""What a model says of each voice, and means over voices: whoever is new to a model matters, not how much they said."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowlid.evaluation.bootstrap import RESAMPLES, Estimate, percentile_interval
from flowlid.evaluation.decisions import class_numbers
from flowlid.files import read_json
from flowlid.kaldi.tables import read_table

_LEAST = 1e-6  # a probability below that counts as it: no utterance costs more than 20 bits


@dataclass(frozen=True)
class Voice:
    """Decisions on a voice: one speaker in one language.

    Attributes:
        accuracy: share of its utterances that are decided correctly, at flat priors.
        bits: mean of -log2 P(its language | utterance) after calibration, at flat priors; knowing nothing is log2 K.
    """

    language: str
    speaker: str
    utterances: int
    accuracy: float
    bits: float


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
    values = np.array([row.strip("[] ").split() for row in prob.values()], dtype=float)
    labels = class_numbers(list(languages.values()), classes)
    if (labels < 0).any():
        unknown = list(languages.values())[int(np.flatnonzero(labels < 0)[0])]
        raise ValueError(f"{exp}: {name} has {unknown}, which is none of the classes {' '.join(classes)}")
    of_voice: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (utt, language) in enumerate(languages.items()):
        of_voice[language, speakers[utt]].append(row)
    return [_voice(*who, values[rows], labels[rows]) for who, rows in sorted(of_voice.items())], classes


def _voice(language: str, speaker: str, prob: NDArray[np.float64], labels: NDArray[np.int64]) -> Voice:
    own = np.maximum(prob[np.arange(len(labels)), labels], _LEAST)
    right = prob.argmax(axis=1) == labels
    return Voice(language, speaker, len(labels), float(right.mean()), float(-np.log2(own).mean()))


def averaged(voices: Iterable[Voice]) -> list[Voice]:
    """One `Voice` per speaker and language: the means of several models' decisions on the same utterances."""
    of_voice: dict[tuple[str, str], list[Voice]] = defaultdict(list)
    for voice in voices:
        of_voice[voice.language, voice.speaker].append(voice)
    return [
        Voice(
            *who, same[0].utterances, *(float(np.mean([getattr(v, key) for v in same])) for key in ("accuracy", "bits"))
        )
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
    groups = [np.asarray(own, float) for own in values.values()]
    generator, low, high = np.random.default_rng(seed), None, None
    if any(len(own) > 1 for own in groups):
        drawn = [own[generator.integers(len(own), size=(RESAMPLES, len(own)))].mean(axis=1) for own in groups]
        low, high = percentile_interval(np.mean(drawn, axis=0))
    mean = float(np.mean([own.mean() for own in groups]))
    return Estimate(mean, low, high, "voices", sum(map(len, groups)))
