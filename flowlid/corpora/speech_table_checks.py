"""The rows of a table or tree of recorded speech, checked against each other."""

import os
from collections.abc import Collection, Iterable, Sequence

from flowlid.corpora.speech_table import SIDES, Problems, Row
from flowlid.wording import look_alikes, spelling


def check_known(rows: Iterable[Row], languages: Collection[str], problems: Problems) -> None:
    """Check that the rows have no language but these; an empty collection allows any."""
    for row in rows if languages else ():
        if row.language and row.language not in languages:
            problems.add(f"language {row.language!r}: here it must be {' or '.join(languages)}, what is spoken", row)


def check_rows(rows: Iterable[Row], share_speakers: bool, need_train: bool, problems: Problems) -> None:
    """Check the rows against each other: ids, speakers, languages and genders.

    Args:
        rows: of the whole table or tree.
        share_speakers: whether a speaker may be in a train set and in a dev or test set.
        need_train: whether there must be a train set.
        problems: gets what is wrong.
    """
    rows = list(rows)
    _check_repeats(rows, problems)
    _check_spellings(rows, problems)
    if any(row.set for row in rows):
        if need_train and not any(row.set.startswith("train") for row in rows):
            problems.add("no row is of a train set, one whose name starts with train: nothing to train on")
        for speaker, (tested, trained) in shared_speakers(rows).items() if not share_speakers else ():
            problems.add(
                f"speaker {speaker!r} is in {tested.set} here, and in {trained.set} in {trained}; leave one side "
                "out, or accept it with --allow-shared-speakers true",
                tested,
            )
    speakers = sorted({row.speaker: row for row in reversed(rows) if row.speaker}.items())
    known = {name for name, _ in speakers}
    for name, row in speakers:
        for cut in range(1, len(name)):
            if name[cut] <= "-" and name[:cut] in known:
                problems.add(
                    f"speaker {name!r} is speaker {name[:cut]!r} and {name[cut:]!r}: Kaldi's files could not be in the "
                    "order of speakers; rename one, such as with _ for -",
                    row,
                )


def _check_repeats(rows: Sequence[Row], problems: Problems) -> None:
    ids: dict[str, Row] = {}
    genders: dict[str, Row] = {}
    pieces: dict[tuple, Row] = {}
    for row in rows:
        if row.utt_id and ids.setdefault(row.utt_id, row) is not row:
            problems.add(f"utt_id {row.utt_id!r} is in {ids[row.utt_id]} too; ids are unique", row)
        other = genders.setdefault(row.speaker, row) if row.speaker and row.gender else row
        if (other.gender or "")[:1] != (row.gender or "")[:1]:
            problems.add(f"speaker {row.speaker!r} is {row.gender} here, but {other.gender} in {other}", row)
        place = os.path.realpath(row.path) if row.path else None
        other = pieces.setdefault((place, row.channel, row.start, row.end), row) if place else row
        for name in ("speaker", "language"):
            mine, others = getattr(row, name), getattr(other, name)
            if mine and others and mine != others:
                problems.add(f"{name} {mine!r}, but the same sound is of {others!r} in {other}; remove one", row)


def _check_spellings(rows: Sequence[Row], problems: Problems) -> None:
    """Names of one kind that are the same to a person: one name was meant, or two that files and people mix up.

    Ids that differ in case alone may be meant: those of videos do.
    """
    for kind in ("language", "speaker", "set", "utt_id"):
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(getattr(row, kind), row)
        for one, other in look_alikes(name for name in first if name and not (kind == "utt_id" and name.isascii())):
            problems.add(
                f"{kind} {spelling(other)} is {spelling(one)} in {first[one]}: names that differ only in case or in "
                "how Unicode writes them; write it the same everywhere, or rename one",
                first[other],
            )


def shared_speakers(rows: Iterable[Row]) -> dict[str, tuple[Row, Row]]:
    """Speakers of both a train set and a dev or test set, each with the first row of either: (tested, trained)."""
    trained: dict[str, Row] = {}
    tested: dict[str, Row] = {}
    for row in rows:
        if row.speaker and row.set.startswith(SIDES):
            (trained if row.set.startswith("train") else tested).setdefault(row.speaker, row)
    return {name: (tested[name], trained[name]) for name in tested if name in trained}
