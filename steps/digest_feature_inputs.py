#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Print a digest of all that the features of data directories are made from: options, programs, tables, audio files.

Example: steps/digest_feature_inputs.py conf/fbank.conf conf/vad.conf data/_pool data/train data/test
Of an audio file its size and its time count. By the digest steps/make_features.sh tells what is up to date.
"""

from pathlib import Path

from flowlid import program
from flowlid.features.marks import inputs_digest


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_pipes_option(parser)
    parser.add_argument("fbank_config", help="options of compute-fbank-feats")
    parser.add_argument("vad_config", help="options of compute-vad")
    parser.add_argument("pool", type=Path, help="where the features are")
    parser.add_argument("data", nargs="+", help="data directories")
    args = parser.parse_args()
    files = (args.fbank_config, args.vad_config, Path(__file__).with_name("compute_fbank.py"))
    print(inputs_digest(files, args.data, args.pool, args.allow_pipes == "true"))


if __name__ == "__main__":
    program.run(main)
