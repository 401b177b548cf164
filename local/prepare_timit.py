#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn TIMIT (LDC93S1) into lhotse manifests.

Usage:   local/prepare_timit.py [--sa true] [--check-counts true] ROOT OUT_DIR
Example: local/prepare_timit.py /corpora/LDC93S1/TIMIT data/manifests

ROOT has TRAIN/ and TEST/ in it, or a few levels further down (such as data/TRAIN): the original in upper or lower
case, the Kaggle copy with a .WAV.wav beside each .WAV, or a copy converted to RIFF or FLAC.

Parts: train, dev (50 speakers of TEST), test (the 24 of the core test) and test_other (all others of TEST). The two
sentences that everybody reads (SA1, SA2) are left out unless --sa true. Custom field: dialect, dr1 to dr8.
"""

import logging
import os
import re
from collections import Counter
from pathlib import Path

from flowlid.corpora.corpus import Corpus, Utterance
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

EXPECTED = "TRAIN/ and TEST/ with DR1/ to DR8/, of speakers such as DR1/FCJF0/SA1.WAV"
DEPTH = 6  # levels below ROOT where TRAIN and TEST are looked for
SUFFIXES = (".wav", ".sph", ".flac", ".wav.wav")  # a double is skipped for what comes before it
SENTENCE = re.compile(r"(dr[1-8])/([fm][a-z]{3}\d)/(s[aix]\d+)")
CORE = frozenset(
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 "
    "mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0".split()
)
DEV = frozenset(
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0 mglb0 "
    "mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0 mrcs0 mrjm4 "
    "fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1".split()
)
SPEAKERS = {"train": 462, "dev": 50, "test": 24, "test_other": 94}  # published
SENTENCES, SA_SENTENCES = 8, 2  # of each speaker


def find_tree(root: Path) -> Path:
    """The directory that holds TRAIN and TEST.

    Raises:
        ValueError: none, or two, at ROOT or a few levels below it.
    """
    found = {}
    for folder, folders, _ in os.walk(root, followlinks=True):
        train, test = find(folder, "train"), find(folder, "test")
        if (
            train
            and test
            and train.is_dir()
            and any(re.fullmatch(r"dr[1-8]", name.lower()) for name in os.listdir(train))
        ):
            found[os.path.realpath(folder)] = Path(folder)
            folders.clear()
        if len(Path(folder).relative_to(root).parts) == DEPTH:
            folders.clear()
    if not found:
        raise wrong_root(root, "TIMIT", EXPECTED)
    if len(found) > 1:
        raise ValueError(f"{root}: TIMIT is there twice: {', '.join(map(str, found.values()))}; give one of them")
    return next(iter(found.values()))


def find_speech(corpus: Corpus, folder: Path) -> dict[tuple[str, str, str], Path]:
    """Recordings below TRAIN or TEST by dialect, speaker and sentence; doubles and stray files are left out."""
    found: dict[tuple[str, str, str], list[tuple[int, Path]]] = {}
    for path in walk(folder, *SUFFIXES):
        stem, _, suffix = path.relative_to(folder).as_posix().lower().rpartition("/")[2].partition(".")
        place = path.parent.relative_to(folder).as_posix().lower()
        match = SENTENCE.fullmatch(f"{place}/{stem}")
        if match and f".{suffix}" in SUFFIXES:
            found.setdefault(match.groups(), []).append((SUFFIXES.index(f".{suffix}"), path))
        else:
            corpus.left_out.add("stray", path, "not the name of a sentence, such as DR1/FCJF0/SX127.WAV")
    for paths in found.values():
        for _, path in sorted(paths)[1:]:
            corpus.left_out.add("doubles", path, f"a copy of {min(paths)[1].name}")
    return {key: min(paths)[1] for key, paths in found.items()}


def part_of(folder: str, speaker: str) -> str:
    """Part of a speaker, as most publications have it."""
    if folder == "train":
        return "train"
    return "test" if speaker in CORE else "dev" if speaker in DEV else "test_other"


def read_text(recording: Path) -> str | None:
    """Sentence of a recording: its .TXT without the two sample numbers; None if there is none."""
    path = find(recording.parent, recording.name.partition(".")[0] + ".txt")
    if path is None:
        return None
    match = re.fullmatch(r"\d+\s+\d+\s+(\S.*)", path.read_text(encoding="latin-1").strip())
    if match is None:
        log.warning("%s: expected two numbers and a sentence; its utterance gets no transcript", path)
        return None
    return match.group(1)


def read_speakers(root: Path, tree: Path) -> dict[str, set[tuple[str, str]]]:
    """Sex and dialect of each speaker, by id without the sex letter, from SPKRINFO.TXT; empty if it is not there."""
    places = [tree] if tree == root else [tree, tree.parent]
    paths = [find(place, name) for place in places for name in ("doc/spkrinfo.txt", "spkrinfo.txt")]
    path = next((path for path in paths if path), None)
    if path is None:
        log.info("no SPKRINFO.TXT: the sex of a speaker is the first letter of its folder alone")
        return {}
    speakers: dict[str, set[tuple[str, str]]] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        cells = line.lower().split()
        if len(cells) > 3 and not line.startswith(";"):
            speakers.setdefault(cells[0], set()).add((cells[1], f"dr{cells[2]}"))
    log.info("found %s: %d speakers", path, len(speakers))
    return speakers


def add_speech(corpus: Corpus, tree: Path, with_sa: bool) -> None:
    """Add the sentences of TRAIN and TEST."""
    table = read_speakers(corpus.root, tree)
    for folder in ("train", "test"):
        found = find_speech(corpus, find(tree, folder))
        log.info("found %s: %d recordings of %d speakers", folder, len(found), len({key[1] for key in found}))
        for dialect, speaker in sorted({key[:2] for key in found}):
            listed = table.get(speaker[1:], {(speaker[0], dialect)})
            if (speaker[0], dialect) not in listed:
                log.warning("%s/%s: SPKRINFO.TXT has %s; the folder is taken", dialect, speaker, sorted(listed))
        for (dialect, speaker, sentence), path in found.items():
            if sentence.startswith("sa") and not with_sa:
                corpus.left_out.add("sa", path, "a sentence that everybody reads; --sa true keeps it")
                continue
            corpus.add(
                Utterance(
                    id=f"timit-{speaker}-{sentence}",
                    path=path,
                    speaker=f"timit-{speaker}",
                    language="en",
                    accent="native",
                    part=part_of(folder, speaker),
                    gender=speaker[0],
                    text=read_text(path),
                    custom={"dialect": dialect},
                )
            )


def check_counts(corpus: Corpus, with_sa: bool, strict: bool) -> None:
    """Hold speakers and utterances of each part against the published ones.

    Raises:
        ValueError: they differ, and `strict`.
    """
    utterances = Counter(utt.part for utt in corpus.utterances)
    for part, speakers in SPEAKERS.items():
        found = len({utt.speaker for utt in corpus.utterances if utt.part == part})
        corpus.check_count(f"speakers of {part}", found, speakers, strict)
        each = SENTENCES + (SA_SENTENCES if with_sa else 0)
        corpus.check_count(f"utterances of {part}", utterances[part], speakers * each, strict)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--sa", choices=("true", "false"), default="false", help="keep the sentences SA1 and SA2")
    add_corpus_options(parser, counts="stop if a part is not whole")
    parser.add_argument("root", type=Path, help="directory with TRAIN and TEST in it")
    parser.add_argument("out_dir", type=Path, help="where the manifests go")
    args = parser.parse_args()
    log_provenance()
    check_root(args.root, "TIMIT", EXPECTED)
    tree = find_tree(args.root)
    log.info("found TIMIT in %s", tree)
    with_sa = args.sa == "true"
    corpus = Corpus("timit", args.root)
    add_speech(corpus, tree, with_sa)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    check_counts(corpus, with_sa, args.check_counts == "true")
    corpus.write(args.out_dir)


if __name__ == "__main__":
    run(main)
