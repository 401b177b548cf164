"""From a corpus on the disk to lhotse manifests: what every `local/prepare_<corpus>.py` does alike.

A preparation looks for what it knows of the layout, adds an `Utterance` for each piece of speech, opens the
recordings (headers alone), and writes one pair of manifests. What it leaves out, it names in the log.
"""

import gzip
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from lhotse import Recording, SupervisionSegment

from flowlid.audio.headers import MissingDecoder, open_recording
from flowlid.files import atomic_write

log = logging.getLogger("flowlid")

MAX_DAMAGED = 0.05  # share of files that may be unreadable before the copy of the corpus is taken for broken
_GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m"}
_SHOWN = 8


@dataclass(frozen=True)
class Utterance:
    """A piece of speech as a preparation knows it.

    Attributes:
        id: unique over all corpora; begins with the speaker (Kaldi sorts by it): "wsj-01i-01ic0201".
        path: the recording's file.
        speaker: unique over all corpora: "wsj-01i".
        language: what is spoken, ISO 639-1: "en".
        accent: how: "native", or the speaker's first language, such as "mandarin"; None: not known.
        part: the side of the split: train, dev or test, or a test of its own such as test_3s.
        gender: "f", "m", or any word that lhotse's recipes use for them; None: not known.
        text: transcript, if there is one.
        start, duration: seconds of the recording; duration None: to its end.
        custom: further fields that sets.yaml may select by, such as score or nationality; None: not known.
    """

    id: str
    path: Path
    speaker: str
    language: str
    accent: str | None
    part: str
    gender: str | None = None
    text: str | None = None
    start: float = 0.0
    duration: float | None = None
    custom: Mapping[str, str | float | None] = field(default_factory=dict)


class Corpus:
    """A corpus on its way to manifests.

    Args:
        name: of the manifests, and the custom field `corpus` of every utterance.
        root: where it is, for messages.
    """

    def __init__(self, name: str, root: str | Path) -> None:
        self.name, self.root = name, Path(root)
        self.utterances: list[Utterance] = []
        self.recordings: dict[Path, Recording] = {}
        self.left_out: Counter[str] = Counter()
        self._wrong_counts: list[str] = []

    def add(self, utterance: Utterance) -> None:
        """Take an utterance in."""
        self.utterances.append(utterance)

    def leave_out(self, reason: str, what: object, why: str) -> None:
        """Count, under `reason`, and name something that is left out."""
        self.left_out[reason] += 1
        log.info("left out (%s): %s: %s", reason, what, why)

    def check_count(self, what: str, found: int, expected: int, strict: bool, fatal: bool = True) -> None:
        """Compare a count with that of the published corpus: a difference is logged, and if `strict` an error.

        A count that copies of the corpus may well miss a little is not `fatal`: a difference is never an error.

        Raises:
            ValueError: they differ, and both `strict` and `fatal`.
        """
        if found == expected:
            log.info("%s: %s: %d, as published", self.name, what, found)
            return
        message = f"{self.root}: {what}: {found}, but the published corpus has {expected}"
        if strict and fatal:
            raise ValueError(f"{message}; look for missing discs or files, or run with --check-counts false")
        log.warning("%s%s", message, "; --check-counts true makes this an error" if fatal else "")

    def open(self, jobs: int = 4, kind: Callable[[Path, str], Recording] = open_recording) -> None:
        """Read the headers of all recordings; utterances of damaged files are left out, by name.

        Afterwards every utterance has a duration.

        Args:
            jobs: files opened at a time.
            kind: gives the recording of (path, id); raises ValueError for a damaged file.

        Raises:
            ValueError: no utterance, two of one id, a decoder that is not installed, or more than 5% of the files
                damaged.
        """
        if not self.utterances:
            raise ValueError(f"{self.root}: no speech of {self.name} found in it")
        twice = [name for name, count in Counter(utt.id for utt in self.utterances).items() if count > 1]
        if twice:
            paths = [str(utt.path) for utt in self.utterances if utt.id == twice[0]]
            raise ValueError(
                f"{self.root}: {len(twice)} utterance ids stand twice, such as {twice[0]} ({', '.join(paths[:2])}); "
                "remove one copy"
            )
        ids, first = self._recording_ids(), ""
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            opened = pool.map(lambda item: _try_open(kind, *item), ids.items())
            for path, found in zip(ids, opened, strict=True):
                if isinstance(found, Recording):
                    self.recordings[path] = found
                else:
                    first = first or found
                    self.leave_out("damaged", path, found.removeprefix(f"{path}: "))
        if len(ids) - len(self.recordings) > max(MAX_DAMAGED * len(ids), 1):
            raise ValueError(
                f"{self.root}: {len(ids) - len(self.recordings)} of {len(ids)} files cannot be read, all named above; "
                f"the first: {first}; if they are cut off, copy or unpack the corpus again"
            )
        self.utterances = [self._timed(utt) for utt in self.utterances if utt.path in self.recordings]
        if not self.utterances:
            raise ValueError(f"{self.root}: no file of {self.name} can be read (named above); copy it again")

    def _recording_ids(self) -> dict[Path, str]:
        """Id of each file: that of its utterance if it has only one, which is all of it."""
        ids: dict[Path, str] = {}
        for utt in self.utterances:
            whole = utt.start == 0 and utt.duration is None
            ids[utt.path] = utt.id if whole and utt.path not in ids else f"{utt.speaker}-{_safe(utt.path.stem)}"
        taken = Counter(ids.values())
        return {
            path: name if taken[name] == 1 else f"{name}-{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
            for path, name in ids.items()
        }

    def _timed(self, utt: Utterance) -> Utterance:
        left = self.recordings[utt.path].duration - utt.start
        return replace(utt, duration=left if utt.duration is None else utt.duration)

    def write(self, out_dir: str | Path) -> None:
        """Write `<out_dir>/<name>_{recordings,supervisions}.jsonl.gz`, and log the counts.

        Counts go to `<name>_summary.tsv` and, of what was left out, to `<name>_left_out.tsv`. The same corpus gives
        the same bytes.
        """
        out_dir = Path(out_dir)
        utterances = sorted(self.utterances, key=lambda utt: utt.id)
        used = {self.recordings[utt.path].id: self.recordings[utt.path] for utt in utterances}
        _write_jsonl(out_dir / f"{self.name}_recordings.jsonl.gz", (used[name].to_dict() for name in sorted(used)))
        supervisions = (self._supervision(utt).to_dict() for utt in utterances)
        _write_jsonl(out_dir / f"{self.name}_supervisions.jsonl.gz", supervisions)
        rows = self._summary(utterances)
        left_out = [["reason", "count"], *([reason, str(count)] for reason, count in sorted(self.left_out.items()))]
        for name, table in (("summary", rows), ("left_out", left_out)):
            with atomic_write(out_dir / f"{self.name}_{name}.tsv") as file:
                file.writelines("\t".join(row) + "\n" for row in table)
        rates = Counter(recording.sampling_rate for recording in used.values())
        log.info("%s: sampled at %s", self.name, ", ".join(f"{rate} Hz ({n} files)" for rate, n in rates.items()))
        log.info("%s: left out: %s", self.name, dict(self.left_out) or "nothing")
        log.info("%s:\n%s", self.name, "\n".join("\t".join(row).expandtabs(14) for row in rows))

    def _supervision(self, utt: Utterance) -> SupervisionSegment:
        custom = {"corpus": self.name, "part": utt.part, "accent": utt.accent, **utt.custom}
        return SupervisionSegment(
            id=utt.id,
            recording_id=self.recordings[utt.path].id,
            start=utt.start,
            duration=utt.duration,
            text=utt.text,
            language=utt.language,
            speaker=utt.speaker,
            gender=None if utt.gender is None else _gender(utt),
            custom={key: value for key, value in custom.items() if value is not None},
        )

    def _summary(self, utterances: Sequence[Utterance]) -> list[list[str]]:
        rows = [["part", "utterances", "speakers", "hours", "languages", "accents"]]
        for part in [*sorted({utt.part for utt in utterances}), "all"]:
            own = [utt for utt in utterances if part in (utt.part, "all")]
            hours = sum(utt.duration for utt in own) / 3600
            languages = " ".join(sorted({utt.language for utt in own}))
            accents = " ".join(sorted({utt.accent for utt in own if utt.accent})) or "-"
            speakers = len({utt.speaker for utt in own})
            rows.append([part, str(len(own)), str(speakers), f"{hours:.3f}", languages, accents])
        return rows


def walk(root: str | Path, *suffixes: str) -> Iterator[Path]:
    """Files below `root` with these endings (or all), in any case (".wav" finds X.WAV), sorted; links are followed.

    Hidden files, such as the `._name` that copies from a Mac bring, are passed over.
    """
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # a link back up the tree
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if (not suffixes or name.lower().endswith(suffixes)) and not name.startswith("."):
                yield Path(folder) / name


def find(root: str | Path, relative: str) -> Path | None:
    """`root`/`relative` whatever the case of its names on the disk; None if there is no such file or folder."""
    path = Path(root)
    for part in relative.split("/"):
        if (path / part).exists():
            path = path / part
            continue
        try:
            same = sorted(name for name in os.listdir(path) if name.lower() == part.lower())
        except (NotADirectoryError, FileNotFoundError):
            return None
        if not same:
            return None
        path = path / same[0]
    return path


def check_root(root: str | Path, name: str, expected: str) -> None:
    """Check that a corpus root is a directory with something in it.

    Raises:
        ValueError: it is not; `expected` says what should stand there.
    """
    if not Path(root).is_dir():
        raise ValueError(f"{root}: no such directory; expected the root of {name}: {expected}")
    if not os.listdir(root):
        raise ValueError(f"{root}: an empty directory; expected the root of {name}: {expected}")


def wrong_root(root: str | Path, name: str, expected: str) -> ValueError:
    """The error for a directory that is not this corpus: what it should hold, and what it holds."""
    held = sorted(os.listdir(root))
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return ValueError(
        f"{root}: this is not {name}: expected {expected}, but it holds {', '.join(held[:_SHOWN])}{more}; "
        "give the directory above those, or the right corpus"
    )


def order(text: str) -> str:
    """A key that shuffles names, the same on every machine: their SHA-1."""
    return hashlib.sha1(text.encode()).hexdigest()


def split_speakers(utterances: Iterable[Utterance], shares: Mapping[str, float]) -> list[Utterance]:
    """Set the part of each utterance by its speaker, so that every part has about its share of the hours.

    Speakers are taken in a shuffled but fixed order, and each goes to the part that lacks most of its share; one
    who was given to a part stays there as long as the speakers are the same. Every part gets a speaker if there
    are enough of them.

    Args:
        utterances: with durations.
        shares: part -> share of the hours; they add up to 1.

    Raises:
        ValueError: fewer speakers than parts.
    """
    utterances = list(utterances)
    seconds: Counter[str] = Counter()
    for utt in utterances:
        seconds[utt.speaker] += utt.duration
    if len(seconds) < len(shares):
        raise ValueError(f"{len(seconds)} speakers cannot make the parts {', '.join(shares)} without standing in two")
    total = seconds.total()
    held = dict.fromkeys(shares, 0.0)
    part_of = {}
    speakers = sorted(seconds, key=order)
    for number, speaker in enumerate(speakers):
        empty = [part for part in shares if part not in part_of.values()]
        choice = empty if len(empty) == len(speakers) - number else list(shares)
        part = max(choice, key=lambda part: shares[part] - held[part] / total)
        held[part] += seconds[speaker]
        part_of[speaker] = part
    return [replace(utt, part=part_of[utt.speaker]) for utt in utterances]


def take_hours(utterances: Iterable[Utterance], hours: float) -> list[Utterance]:
    """A fixed selection of this many hours, with as many utterances of each speaker as nearly as can be.

    In turn each speaker gives one utterance, in a shuffled but fixed order; all are taken if there are fewer hours.
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utt in sorted(utterances, key=lambda utt: order(utt.id)):
        by_speaker.setdefault(utt.speaker, []).append(utt)
    queues = [by_speaker[speaker] for speaker in sorted(by_speaker, key=order)]
    turns = range(max(map(len, queues), default=0))
    taken, left = [], hours * 3600
    for utt in (queue[turn] for turn in turns for queue in queues if turn < len(queue)):
        if left < utt.duration:
            break
        taken.append(utt)
        left -= utt.duration
    return sorted(taken, key=lambda utt: utt.id)


def _try_open(kind: Callable[[Path, str], Recording], path: Path, name: str) -> Recording | str:
    try:
        return kind(path, name)
    except MissingDecoder:  # the same for every file
        raise
    except (ValueError, OSError) as error:
        return str(error)


def _safe(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name)


def _gender(utt: Utterance) -> str:
    try:
        return _GENDERS[utt.gender.strip().lower()]
    except KeyError:
        raise ValueError(f"utterance {utt.id}: gender {utt.gender!r}; known: {' '.join(_GENDERS)}") from None


def _write_jsonl(path: Path, items: Iterable[Mapping[str, object]]) -> None:
    # one at a time, since there may be a million; no name or time in the header: same corpus, same bytes
    with atomic_write(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for item in items:
            packed.write((json.dumps(item, ensure_ascii=False) + "\n").encode())
