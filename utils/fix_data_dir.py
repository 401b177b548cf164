#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Sort the tables of a Kaldi data directory in C order, and keep only the utterances that all of them hold.

Repeated identical lines are removed, and so are recordings and speakers that no utterance uses; spk2utt is
made from utt2spk. The tables as they were go to DIR/.backup. A malformed line, a key with two values, or
nothing left: exits 1, and changes nothing.

Example: utils/fix_data_dir.py data/train
"""

from pathlib import Path

from flowlid.kaldi.datadir import fix_directory
from flowlid.program import argument_parser, run


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("dir", type=Path, help="data directory, changed in place")
    path = parser.parse_args().dir
    kept, dropped = fix_directory(path)
    for name, utts in dropped.items():
        print(f"fix_data_dir.py: dropped {len(utts)} utterances not in {name}, the first {utts[0]}")
    print(f"fix_data_dir.py: kept {kept} utterances out of {kept + sum(map(len, dropped.values()))}")
    print(f"fix_data_dir.py: the old files are in {path / '.backup'}")


if __name__ == "__main__":
    run(main)
