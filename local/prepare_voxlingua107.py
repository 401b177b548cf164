#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of VoxLingua107: 107 languages of videos, 6,628 hours, and a checked dev set of 33 languages.

Usage:   local/prepare_voxlingua107.py [options] DIR OUT_DIR
Example: local/prepare_voxlingua107.py --languages "et fi lv" --hours-per-language 5 /corpora/vl107 data/manifests

DIR holds the unpacked archives, <language>/<video>__U__S<speaker>---<start>-<end>.wav (start and end are seconds of the
video), and dev/<language>/*.wav; --dev names another place of the dev set, with or without the folder dev/ in it.

Part is `test` for the published dev set, on which all others report, and on which they choose their epochs too: here a
fixed 2% of the videos of each training language are `dev`. Training leaves out files and videos of the test set.
Languages have today's codes: iw is he, jw is jv. Nothing is dropped for being short.
"""

import argparse
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flowlid.corpora.choice import choose_languages, held_out, take_hours_of_each
from flowlid.corpora.corpus import Corpus, Utterance
from flowlid.corpora.layout import check_root, walk, wrong_root
from flowlid.program import add_choice_options, argument_parser, corpus_arguments, run

log = logging.getLogger("flowlid")

LANGUAGES = (
    "ab af am ar as az ba be bg bn bo br bs ca ceb cs cy da de el en eo es et eu fa fi fo fr gl gn gu gv ha haw he hi "
    "hr ht hu hy ia id is it ja jv ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps "
    "pt ro ru sa sco sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi war yi yo zh"
).split()
TODAY = {"iw": "he", "jw": "jv"}  # old codes, which the archives have
TEST_FILES, TEST_LANGUAGES = 1609, 33  # of the published dev set
DEV_SHARE = 0.02  # of the videos of a training language
SHORT = 3.0  # seconds; others leave such files out, from the dev set too
EXPECTED = "<language>/*.wav of the unpacked archives, and dev/<language>/*.wav"
# from the right, since the name of a video may begin with "-", or have "-" and "_" in it
_NAME = re.compile(r"(?P<video>.+)__U__S(?P<speaker>\d+)---(?P<start>\d+\.\d+)-(?P<end>\d+\.\d+)")


@dataclass(frozen=True)
class File:
    """A file, and what its name says; video is the whole name where it has another form."""

    path: Path
    language: str
    video: str
    speaker: str
    seconds: float | None


def read_name(path: Path, language: str) -> File:
    """What the name of a file says."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return File(path, language, path.stem, "1", None)
    seconds = float(match["end"]) - float(match["start"])
    return File(path, language, match["video"], match["speaker"], seconds)


def files_of(corpus: Corpus, root: Path, skipped: tuple[str, ...] = ()) -> Iterator[File]:
    """The files of the folders of languages in `root`; other folders are left out."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in skipped):
        language = TODAY.get(folder.name, folder.name)
        if language not in LANGUAGES:
            corpus.left_out.add("folder", folder, "its name is none of the 107 languages")
            continue
        for path in walk(folder, ".wav"):
            yield read_name(path, language)


def dev_root(root: Path, dev: Path | None) -> Path | None:
    """Where the folders of the published dev set are; None if it is not there."""
    if dev is None:
        return root / "dev" if (root / "dev").is_dir() else None
    check_root(dev, "VoxLingua107's dev set", "<language>/*.wav, or dev/<language>/*.wav")
    return dev / "dev" if (dev / "dev").is_dir() else dev


def add(corpus: Corpus, file: File, part: str) -> None:
    """Add a file as an utterance of this part."""
    speaker = f"voxlingua107-{file.language}-{file.video}-s{file.speaker}"
    corpus.add(
        Utterance(
            id=f"{speaker}-{file.path.stem.rpartition('---')[2]}" if file.seconds else speaker,
            path=file.path,
            speaker=speaker,
            language=file.language,
            accent=None,
            part=part,
            custom={"video": file.video},
        )
    )


def add_test(corpus: Corpus, place: Path | None, wanted: list[str], strict: bool) -> list[File]:
    """Add the published dev set as the test, and say how much of it that is; gives its files."""
    if place is None:
        log.warning("%s: no dev/: there is no test; give the unpacked dev.zip with --dev", corpus.root)
        return []
    found = list(files_of(corpus, place))
    corpus.check_count("files of the published dev set", len(found), TEST_FILES, strict)
    corpus.check_count("languages in it", len({file.language for file in found}), TEST_LANGUAGES, strict)
    chosen = [file for file in found if file.language in wanted]
    for file in chosen:
        add(corpus, file, "test")
    short = sum(file.seconds is not None and file.seconds <= SHORT for file in chosen)
    words = "test: %d of the %d published files, %d of them of %g s or less, which others do not score"
    log.info(words, len(chosen), TEST_FILES, short, SHORT)
    return found


def add_training(corpus: Corpus, found: list[File], tests: list[File], hours: float) -> None:
    """Add the training files, part train or dev by video, but for those of the test set; --hours-per-language of train.

    How long a file is, its name says: headers of files that are not taken stay unread.
    """
    names, videos = {file.path.name for file in tests}, {file.video for file in tests}
    kept: dict[str, list[File]] = {}
    for file in found:
        if file.path.name in names or file.video in videos:
            what = "the same file is" if file.path.name in names else "another piece of its video is"
            corpus.left_out.add("in the test set", file.path, what + " in the published dev set")
        elif file.seconds is None:
            corpus.left_out.add("stray", file.path, "its name is not VIDEO__U__S1---0000.000-0010.000.wav")
        else:
            kept.setdefault(file.language, []).append(file)
    start = len(corpus.utterances)
    seconds = {}
    for files in kept.values():
        dev = held_out((file.video for file in files), DEV_SHARE)
        for file in files:
            add(corpus, file, "dev" if file.video in dev else "train")
            seconds[corpus.utterances[-1].id] = file.seconds
    timed = [replace(utt, duration=seconds[utt.id]) for utt in corpus.utterances[start:]]
    chosen = take_hours_of_each(timed, hours, ("train",))
    corpus.utterances[start:] = [replace(utt, duration=None) for utt in chosen]


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the manifests.

    Raises:
        ValueError: no VoxLingua107, an unknown language, damaged files, or (--check-counts) other counts.
    """
    check_root(args.root, "VoxLingua107", EXPECTED)
    corpus, strict = Corpus("voxlingua107", args.root), args.check_counts == "true"
    wanted = choose_languages(" ".join(TODAY.get(word, word) for word in args.languages.split()), LANGUAGES)
    place = dev_root(args.root, args.dev)
    skipped = (place.name,) if place is not None and place.parent == args.root else ()
    found = list(files_of(corpus, args.root, skipped))
    if not found:
        raise wrong_root(args.root, "VoxLingua107", EXPECTED)
    corpus.check_count("training languages", len({file.language for file in found}), len(LANGUAGES), strict)
    tests = add_test(corpus, place, wanted, strict)
    add_training(corpus, [file for file in found if file.language in wanted], tests, args.hours_per_language)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    corpus.write(args.out_dir)
    return corpus


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--dev", metavar="DIR", type=Path, help="the published dev set, if it is not DIR/dev")
    add_choice_options(parser)
    prepare(
        corpus_arguments(
            parser,
            "VoxLingua107, unpacked",
            counts="stop unless languages and dev set are complete",
        )
    )


if __name__ == "__main__":
    run(main)
