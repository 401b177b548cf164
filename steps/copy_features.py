#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Give data directories the features of a pool that holds their utterances, and their speakers' statistics.

Example: steps/copy_features.py data/pool data/train data/test
Writes feats.scp, vad.scp, utt2num_frames, frame_shift and cmvn.{ark,scp} into each directory. Utterances
without features in the pool (POOL/left_out.tsv says why) are taken out of the directory.
"""

from flowlid import program
from flowlid.features.pool import check_coverage, copy_features, utterance_statistics
from flowlid.kaldi.datadir import DataDir


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_max_bad_option(parser)
    parser.add_argument("pool", help="data directory with features")
    parser.add_argument("data", nargs="+", help="data directories that get them")
    args = parser.parse_args()
    pool = DataDir(args.pool)
    sets = [DataDir(path) for path in args.data]
    check_coverage(pool, sets, args.max_bad)
    statistics = utterance_statistics(pool)
    for data in sets:
        copy_features(pool, data, statistics)


if __name__ == "__main__":
    program.run(main)
