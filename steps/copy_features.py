#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Give data directories the features of a pool that holds their utterances, and their speakers' statistics.

Example: steps/copy_features.py data/pool data/train data/test
Writes feats.scp, vad.scp, utt2num_frames and cmvn.{ark,scp} into each directory. Utterances that have no
features in the pool are taken out of the directory, by name; more than 5% of them is an error.
"""

import logging
import subprocess
import sys
from collections import defaultdict

import numpy as np

from flowlid import program
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir, check_enough
from flowlid.kaldi.tables import write_table

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("pool", help="data directory with features")
    parser.add_argument("data", nargs="+", help="data directories that want them")
    args = parser.parse_args()
    pool = DataDir(args.pool)
    for path in args.data:
        copy_features(pool, DataDir(path))


def copy_features(pool: DataDir, data: DataDir) -> None:
    """Filter the pool's tables to the utterances of `data`, and add statistics of its speakers."""
    utts = data.utts
    kept = [utt for utt in utts if utt in pool.table("feats.scp")]
    check_enough(len(kept), len(utts), data.path, f"{pool.path}/log/make_fbank.*.log")
    by_speaker: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(()))
    for utt in kept:
        speaker = data.table("utt2spk")[utt]
        by_speaker[speaker] = by_speaker[speaker] + cmvn_stats(pool.feats(utt))
    with ArkWriter(data.path / "cmvn.ark", data.path / "cmvn.scp") as write:
        for speaker in sorted(by_speaker):
            write(speaker, by_speaker[speaker])
    for name in ("vad.scp", "utt2num_frames", "feats.scp"):
        table = pool.table(name)
        write_table(data.path / name, {utt: table[utt] for utt in kept})
    if len(kept) < len(utts):
        log.warning("%s: taken out, no features: %s", data.path, " ".join(sorted(set(utts) - set(kept))))
        subprocess.run([sys.executable, "utils/fix_data_dir.py", str(data.path)], check=True)
    frames = sum(int(pool.table("utt2num_frames")[utt]) for utt in kept)
    log.info("%s: %d utterances, %d frames, %d speakers", data.path, len(kept), frames, len(by_speaker))


if __name__ == "__main__":
    program.run(main)
