"""From a corpus on disk to lhotse manifests: what every `local/prepare_<corpus>.py` has in common.

A preparation looks for the files that it knows (`flowlid.corpora.layout`), adds an `Utterance` per piece of speech,
opens the recordings (headers only), and writes one pair of manifests. `<name>_left_out.tsv` names what it leaves out.
"""

import gzip
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from lhotse import Recording, SupervisionSegment

from flowlid.audio.headers import MissingDecoder, open_recording
from flowlid.files import atomic_write, write_tsv
from flowlid.left_out import MAX_BAD, LeftOut

log = logging.getLogger("flowlid")

GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m"}


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
        self.left_out = LeftOut()
        self._wrong_counts: list[str] = []

    def add(self, utterance: Utterance) -> None:
        """Add an utterance."""
        self.utterances.append(utterance)

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

    def open(
        self,
        jobs: int = 4,
        kind: Callable[[Path, str], Recording] = open_recording,
        max_bad: float = MAX_BAD,
        out_dir: Path | None = None,
    ) -> None:
        """Read the headers of all recordings; those of damaged and missing files are left out with their utterances.

        Afterwards every utterance has a duration.

        Args:
            jobs: files opened at a time.
            kind: gives the recording of (path, id); raises ValueError for a damaged file.
            max_bad: share of the utterances that may be lost.
            out_dir: where `<name>_left_out.tsv` goes if more are.

        Raises:
            ValueError: no utterance, two of one id, a decoder that is not installed, or more than `max_bad` of the
                utterances in damaged files.
        """
        self._check_ids()
        ids = self._recording_ids()
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            opened = dict(zip(ids, pool.map(lambda item: _try_open(kind, *item), ids.items()), strict=True))
        self.recordings |= {path: found for path, found in opened.items() if isinstance(found, Recording)}
        for utt in self.utterances:
            if utt.path not in self.recordings:
                reason = "damaged" if utt.path.exists() else "missing"
                why = opened[utt.path].removeprefix(f"{utt.path}: ")
                self.left_out.add_bad(reason, utt.path, why, utt.id, (utt.part, utt.language))
        self.check_bad(max_bad, out_dir)
        self.utterances = [self._timed(utt) for utt in self.utterances if utt.path in self.recordings]

    def check_bad(self, max_bad: float, out_dir: Path | None) -> None:
        """Log how many utterances, by part and language, cannot be used.

        Raises:
            ValueError: more than `max_bad` of all, or, unless that is 0, more than one of a few.
        """
        everything = Counter((utt.part, utt.language) for utt in self.utterances)
        max_bad = max(max_bad, 1 / len(self.utterances)) if max_bad else 0
        reasons = None if out_dir is None else out_dir / f"{self.name}_left_out.tsv"
        for line in self.left_out.check(everything, max_bad, self.root, reasons):
            log.warning("%s: %s", self.name, line)

    def _check_ids(self) -> None:
        if not self.utterances:
            raise ValueError(f"{self.root}: no speech of {self.name} found in it")
        twice = [name for name, count in Counter(utt.id for utt in self.utterances).items() if count > 1]
        if twice:
            paths = [str(utt.path) for utt in self.utterances if utt.id == twice[0]]
            raise ValueError(
                f"{self.root}: {len(twice)} utterance ids are there twice, such as {twice[0]} "
                f"({', '.join(paths[:2])}); remove one copy"
            )

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

        Counts go to `<name>_summary.tsv`; `<name>_left_out.tsv` names what was left out. The same corpus gives the
        same bytes.
        """
        out_dir = Path(out_dir)
        utterances = sorted(self.utterances, key=lambda utt: utt.id)
        used = {self.recordings[utt.path].id: self.recordings[utt.path] for utt in utterances}
        write_jsonl(out_dir / f"{self.name}_recordings.jsonl.gz", (used[name].to_dict() for name in sorted(used)))
        supervisions = (self._supervision(utt).to_dict() for utt in utterances)
        write_jsonl(out_dir / f"{self.name}_supervisions.jsonl.gz", supervisions)
        rows = self._summary(utterances)
        write_tsv(out_dir / f"{self.name}_summary.tsv", rows)
        rates = Counter(recording.sampling_rate for recording in used.values())
        log.info("%s: sampled at %s", self.name, ", ".join(f"{rate} Hz ({n} files)" for rate, n in rates.items()))
        for line in self.left_out.write(out_dir / f"{self.name}_left_out.tsv"):
            log.info("%s: %s", self.name, line)
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
            gender=None if utt.gender is None else read_gender(utt.gender, f"utterance {utt.id}"),
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
        raise ValueError(f"{len(seconds)} speakers are too few for the parts {', '.join(shares)}")
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


def read_gender(word: str, where: str) -> str:
    """ "f" or "m" of a word for it, such as "Female"; ValueError, with `where`, for any other."""
    gender = GENDERS.get(word.strip().lower())
    if gender is None:
        raise ValueError(
            f"{where}: gender {word!r} is none of {' '.join(GENDERS)}; correct it where the corpus is prepared"
        )
    return gender


def write_jsonl(path: Path, items: Iterable[Mapping[str, object]]) -> None:
    """Write a manifest: one JSON object per line, gzip; the same items give the same bytes."""
    # one at a time, since there may be a million; no name or time in the header
    with atomic_write(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for item in items:
            packed.write((json.dumps(item, ensure_ascii=False) + "\n").encode())
