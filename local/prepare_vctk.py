#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of VCTK, versions 0.92 and 0.80: accents of English, 110 speakers.

Usage:   local/prepare_vctk.py [options] DIR OUT_DIR
Example: local/prepare_vctk.py --mic 2 /corpora/VCTK-Corpus-0.92 data/manifests

DIR, or a directory in it, holds speaker-info.txt, txt/p225/p225_001.txt, and wav48_silence_trimmed/p225/
p225_001_mic2.flac (0.92) or wav48/p225/p225_001.wav (0.80). Of 0.92 one microphone is taken (--mic): the same for all,
since it could pass for the accent. Those who lack it (p280 and p315 have no second one) are left out.

Accent is the word of speaker-info.txt, in small letters; speakers without one are left out. Of each accent with three
speakers or more about 60% are for training, the others by turns for test and development. Two are for training and
test, one alone is for the test: an accent that nobody has learnt.
"""

import argparse
import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from flowlid.corpora.choice import split_speakers_of_each
from flowlid.corpora.corpus import Corpus, Utterance
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.files import read_lines, read_text
from flowlid.program import argument_parser, corpus_arguments, run

log = logging.getLogger("flowlid")

SPEAKERS = (110, 109)  # of 0.92 and 0.80
EXPECTED = "speaker-info.txt, and wav48_silence_trimmed/p225/p225_001_mic2.flac or wav48/p225/p225_001.wav"
AUDIO = ("wav48_silence_trimmed", "wav48")
_SENTENCE = re.compile(r"(?P<speaker>[ps]\d+)_(?P<number>\d{3})(_mic(?P<mic>[12]))?", re.IGNORECASE)


@dataclass(frozen=True)
class Person:
    """A line of speaker-info.txt."""

    gender: str
    accent: str
    region: str | None
    age: str | None


def find_root(root: Path) -> tuple[Path, Path]:
    """The directory with speaker-info.txt, and that of the recordings.

    Raises:
        ValueError: there are none.
    """
    for place in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        for name in AUDIO:
            folder = find(place, name)
            if folder is not None and find(place, "speaker-info.txt") is not None:
                return place, folder
    raise wrong_root(root, "VCTK", EXPECTED)


def read_people(corpus: Corpus, path: Path) -> dict[str, Person]:
    """The speakers of speaker-info.txt, whose ids have a "p" in 0.92 and none in 0.80.

    A line is ID AGE GENDER ACCENT and the region, which may have blanks, may be missing, and in 0.92 is followed by a
    comment in brackets.
    """
    people = {}
    for number, line in enumerate(read_lines(path)[1:], 2):
        cells = line.partition("(")[0].split()
        if len(cells) >= 4 and re.fullmatch(r"[FM]", cells[2]):
            name = cells[0].lower()
            region = " ".join(cells[4:]) or None
            people[f"p{name}" if name.isdigit() else name] = Person(cells[2], cells[3].lower(), region, cells[1])
        elif line.strip():
            corpus.left_out.add("line", f"{path}:{number}", "not of the form ID AGE GENDER ACCENT REGION")
    return people


def add_speaker(corpus: Corpus, folder: Path, person: Person, texts: Path | None, mic: str) -> None:
    """Add the recordings of a speaker by one microphone."""
    name, before = folder.name.lower(), len(corpus.utterances)
    speaker, other = f"vctk-{name}", 0
    for path in walk(folder, ".flac", ".wav"):
        match = _SENTENCE.fullmatch(path.stem)
        if match is None or match["speaker"].lower() != name:
            corpus.left_out.add("stray", path, f"not of the form {name}_001")
        elif match["mic"] not in (None, mic):
            other += 1
        else:
            text = find(texts, f"{folder.name}/{folder.name}_{match['number']}.txt") if texts else None
            corpus.add(
                Utterance(
                    id=f"{speaker}-{match['number']}",
                    path=path,
                    speaker=speaker,
                    language="en",
                    accent=person.accent,
                    part="",
                    gender=person.gender,
                    text=None if text is None else " ".join(read_text(text).split()),
                    custom={"region": person.region, "age": person.age},
                )
            )
    if other and len(corpus.utterances) == before:
        corpus.left_out.add("microphone", folder, f"no recording by microphone {mic}")


def add_speakers(corpus: Corpus, place: Path, audio: Path, mic: str) -> None:
    """Add all speakers whose accent is known."""
    people, texts = read_people(corpus, find(place, "speaker-info.txt")), find(place, "txt")
    if texts is None:
        log.warning("%s: no txt: the recordings have no transcripts", place)
    for folder in sorted(path for path in audio.iterdir() if path.is_dir()):
        person = people.get(folder.name.lower())
        if person is None or person.accent == "unknown":
            corpus.left_out.add("accent", folder, "speaker-info.txt does not know the accent of this speaker")
        else:
            add_speaker(corpus, folder, person, texts, mic)


def settle_parts(corpus: Corpus) -> None:
    """Set the part of each utterance by its speaker."""
    parts = split_speakers_of_each({utt.speaker: utt.accent for utt in corpus.utterances})
    corpus.utterances = [replace(utt, part=parts[utt.speaker]) for utt in corpus.utterances]
    speakers = Counter({utt.speaker: utt.accent for utt in corpus.utterances}.values())
    for accent, count in sorted(speakers.items()):
        told = {1: "only tested on", 2: "without a dev speaker"}.get(count, "")
        log.info("%s: %d speakers%s", accent, count, told and f", {told}")


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the manifests.

    Raises:
        ValueError: no VCTK, damaged files, or (--check-counts) other speakers than those of the two versions.
    """
    check_root(args.root, "VCTK", EXPECTED)
    place, audio = find_root(args.root)
    corpus = Corpus("vctk", place)
    folders = sum(path.is_dir() for path in audio.iterdir())
    corpus.check_count("speakers", folders, SPEAKERS[AUDIO.index(audio.name.lower())], args.check_counts == "true")
    add_speakers(corpus, place, audio, args.mic)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    settle_parts(corpus)
    corpus.write(args.out_dir)
    return corpus


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--mic", choices=("1", "2"), default="2", help="microphone of version 0.92")
    prepare(corpus_arguments(parser, "VCTK, unpacked", counts="stop unless all speakers of the version are there"))


if __name__ == "__main__":
    run(main)
