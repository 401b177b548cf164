"""flowlid/corpora/choice.py: parts of large corpora."""

from pathlib import Path

import pytest

from flowlid.corpora.choice import choose_languages, held_out, split_speakers_of_each, take_hours_of_each
from flowlid.corpora.corpus import Utterance


def utterance(name: str, language: str, part: str = "train", seconds: float = 360) -> Utterance:
    return Utterance(name, Path(f"{name}.wav"), name.split("-")[0], language, None, part, duration=seconds)


def test_languages_are_chosen_in_the_corpus_order() -> None:
    assert choose_languages("", ["de", "en", "fr"]) == ["de", "en", "fr"]
    assert choose_languages("fr,de", ["de", "en", "fr"]) == ["de", "fr"]
    with pytest.raises(ValueError, match=r"--languages: eng is not a language of this corpus.*en"):
        choose_languages("eng", ["de", "en", "fr"])


def test_hours_of_each_language_come_from_many_speakers() -> None:
    items = [utterance(f"s{n}-{take}", "en") for n in range(4) for take in range(5)]
    items += [utterance("t0-0", "fr"), utterance("u0-0", "en", "test"), utterance("u0-1", "en", "test")]
    taken = take_hours_of_each(items, 0.4, ("train",))
    assert {utt.speaker for utt in taken if (utt.language, utt.part) == ("en", "train")} == {"s0", "s1", "s2", "s3"}
    assert sum(utt.language == "en" and utt.part == "train" for utt in taken) == 4
    assert sum(utt.language == "fr" for utt in taken) == 1 and sum(utt.part == "test" for utt in taken) == 2
    assert take_hours_of_each(items, 0, ("train",)) == items
    with pytest.raises(ValueError, match="--hours-per-language -1"):
        take_hours_of_each(items, -1, ("train",))


def test_what_is_held_out_depends_on_the_name() -> None:
    names = [f"video{n}" for n in range(2000)]
    chosen = held_out(names, 0.05)
    assert 60 < len(chosen) < 140 and held_out(names[:1000], 0.05) == chosen & set(names[:1000])
    assert held_out(["a"], 0.01) == set() and len(held_out(["a", "b"], 1e-9)) == 1


@pytest.mark.parametrize(
    ("count", "parts"),
    [(1, "test"), (2, "test train"), (3, "dev test train"), (10, "dev dev test test" + 6 * " train")],
)
def test_speakers_of_a_label_are_split(count: int, parts: str) -> None:
    labels = {f"s{n}": "one" for n in range(count)} | {f"o{n}": "other" for n in range(5)}
    split = split_speakers_of_each(labels)
    assert sorted(split[f"s{n}"] for n in range(count)) == parts.split()
    assert split == split_speakers_of_each(dict(reversed(labels.items())))
