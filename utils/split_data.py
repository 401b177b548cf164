#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Split a Kaldi data directory into N parts: DIR/splitN/1 to DIR/splitN/N, for N parallel jobs.

Speakers stay whole, in their order, and the parts have about equally many utterances. With --per-utt
speakers may be cut, and the parts are DIR/splitNutt/1 to N. What is said of the features (frame_shift,
feature_options, conf/) is copied into each. A split that is newer than DIR is kept.

Example: utils/split_data.py data/train 8
"""

import bisect
import itertools
from collections.abc import Sequence
from pathlib import Path

from flowlid.files import atomic_directory
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import other_files, split, table_names, write_directory
from flowlid.program import argument_parser, run


def cut(groups: Sequence[Sequence[str]], parts: int) -> list[list[str]]:
    """Join neighbouring groups of utterances to `parts` lists, none empty, each as near to U / parts as possible."""
    ends = list(itertools.accumulate(map(len, groups), initial=0))
    cuts = [0]
    for part in range(1, parts):
        first, last = cuts[-1] + 1, len(groups) - (parts - part)  # leave a group for each part to come
        target = ends[-1] * part / parts
        after = bisect.bisect_left(ends, target)
        nearest = after if ends[after] - target < target - ends[after - 1] else after - 1
        cuts.append(min(max(nearest, first), last))
    cuts.append(len(groups))
    return [[utt for group in groups[start:end] for utt in group] for start, end in itertools.pairwise(cuts)]


def is_current(source: Path, split: Path, parts: int) -> bool:
    """Whether a split is complete, has the files that the source has, and is newer than all of them."""
    names = _files(source)
    made = [split / str(part) / name for part in range(1, parts + 1) for name in names]
    if not all(file.is_file() for file in made) or _files(split / "1") != names:
        return False
    # ctime, not mtime: an older file that is moved into the source changes it too
    changed = max((source / name).stat().st_ctime_ns for name in names)
    return changed < min(file.stat().st_mtime_ns for file in made)


def _files(path: Path) -> list[str]:
    return [*table_names(path), *other_files(path)]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--per-utt", action="store_true", help="split by utterance, not by speaker")
    parser.add_argument("dir", type=Path, help="data directory")
    parser.add_argument("parts", type=int, metavar="N", help="number of parts")
    args = parser.parse_args()
    if args.parts < 1:
        raise ValueError(f"{args.parts} parts: give a positive number")
    directory = DataDir(args.dir)
    place = args.dir / f"split{args.parts}{'utt' if args.per_utt else ''}"
    if is_current(args.dir, place, args.parts):
        print(f"split_data.py: {place} is up to date")
        return
    directory.validate()
    groups = directory.table("spk2utt").values()
    groups = [[utt] for utt in directory.utts] if args.per_utt else [utts.split() for utts in groups]
    if args.parts > len(groups):
        of_what = "utterances; ask for fewer" if args.per_utt else "speakers; ask for fewer, or give --per-utt"
        raise ValueError(f"{args.dir}: {args.parts} parts asked for of {len(groups)} {of_what}")
    others = other_files(args.dir)
    with atomic_directory(place) as new:
        for part, tables in enumerate(split(directory.tables(), cut(groups, args.parts)), 1):
            write_directory(new / str(part), tables, others)
    print(f"split_data.py: {len(directory.utts)} utterances in {args.parts} parts in {place}")


if __name__ == "__main__":
    run(main)
