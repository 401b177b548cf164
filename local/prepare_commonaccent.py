#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make lhotse manifests of accents of English in Common Voice, split by speaker, and as CommonAccent's lists say.

Usage:   local/prepare_commonaccent.py [--lists DIR] [options] DIR OUT_DIR
Example: local/prepare_commonaccent.py --lists /corpora/CommonAccent/en /corpora/cv-corpus-13.0/en data/manifests

DIR, or one directory in it, holds clips/ and validated.tsv of a release of Common Voice (or train.tsv, dev.tsv and
test.tsv); the column is `accent` up to release 7 and `accents` later. --lists holds train.csv, dev.csv and test.csv of
CommonAccent, whose columns are ID, utt_id, wav, wav_format, text, duration and accent.

`accent` is one of CommonAccent's sixteen classes. A label counts as a whole: one that joins several accents, is empty
or free text says nothing certain, and its clips are left out. Of each accent at most --clips-per-accent clips are
taken, in turn from all its speakers (client_id). Part is by speaker: no one is in train and in dev or test. `list` is
train, dev or test where --lists names the clip: their authors split by clip, so that people are on both sides.
"""

import argparse
import csv
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from flowlid.corpora.choice import split_speakers_of_each
from flowlid.corpora.corpus import GENDERS, Corpus, Utterance, order
from flowlid.corpora.layout import check_root, wrong_root
from flowlid.files import read_lines, read_text
from flowlid.program import argument_parser, corpus_arguments, run

log = logging.getLogger("flowlid")

# code of the releases up to 7, which CommonAccent keeps -> label of later releases
ACCENTS = {
    "us": "United States English",
    "england": "England English",
    "indian": "India and South Asia (India, Pakistan, Sri Lanka)",
    "australia": "Australian English",
    "canada": "Canadian English",
    "scotland": "Scottish English",
    "african": "Southern African (South Africa, Zimbabwe, Namibia)",
    "ireland": "Irish English",
    "newzealand": "New Zealand English",
    "hongkong": "Hong Kong English",
    "philippines": "Filipino",
    "malaysia": "Malaysian English",
    "singapore": "Singaporean English",
    "wales": "Welsh English",
    "bermuda": "West Indies and Bermuda (Bahamas, Bermuda, Jamaica, Trinidad)",
    "southatlandtic": "South Atlantic (Falkland Islands, Saint Helena)",  # so written in CommonAccent
}
CODES = {label.lower(): code for code, label in ACCENTS.items()} | {code: code for code in ACCENTS}
TABLES = ("validated", "train", "dev", "test")
PARTS = ("train", "dev", "test")
EXPECTED = "clips/ and validated.tsv, or train.tsv, dev.tsv and test.tsv, of one language of Common Voice"


def find_root(root: Path) -> Path:
    """The directory with clips/ and tables; ValueError if there is none."""
    for place in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        if (place / "clips").is_dir() and any((place / f"{name}.tsv").is_file() for name in TABLES):
            return place
    raise wrong_root(root, "Common Voice", EXPECTED)


def read_rows(corpus: Corpus, root: Path) -> Iterator[dict[str, str]]:
    """Each clip's row, once: from validated.tsv, or without it from the tables of the parts."""
    names = TABLES[:1] if (root / "validated.tsv").is_file() else TABLES[1:]
    seen: set[str] = set()
    for path in (root / f"{name}.tsv" for name in names):
        lines = read_lines(path) if path.is_file() else []
        header = lines[0].split("\t") if lines else []
        column = next((name for name in ("accents", "accent") if name in header), None)
        if lines and not {"client_id", "path"} <= set(header):
            raise ValueError(f"{path}: its first line lacks client_id or path: this is no table of Common Voice")
        if lines and column is None:
            raise ValueError(f"{path}: no column `accents` or `accent`: releases such as 12 lack it; take another")
        for number, line in enumerate(lines[1:], 2):
            cells = line.split("\t")  # no quoting
            if len(cells) != len(header):
                corpus.left_out.add("line", f"{path}:{number}", f"{len(cells)} columns, not {len(header)}")
                continue
            row = dict(zip(header, cells, strict=True))
            name = Path(row["path"]).stem
            if name not in seen:
                seen.add(name)
                yield row | {"name": name, "label": row[column].strip()}


def read_lists(folder: Path | None) -> dict[str, tuple[str, str]]:
    """Part and accent of each clip by the lists of CommonAccent; ValueError if there are none in `folder`."""
    found: dict[str, tuple[str, str]] = {}
    if folder is None:
        return found
    for part in PARTS:
        path = folder / f"{part}.csv"
        if not path.is_file():
            raise ValueError(f"{path}: no such list of CommonAccent; --lists holds train.csv, dev.csv and test.csv")
        rows = csv.DictReader(io.StringIO(read_text(path)))
        if not {"wav", "accent"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: its first line lacks wav or accent; is it a list of CommonAccent?")
        for row in rows:
            found.setdefault(Path(row["wav"]).stem, (part, row["accent"].strip().lower()))
    return found


def choose_clips(rows: Iterable[Mapping[str, str]], most: int, named: Iterable[str]) -> list[Mapping[str, str]]:
    """At most so many clips of each accent, in turn from all its speakers, and all that are `named`; 0 takes all."""
    named, taken = set(named), []
    clients: dict[str, dict[str, list[Mapping[str, str]]]] = {}
    for row in sorted(rows, key=lambda row: order(row["name"])):
        clients.setdefault(row["accent"], {}).setdefault(row["client_id"], []).append(row)
    for of_client in clients.values():
        queues = [of_client[client] for client in sorted(of_client, key=order)]
        turns = range(max(map(len, queues)))
        own = [queue[turn] for turn in turns for queue in queues if turn < len(queue)]
        taken += own[: most or None] + [row for row in own[most or len(own) :] if row["name"] in named]
    return taken


def add(corpus: Corpus, row: Mapping[str, str], root: Path, lists: Mapping[str, tuple[str, str]]) -> None:
    """Add a clip; its file may lack the ending .mp3 in the table."""
    speaker = f"commonaccent-{row['client_id'][:16]}"
    part, gender = lists.get(row["name"], (None, None))[0], row.get("gender", "").split("_")[0].strip().lower()
    corpus.add(
        Utterance(
            id=f"{speaker}-{row['name']}",
            path=root / "clips" / (row["path"] if Path(row["path"]).suffix else f"{row['path']}.mp3"),
            speaker=speaker,
            language="en",
            accent=row["accent"],
            part="",
            gender=gender if gender in GENDERS else None,
            text=row.get("sentence") or None,
            custom={"list": part},
        )
    )


def settle_parts(corpus: Corpus) -> None:
    """Set parts by speaker; of one with several accents, that of most clips stands for them."""
    counts: dict[str, Counter[str]] = {}
    for utt in corpus.utterances:
        counts.setdefault(utt.speaker, Counter())[utt.accent] += 1
    several = sum(len(own) > 1 for own in counts.values())
    labels = {speaker: min(own, key=lambda name: (-own[name], name)) for speaker, own in counts.items()}
    parts = split_speakers_of_each(labels, train=0.8)
    corpus.utterances = [replace(utt, part=parts[utt.speaker]) for utt in corpus.utterances]
    if several:
        log.info("commonaccent: %d speakers have clips of several accents; all their clips are on one side", several)
    for accent, count in sorted(Counter(labels.values()).items()):
        if count < 3:
            log.warning("%s: %d speakers make no train, dev and test part", accent, count)


def say_shared(corpus: Corpus) -> None:
    """Log how many speakers of the lists' test are in their training part too."""
    sides = {side: {utt.speaker for utt in corpus.utterances if utt.custom["list"] == side} for side in PARTS}
    if sides["test"]:
        shared = len(sides["train"] & sides["test"])
        log.warning("the lists: %d of %d test speakers are in training too", shared, len(sides["test"]))


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the manifests.

    Raises:
        ValueError: no Common Voice, a release without accents, no lists where --lists says, or damaged files.
    """
    check_root(args.root, "Common Voice", EXPECTED)
    root = find_root(args.root)
    corpus, lists, rows = Corpus("commonaccent", root), read_lists(args.lists), []
    for row in read_rows(corpus, root):
        accent = lists.get(row["name"], (None, None))[1] or CODES.get(row["label"].lower())
        if accent is None:
            why = "no accent" if not row["label"] else f"{row['label'][:60]!r} is none of the {len(ACCENTS)} accents"
            corpus.left_out.add("accent", row["path"], why)
        else:
            rows.append(row | {"accent": accent})
    missing = lists.keys() - {row["name"] for row in rows}
    for name in sorted(missing):
        corpus.left_out.add("listed", name, "in a list, but in no table of this release")
    for row in choose_clips(rows, args.clips_per_accent, lists):
        add(corpus, row, root, lists)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    settle_parts(corpus)
    say_shared(corpus)
    corpus.write(args.out_dir)
    return corpus


def main() -> None:
    """Parse the command line and prepare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--lists", metavar="DIR", type=Path, help="CommonAccent's train.csv, dev.csv and test.csv")
    words = "clips of each accent at most, beside those of the lists; 0: all"
    parser.add_argument("--clips-per-accent", metavar="N", type=int, default=2000, help=words)
    args = corpus_arguments(parser, "one language of a release of Common Voice")
    if args.clips_per_accent < 0:
        raise ValueError(f"--clips-per-accent {args.clips_per_accent}: give 0 or more; 0 takes all")
    prepare(args)


if __name__ == "__main__":
    run(main)
