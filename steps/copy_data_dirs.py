#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Copy the tables of data directories that others made to a place of ours, where a run can work on them.

Example: steps/copy_data_dirs.py --features true /my/data exp/_data train test
Archives and sound stay where they are. What is unchanged since it was copied is left alone, with stage 2's features if
it has them.
"""

from pathlib import Path

from flowlid import program
from flowlid.kaldi.copies import copy_directories


def main() -> None:
    parser = program.argument_parser(__doc__)
    words = "whether new copies get the features of the originals"
    parser.add_argument("--features", choices=("true", "false"), default="true", help=words)
    parser.add_argument("source", type=Path, help="where the data directories are")
    parser.add_argument("place", type=Path, help="where the copies go")
    parser.add_argument("sets", nargs="+", help="names of data directories")
    args = parser.parse_args()
    copy_directories(args.source, args.sets, args.place, args.features == "true")


if __name__ == "__main__":
    program.run(main)
