#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Pack the features of data directories, as training and scoring map them into memory, before these need them.

Example: steps/pack.py data train dev test
By jobs: utils/run.py JOB=1:8 data/log/pack.JOB.log steps/pack.py --part JOB/8 data train dev test
Writes data/<set>/packed/. Each of N jobs packs its part of each set, and the last one to end joins the parts; they may
run one after the other too. What is packed already is left alone, also of a run that was killed. Sets whose features
come from commands are not packed: whatever reads those packs them for itself.
"""

from pathlib import Path

from flowlid import program
from flowlid.frames.pack import pack_part
from flowlid.kaldi.datadir import DataDir


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_pipes_option(parser)
    parser.add_argument(
        "--part", metavar="J/N", type=program.part_of_jobs, default="1/1", help="only part J of N of each set"
    )
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("sets", nargs="+", help="names of data directories")
    args = parser.parse_args()
    part, parts = args.part
    for name in args.sets:
        pack_part(DataDir(args.data / name), part, parts, args.allow_pipes == "true")


if __name__ == "__main__":
    program.run(main)
