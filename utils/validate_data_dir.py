#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Check a Kaldi data directory: every table sorted, unique, well formed, and in agreement with the others.

utt2spk, spk2utt, wav.scp, feats.scp and utt2lang must be there, unless an option says otherwise. text is
checked where it is present, and is never required. Exits 1 and lists the problems, if there are any.

Example: utils/validate_data_dir.py --no-feats data/train
"""

from flowlid.kaldi.datadir import DataDir
from flowlid.program import argument_parser, run

_OPTIONS = {"wav": "wav.scp", "feats": "feats.scp", "lang": "utt2lang"}


def main() -> None:
    parser = argument_parser(__doc__)
    for option, name in _OPTIONS.items():
        parser.add_argument(f"--no-{option}", action="store_true", help=f"{name} may be missing")
    parser.add_argument("--no-text", action="store_true", help="changes nothing: for scripts written for Kaldi")
    parser.add_argument("dir", help="data directory")
    args = parser.parse_args()
    needed = [name for option, name in _OPTIONS.items() if not getattr(args, f"no_{option}")]
    DataDir(args.dir).validate(require=["utt2spk", "spk2utt", *needed])
    print(f"validate_data_dir.py: Successfully validated data-directory {args.dir}")


if __name__ == "__main__":
    run(main)
