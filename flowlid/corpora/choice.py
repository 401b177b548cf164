"""Which part of a large corpus is used: some languages, some hours of each; and who is kept out of training."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from flowlid.corpora.corpus import Utterance, order, take_hours
from flowlid.wording import nearest


def choose_languages(text: str, known: Collection[str]) -> list[str]:
    """The languages that an option names, in the order of `known`; all of them where it names none.

    Raises:
        ValueError: one that is not known; a similar one is suggested.
    """
    wanted = text.replace(",", " ").split()
    for name in wanted:
        if name not in known:
            raise ValueError(f"--languages: {name} is not a language of this corpus{nearest(name, known)}")
    return [name for name in known if not wanted or name in wanted]


def take_hours_of_each(utterances: Iterable[Utterance], hours: float, parts: Collection[str]) -> list[Utterance]:
    """At most this many hours of each language in each of `parts`, many speakers first (`take_hours`); 0 takes all.

    Utterances of other parts are all kept.

    Args:
        utterances: with durations.
        hours: of each language and part.
        parts: that are limited, such as train.

    Raises:
        ValueError: hours below 0.
    """
    if not 0 <= hours < float("inf"):
        raise ValueError(f"--hours-per-language {hours:g}: give 0 or more; 0 takes all")
    utterances = list(utterances)
    if not hours:
        return utterances
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for utt in utterances:
        groups.setdefault((utt.part, utt.language), []).append(utt)
    return [
        utt for (part, _), group in groups.items() for utt in (take_hours(group, hours) if part in parts else group)
    ]


def held_out(names: Iterable[str], share: float) -> set[str]:
    """A fixed selection of about this share of the names, at least one of two or more.

    Whether a name is in it depends on the name alone, but for the first of few: more names change nothing for others.
    """
    names = sorted(set(names), key=order)
    chosen = {name for name in names if int(order(name)[:8], 16) < share * 16**8}
    return chosen or set(names[: len(names) > 1])


def split_speakers_of_each(labels: Mapping[str, str], train: float = 0.6) -> dict[str, str]:
    """Part of each speaker: of each label a share of its speakers for training, the others by turns test and dev.

    A label with three speakers or more has one of each part; two are for training and test. One alone is for tests: it
    can be scored, not learnt. The same speakers always get the same parts.

    Args:
        labels: label of each speaker, such as an accent.
        train: share of a label's speakers.

    Returns:
        train, dev or test of each speaker.
    """
    parts = {}
    for label, count in sorted(Counter(labels.values()).items()):
        own = sorted((name for name, of in labels.items() if of == label), key=order)
        trained = 0 if count == 1 else 1 if count == 2 else min(max(1, round(train * count)), count - 2)
        sides = ["train"] * trained + [("test", "dev")[turn % 2] for turn in range(count - trained)]
        parts |= dict(zip(own, sides, strict=True))
    return parts
