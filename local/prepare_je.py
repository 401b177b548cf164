#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn UME-ERJ, English read by Japanese students ("JE"), into lhotse manifests.

Usage:   local/prepare_je.py [--check-counts true] [--words true] ROOT [ROOT ...] OUT_DIR
Example: local/prepare_je.py /corpora/UME-ERJ_1 /corpora/UME-ERJ_2 /corpora/UME-ERJ_3 data/manifests

A ROOT is a volume, or all of them merged; names may be in any case. Looked for below it:
    doc/JEcontent/tab/*.tab          recording name, selection name and text of each sentence and word (Shift-JIS)
    lbl/.../<category>/scores.lst    ratings of the students, 1 (poor) to 5 (good)
    wav/JE/<site>/<speaker>/*.wav    the students, named by recording (S6_001) or by selection (S_PH_B_1_001)
    wav/AE/<speaker>/*.wav           American speakers; the model speakers of wav/MDL are left out

`score` is the mean over the categories in which an utterance was rated, each the mean over its raters; each
category has a field of its own too, such as score_sentence_segmental. Speakers are split, students and Americans each
for themselves, into 0.5 train, 0.1 dev and 0.4 test.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from flowlid.corpora.corpus import Corpus, Utterance, split_speakers
from flowlid.corpora.layout import check_root, walk, wrong_root
from flowlid.files import raise_problems
from flowlid.left_out import MAX_BAD
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

EXPECTED = "wav/JE/<site>/<speaker>/*.wav, wav/AE, lbl/.../scores.lst or doc/JEcontent/tab/*.tab"
SITES = ("dos", "hir", "iwa", "kyo", "nar", "rit", "ryu", "siz", "tei", "tkt", "toh", "tok", "tut")
STUDENTS, AMERICANS = 202, 20
RATED = {
    "sentence_segmental": 1900, "sentence_rhythm": 950, "sentence_intonation": 950,
    "word_segmental": 3784, "word_accent": 1900,
}  # fmt: skip
PARTS = {"train": 0.5, "dev": 0.1, "test": 0.4}
_STUDENT = re.compile(r"(?:.*/)?je/([^/]+)/([fm]\d+)/([^/]+)\.wav", re.IGNORECASE)
_AMERICAN = re.compile(r"(?:.*/)?ae/([fm]\d+)/([^/]+)\.wav", re.IGNORECASE)
_MODEL = re.compile(r"(?:.*/)?mdl/.*\.wav", re.IGNORECASE)
_TAB = re.compile(r"(sentence|word)(\d+)\.tab", re.IGNORECASE)
_READ = re.compile(r"([sw])\d*_.+")  # S6_001, S_PH_B_1_001, W1_001, W_PH_B_1_001
_RATED = re.compile(r"(?:.*/)?([^/]+)/([fm]\d+)/([^/]+?)(?:\.wav)?", re.IGNORECASE)
_RATING = re.compile(r"-1|0|5(\.0+)?|[1-4](\.\d+)?")

Key = tuple[str, str, str]  # site, speaker and name of a student's reading, in lower case


@dataclass(frozen=True)
class Reading:
    """A file of speech; site is None for an American speaker."""

    path: Path
    site: str | None
    speaker: str
    name: str

    @property
    def key(self) -> Key:
        return self.site or "ae", self.speaker, self.name


@dataclass
class Layout:
    """What was found below the roots; lists of scores with their category."""

    readings: list[Reading] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)
    tabs: list[Path] = field(default_factory=list)
    scores: dict[Path, str] = field(default_factory=dict)

    def add(self, root: Path, path: Path) -> bool:
        """Add a file; whether it is one of this corpus."""
        relative = path.relative_to(root).as_posix()
        if match := _STUDENT.fullmatch(relative):
            self.readings.append(Reading(path, *(part.lower() for part in match.groups())))
        elif match := _AMERICAN.fullmatch(relative):
            self.readings.append(Reading(path, None, *(part.lower() for part in match.groups())))
        elif _MODEL.fullmatch(relative):
            self.models.append(path)
        elif path.name.lower() == "scores.lst":
            self.scores[path] = category(path.relative_to(root))
        elif _TAB.fullmatch(path.name):
            self.tabs.append(path)
        else:
            self.elsewhere += [path] if path.suffix.lower() == ".wav" else []
            return False
        return True


@dataclass
class Names:
    """The two names of each reading, and its text, from the tables."""

    selection: dict[str, str] = field(default_factory=dict)
    recordings: dict[str, list[str]] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)

    def others(self, name: str) -> list[str]:
        """The names of the other kind of what `name` names."""
        return [self.selection[name]] if name in self.selection else self.recordings.get(name, [])


def category(path: Path) -> str:
    """Category of a list of scores by its folders below lbl, the speakers' sex left out.

    lbl/male-sentence/segmental/scores.lst is "sentence_segmental".
    """
    folders = [part.lower() for part in path.parts[:-1]]
    below = folders[folders.index("lbl") + 1 :] if "lbl" in folders else folders
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(re.sub(r"^(fe)?male\W*", "", part) for part in below))
    return name.strip("_") or "all"


def find_layout(roots: Sequence[Path]) -> Layout:
    """Everything of the corpus below its roots.

    Raises:
        ValueError: a root that holds nothing of it, or no student in any.
    """
    layout = Layout()
    for root in roots:
        check_root(root, "UME-ERJ", EXPECTED)
        if not sum(layout.add(root, path) for path in walk(root, ".wav", ".tab", "scores.lst")):
            raise wrong_root(root, "UME-ERJ", EXPECTED)
    students = [reading for reading in layout.readings if reading.site]
    if not students:
        raise ValueError(
            f"{', '.join(map(str, roots))}: no students of UME-ERJ, wav/JE/<site>/<speaker>/*.wav; give all volumes"
        )
    sites = Counter(reading.site for reading in students)
    log.info("students at %d sites: %s", len(sites), ", ".join(f"{site} ({n} files)" for site, n in sites.items()))
    missing, new = sorted(set(SITES) - set(sites)), sorted(set(sites) - set(SITES))
    if missing or new:
        log.warning(
            "sites known of other copies, and not here: %s; new: %s", " ".join(missing), " ".join(new) or "none"
        )
    americans = len(layout.readings) - len(students)
    for what, found in (("wav/AE", americans), ("scores.lst", len(layout.scores)), ("tables", len(layout.tabs))):
        log.log(logging.INFO if found else logging.WARNING, "files of %s: %d", what, found)
    return layout


def read_lines(path: Path) -> list[str]:
    """Lines of a text file in Shift-JIS (or UTF-8, as copies may be), with either kind of line ends.

    Raises:
        ValueError: it is in neither.
    """
    content = path.read_bytes()
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return content.decode(encoding).splitlines()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
    raise ValueError(f"{path}:{line}: neither Shift-JIS nor UTF-8; convert the file with iconv -t UTF-8")


def read_tabs(paths: Iterable[Path]) -> Names:
    """Names and texts of the tables; the versions of a kind (sentence1, sentence2) are near copies: one is read."""
    versions: dict[str, dict[int, Path]] = {}
    for path in paths:
        kind, number = _TAB.fullmatch(path.name).groups()
        versions.setdefault(kind.lower(), {}).setdefault(int(number), path)
    names = Names()
    for of_kind in versions.values():
        path = of_kind.pop(min(of_kind))
        rows, passed = 0, []
        for number, line in enumerate(read_lines(path), 1):
            fields = re.split(r"\s{2,}|\t", line.strip(), maxsplit=2)
            both = [re.sub(r"\.wav$", "", name.lower()) for name in fields[:2]]
            if len(fields) == 3 and all(map(_READ.fullmatch, both)):
                recording, selection = both
                names.selection.setdefault(recording, selection)
                names.recordings.setdefault(selection, []).append(recording)
                names.text |= {name: fields[2] for name in both if name not in names.text}
                rows += 1
            elif line.strip():
                passed.append(number)
        log.info("%s: %d rows; not read: %s", path, rows, ", ".join(map(str, of_kind.values())) or "no other version")
        if passed:
            log.warning("%s: skipped %d lines that are not rows, the first is line %d", path, len(passed), passed[0])
    return names


def read_scores(
    lists: Mapping[Path, str], keys: set[Key], names: Names, strict: bool
) -> tuple[dict[Key, dict[str, float | None]], list[str]]:
    """Mean of the positive ratings of each reading on the disk (`keys`), by category (the values of `lists`).

    None where no rater could rate it. Second, the rows whose recording is not there.

    Raises:
        ValueError: every row that is not a path and ratings, or, if `strict` or if it is all of them, whose
            recording is not there.
    """
    marks: dict[Key, dict[str, list[float]]] = {}
    problems, absent = [], []
    for path, name in lists.items():
        for number, line in enumerate(read_lines(path), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            rated, *ratings = line.split()
            key = _find(rated.replace("\\", "/"), keys, names)
            if key is None:
                absent.append(f"{path}:{number}: no recording wav/JE/{rated}; give the volume that holds it")
            wrong = [mark for mark in ratings if not _RATING.fullmatch(mark)]
            if wrong or not ratings:
                what = f"{' '.join(wrong)!r} is not a rating" if wrong else "a path without a rating"
                problems.append(f"{path}:{number}: {what}; 1 (poor) to 5 (good), 0 (not ratable) or -1 (no rater)")
            elif key is not None:
                good = [float(mark) for mark in ratings if float(mark) > 0]
                marks.setdefault(key, {}).setdefault(name, []).extend(good)
    if problems or (absent and (strict or not marks)):
        raise_problems([*problems, *absent])
    means = {key: {name: fmean(good) if good else None for name, good in own.items()} for key, own in marks.items()}
    return means, absent


def _find(rated: str, keys: set[Key], names: Names) -> Key | None:
    match = _RATED.fullmatch(rated)
    if match is None:
        return None
    site, speaker, name = (part.lower() for part in match.groups())
    candidates = ((site, speaker, one) for one in (name, *names.others(name)))
    return next((key for key in candidates if key in keys), None)


def utterance(reading: Reading, names: Names, scores: Mapping[str, float | None]) -> Utterance:
    """A reading as an utterance of part train; a name with _R is the same sentence, repeated after the model."""
    speaker = f"je-{reading.site or 'ae'}-{reading.speaker}"
    plain = re.sub(r"_r$", "", reading.name)
    known = {name: value for name, value in sorted(scores.items()) if value is not None}
    return Utterance(
        id=f"{speaker}-{reading.name}",
        path=reading.path,
        speaker=speaker,
        language="en",
        accent="japanese" if reading.site else "native",
        part="train",
        gender=reading.speaker[0],
        text=names.text.get(plain),
        custom={
            "site": reading.site,
            "item": plain if plain in names.recordings else names.selection.get(plain),
            "score": round(fmean(known.values()), 4) if known else None,
            **{f"score_{name}": round(value, 4) for name, value in known.items()},
        },
    )


def fill(corpus: Corpus, layout: Layout, names: Names, words: bool, strict: bool) -> None:
    """Add the utterances of a layout, and leave out the rest."""
    keys = {reading.key for reading in layout.readings if reading.site}
    scores, absent = read_scores(layout.scores, keys, names, strict)
    for row in absent:
        corpus.left_out.add("rated, not there", row, "--check-counts true makes this an error")
    rated = Counter(name for own in scores.values() for name in own)
    for name in sorted(set(RATED) | set(rated)):
        log.info("rated recordings of %s: %d (published: %s)", name, rated[name], RATED.get(name, "unknown"))
    none = [key for key, own in scores.items() if not any(own.values())]
    if none:
        log.info("without score: %d that nobody could rate, such as %s", len(none), "/".join(none[0]))
    for reading in layout.readings:
        match = _READ.fullmatch(reading.name)
        if match is None:
            corpus.left_out.add("name", reading.path, "neither a recording name such as S6_001 nor a selection name")
        elif match[1] == "w" and not words:
            corpus.left_out.add("words", reading.path, "a single word; --words true keeps it")
        else:
            corpus.add(utterance(reading, names, scores.get(reading.key, {}) if reading.site else {}))
    for path in layout.models:
        corpus.left_out.add("models", path, "of a model speaker, wav/MDL")
    for path in layout.elsewhere:
        corpus.left_out.add("place", path, "not in wav/JE/<site>/<speaker>, wav/AE/<speaker> or wav/MDL")


def split(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Parts by speaker, for each accent by itself; an accent of fewer than three speakers stays whole, in test."""
    found = []
    for accent in ("japanese", "native"):
        own = [utt for utt in utterances if utt.accent == accent]
        speakers = len({utt.speaker for utt in own})
        if 0 < speakers < len(PARTS):
            log.warning("all %d %s speakers go to test: too few for train, dev and test", speakers, accent)
        found += split_speakers(own, PARTS if speakers >= len(PARTS) else {"test": 1.0}) if own else []
    return found


def prepare(
    roots: Sequence[Path],
    out_dir: Path,
    words: bool = False,
    strict: bool = False,
    jobs: int = 4,
    max_bad: float = MAX_BAD,
) -> None:
    """Write the manifests of UME-ERJ.

    Raises:
        ValueError: not this corpus, bad rows of scores, too many damaged files, or, if `strict`, a rated recording
            that is not there.
    """
    layout = find_layout(roots)
    names = read_tabs(layout.tabs)
    corpus = Corpus("je", roots[0])
    fill(corpus, layout, names, words, strict)
    speakers = {(reading.site, reading.speaker) for reading in layout.readings}
    students, americans = (sum((site is None) == native for site, _ in speakers) for native in (False, True))
    corpus.check_count("Japanese students", students, STUDENTS, strict, fatal=False)
    corpus.check_count("American speakers", americans, AMERICANS, strict, fatal=False)
    corpus.open(jobs, max_bad=max_bad, out_dir=out_dir)
    corpus.utterances = split(corpus.utterances)
    with_text = sum(utt.text is not None for utt in corpus.utterances)
    scored = sum(utt.custom["score"] is not None for utt in corpus.utterances)
    log.info("of %d utterances, %d have a text and %d a score", len(corpus.utterances), with_text, scored)
    corpus.write(out_dir)


def main() -> None:
    """Parse the command line and prepare the corpus."""
    parser = argument_parser(__doc__)
    words = "keep the recordings of single words (W*) too"
    parser.add_argument("--words", choices=("true", "false"), default="false", help=words)
    add_corpus_options(parser, counts="a rated recording that is not there is an error")
    parser.add_argument("roots", metavar="ROOT", type=Path, nargs="+", help="the corpus, or each of its volumes")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go: data/manifests")
    args = parser.parse_args()
    log_provenance()
    prepare(args.roots, args.out_dir, args.words == "true", args.check_counts == "true", args.nj, args.max_bad)


if __name__ == "__main__":
    run(main)
