"""Utterances of the rows of a table or tree: their full names, and their parts where the table names no sets."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from flowlid.corpora.corpus import Utterance, split_speakers
from flowlid.corpora.speech_table import Problems, Row
from flowlid.corpora.speech_table_audio import Found
from flowlid.wording import some

log = logging.getLogger("flowlid")

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def check_languages(rows: Iterable[Row], problems: Problems) -> None:
    """Check that each language has a speaker for each part; log which speakers are in several languages."""
    speakers: dict[str, set[str]] = defaultdict(set)
    languages: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.speaker and row.language:
            speakers[row.language].add(row.speaker)
            languages[row.speaker].add(row.language)
    for language, names in sorted(speakers.items()):
        if len(names) < len(SHARES):
            problems.add(
                f"language {language}: {len(names)} speakers ({', '.join(sorted(names))}) cannot be split into train, "
                "dev and test; add speakers, or give a table whose column set says where each utterance belongs"
            )
    several = sorted(name for name, own in languages.items() if len(own) > 1)
    if several:
        log.warning("taken for one person in several languages: %s; rename them if not", some(several))


def full_names(row: Row, prefix: str) -> tuple[str, str]:
    """Names of an utterance and its speaker that begin with the corpus, and the utterance's with its speaker."""
    speaker = row.speaker if row.speaker.startswith(prefix) else prefix + row.speaker
    if row.utt_id.startswith(f"{speaker}-"):
        return row.utt_id, speaker
    return (prefix if row.utt_id.startswith(f"{row.speaker}-") else f"{speaker}-") + row.utt_id, speaker


def make_utterances(rows: Iterable[Row], recordings: Found, name: str, fields: Mapping[str, str]) -> list[Utterance]:
    """The utterances, with durations, under the names `<name>-<speaker>-<rest>`, which Kaldi sorts by speaker."""
    utterances, renamed = [], []
    for row in rows:
        utt, speaker = full_names(row, f"{name}-")
        if utt == f"{speaker}-{row.utt_id}":
            renamed.append(row.utt_id)
        length = recordings[row.path].duration
        custom = {**fields, **row.fields, "set": row.set or None, "score": row.score}
        utterances.append(
            Utterance(
                id=utt,
                path=row.path,
                speaker=speaker,
                language=row.language,
                accent=custom.pop("accent", None),
                part=row.set,
                gender=row.gender,
                text=custom.pop("text", None),
                start=row.start,
                duration=round(min(length, row.end or length) - row.start, 6),
                custom=custom,
            )
        )
    log.info("utterances and speakers are called %s-..., such as %s", name, utterances[0].id)
    if renamed:
        log.info("%d utterances got their speaker before their id, for Kaldi's order: %s", len(renamed), some(renamed))
    return utterances


def check_names(utterances: Sequence[Utterance], rows: Sequence[Row], problems: Problems) -> None:
    """Check that utterances and speakers are still apart under their full names."""
    utts: dict[str, Row] = {}
    speakers: dict[str, Row] = {}
    for utt, row in zip(utterances, rows, strict=True):
        if utts.setdefault(utt.id, row) is not row:
            problems.add(f"its full name {utt.id} is that of {utts[utt.id]} too; change one of the two ids", row)
        other = speakers.setdefault(utt.speaker, row)
        if other.speaker != row.speaker:
            problems.add(f"speakers {row.speaker} and {other.speaker} ({other}) would both be {utt.speaker}", row)


def split(utterances: Sequence[Utterance], problems: Problems) -> list[Utterance]:
    """Set parts, 80/10/10 by the speakers of each language; who speaks several is split with the one spoken most."""
    seconds: dict[str, Counter[str]] = defaultdict(Counter)
    for utt in utterances:
        seconds[utt.speaker][utt.language] += utt.duration
    home = {speaker: max(sorted(own), key=own.get) for speaker, own in seconds.items()}
    done = []
    for language in sorted(set(home.values())):
        own = [utt for utt in utterances if home[utt.speaker] == language]
        try:
            done += split_speakers(own, SHARES)
        except ValueError as error:
            problems.add(f"language {language}: {error}; give a table with a column set")
    parts: dict[str, set[str]] = defaultdict(set)
    for utt in done:
        parts[utt.language].add(utt.part)
    for language, held in sorted(parts.items()):
        if held != set(SHARES):
            missing = ", ".join(part for part in SHARES if part not in held)
            problems.add(f"language {language}: the split leaves nothing for {missing}; give a table with a column set")
    return [replace(utt, custom={**utt.custom, "set": utt.part}) for utt in done]
