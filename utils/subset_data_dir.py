#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Make a Kaldi data directory of some utterances of another one.

Without an option, N utterances evenly spaced through the sorted list, as Kaldi chooses them: no random
numbers, and the same choice each time. Only the speakers and recordings of the chosen ones remain; what is said
of the features (frame_shift, feature_options, conf/) is copied.

Examples:
  utils/subset_data_dir.py data/train 1000 data/train_1k
  utils/subset_data_dir.py --per-spk data/train 5 data/train_5each
  utils/subset_data_dir.py --utt-list dev.list data/train data/dev
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from flowlid.files import read_lines
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import other_files, select, write_directory
from flowlid.program import argument_parser, run


def spaced(utts: Sequence[str], number: int) -> list[str]:
    """`number` of the utterances, evenly spaced, the first included."""
    return [utts[index * len(utts) // number] for index in range(number)]


def lengths(directory: DataDir) -> dict[str, float]:
    """Utterance -> its length, in frames or seconds, from the first of utt2num_frames, utt2dur and segments."""
    for name in ("utt2num_frames", "utt2dur"):
        if directory.has(name):
            return {utt: float(length) for utt, length in directory.table(name).items()}
    segments = directory.segments()
    if segments and all(segment.end is not None for segment in segments.values()):
        return {utt: segment.end - segment.start for utt, segment in segments.items()}
    raise ValueError(
        f"{directory.path}: --shortest needs utt2num_frames, utt2dur, or segments whose ends are all given; "
        "run stage 2 first"
    )


def read_list(path: Path) -> list[str]:
    """The first token of each line; ValueError names a line that has none."""
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        if not line.split():
            raise ValueError(f"{path}:{number}: empty line; remove it")
    return [line.split()[0] for line in lines]


def listed_utterances(args: argparse.Namespace, directory: DataDir) -> list[str]:
    """The utterances, or those of the speakers, that are in the list and in the directory."""
    path = args.utt_list or args.spk_list
    name, keys = ("utt2spk", directory.utts) if args.utt_list else ("spk2utt", directory.table("spk2utt").keys())
    wanted = set(read_list(path))
    unknown = wanted.difference(keys)
    if unknown == wanted:
        raise ValueError(f"{path}: none of its {len(wanted)} names is in {directory.path / name}; give another list")
    if unknown:
        print(f"subset_data_dir.py: {len(unknown)} names of {path} are not in {directory.path / name}, ignored")
    return [utt for utt, spk in directory.table("utt2spk").items() if (utt if args.utt_list else spk) in wanted]


def chosen(args: argparse.Namespace, directory: DataDir) -> list[str]:
    """The utterances that the options ask for."""
    if args.utt_list or args.spk_list:
        return listed_utterances(args, directory)
    utts = directory.utts
    if args.per_spk:
        speakers = [utts.split() for utts in directory.table("spk2utt").values()]
        return [utt for utts in speakers for utt in spaced(utts, min(args.number, len(utts)))]
    if args.number > len(utts):
        raise ValueError(f"{directory.path}: {args.number} of its {len(utts)} utterances asked for; give a smaller N")
    if args.first:
        return utts[: args.number]
    if args.last:
        return utts[len(utts) - args.number :]
    if args.shortest:
        length = lengths(directory)
        return sorted(utts, key=lambda utt: (length[utt], utt))[: args.number]
    return spaced(utts, args.number)


def parse() -> argparse.Namespace:
    """The command line; N is there exactly where no list chooses."""
    parser = argument_parser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--first", action="store_true", help="the first N utterances")
    which.add_argument("--last", action="store_true", help="the last N utterances")
    which.add_argument("--shortest", action="store_true", help="the N shortest utterances")
    which.add_argument("--per-spk", action="store_true", help="N utterances of each speaker, or all it has")
    which.add_argument("--utt-list", type=Path, metavar="FILE", help="the utterances in FILE, one per line; no N")
    which.add_argument("--spk-list", type=Path, metavar="FILE", help="all of the speakers in FILE, one per line; no N")
    parser.add_argument("source", metavar="SRC", help="data directory")
    parser.add_argument("number", nargs="?", metavar="N", help="how many utterances, a positive number")
    parser.add_argument("dest", type=Path, metavar="DEST", help="data directory to make")
    args = parser.parse_intermixed_args()
    if (args.number is None) != bool(args.utt_list or args.spk_list):
        parser.error("give SRC N DEST; or, with --utt-list or --spk-list, SRC DEST")
    if args.number is not None:
        if not args.number.isdecimal() or int(args.number) < 1:
            parser.error(f"N is {args.number!r}; give a positive number")
        args.number = int(args.number)
    return args


def main() -> None:
    args = parse()
    directory = DataDir(args.source)
    if args.dest.resolve() == directory.path.resolve():
        raise ValueError(f"{args.dest}: source and destination are the same; give another destination")
    directory.validate()
    utts = chosen(args, directory)
    write_directory(args.dest, select(directory.tables(), utts), other_files(directory.path))
    print(f"subset_data_dir.py: {len(utts)} of {len(directory.utts)} utterances in {args.dest}")


if __name__ == "__main__":
    run(main)
