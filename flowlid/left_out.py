"""What a program leaves out and why, and how much of it is too much: one rule for all stages."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from flowlid.files import raise_problems, write_tsv

MAX_BAD = 0.05  # share of the utterances that may be unusable before the data are taken for broken
COLUMNS = ("file", "utterance", "reason", "detail")

Group = tuple[str, str]  # set, or "" where it is not known, and language


class LeftOut:
    """What a program leaves out and why: `rows` of file, utterance ("" for a file that is none), reason and detail.

    Some of it cannot be used though it is wanted: those utterances are counted in `bad`, by set and language.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []
        self.bad: Counter[Group] = Counter()
        self._problems: dict[str, None] = {}  # of the bad, each once

    @classmethod
    def joined(cls, parts: Iterable["LeftOut"]) -> "LeftOut":
        """What several leave out, in their order."""
        whole = cls()
        for part in parts:
            whole.rows += part.rows
            whole.bad += part.bad
            whole._problems |= part._problems
        return whole

    def add(self, reason: str, file: object, detail: str, utterance: str = "") -> None:
        """Note a file, or an utterance of it, that is not wanted; `reason` is short and the same for its kind."""
        self.rows.append((re.sub(r"[^\S ]", " ", str(file)), utterance, reason, " ".join(detail.split())))

    def add_bad(self, reason: str, file: object, detail: str, utterance: str, group: Group) -> None:
        """Note an utterance that cannot be used."""
        self.add(reason, file, detail, utterance)
        self.bad[group] += 1
        self._problems[detail if str(file) in detail or utterance in detail else f"{file}: {detail}"] = None

    def count(self, reason: str) -> int:
        """How many rows have this reason."""
        return self.counts()[reason]

    def counts(self) -> Counter[str]:
        """Number of rows by reason."""
        return Counter(reason for _, _, reason, _ in self.rows)

    def write(self, path: str | Path) -> list[str]:
        """Write the rows as TSV below a header; returns a line for the log per reason, with its count and the file."""
        write_tsv(path, [COLUMNS, *self.rows])
        return [f"left out ({reason}): {count}, named in {path}" for reason, count in self.counts().items()]

    def check(self, everything: Mapping[Group, int], most: float, where: str | Path, path: Path | None) -> list[str]:
        """How many of all utterances cannot be used, by set and language: lines for the log, which run.sh shows.

        Args:
            everything: number of utterances with the bad ones, by set and language.
            most: share of them that may be bad, from 0 to 1 (`--max-bad`).
            where: begins the error.
            path: gets the rows if it is an error.

        Raises:
            ValueError: more than `most` of all are bad, or all.
        """
        excess = self.excess(everything, most)
        if excess is not None:
            if path is not None:
                self.write(path)
                excess += f"; all are named in {path}"
            raise_problems(list(self._problems), f"{where}: {excess}:")
        said = f"{self.bad.total()} of {sum(everything.values())} utterances cannot be used: {_listed(self.bad)}"
        return [said, *self._most_of(everything, most)] if self.bad else []

    def excess(self, everything: Mapping[Group, int], most: float) -> str | None:
        """What is to be said if more than `most` of all utterances are bad, or all; None if not."""
        lost, total = self.bad.total(), sum(everything.values())
        if not (_too_many(lost, total, most) or lost == total > 0):
            return None
        share = f"more than {most:.4g} of all" if lost < total else "all there are"
        return (
            f"{lost} of {total} utterances cannot be used, {share}; mend or remove them, or accept more with --max-bad "
            "SHARE"
        )

    def _most_of(self, everything: Mapping[Group, int], most: float) -> list[str]:
        """The sets and the languages that lose more than all together may."""
        lines = []
        for number, what in enumerate(("set", "language")):
            bad, whole = Counter(), Counter()
            for groups, counter in ((self.bad, bad), (everything, whole)):
                for group, count in groups.items():
                    counter[group[number]] += count
            lines += [
                f"{count} of {whole[name]} utterances cannot be used of {what} {name}, more than {most:.4g} of it"
                for name, count in sorted(bad.items())
                if name and _too_many(count, whole[name], most)
            ]
        return lines


def _too_many(bad: int, total: int, most: float) -> bool:
    return bad > most * total + 1e-9  # 0.29 * 100 is a little less than 29


def _listed(groups: Mapping[Group, int]) -> str:
    """All groups in a line: train en 2, train es 1, test en 1."""
    return ", ".join(f"{name} {language} {count}".strip() for (name, language), count in sorted(groups.items()))
