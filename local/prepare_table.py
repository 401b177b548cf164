#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn any recorded speech that a table, or a tree of directories, tells of into lhotse manifests.

Usage:   local/prepare_table.py [options] TABLE_OR_TREE OUT_DIR
Example: local/prepare_table.py --write-sets --fbank-config conf/fbank.conf my.tsv data/manifests
Example: local/prepare_table.py --name ce --set-fields "accent=mandarin" ce.csv data/manifests
Example: local/prepare_table.py --check-only my.tsv

TABLE is TSV or CSV in UTF-8; its first line names the columns: utt_id path speaker language set, and if wanted start
end channel gender score. All other columns become fields that sets.yaml may select by; `accent` and `text` mean what
they mean in every corpus. Lines that begin with # are comments. TREE holds language/speaker/file.wav (or flac, sph,
mp3, ogg, m4a, ...). Without a column `set` the speakers of each language are split 80/10/10 into train, dev and test.

The whole table is checked, and the header of every file read, before anything is written: all errors come at once.
Files that cannot be read are left out, unless they are too many (--max-bad); OUT_DIR/NAME_left_out.tsv names them.
A channel of a file with several (--channel, or the column) is written to a mono file below OUT_DIR/../audio; where the
channels differ is in OUT_DIR/NAME_channels.tsv. OUT_DIR/NAME_problems.txt has the errors that are too many to show.
"""

import argparse
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from flowlid.audio.channels import MIX, read_channel
from flowlid.corpora.corpus import Corpus, Utterance
from flowlid.corpora.speech_table import (
    OPTIONAL,
    REQUIRED,
    RESERVED,
    Problems,
    Row,
    read_speech_table,
)
from flowlid.corpora.speech_table_audio import (
    Found,
    add_bad_files,
    check_times,
    leave_out,
    open_files,
    read_tree,
    settle_channels,
)
from flowlid.corpora.speech_table_channels import (
    Written,
    leave_out_channels,
    say_how_channels_differ,
    write_channels,
)
from flowlid.corpora.speech_table_checks import check_known, check_rows, shared_speakers
from flowlid.corpora.speech_table_utterances import check_languages, check_names, make_utterances, split
from flowlid.features.fbank import FbankOptions
from flowlid.files import atomic_write
from flowlid.kaldi.options import read_options
from flowlid.left_out import LeftOut
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run
from flowlid.wording import some

log = logging.getLogger("flowlid")


def read_fields(text: str, problems: Problems) -> dict[str, str]:
    """The fields of --set-fields "name=value name=value"."""
    fields = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            problems.add(f"--set-fields: {word!r} is not NAME=VALUE")
        elif name in (*REQUIRED, *OPTIONAL) or (name in RESERVED and name != "corpus"):
            problems.add(f"--set-fields: {name} is not a field that all can share; choose another name")
        fields[name] = value
    return fields


def write_sets(out_dir: Path, corpus: str, names: Iterable[str], disjoint: bool) -> None:
    """Write sets.yaml: a set for each value of `set`; `train` and `dev` hold all that start so where none is so called.

    Args:
        out_dir: where it goes.
        corpus: value of the field corpus.
        names: of the sets.
        disjoint: whether train sets may share no speaker with the others.
    """
    names = sorted(names)
    sets = {name: {"corpus": corpus, "set": name} for name in names}
    for side in ("train", "dev"):
        own = [name for name in names if name.startswith(side)]
        if own and side not in own:
            sets[side] = {"corpus": corpus, "set": own}
            log.info("the set %s holds %s", side, ", ".join(own))
    content = {"disjoint": "speaker", "sets": sets} if disjoint else {"sets": sets}
    with atomic_write(out_dir / "sets.yaml") as file:
        file.write("# From the column set of a table, by local/prepare_table.py; each run of stage 0 makes it anew.\n")
        yaml.safe_dump(content, file, sort_keys=False, default_flow_style=None)


def fbank_conf(path: Path, rate: int) -> str:
    """An fbank.conf for recordings of `rate` Hz and more: that of `path`, with --sample-frequency and downsampling.

    Raises:
        ValueError: `path` does not exist, or its options do not fit the rate.
    """
    if not path.is_file():
        raise ValueError(f"--fbank-config {path}: there is no such file")
    options = read_options(path, FbankOptions)
    try:
        replace(options, sample_frequency=float(rate), allow_downsample=True)
    except ValueError as error:
        raise ValueError(f"--fbank-config {path}: for the lowest rate of the recordings, {rate} Hz: {error}") from error
    lines = [f"# {path.name}, for recordings of {rate} Hz and more (local/prepare_table.py)."]
    for line in path.read_text(encoding="utf-8").splitlines():
        option, mark, comment = line.partition("#")
        option = re.sub(r"--(sample[-_]frequency|allow[-_]downsample)=\S*", "", option)
        if (option + mark).strip() or not line.strip():
            lines.append((option + mark + comment).rstrip())
    return "\n".join([*lines, f"--sample-frequency={rate}", "--allow-downsample=true", ""])


def say_what_is_there(rows: Sequence[Row], recordings: Found, share_speakers: bool, made_conf: bool) -> None:
    """Log the sampling rates, the speakers of both sides, and the languages that no train set has."""
    rates = Counter(recording.sampling_rate for recording in recordings.values())
    counts = ", ".join(f"{rate} Hz ({count} files)" for rate, count in sorted(rates.items()))
    log.info("%d utterances in %d files, sampled at %s", len(rows), len(recordings), counts)
    if len(rates) > 1:
        advice = "all are resampled to the lowest" if made_conf else "set --allow-downsample=true in fbank.conf"
        log.warning("mixed sampling rates: %s; %s, %d Hz", counts, advice, min(rates))
    shared = sorted(shared_speakers(rows)) if share_speakers else []
    if shared:
        log.warning("%d speakers are in train and in dev or test sets, as allowed: %s", len(shared), some(shared))
    commands = sum(recording.sources[0].type == "command" for recording in recordings.values())
    if commands:
        log.warning("%d files are decoded by a command; run the stages with --allow-pipes true", commands)


def say_what_is_told_apart(rows: Sequence[Row]) -> None:
    """Log whether the train sets have several languages, and which languages they do not have."""
    trained = {row.language for row in rows if not row.set or row.set.startswith("train")}
    unseen = sorted({row.language for row in rows} - trained)
    if len(trained) == 1:
        log.warning("train sets of one language, %s: nothing to tell apart; run an experiment of type nf", *trained)
    if unseen:
        log.info("languages that no train set has, unseen to the models: %s", " ".join(unseen))


def read_rows(args: argparse.Namespace, problems: Problems) -> tuple[list[Row], bool]:
    """The rows of the table or tree, and whether they say of which set they are."""
    columns: list[str] = []
    if args.table.is_dir():
        rows = read_tree(args.table, problems)
    else:
        rows, columns = read_speech_table(args.table, args.root, problems)
    check_known(rows, args.languages.split(), problems)
    if "set" not in columns:
        check_languages(rows, problems)
    return rows, "set" in columns


def choose_conf(args: argparse.Namespace, recordings: Found, problems: Problems) -> str | None:
    """The fbank.conf for these recordings, if one is wanted."""
    if not (args.fbank_config and recordings):
        return None
    try:
        return fbank_conf(args.fbank_config, min(found.sampling_rate for found in recordings.values()))
    except ValueError as error:
        problems.add(str(error))
        return None


def prepare(args: argparse.Namespace) -> None:
    """Check everything; then, unless that is all that was asked for, write everything.

    Raises:
        ValueError: all that is wrong; nothing is prepared.
    """
    source, share = args.table, args.allow_shared_speakers == "true"
    full_list = None if args.check_only else args.out_dir / f"{args.name}_problems.txt"
    problems, left_out = Problems(source), LeftOut()
    rows, have_sets = read_rows(args, problems)
    fields = read_fields(args.set_fields, problems)
    recordings, bad = open_files(rows, args.nj, problems)
    rows = settle_channels(rows, recordings, args.channel, problems)
    check_rows(rows, share, args.need_train == "true", problems)
    check_times(rows, recordings, problems)
    everything = Counter((row.set, row.language) for row in rows)
    good = leave_out(rows, bad, left_out)
    if excess := left_out.excess(everything, args.max_bad):
        problems.add(excess)
        add_bad_files(rows, bad, problems)
    conf = choose_conf(args, recordings, problems)
    problems.check(full_list)
    say_what_is_there(good, recordings, share, conf is not None)
    if args.write_sets:  # else the recipe has labels and sets of its own
        say_what_is_told_apart(good)
    utterances = make_utterances(good, recordings, args.name, fields)
    check_names(utterances, good, problems)
    if not have_sets:
        split_now = {utt.id: utt for utt in split(utterances, problems)}
        utterances = [split_now.get(utt.id, utt) for utt in utterances]
    problems.check(full_list)
    if args.check_only:
        say_what_is_left_out(left_out.check(everything, args.max_bad, source, None))
        log.info("%s: no errors; nothing was written, as asked", source)
        return
    full_list.unlink(missing_ok=True)  # of an earlier run
    written = write_channels(good, recordings, args.out_dir.absolute().parent / "audio" / args.name, args.nj)
    say_how_channels_differ(good, written, args.out_dir / f"{args.name}_channels.tsv")
    usable = {row.utt_id for row in leave_out_channels(good, written, left_out)}
    reasons = args.out_dir / f"{args.name}_left_out.tsv"
    say_what_is_left_out(left_out.check(everything, args.max_bad, source, reasons))
    pairs = [(row, utt) for row, utt in zip(good, utterances, strict=True) if row.utt_id in usable]
    write(args, pairs, recordings, written, left_out)
    sets = {str(utt.custom["set"]) for _, utt in pairs}
    if args.write_sets:
        write_sets(args.out_dir, fields.get("corpus", args.name), sets, disjoint=not share)
    if conf is not None:
        with atomic_write(args.out_dir / "fbank.conf") as file:
            file.write(conf)


def say_what_is_left_out(lines: Iterable[str]) -> None:
    """Log how many utterances cannot be used, by set and language."""
    for line in lines:
        log.warning("%s", line)


def write(
    args: argparse.Namespace,
    pairs: Iterable[tuple[Row, Utterance]],
    recordings: Found,
    written: Mapping[Path, Written],
    left_out: LeftOut,
) -> None:
    """Write the manifests of the utterances that can be used, each with its row."""
    corpus, opened = Corpus(args.name, args.table), {}
    for row, utt in pairs:
        recording = written[row.path].recordings[row.channel] if row.path in written else recordings[row.path]
        path = row.path if row.path not in written else Path(recording.sources[0].source)
        opened[path] = recording
        whole = utt.start == 0 and utt.duration > recording.duration - 1 / recording.sampling_rate
        corpus.add(replace(utt, path=path, duration=None if whole else utt.duration))
    corpus.open(args.nj, lambda path, name: replace(opened[path], id=name), max_bad=0)
    corpus.left_out = left_out  # counted before
    corpus.write(args.out_dir)


def main() -> None:
    """Parse the command line and prepare the corpus."""
    parser = argument_parser(__doc__)
    parser.add_argument("--name", default="table", help="of the corpus, in front of all ids")
    parser.add_argument("--root", metavar="DIR", type=Path, help="where relative paths count from (the table's folder)")
    parser.add_argument(
        "--set-fields", metavar='"N=V N=V"', default="", help="fields of all utterances that have none such"
    )
    parser.add_argument("--allow-shared-speakers", choices=("true", "false"), default="false", help="of train and test")
    parser.add_argument("--need-train", choices=("true", "false"), default="true", help="a train set must be there")
    parser.add_argument("--languages", metavar='"L L"', default="", help="the languages it may have; empty: any")
    parser.add_argument("--check-only", action="store_true", help="say what is wrong, and write nothing")
    parser.add_argument(
        "--write-sets", action="store_true", help="write OUT_DIR/sets.yaml, a set for each in the table"
    )
    parser.add_argument(
        "--fbank-config", metavar="FILE", type=Path, help="write OUT_DIR/fbank.conf, at the lowest rate"
    )
    words = f"of files with several, where the table names none: 0, 1, ..., or {MIX}, the mean of all"
    parser.add_argument("--channel", default="", help=words)
    add_corpus_options(parser)
    parser.add_argument("table", metavar="TABLE_OR_TREE", type=Path, help="TSV or CSV file, or language/speaker/file")
    parser.add_argument(
        "out_dir", metavar="OUT_DIR", type=Path, nargs="?", help="where the manifests go: data/manifests"
    )
    args = parser.parse_args()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.]*", args.name):
        raise ValueError(f"--name {args.name!r}: use small letters, digits, _ and .")
    if args.out_dir is None and not args.check_only:
        raise ValueError("no OUT_DIR: say where the manifests go, such as data/manifests, or give --check-only")
    if not args.table.exists():
        raise ValueError(
            f"{args.table}: there is no such table or directory; its columns: {' '.join(REQUIRED)} set ..."
        )
    if args.root is not None and not args.root.is_dir():
        raise ValueError(f"--root {args.root}: there is no such directory")
    args.channel = read_channel(args.channel, "--channel")
    log_provenance()
    prepare(args)


if __name__ == "__main__":
    run(main)
