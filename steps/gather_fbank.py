#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Join what the jobs of steps/make_fbank.sh wrote into one data directory, and count what is missing.

Example: steps/gather_fbank.py data/train 4
"""

import logging
from pathlib import Path

from flowlid import program
from flowlid.kaldi.datadir import DataDir, check_enough, read_table
from flowlid.kaldi.tables import write_table

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("jobs", type=int, help="number of jobs")
    args = parser.parse_args()

    utts = DataDir(args.data).utts
    tables: dict[str, dict[str, str]] = {name: {} for name in ("vad.scp", "utt2num_frames", "feats.scp")}
    for job in range(1, args.jobs + 1):
        out = args.data / "fbank" / str(job)
        for name, table in tables.items() if (out / "utt2num_frames").exists() else ():
            table.update(read_table(out / name))
    missing = [utt for utt in utts if utt not in tables["feats.scp"]]
    if missing:
        log.warning("%s: no features of %s", args.data, " ".join(missing))
    logs = f"'left out' in {args.data}/log/make_fbank.*.log"
    check_enough(len(utts) - len(missing), len(utts), args.data, logs)
    for name, table in tables.items():
        write_table(args.data / name, table)
    log.info("%s: features of %d of %d utterances", args.data, len(tables["feats.scp"]), len(utts))


if __name__ == "__main__":
    program.run(main)
