#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of FLEURS: the same sentences read in 102 languages, 12 hours of each.

Usage:   local/prepare_fleurs.py [options] DIR OUT_DIR
Example: local/prepare_fleurs.py --languages "en_us de_de cmn_hans_cn" /corpora/fleurs data/manifests

DIR is any of the layouts in which FLEURS is kept, with its archives unpacked:

    data/en_us/{train,dev,test}.tsv      data/en_us/audio/train/*.wav       as it is published now
    en_us/{train,dev,test}.tsv           en_us/audio/train/*.wav            the first release
    fleurs/metadata/en_us/train.tsv      fleurs/en_us/train/*.wav           as lhotse downloads it

`language` is the folder's name, the published class; `sentence` the number of the sentence, which is the same in all
languages, and comes again where several people read it. FLEURS does not say who speaks: each recording is a speaker of
its own. A recording without a row in the table is passed over, as by everybody else.
"""

import argparse
import logging
import re
from pathlib import Path

from flowlid.corpora.choice import choose_languages, take_hours_of_each
from flowlid.corpora.corpus import GENDERS, Corpus, Utterance
from flowlid.corpora.layout import check_root, walk, wrong_root
from flowlid.files import read_lines
from flowlid.program import add_choice_options, argument_parser, corpus_arguments, run

log = logging.getLogger("flowlid")

LANGUAGES = 102
COLUMNS = 7  # sentence, file, text, normalized text, characters, samples, gender
PARTS = {"train": "train", "dev": "dev", "validation": "dev", "test": "test"}  # table's name -> part
EXPECTED = "data/en_us/{train,dev,test}.tsv and data/en_us/audio, or fleurs/metadata/en_us and fleurs/en_us"
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[a-z]{4})?_([a-z]{2}|\d{3})")  # en_us, cmn_hans_cn, es_419


def find_tables(root: Path) -> dict[str, dict[str, Path]]:
    """Language -> part -> its table, in any layout.

    Raises:
        ValueError: none, or two of one part.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in walk(root, ".tsv"):
        language, part = path.parent.name, PARTS.get(path.stem)
        if part and _LANGUAGE.fullmatch(language):
            other = found.setdefault(language, {}).setdefault(part, path)
            if other != path:
                raise ValueError(f"{path}: {language} has {other} too; remove one copy")
    if not found:
        raise wrong_root(root, "FLEURS", EXPECTED)
    return found


def find_recordings(root: Path, language: str, part: str, table: Path) -> dict[str, Path]:
    """The recordings of a language and part by their file names."""
    places = [table.parent / "audio", table.parent.parent.parent / language]  # beside metadata/ in the last layout
    names = {name for name, of in PARTS.items() if of == part}
    found: dict[str, Path] = {}
    for place in places:
        for path in walk(place, ".wav"):
            folders = set(path.relative_to(place).parts[:-1])
            if folders & names or not folders & PARTS.keys():  # below the part's folder, or below no part's
                found.setdefault(path.name, path)
    packed = [path for place in places for path in walk(place, ".tar.gz", ".tgz") if path.name.split(".")[0] in names]
    if packed and not found:
        raise ValueError(f"{packed[0]}: not unpacked; run tar -xzf on it, where it is")
    return found


def add_part(corpus: Corpus, language: str, part: str, table: Path) -> int:
    """Add the rows of a table that have a recording; gives the number of recordings without a row."""
    recordings, named, seen = find_recordings(corpus.root, language, part, table), set(), set()
    for number, line in enumerate(read_lines(table), 1):
        cells = line.split("\t")  # nothing else: quotes are part of the text
        if len(cells) != COLUMNS:
            if line.strip():
                corpus.left_out.add("line", f"{table}:{number}", f"{len(cells)} columns, not {COLUMNS}")
            continue
        sentence, name, text, _, _, _, gender = cells
        named.add(name)
        if name not in recordings:
            corpus.left_out.add("no recording", f"{table}:{number}", f"{name} is not there")
        elif name in seen:
            corpus.left_out.add("row twice", f"{table}:{number}", f"{name} has a row before")
        else:
            seen.add(name)
            speaker = f"fleurs-{language}-{Path(name).stem}"
            corpus.add(
                Utterance(
                    id=speaker,
                    path=recordings[name],
                    speaker=speaker,
                    language=language,
                    accent=None,
                    part=part,
                    gender=gender.lower() if gender.lower() in GENDERS else None,
                    text=text,
                    custom={"sentence": sentence},
                )
            )
    return len(recordings.keys() - named)


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the manifests.

    Raises:
        ValueError: no FLEURS, an unknown language, archives that are not unpacked, damaged files, or (--check-counts)
            not 102 languages.
    """
    check_root(args.root, "FLEURS", EXPECTED)
    corpus, tables = Corpus("fleurs", args.root), find_tables(args.root)
    corpus.check_count("languages", len(tables), LANGUAGES, args.check_counts == "true")
    without_row = 0
    for language in choose_languages(args.languages, sorted(tables)):
        missing = sorted({"train", "dev", "test"} - tables[language].keys())
        if missing:
            log.warning("%s: no table of %s", language, " and ".join(missing))
        for part, table in sorted(tables[language].items()):
            without_row += add_part(corpus, language, part, table)
    if without_row:
        log.info("fleurs: %d recordings have no row and are passed over", without_row)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    corpus.utterances = take_hours_of_each(corpus.utterances, args.hours_per_language, ("train",))
    corpus.write(args.out_dir)
    return corpus


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    add_choice_options(parser)
    prepare(corpus_arguments(parser, "FLEURS, unpacked", counts="stop unless all 102 languages are there"))


if __name__ == "__main__":
    run(main)
