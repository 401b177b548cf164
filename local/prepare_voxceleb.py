#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of VoxCeleb 1 and 2, in whatever layout they were unpacked or converted to.

Usage:   local/prepare_voxceleb.py [--voxceleb1 DIR] [--voxceleb2 DIR] [options] OUT_DIR
Example: local/prepare_voxceleb.py --voxceleb1 /corpora/vox1 --voxceleb2 /corpora/vox2 data/manifests

Below each DIR, however deep, an utterance is a file `id10001/1zcIwhmdeo4/00001.wav`, or of VoxCeleb1's first
release `Some_Name/1zcIwhmdeo4_0000001.wav`; .wav, .flac and .m4a (AAC, which needs ffmpeg) are taken.
vox1_meta.csv and vox2_meta.csv are looked for in DIR, in DIR/meta and beside DIR.

Part is `test` for the official test speakers: those below a directory `test` (or vox1_test_wav), or whose Set in
the table is test. Of the other speakers a fixed few, with 5% of the files, are `dev` and the rest `train`.
"""

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowlid.corpora.corpus import Corpus, Utterance, split_speakers, take_hours
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.files import read_lines
from flowlid.left_out import MAX_BAD
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run
from flowlid.wording import some

log = logging.getLogger("flowlid")

AUDIO = (".wav", ".flac", ".m4a")
DEV_SHARE = 0.05
SHORTEST = 4.0  # seconds; no utterance of VoxCeleb is shorter
TEST_OF_1 = {f"id{number}" for number in range(10270, 10310)}
COUNTS = {  # part -> speakers, utterances, as published
    "VoxCeleb1 dev": (1211, 148642),
    "VoxCeleb1 test": (40, 4874),
    "VoxCeleb2 dev": (5994, 1092009),
    "VoxCeleb2 test": (118, 36237),
}
EXPECTED = "files such as {}id10001/1zcIwhmdeo4/00001{}"
_UTTERANCE = re.compile(r"(?:^|.*/)(id\d{5})/([\w-]{11})/(\d{5})\.\w+$", re.ASCII)
_FIRST_RELEASE = re.compile(r"(?:^|.*/)([^/\s]+)/([\w-]{11})_(\d{7})\.\w+$", re.ASCII)


@dataclass(frozen=True)
class File:
    """An utterance on the disk; speaker: the directory's name, part: "dev" or "test" if a directory says so."""

    path: Path
    speaker: str
    video: str
    number: str
    part: str | None


@dataclass(frozen=True)
class Person:
    """A row of the metadata table; an empty field is None."""

    id: str
    name: str
    gender: str | None
    nationality: str | None
    part: str | None


def find_files(root: Path, release: str) -> tuple[list[File], list[Path]]:
    """Utterances below a root, and the audio files that are none.

    Raises:
        ValueError: it is not this release of VoxCeleb, or two copies of it.
    """
    example = EXPECTED.format("dev/wav/" if release == "1" else "dev/aac/", ".wav" if release == "1" else ".m4a")
    check_root(root, f"VoxCeleb{release}", example)
    files, strays, places = [], [], Counter()
    for path in walk(root, *AUDIO):
        relative = path.as_posix()[len(root.as_posix().rstrip("/")) + 1 :]
        match = _UTTERANCE.match(relative) or (_FIRST_RELEASE.match(relative) if release == "1" else None)
        if not match:
            strays.append(path)
            continue
        above = relative[: match.start(1)].rstrip("/")
        places[above or "."] += 1
        part = next(iter(re.findall(r"(?<![^/_.-])(?:dev|test)(?![^/_.-])", above.lower())), None)
        files.append(File(path, *match.groups(), part))
    if not files:
        raise wrong_root(root, f"VoxCeleb{release}", example)
    for place, count in sorted(places.items()):
        log.info("VoxCeleb%s: %d files in %s", release, count, root / place)
    _check_release(root, release, files)
    return _converted(files, release), strays


def _check_release(root: Path, release: str, files: Sequence[File]) -> None:
    """Refuse the other release's speakers, and two releases of VoxCeleb1 in one directory."""
    numbers = {int(file.speaker[2:]) for file in files if len(file.number) == 5}
    others = [number for number in numbers if (number <= 10000) != (release == "2")]
    if others:
        other = "2" if release == "1" else "1"
        raise ValueError(
            f"{root}: {len(others)} speakers, such as id{others[0]:05d}, are of VoxCeleb{other}; "
            f"give their directory as --voxceleb{other}"
        )
    if numbers and any(len(file.number) == 7 for file in files):
        raise ValueError(
            f"{root}: both the first release of VoxCeleb1 (names as directories) and a later one (id10001), which "
            "are the same speech; give the directory of one of them"
        )


def _converted(files: Sequence[File], release: str) -> list[File]:
    """Files less the AAC ones that were converted in place."""

    def key(file: File) -> tuple[str, str, str]:
        return file.speaker, file.video, file.number

    decoded = {key(file) for file in files if file.path.suffix.lower() != ".m4a"}
    kept = [file for file in files if file.path.suffix.lower() != ".m4a" or key(file) not in decoded]
    if len(kept) < len(files):
        log.info("VoxCeleb%s: %d .m4a files skipped for their conversions", release, len(files) - len(kept))
    return kept


def read_people(root: Path, release: str) -> dict[str, Person] | None:
    """The metadata table by id; None, with a warning, if there is none.

    VoxCeleb1's has tabs, VoxCeleb2's commas with a blank before each; all fields are stripped.

    Raises:
        ValueError: a table that cannot be read.
    """
    name = f"vox{release}_meta.csv"
    places = [find(root, name), find(root, f"meta/{name}"), find(root.absolute().parent, name)]
    path = next((place for place in places if place), None)
    if path is None:
        log.warning("%s: no %s: no genders or nationalities, and test speakers by directory alone", root, name)
        return None
    lines = read_lines(path)
    mark = "\t" if lines and "\t" in lines[0] else ","
    rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=mark, quoting=csv.QUOTE_NONE)]
    people = {person.id: person for person in _people(path, rows, release)}
    log.info("%s: %d speakers", path, len(people))
    return people


def _people(path: Path, rows: Sequence[Sequence[str]], release: str) -> Iterator[Person]:
    head = [field.lower() for field in rows[0]] if rows else []
    needed = [f"voxceleb{release} id", f"vggface{release} id", "gender", "set"]
    missing = [name for name in needed if name not in head]
    if missing:
        raise ValueError(f"{path}:1: no column {', '.join(missing)}; fetch the table again")
    for line, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        fields = dict(zip(head, row, strict=False))
        person = Person(*(fields.get(name) or None for name in [*needed[:3], "nationality", "set"]))
        person = replace(
            person, gender=person.gender and person.gender.lower(), part=person.part and person.part.lower()
        )
        if not re.fullmatch(r"id\d{5}", person.id or "") or not person.name:
            raise ValueError(f"{path}:{line}: expected an id such as id10001 and a name, not {row[:2]}")
        if person.gender not in ("f", "m", None) or person.part not in ("dev", "test", None):
            raise ValueError(f"{path}:{line}: expected gender f or m, set dev or test, not {row[2:]}")
        yield person


def name_by_id(files: Sequence[File], people: Mapping[str, Person] | None, root: Path) -> list[File]:
    """Files of the first release with the speakers' ids for their names; others as they are.

    Raises:
        ValueError: names, but no table.
    """
    if all(len(file.number) == 5 for file in files):
        return list(files)
    if people is None:
        raise ValueError(f"{root}: names as directories (first release), but no vox1_meta.csv; put it in {root}")
    ids = {person.name: person.id for person in people.values()}
    return [replace(file, speaker=ids.get(file.speaker, file.speaker)) for file in files]


def find_tests(files: Iterable[File], people: Mapping[str, Person], release: str) -> set[str]:
    """Speakers of the official test: by directory, by table, and of VoxCeleb1 by number."""
    folders: dict[str, set[str]] = {}
    for file in files:
        folders.setdefault(file.speaker, set()).add(file.part or "")
    if not people and any("dev" in parts for parts in folders.values()):
        bare = [speaker for speaker, parts in folders.items() if parts == {""}]
        log.info("VoxCeleb%s: %d speakers are outside dev/: the unpacked archive of the test", release, len(bare))
        folders |= {speaker: {"test"} for speaker in bare}
    tables = {speaker: people[speaker].part for speaker in folders if speaker in people}
    tests = {speaker for speaker, parts in folders.items() if "test" in parts or tables.get(speaker) == "test"}
    tests |= TEST_OF_1 & folders.keys()
    torn = sorted(speaker for speaker in tests if "dev" in folders[speaker] or tables.get(speaker) == "dev")
    if torn:
        log.warning(
            "VoxCeleb%s: %d speakers are of the test by one of directory, table and number, but of dev by another: %s; "
            "all that they say is taken for test", release, len(torn), some(torn),
        )  # fmt: skip
    return tests


def read_release(corpus: Corpus, root: Path, release: str, strict: bool) -> None:
    """Add the utterances of a release, with part train or test."""
    files, strays = find_files(root, release)
    for path in strays:
        corpus.left_out.add("stray", path, "not SPEAKER/VIDEO/NUMBER, as an utterance of VoxCeleb is")
    people = read_people(root, release)
    files = name_by_id(files, people, root)
    unknown = sorted({file.speaker for file in files} - (people or {}).keys())
    if people is not None and unknown:
        log.warning(
            "VoxCeleb%s: %d speakers are not in the table, gender unknown: %s", release, len(unknown), some(unknown)
        )
    tests = find_tests(files, people or {}, release)
    found = {
        part: Counter(f.speaker for f in files if (f.speaker in tests) == (part == "test")) for part in ("dev", "test")
    }
    for part, seen in found.items():
        speakers, utterances = COUNTS[f"VoxCeleb{release} {part}"]
        corpus.check_count(f"speakers of VoxCeleb{release} {part}", len(seen), speakers, strict)
        # copies lose a few files
        corpus.check_count(f"utterances of VoxCeleb{release} {part}", seen.total(), utterances, strict, fatal=False)
    for file in files:
        person = (people or {}).get(file.speaker)
        corpus.add(
            Utterance(
                id=f"voxceleb-{file.speaker}-{file.video}-{file.number}",
                path=file.path,
                speaker=f"voxceleb-{file.speaker}",
                language="en",
                accent="mixed",
                part="test" if file.speaker in tests else "train",
                gender=person and person.gender,
                custom={"nationality": person and person.nationality, "release": release, "video": file.video},
            )
        )


def split_dev(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Utterances with part dev for speakers of about 5% of the training files.

    Files are counted, not hours, so that the sides are the same whether all files are opened or a few.
    """
    files = Counter(utt.speaker for utt in utterances if utt.part == "train")
    if len(files) < 2:
        raise ValueError(f"{len(files)} speakers beside the test's; train and dev need two, give more of VoxCeleb")
    stand_ins = [
        Utterance(speaker, Path(), speaker, "en", None, "train", duration=float(count))
        for speaker, count in files.items()
    ]
    chosen = split_speakers(stand_ins, {"train": 1 - DEV_SHARE, "dev": DEV_SHARE})
    dev = {utt.speaker for utt in chosen if utt.part == "dev"}
    return [replace(utt, part="dev") if utt.speaker in dev else utt for utt in utterances]


def limit(utterances: Sequence[Utterance], hours: float) -> list[Utterance]:
    """At most this many hours of each part; one whose length is not known counts as the shortest of VoxCeleb."""
    chosen: set[str] = set()
    for part in sorted({utt.part for utt in utterances}):
        own = [utt if utt.duration else replace(utt, duration=SHORTEST) for utt in utterances if utt.part == part]
        chosen.update(utt.id for utt in take_hours(own, hours))
    return [utt for utt in utterances if utt.id in chosen]


def prepare(
    roots: Mapping[str, Path],
    out_dir: Path,
    strict: bool = False,
    jobs: int = 4,
    hours: float = 0.0,
    max_bad: float = MAX_BAD,
) -> Corpus:
    """Write the manifests of one release or both, given by "1" and "2".

    Raises:
        ValueError: a root that is not that release, damaged files, or with `strict` other counts than published.
    """
    corpus = Corpus("voxceleb", os.path.commonpath([root.absolute() for root in roots.values()]))
    for release, root in roots.items():
        read_release(corpus, root, release, strict)
    corpus.utterances = split_dev(corpus.utterances)
    if hours:  # now, since the headers of a million files take long, and again when the lengths are known
        corpus.utterances = limit(corpus.utterances, hours)
    corpus.open(jobs, max_bad=max_bad, out_dir=out_dir)
    if hours:
        corpus.utterances = limit(corpus.utterances, hours)
        log.info("voxceleb: at most %g hours of each part (--hours)", hours)
    corpus.write(out_dir)
    return corpus


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--voxceleb1", metavar="DIR", type=Path, help="root of VoxCeleb1")
    parser.add_argument("--voxceleb2", metavar="DIR", type=Path, help="root of VoxCeleb2")
    add_corpus_options(parser, counts="stop unless there are as many speakers as published")
    parser.add_argument("--hours", type=float, default=0, help="at most this many hours of each part; 0: all")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go")
    args = parser.parse_args()
    log_provenance()
    roots = {release: root for release, root in (("1", args.voxceleb1), ("2", args.voxceleb2)) if root}
    if not roots:
        raise ValueError("give --voxceleb1 DIR, --voxceleb2 DIR or both")
    if args.hours < 0:
        raise ValueError(f"--hours {args.hours:g}: less than nothing; 0 takes all")
    prepare(roots, args.out_dir, args.check_counts == "true", args.nj, args.hours, args.max_bad)


if __name__ == "__main__":
    run(main)
