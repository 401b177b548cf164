#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn speechocean762, Mandarin speakers of English with scores, into lhotse manifests.

Usage:   local/prepare_speechocean.py [--check-counts true] ROOT OUT_DIR
Example: local/prepare_speechocean.py /corpora/speechocean762 data/manifests

ROOT holds WAVE, train, test and resource, in any case. What train/wav.scp and test/wav.scp name is taken, and nothing
else: WAVE holds more files. Scores are those of resource/scores.json, or the means over the experts of
resource/scores-detail.json; a copy that has neither has no scores. `score` is the sentence's total;
score_accuracy, score_fluency, score_prosodic and score_completeness are fields too, all from 0 to 10.

The part is that of the list, but a tenth of the training speakers becomes dev.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from flowlid.corpora.corpus import Corpus, Utterance, split_speakers
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.files import raise_problems, read_content, read_text
from flowlid.left_out import MAX_BAD
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

EXPECTED = "WAVE, train/wav.scp, train/utt2spk, test/wav.scp, test/utt2spk and resource"
NEEDED = ("train/wav.scp", "train/utt2spk", "test/wav.scp", "test/utt2spk", "WAVE")
UTTERANCES, SPEAKERS, FILES = 2500, 125, 5245
DETAILS = ("accuracy", "fluency", "prosodic", "completeness")
PARTS = {"train": 0.9, "dev": 0.1}
_FORMS = {
    "wav.scp": (r"\S.*", "a path below the corpus's root"),
    "utt2spk": (r"\S+", "one speaker"),
    "text": (r".*", "a text"),
    "spk2gender": (r"[mfMF]", "m or f"),
    "spk2age": (r"\d{1,3}", "a number of years"),
}
_SHOWN = 5

Lists = dict[str, dict[str, str]]
Scores = dict[str, dict[str, float]]


def find_corpus(root: Path) -> Path:
    """The directory with the lists: `root`, or speechocean762 in it.

    Raises:
        ValueError: it is neither; what is missing is named.
    """
    check_root(root, "speechocean762", EXPECTED)
    place = find(root, "speechocean762") or root
    missing = [name for name in NEEDED if find(place, name) is None]
    if missing:
        raise wrong_root(place, "speechocean762", f"{EXPECTED} (missing: {', '.join(missing)})")
    lists = [f"{part}/{name}" for part in ("train", "test") for name in _FORMS]
    missing = [name for name in lists if find(place, name) is None]
    log.info("%s: found WAVE and %s", place, " ".join(name for name in lists if name not in missing))
    if missing:
        log.warning("%s: missing, and continuing without: %s", place, " ".join(missing))
    return place


def read_lists(root: Path) -> dict[str, Lists]:
    """The lists of train and test: part -> name -> key -> value; one that is missing is empty.

    Raises:
        ValueError: every row that is not a key and its value, or is there twice, or an utterance without speaker.
    """
    parts: dict[str, Lists] = {}
    problems: list[str] = []
    for part in ("train", "test"):
        parts[part] = {}
        for name in _FORMS:
            path = find(root, f"{part}/{name}")
            parts[part][name] = _read_list(path, name, problems) if path else {}
        for utt in parts[part]["wav.scp"].keys() - parts[part]["utt2spk"].keys():
            problems.append(f"{root / part}: utterance {utt} of wav.scp is not in utt2spk; add its speaker")
    shared = set(parts["train"]["utt2spk"].values()) & set(parts["test"]["utt2spk"].values())
    if shared:
        names = " ".join(sorted(shared)[:_SHOWN])
        problems.append(f"{root}: {len(shared)} speakers are in train and in test, such as {names}; fetch it again")
    raise_problems(problems)
    return parts


def _read_list(path: Path, name: str, problems: list[str]) -> dict[str, str]:
    """Rows of a list, key and value with TAB or blank between, in any order."""
    form, meaning = _FORMS[name]
    table: dict[str, str] = {}
    for number, line in enumerate(read_content(path).splitlines(), 1):
        try:
            key, value = (*line.decode().strip().split(None, 1), "", "")[:2]
        except UnicodeDecodeError:
            problems.append(f"{path}:{number}: not UTF-8; fetch the file again")
            continue
        if key in table:
            problems.append(f"{path}:{number}: {key!r} is there twice; remove one row")
        elif key and not re.fullmatch(form, value):
            problems.append(f"{path}:{number}: {value!r} of {key!r} is not {meaning}; correct the row")
        elif key:
            table[key] = value
    return table


def read_scores(root: Path) -> Scores:
    """Scores of each utterance by field, from whichever file is there; nothing if none is.

    Raises:
        ValueError: a file that is not JSON, or every score in it that is not one.
    """
    for name in ("scores.json", "scores-detail.json"):
        path = find(root, f"resource/{name}")
        if path is None:
            continue
        try:
            content = json.loads(read_text(path))
        except ValueError as error:
            raise ValueError(f"{path}: not a JSON file ({error}); fetch it again") from error
        if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
            raise ValueError(f"{path}: not an object of utterances and their scores; fetch it again")
        problems: list[str] = []
        # the experts' completeness is a share, that of scores.json is not
        shares = all(mark <= 1 for entry in content.values() for mark in _marks(entry.get("completeness")))
        found = {utt: _sentence(f"{path}: {utt}", entry, shares, problems) for utt, entry in content.items()}
        raise_problems(problems)
        log.info("scores from %s: %d utterances", path, len(found))
        return found
    log.warning(
        "%s has neither resource/scores.json nor resource/scores-detail.json, as copies from code repositories do not: "
        "no utterance gets a score, and there will be no correlation with scores; OpenSLR 101 has both files",
        root,
    )
    return {}


def _marks(value: object) -> list[float]:
    """The numbers of a score, which is one or a list of them; none if it is anything else."""
    marks = value if isinstance(value, list) else [value]
    return marks if all(type(mark) in (int, float) for mark in marks) else []


def _sentence(where: str, entry: Mapping[str, object], shares: bool, problems: list[str]) -> dict[str, float]:
    """Fields of scores of an utterance, means where there are five; what is wrong goes to `problems`."""
    fields = {}
    for name in ("total", *DETAILS):
        most = 1 if name == "completeness" and shares else 10
        marks = _marks(entry.get(name))
        if not marks or not all(0 <= mark <= most for mark in marks):
            problems.append(f"{where}: {name}: {entry.get(name)!r} is not a score from 0 to {most}; correct the entry")
        else:
            field = "score" if name == "total" else f"score_{name}"
            fields[field] = round(fmean(marks) * 10 / most, 4)
    return fields


def fill(corpus: Corpus, root: Path, lists: Mapping[str, Lists], scores: Scores) -> None:
    """Add what the lists name, and leave out the other files of WAVE."""
    for part, tables in lists.items():
        for utt, relative in tables["wav.scp"].items():
            speaker = tables["utt2spk"][utt]
            age = tables["spk2age"].get(speaker)
            corpus.add(
                Utterance(
                    id=f"speechocean-{speaker}-{utt}",
                    path=find(root, relative) or root / relative,
                    speaker=f"speechocean-{speaker}",
                    language="en",
                    accent="mandarin",
                    part=part,
                    gender=tables["spk2gender"].get(speaker),
                    text=tables["text"].get(utt) or None,
                    custom={"age": int(age) if age else None, **scores.get(utt, {})},
                )
            )
    named = {utt.path for utt in corpus.utterances}
    for path in walk(find(root, "WAVE"), ".wav"):
        if path not in named:
            corpus.left_out.add("unlisted", path, "a file of WAVE that no list names")
    if scores:
        bare = [utt.id for utt in corpus.utterances if "score" not in utt.custom]
        log.log(logging.WARNING if bare else logging.INFO, "without score: %d %s", len(bare), " ".join(bare[:_SHOWN]))


def prepare(root: Path, out_dir: Path, strict: bool = False, jobs: int = 4, max_bad: float = MAX_BAD) -> None:
    """Write the manifests of speechocean762.

    Raises:
        ValueError: not this corpus, bad rows of lists or scores, speakers in both lists, too many damaged files, or,
            if `strict`, another number of utterances or speakers than was published.
    """
    root = find_corpus(root)
    lists = read_lists(root)
    corpus = Corpus("speechocean", root)
    fill(corpus, root, lists, read_scores(root))
    for part, tables in lists.items():
        corpus.check_count(f"utterances of {part}", len(tables["wav.scp"]), UTTERANCES, strict)
        corpus.check_count(f"speakers of {part}", len(set(tables["utt2spk"].values())), SPEAKERS, strict)
    files = sum(1 for _ in walk(find(root, "WAVE"), ".wav"))
    corpus.check_count("files of WAVE", files, FILES, strict, fatal=False)
    corpus.open(jobs, max_bad=max_bad, out_dir=out_dir)
    test = [utt for utt in corpus.utterances if utt.part == "test"]
    corpus.utterances = [*split_speakers((utt for utt in corpus.utterances if utt.part == "train"), PARTS), *test]
    corpus.write(out_dir)


def main() -> None:
    """Parse the command line and prepare the corpus."""
    parser = argument_parser(__doc__)
    add_corpus_options(parser, counts="counts other than published are an error")
    parser.add_argument("root", metavar="ROOT", type=Path, help="the corpus")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go: data/manifests")
    args = parser.parse_args()
    log_provenance()
    prepare(args.root, args.out_dir, args.check_counts == "true", args.nj, args.max_bad)


if __name__ == "__main__":
    run(main)
