#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn WSJ0 and WSJ1 (LDC93S6A or B, LDC94S13A or B) into lhotse manifests.

Usage:   local/prepare_wsj.py [--hours 50] [--check-counts true] ROOT [ROOT ...] OUT_DIR
Example: local/prepare_wsj.py /corpora/LDC93S6B /corpora/LDC94S13B data/manifests

The ROOTs hold wsj0/ or wsj1/, merged, or disc by disc (11-1.1/wsj0/...), also below folders of packages; names in
any case; .wv1, or copies converted to .wav or .flac. The close-talk microphone alone is used. The discs' index files
(.ndx) say which recordings make a set; where they are missing, its folder does, and the log says so.

Parts: train and test share --hours of the training speech (si284, or si84 without WSJ1), 9 to 1 by speaker; dev
(dev93), eval92 and eval93 are other speakers. Custom field: set (si_tr_s, dev93, eval92, ...).
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowlid.corpora.corpus import Corpus, Utterance, split_speakers, take_hours
from flowlid.corpora.layout import check_root, walk, wrong_root
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

EXPECTED = "wsj0/ or wsj1/, as they are or on discs (11-1.1/wsj0/...), with si_tr_s/01i/01ic0201.wv1 and so on"
SUFFIXES = (".wav", ".flac", ".wv1.wav", ".wv1.flac", ".wv1")  # a converted copy needs no decoder
OTHER_MICROPHONE = (".wv2", ".wv2.wav", ".wv2.flac")
READ = "co"  # types of speech that are read sentences; a (adaptation), s (spontaneous), x are others
DROPPED = "wsj0/si_tr_s/401/"
WITHOUT = {"wsj0": "no si84 among the training speech, no eval92", "wsj1": "si84 is all the training speech, no dev93"}
SHARES = {"train": 0.9, "test": 0.1}


@dataclass(frozen=True)
class Source:
    """What makes a set: an index, or all read speech in a folder; and how many recordings are published."""

    name: str
    path: str
    count: int | None = None


# what may make each set: the first that gives recordings is taken
SETS = {
    "si84": (Source("si_tr_s", "wsj0/doc/indices/train/tr_s_wv1.ndx", 7138), Source("si_tr_s", "wsj0/si_tr_s", 7138)),
    "si200": (Source("si_tr_s", "wsj1/doc/indices/si_tr_s.ndx", 30278), Source("si_tr_s", "wsj1/si_tr_s", 30278)),
    "dev": (
        Source("dev93", "wsj1/doc/indices/h1_p0.ndx", 503),
        Source("dev93", "wsj1/si_dt_20", 503),
        Source("dev93_5k", "wsj1/doc/indices/h2_p0.ndx", 513),
        Source("dev93_5k", "wsj1/si_dt_05", 513),
        Source("si_dt_20", "wsj0/si_dt_20"),
        Source("si_dt_05", "wsj0/si_dt_05"),
    ),
    "eval92": (
        Source("eval92", "wsj0/doc/indices/test/nvp/si_et_20.ndx", 333),
        Source("eval92", "wsj0/si_et_20", 333),
        Source("eval92_5k", "wsj0/doc/indices/test/nvp/si_et_05.ndx", 330),
        Source("eval92_5k", "wsj0/si_et_05", 330),
    ),
    "eval93": (
        Source("eval93", "wsj1/doc/indices/wsj1/eval/h1_p0.ndx", 213),
        Source("eval93", "wsj1/si_et_h1/wsj64k", 213),
        Source("eval93_5k", "wsj1/doc/indices/wsj1/eval/h2_p0.ndx", 213),
        Source("eval93_5k", "wsj1/si_et_h2/wsj5k", 213),
    ),
}


@dataclass
class Discs:
    """What is on the disk. Keys are lower-case paths from wsj0 or wsj1 on, whatever disc they are on.

    Attributes:
        speech: recordings by path without suffix: "wsj0/si_tr_s/01i/01ic0201".
        indices: index files by path.
        dots: transcripts by name: "01ic0200".
        tables: of speakers.
        stray: sound files that are not recordings of WSJ.
        passed: how many recordings are of the second microphone, or copies of one.
    """

    speech: dict[str, Path] = field(default_factory=dict)
    indices: dict[str, Path] = field(default_factory=dict)
    dots: dict[str, Path] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    stray: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path) -> bool:
        """Add a file; whether it is one of WSJ."""
        lower = path.absolute().as_posix().lower()
        stem, suffix = path.name.lower().partition(".")[0], _suffix(path)
        if suffix == ".dot" and re.fullmatch(r"\w{6}00", stem):
            self.dots.setdefault(stem, path)
        elif suffix == ".ndx" and (match := re.search(r"/(wsj[01]/doc/indices/.*)", lower)):
            self.indices.setdefault(match.group(1), path)
        elif match := re.fullmatch(r".*/(wsj[01]/(?:[^/]+/)+(\w{3})/\2\w{5})\..*", lower):
            return self._add_speech(match.group(1), suffix, path)
        elif suffix in SUFFIXES:
            self.stray.append(path)
            return False
        else:
            if lower.endswith("spkrinfo.txt"):  # TIMIT has one too
                self.tables.append(path)
            return False
        return True

    def _add_speech(self, key: str, suffix: str, path: Path) -> bool:
        if suffix in OTHER_MICROPHONE:
            self.passed["second microphone"] += 1
        elif suffix in SUFFIXES:
            other = self.speech.get(key)
            if other is not None:
                self.passed["doubles"] += 1
            if other is None or SUFFIXES.index(suffix) < SUFFIXES.index(_suffix(other)):
                self.speech[key] = path
        return suffix in OTHER_MICROPHONE + SUFFIXES


def find_discs(corpus: Corpus, roots: Sequence[Path]) -> Discs:
    """Look through all roots, and say what is there.

    Raises:
        ValueError: a root without anything of WSJ, or no recordings.
    """
    discs = Discs()
    for root in roots:
        if not sum([discs.add(path) for path in walk(root)]):
            raise wrong_root(root, "WSJ", EXPECTED)
    if not discs.speech:
        raise ValueError(f"{corpus.root}: no recordings of WSJ's close-talk microphone in it; expected {EXPECTED}")
    for path in discs.stray:
        corpus.left_out.add("stray", path, "not the name of a recording, such as wsj0/si_tr_s/01i/01ic0201.wv1")
    for place, count in sorted(Counter(key.rsplit("/", 2)[0] for key in discs.speech).items()):
        log.info("found %s: %d recordings", place, count)
    suffixes = Counter(_suffix(path) for path in discs.speech.values())
    log.info("recordings by suffix: %s; skipped: %s", dict(suffixes), dict(discs.passed) or "nothing")
    if set(suffixes) - {".wv1"}:
        log.info("converted recordings are taken for the close-talk microphone, unless their name has .wv2")
    lengths = len(discs.indices), len(discs.dots), len(discs.tables)
    log.info("found %d indices, %d files of transcripts, %d tables of speakers", *lengths)
    return discs


def _suffix(path: Path) -> str:
    return "." + path.name.lower().partition(".")[2]


def read_index(path: Path) -> list[str]:
    """Recordings of an index, lower case and without suffix: `11_1_1: wsj0/si_tr_s/01i/01ic0201.wv1`; `;` comments.

    The disc is not looked at: the index of eval93 names a wrong one.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        if match := re.fullmatch(r"(?:\w+:)?\s*/?(wsj[01]/\S*/\w{8})(?:\.\w+)?", line.strip().lower()):
            entries.append(match.group(1))
        elif line.strip() and not line.startswith(";"):
            log.warning("%s: line %d: skipped %r: not DISC:PATH, as 11_1_1:wsj0/...", path, number, line)
    return entries


def choose(corpus: Corpus, discs: Discs, source: Source) -> list[str]:
    """Keys of the recordings of an index or a folder; those of the index that are not there are left out."""
    if not source.path.endswith(".ndx"):
        own = sorted(key for key in discs.speech if key.startswith(f"{source.path}/"))
        read = [key for key in own if key.rpartition("/")[2][3] in READ]
        if read:
            log.warning("%s: no index of it, so all %d read recordings of the folder", source.path, len(read))
            log.info("%s: skipped %d that are not of type %s", source.path, len(own) - len(read), " or ".join(READ))
        return _without_dropped(corpus, read)
    if source.path not in discs.indices:
        return []
    entries = _without_dropped(corpus, read_index(discs.indices[source.path]))
    listed = list(dict.fromkeys(entries))
    found = [key for key in listed if key in discs.speech]
    log.info("%s: %d of %d recordings are there", discs.indices[source.path], len(found), len(listed))
    if found:
        absent = Counter(key.rpartition("/")[0] for key in listed if key not in discs.speech)
        for folder, count in absent.items():
            corpus.left_out.add("missing", folder, f"{count} recordings of {source.path} are not there")
    return found


def _without_dropped(corpus: Corpus, keys: list[str]) -> list[str]:
    kept = [key for key in keys if not key.startswith(DROPPED)]
    if len(kept) < len(keys):
        corpus.left_out.add("dropped", DROPPED, f"{len(keys) - len(kept)} recordings; the usual si84 is without them")
    return kept


def read_genders(tables: Sequence[Path]) -> dict[str, str]:
    """Sex of each speaker: columns 1 and 2 of the tables; f or m."""
    genders: dict[str, str] = {}
    for path in tables:
        for line in path.read_text(encoding="latin-1").lower().splitlines():
            cells = line.split()
            if len(cells) > 1 and not line.startswith(";") and cells[1] in ("f", "m"):
                if genders.setdefault(cells[0], cells[1]) != cells[1]:
                    log.warning("%s: speaker %s is %s, but %s elsewhere", path, cells[0], cells[1], genders[cells[0]])
    return genders


def clean_text(text: str) -> str:
    r"""Words of a transcript: without [noises], the marks < > * ~ \ ! and :, and the sign before a spoken one.

    `,COMMA` is COMMA: it was spoken.
    """
    words = re.sub(r"\[[^\]]*\]|[<>*~\\!:]", "", text).upper().split()
    words = [re.sub(r"^(?:[^\w']+|'(?=SINGLE|CLOSE))", "", word) for word in words]
    return " ".join(word for word in words if word)


def read_texts(dots: Mapping[str, Path], keys: Sequence[str]) -> dict[str, str]:
    """Transcripts of these recordings, by name, as far as there are any."""
    texts = {}
    for stem in sorted({key[-8:-2] + "00" for key in keys} & set(dots)):
        for line in dots[stem].read_text(encoding="latin-1").splitlines():
            match = re.fullmatch(r"(.*)\((\w{8})\)\s*", line)
            if match and (text := clean_text(match.group(1))):
                texts[match.group(2).lower()] = text
    return texts


def add_sets(corpus: Corpus, discs: Discs, strict: bool) -> dict[Source, set[str]]:
    """Add the utterances of all sets; gives the ids of each source that was taken.

    Raises:
        ValueError: no training speech; or, if `strict`, a set of which nothing is there, though its corpus is.
    """
    halves = {key[:4] for key in discs.speech}
    for half in sorted(set(WITHOUT) - halves):
        log.warning("no recordings of %s: %s", half, WITHOUT[half])
    genders = read_genders(discs.tables)
    taken = {}
    for name, sources in SETS.items():
        source, keys = next(((one, keys) for one in sources if (keys := choose(corpus, discs, one))), (None, []))
        if source:
            part = "train" if source.name == "si_tr_s" else name
            texts = read_texts(discs.dots, keys)
            utterances = [_utterance(key, discs.speech[key], source, part, genders, texts) for key in keys]
            for utt in utterances:
                corpus.add(utt)
            taken[source] = {utt.id for utt in utterances}
            log.info("%s: %d of %d have a transcript", source.path, sum(bool(u.text) for u in utterances), len(keys))
        elif sources[0].path[:4] in halves:
            corpus.check_count(f"recordings of {name}", 0, sources[0].count, strict)
    if "train" not in {utt.part for utt in corpus.utterances}:
        raise ValueError(f"{corpus.root}: no training speech in it: expected wsj0/si_tr_s or wsj1/si_tr_s")
    unknown = {utt.speaker for utt in corpus.utterances if utt.gender is None}
    log.info("sex is not known of %d speakers (no table of WSJ0's training speakers is on its discs)", len(unknown))
    return taken


def _utterance(
    key: str, path: Path, source: Source, part: str, genders: Mapping[str, str], texts: Mapping[str, str]
) -> Utterance:
    speaker, stem = key.split("/")[-2:]
    return Utterance(
        id=f"wsj-{speaker}-{stem}",
        path=path,
        speaker=f"wsj-{speaker}",
        language="en",
        accent="native",
        part=part,
        gender=genders.get(speaker),
        text=texts.get(stem),
        custom={"set": source.name},
    )


def select_hours(corpus: Corpus, hours: float) -> None:
    """Keep a selection of the training speech, and hold a tenth of its speakers out as test."""
    others = [utt for utt in corpus.utterances if utt.part != "train"]
    train = [utt for utt in corpus.utterances if utt.part == "train"]
    for speaker in sorted({utt.speaker for utt in others} & {utt.speaker for utt in train}):
        corpus.left_out.add("in dev or eval", speaker, "its training speech, since it is in dev or eval too")
        train = [utt for utt in train if utt.speaker != speaker]
    held = sum(utt.duration for utt in train) / 3600
    if held < hours < math.inf:
        log.warning("--hours %g: there are only %.2f hours of training speech; all are taken", hours, held)
    chosen = take_hours(train, hours)
    log.info("%d of %d training utterances taken, of %.2f hours", len(chosen), len(train), held)
    kept = {utt.id for utt in chosen}
    for utt in train:
        if utt.id not in kept:
            corpus.left_out.add("not among the hours", utt.id, f"beyond --hours {hours:g}")
    corpus.utterances = split_speakers(chosen, SHARES) + others


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--hours", type=float, default=50, help="of training speech for train and test; 0: all")
    add_corpus_options(parser, counts="stop if a set is not whole")
    parser.add_argument("roots", nargs="+", type=Path, metavar="root", help="directory with wsj0, wsj1 or discs in it")
    parser.add_argument("out_dir", type=Path, help="where the manifests go")
    args = parser.parse_args()
    log_provenance()
    if not args.hours >= 0:
        raise ValueError(f"--hours {args.hours:g}: expected 0, for all, or more")
    for root in args.roots:
        check_root(root, "WSJ", EXPECTED)
    strict = args.check_counts == "true"
    corpus = Corpus("wsj", args.roots[0])
    taken = add_sets(corpus, find_discs(corpus, args.roots), strict)
    corpus.open(args.nj, max_bad=args.max_bad, out_dir=args.out_dir)
    opened = {utt.id for utt in corpus.utterances}
    for source, ids in taken.items():
        if source.count:
            corpus.check_count(f"recordings of {source.path}", len(ids & opened), source.count, strict)
    select_hours(corpus, args.hours or math.inf)
    corpus.write(args.out_dir)


if __name__ == "__main__":
    run(main)
