#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Join what the jobs of steps/make_fbank.sh wrote into one data directory.

Example: steps/gather_fbank.py data/train 4
Writes feats.scp, vad.scp, utt2num_frames, and left_out.tsv: the utterances without features, and why. Recordings whose
channels differ are listed in channels.tsv, if there are any.
"""

from pathlib import Path

from flowlid import program
from flowlid.features.marks import wait_for_marks
from flowlid.features.pool import gather
from flowlid.kaldi.datadir import DataDir


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_max_bad_option(parser)
    words = "seconds that files of other machines may be seen late"
    parser.add_argument("--wait-file", metavar="SECONDS", type=float, default=20, help=words)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("jobs", type=int, help="number of jobs")
    args = parser.parse_args()
    jobs = [args.data / "fbank" / str(job) for job in range(1, args.jobs + 1)]
    wait_for_marks(jobs, args.wait_file)
    gather(DataDir(args.data), jobs, args.max_bad)


if __name__ == "__main__":
    program.run(main)
