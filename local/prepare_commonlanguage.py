#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of CommonLanguage: 45 languages of Common Voice, 45 hours.

Usage:   local/prepare_commonlanguage.py [options] DIR OUT_DIR
Example: local/prepare_commonlanguage.py /corpora/CommonLanguage data/manifests

DIR holds, at any depth, a directory for each language with train/, dev/ and test/, and in them SPEAKER/FILE.wav:
common_voice_kpd/Japanese/test/jpn_tst_sp_1/common_voice_ja_20000001.wav. What else is there, such as the noise/ and
rir/ that other toolkits put beside them, is no language. Sentence, age and gender come from train.csv, dev.csv and
test.csv of each language (UTF-16 and separated by tabs, whatever their name says); a file without a row is taken all
the same.

`language` is the locale of Common Voice (zh-CN, zh-HK and zh-TW are three classes), `name` the directory's name.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from flowlid.corpora.choice import choose_languages, take_hours_of_each
from flowlid.corpora.corpus import GENDERS, Corpus, Utterance
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.program import add_choice_options, argument_parser, corpus_arguments, run
from flowlid.wording import some

log = logging.getLogger("flowlid")

LANGUAGES = {
    "Arabic": "ar", "Basque": "eu", "Breton": "br", "Catalan": "ca", "Chinese_China": "zh-CN",
    "Chinese_Hongkong": "zh-HK", "Chinese_Taiwan": "zh-TW", "Chuvash": "cv", "Czech": "cs", "Dhivehi": "dv",
    "Dutch": "nl", "English": "en", "Esperanto": "eo", "Estonian": "et", "French": "fr", "Frisian": "fy-NL",
    "Georgian": "ka", "German": "de", "Greek": "el", "Hakha_Chin": "cnh", "Indonesian": "id", "Interlingua": "ia",
    "Italian": "it", "Japanese": "ja", "Kabyle": "kab", "Kinyarwanda": "rw", "Kyrgyz": "ky", "Latvian": "lv",
    "Maltese": "mt", "Mangolian": "mn", "Persian": "fa", "Polish": "pl", "Portuguese": "pt", "Romanian": "ro",
    "Romansh_Sursilvan": "rm-sursilv", "Russian": "ru", "Sakha": "sah", "Slovenian": "sl", "Spanish": "es",
    "Swedish": "sv-SE", "Tamil": "ta", "Tatar": "tt", "Turkish": "tr", "Ukrainian": "uk", "Welsh": "cy",
}  # fmt: skip
PARTS = {"train": 22194, "dev": 5888, "test": 5963}  # published files of each
EXPECTED = "a directory for each language with train, dev and test: common_voice_kpd/Japanese/test/SPEAKER/FILE.wav"


def find_languages(root: Path) -> dict[str, Path]:
    """Directory of each language below `root`, by its name on the disk.

    Raises:
        ValueError: none, or two of one language.
    """
    found: dict[str, Path] = {}
    for path in sorted([root, *(path for path in root.glob("*/") if not path.name.startswith("."))]):
        for folder in sorted(path.iterdir()) if path.is_dir() else []:
            if folder.is_dir() and all((folder / part).is_dir() for part in PARTS):
                if folder.name in found:
                    raise ValueError(f"{folder}: {folder.name} is in {found[folder.name]} too; remove one copy")
                found[folder.name] = folder
    if not found:
        raise wrong_root(root, "CommonLanguage", EXPECTED)
    return found


def read_rows(corpus: Corpus, path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that have all six columns; others are left out."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        lines = content.decode(encoding).replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not {encoding.upper()} ({error.reason}); fetch the file again") from error
    header = [name.strip() for name in lines[0].split("\t")]
    if "path" not in header:
        raise ValueError(f"{path}: no column `path` in its first line, which has {some(header)}; tabs separate them")
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) == len(header):
            yield dict(zip(header, cells, strict=True))
        elif line.strip():
            corpus.left_out.add("line", f"{path}:{number}", f"{len(cells)} columns, not {len(header)}")


def add_part(corpus: Corpus, language: Path, part: str) -> None:
    """Add the recordings of one language and part; rows without a recording are left out."""
    table, rows = find(language, f"{part}.csv"), {}
    if table is None:
        log.warning("%s: no %s.csv: sentences and genders of this part are not known", language, part)
    else:
        rows = {Path(row["path"]).stem: row for row in read_rows(corpus, table)}
    heard, code = set(), LANGUAGES[language.name]
    for path in walk(language / part, ".wav"):
        if path.parent.parent != language / part:
            corpus.left_out.add("stray", path, f"not in the directory of a speaker of {part}")
            continue
        heard.add(path.stem)
        speaker, row = f"commonlanguage-{code}-{path.parent.name}", rows.get(path.stem, {})
        corpus.add(
            Utterance(
                id=f"{speaker}-{path.stem}",
                path=path,
                speaker=speaker,
                language=code,
                accent=None,
                part=part,
                gender=known_gender(row),
                text=row.get("sentence") or None,
                custom={"name": language.name, "age": row.get("age") or None},
            )
        )
    for name in sorted(rows.keys() - heard):
        corpus.left_out.add("no recording", f"{table}: {name}", "a row without audio")


def known_gender(row: Mapping[str, str]) -> str | None:
    """The gender of a row, None where it is empty or "other"."""
    word = row.get("gender", "").strip().lower()
    return word if word in GENDERS else None


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the manifests.

    Raises:
        ValueError: no CommonLanguage, an unknown language, damaged files, or (--check-counts) not 45 languages.
    """
    check_root(args.root, "CommonLanguage", EXPECTED)
    corpus, found = Corpus("commonlanguage", args.root), find_languages(args.root)
    for name in sorted(found.keys() - LANGUAGES.keys()):
        corpus.left_out.add("language", found.pop(name), "none of CommonLanguage's 45")
    strict = args.check_counts == "true"
    corpus.check_count("languages", len(found), len(LANGUAGES), strict)
    wanted = choose_languages(args.languages, LANGUAGES.values())
    for name, folder in found.items():
        if LANGUAGES[name] in wanted:
            for part in PARTS:
                add_part(corpus, folder, part)
    if len(wanted) == len(LANGUAGES):
        for part, count in PARTS.items():
            there = sum(utt.part == part for utt in corpus.utterances)
            corpus.check_count(f"files of {part}", there, count, strict, fatal=False)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    corpus.utterances = take_hours_of_each(corpus.utterances, args.hours_per_language, ("train",))
    corpus.write(args.out_dir)
    return corpus


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    add_choice_options(parser)
    prepare(corpus_arguments(parser, "CommonLanguage, unpacked", counts="stop unless all 45 languages are there"))


if __name__ == "__main__":
    run(main)
