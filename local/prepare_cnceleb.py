#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of CN-Celeb 1 and 2, FLAC or WAV, and of test windows of a few seconds.

Usage:   local/prepare_cnceleb.py [--cnceleb1 DIR] [--cnceleb2 DIR] [options] OUT_DIR
Example: local/prepare_cnceleb.py --cnceleb1 /corpora/CN-Celeb_flac --cnceleb2 /corpora/CN-Celeb2_flac data/manifests

Each DIR holds data/id00000/singing-01-001.flac, or is the directory above that root. The genre is kept.

Part is `train` for CN-Celeb1's speakers of dev/dev.lst and all of CN-Celeb2's, less a fixed few with 5% of the
hours, which are `dev`; `test` for the files of eval/lists/test.lst. Without eval/ the evaluation speakers' files in
data/ are the test. `test_1s` and `test_3s` are the test's recordings in windows of 1 s and 3 s (--windows), whole
ones only.
"""

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lhotse import CutSet, MonoCut

from flowlid.corpora.corpus import Corpus, Utterance, split_speakers, take_hours
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.files import read_lines
from flowlid.left_out import MAX_BAD
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

AUDIO = (".flac", ".wav")
DEV_SHARE = 0.05
GENRES = frozenset(
    "advertisement drama entertainment interview live_broadcast movie play recitation singing speech vlog".split()
)
ROOTS = {
    "1": ("CN-Celeb_flac", "CN-Celeb_wav", "CN-Celeb"),
    "2": ("CN-Celeb2_flac", "CN-Celeb2_wav", "CN-Celeb2"),
}
EXPECTED = {"1": "data/id00000/singing-01-001.flac", "2": "data/id10000/vlog-01-001.flac"}
SPEAKERS = {"1": (1000, 997), "2": (2000, 1996)}  # of the first release and of the FLAC one
FILES = {"1": 130109, "2": 529485}
TEST_FILES = 17777


def number_of(speaker: str) -> int:
    """Number of a speaker: id00800 and above are CN-Celeb1's evaluation, id10000 and above CN-Celeb2."""
    return int(speaker.removeprefix("id"))


def is_evaluation(speaker: str) -> bool:
    """Whether a speaker is of CN-Celeb1's evaluation."""
    return 800 <= number_of(speaker) < 1000


def find_root(directory: Path, release: str) -> tuple[Path, list[str]]:
    """The directory that holds a release's data/, the given one or one below it, and the speakers in data/.

    Raises:
        ValueError: it is not this release of CN-Celeb.
    """
    name = f"CN-Celeb{release}"
    check_root(directory, name, EXPECTED[release])
    places = [directory, *(directory / root for root in ROOTS[release])]
    root = next((place for place in places if (place / "data").is_dir()), None)
    speakers = sorted(x for x in os.listdir(root / "data") if re.fullmatch(r"id\d{5}", x)) if root else []
    if not speakers:
        raise wrong_root(directory, name, EXPECTED[release])
    others = [speaker for speaker in speakers if (number_of(speaker) >= 10000) != (release == "2")]
    if others:
        other = "2" if release == "1" else "1"
        raise ValueError(
            f"{root}: {len(others)} speakers in data/, such as {others[0]}, are not of {name}; give the root of "
            f"CN-Celeb{other} as --cnceleb{other}"
        )
    log.info("%s: %s with %d speakers in data/", name, root, len(speakers))
    return root, speakers


def read_list(path: Path) -> list[str]:
    """First field of each line of a list.

    Raises:
        ValueError: not UTF-8.
    """
    return [line.split()[0] for line in read_lines(path) if line.strip()]


def add_file(corpus: Corpus, path: Path, speaker: str, name: str, release: str, part: str) -> None:
    """Add a file whose name, less the speaker, is `genre-session-segment`; leave others out."""
    match = re.fullmatch(r"(.+)-(\d+)-(\d+)", name)
    if not match or match[1] not in GENRES:
        corpus.left_out.add("stray", path, "not GENRE-SESSION-SEGMENT with a genre of CN-Celeb")
        return
    corpus.add(
        Utterance(
            id=f"cnceleb-{speaker}-{name}",
            path=path,
            speaker=f"cnceleb-{speaker}",
            language="zh",
            accent="native",
            part=part,
            custom={"genre": match[1], "release": release},
        )
    )


def add_data(corpus: Corpus, root: Path, speakers: Sequence[str], release: str, part: str) -> None:
    """Add all files of speakers in data/."""
    for speaker in speakers:
        for path in walk(root / "data" / speaker, *AUDIO):
            add_file(corpus, path, speaker, path.stem, release, part)


def find_dev_speakers(corpus: Corpus, root: Path, speakers: Sequence[str]) -> list[str]:
    """CN-Celeb1's training speakers: those of dev/dev.lst, for data/ holds the evaluation's too.

    Raises:
        ValueError: the list names an evaluation speaker.
    """
    path = find(root, "dev/dev.lst")
    if path is None:
        log.warning("%s: no dev/dev.lst: speakers below id00800 are taken for training", root)
        return [speaker for speaker in speakers if not is_evaluation(speaker)]
    listed = dict.fromkeys(read_list(path))
    for line, speaker in enumerate(listed, 1):
        if not re.fullmatch(r"id\d{5}", speaker) or number_of(speaker) >= 800:
            raise ValueError(f"{path}: entry {line}: {speaker!r} is not a development speaker, id00000 to id00799")
    report_listed(corpus, path, listed, speakers)
    for speaker in speakers:
        if not is_evaluation(speaker) and speaker not in listed:
            corpus.left_out.add("unlisted", root / "data" / speaker, f"not in {path}")
    return [speaker for speaker in speakers if speaker in listed]


def report_listed(corpus: Corpus, path: Path, listed: Collection[str], speakers: Collection[str]) -> None:
    """Leave out the speakers of a list that are not in data/."""
    log.info("%s: %d speakers", path, len(listed))
    for speaker in sorted(set(listed) - set(speakers)):
        corpus.left_out.add("missing", speaker, f"in {path}, but there is no data/{speaker}")


def add_test(corpus: Corpus, root: Path, speakers: Sequence[str]) -> None:
    """Add the test: eval/test as eval/lists/test.lst has it, with the suffix that is on the disk."""
    evaluation = [speaker for speaker in speakers if is_evaluation(speaker)]
    folder, path = find(root, "eval/test"), find(root, "eval/lists/test.lst")
    if folder is None:
        log.warning("%s: no eval/test: the test is all of data/'s %d evaluation speakers", root, len(evaluation))
        add_data(corpus, root, evaluation, "1", "test")
        return
    log.info("%s: %d evaluation speakers of data/ and eval/enroll not used", root, len(evaluation))
    if path is None:
        log.warning("%s: no eval/lists/test.lst: the test is all of eval/test", root)
    listed = None if path is None else {Path(name).stem for name in read_list(path)}
    seen = set()
    for file in walk(folder, *AUDIO):
        speaker, _, name = file.stem.partition("-")
        if listed is not None and file.stem not in listed:
            corpus.left_out.add("unlisted", file, f"not in {path}")
        elif not re.fullmatch(r"id\d{5}", speaker) or not is_evaluation(speaker):
            corpus.left_out.add("stray", file, "does not begin with an evaluation speaker, id00800 to id00999")
        else:
            add_file(corpus, file, speaker, name, "1", "test")
        seen.add(file.stem)
    for name in sorted((listed or set()) - seen):
        corpus.left_out.add("missing", name, f"in {path}, but not in {folder}")


def check_release(corpus: Corpus, root: Path, speakers: Sequence[str], release: str) -> None:
    """Compare speakers and files with what was published; the releases differ, so that these are warnings."""
    name = f"CN-Celeb{release}"
    nearest = min(SPEAKERS[release], key=lambda count: abs(count - len(speakers)))
    corpus.check_count(f"{name}: speakers in data/", len(speakers), nearest, strict=False, fatal=False)
    files = sum(1 for _ in walk(root / "data", *AUDIO))
    corpus.check_count(f"{name}: files in data/", files, FILES[release], strict=False, fatal=False)


def read_corpus(corpus: Corpus, directories: Mapping[str, Path], strict: bool) -> None:
    """Add all utterances, with part train or test, and check the counts.

    Raises:
        ValueError: a wrong root, or with `strict` other genres than the eleven.
    """
    for release, directory in directories.items():
        root, speakers = find_root(directory, release)
        check_release(corpus, root, speakers, release)
        if release == "1":
            add_data(corpus, root, find_dev_speakers(corpus, root, speakers), "1", "train")
            add_test(corpus, root, speakers)
            tests = sum(utt.part == "test" for utt in corpus.utterances)
            corpus.check_count("test files", tests, TEST_FILES, strict=False, fatal=False)
        else:
            path = find(root, "spk.lst")
            if path is None:
                log.warning("%s: no spk.lst", root)
            else:
                report_listed(corpus, path, read_list(path), speakers)
            add_data(corpus, root, speakers, "2", "train")
    if "1" not in directories:
        log.warning("cnceleb: no test, which is of CN-Celeb1 (--cnceleb1)")
    corpus.check_count("genres", len({utt.custom["genre"] for utt in corpus.utterances}), len(GENRES), strict)


def settle_parts(corpus: Corpus, hours: float) -> None:
    """Give speakers with about 5% of the training hours to dev, and limit the hours of each part (0: all)."""
    train = [utt for utt in corpus.utterances if utt.part == "train"]
    tests = [utt for utt in corpus.utterances if utt.part == "test"]
    split = split_speakers(train, {"train": 1 - DEV_SHARE, "dev": DEV_SHARE})
    sides = [[utt for utt in split if utt.part == part] for part in ("train", "dev")] + [tests]
    corpus.utterances = [utt for side in sides for utt in (take_hours(side, hours) if hours else side)]


def cut_test(corpus: Corpus, seconds: float) -> None:
    """Add the test's recordings in windows of this length as a part of their own; remainders are left out."""
    part = f"test_{seconds:g}s"
    tests = {utt.id: utt for utt in corpus.utterances if utt.part == "test"}
    cuts = CutSet.from_cuts(
        MonoCut(utt.id, utt.start, utt.duration, channel=0, recording=corpus.recordings[utt.path])
        for utt in tests.values()
    )
    whole, rest = 0, 0.0
    for window in cuts.cut_into_windows(seconds):
        name, _, number = window.id.rpartition("-")
        if window.duration < seconds:
            corpus.left_out.add(f"remainder of {part}", name, f"{window.duration:.3f} s")
            rest += window.duration
            continue
        whole += 1
        corpus.add(
            replace(
                tests[name],
                id=f"{name}-{seconds:g}s{int(number):04d}",
                part=part,
                start=window.start,
                duration=window.duration,
            )
        )
    remainders = corpus.left_out.count(f"remainder of {part}")
    log.info("%s: %d windows; %d remainders left out, %.1f s in all", part, whole, remainders, rest)
    if tests and not whole:
        log.warning("%s: no test file is as long as %g s: there is no such part", part, seconds)


def prepare(
    directories: Mapping[str, Path],
    out_dir: Path,
    strict: bool = False,
    jobs: int = 4,
    hours: float = 0.0,
    windows: Sequence[float] = (1.0, 3.0),
    max_bad: float = MAX_BAD,
) -> Corpus:
    """Write the manifests of one release or both, given by "1" and "2".

    Raises:
        ValueError: a root that is not that release, damaged files, or with `strict` other genres than published.
    """
    corpus = Corpus("cnceleb", os.path.commonpath([path.absolute() for path in directories.values()]))
    read_corpus(corpus, directories, strict)
    corpus.open(jobs, max_bad=max_bad, out_dir=out_dir)
    settle_parts(corpus, hours)
    for seconds in windows:
        cut_test(corpus, seconds)
    corpus.write(out_dir)
    return corpus


def read_windows(text: str) -> list[float]:
    """Lengths of windows in seconds, each once.

    Raises:
        ValueError: something that is not a length.
    """
    try:
        windows = sorted({float(word) for word in text.split()})
    except ValueError:
        windows = [0.0]
    if any(not 0.1 <= seconds <= 3600 for seconds in windows):
        raise ValueError(f'--windows {text!r}: expected lengths in seconds, 0.1 to 3600, such as "1 3", or ""')
    return windows


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cnceleb1", metavar="DIR", type=Path, help="root of CN-Celeb1")
    parser.add_argument("--cnceleb2", metavar="DIR", type=Path, help="root of CN-Celeb2")
    add_corpus_options(parser, counts="stop unless there are all eleven genres")
    parser.add_argument(
        "--hours", type=float, default=0, help="at most this many hours each of train, dev and test; 0: all"
    )
    parser.add_argument("--windows", default="1 3", help='lengths of test windows in seconds; "" for none')
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go")
    args = parser.parse_args()
    log_provenance()
    directories = {release: path for release, path in (("1", args.cnceleb1), ("2", args.cnceleb2)) if path}
    if not directories:
        raise ValueError("give --cnceleb1 DIR, --cnceleb2 DIR or both")
    if args.hours < 0:
        raise ValueError(f"--hours {args.hours:g}: less than nothing; 0 takes all")
    windows = read_windows(args.windows)
    prepare(directories, args.out_dir, args.check_counts == "true", args.nj, args.hours, windows, args.max_bad)


if __name__ == "__main__":
    run(main)
