"""The features of a pool of utterances: gathered from the jobs that extracted them, and given to data directories."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flowlid.files import LeftOut, atomic_write, read_text
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir, check_enough, fix_directory
from flowlid.kaldi.tables import read_table, write_table

log = logging.getLogger("flowlid")


def gather(data: DataDir, jobs: Sequence[Path]) -> None:
    """Join what the jobs wrote into one data directory: its tables, frame_shift and left_out.tsv.

    Raises:
        ValueError: features of fewer than 95% of the utterances.
    """
    tables: dict[str, dict[str, str]] = {name: {} for name in ("vad.scp", "utt2num_frames", "feats.scp")}
    left_out = LeftOut()
    for out in jobs:
        for name, table in tables.items() if (out / "utt2num_frames").exists() else ():
            table.update(read_table(out / name))
        for line in read_text(out / "left_out.tsv").splitlines()[1:] if (out / "left_out.tsv").exists() else ():
            utt, reason, detail = line.split("\t")
            left_out.add(reason, utt, detail)
    utts, named = data.utts, {utt for utt, _, _ in left_out.rows}
    for utt in utts:
        if utt not in tables["feats.scp"] and utt not in named:
            left_out.add("not extracted", utt, "no job wrote it; see log/make_fbank.*.log")
    reasons = data.path / "left_out.tsv"
    for line in left_out.write(reasons):
        log.warning("%s: %s", data.path, line)
    check_enough(len(tables["feats.scp"]), len(utts), data.path, reasons)
    write_frame_shift(data.path, float(read_text(jobs[0] / "frame_shift")))
    for name, table in tables.items():
        write_table(data.path / name, table)
    log.info("%s: features of %d of %d utterances", data.path, len(tables["feats.scp"]), len(utts))


def copy_features(pool: DataDir, data: DataDir) -> None:
    """Give `data` the features of `pool`, which holds its utterances, and cmvn.{ark,scp}: statistics of its speakers.

    Utterances without features in the pool are taken out of all tables of `data`.

    Raises:
        ValueError: the pool has features of fewer than 95% of the utterances.
    """
    utts = data.utts
    kept = [utt for utt in utts if utt in pool.table("feats.scp")]
    reasons = pool.path / "left_out.tsv"
    check_enough(len(kept), len(utts), data.path, reasons)
    by_speaker: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(()))
    for utt in kept:
        speaker = data.table("utt2spk")[utt]
        by_speaker[speaker] = by_speaker[speaker] + cmvn_stats(pool.feats(utt))
    with ArkWriter(data.path / "cmvn.ark", data.path / "cmvn.scp") as write:
        for speaker in sorted(by_speaker):
            write(speaker, by_speaker[speaker])
    write_frame_shift(data.path, pool.frame_shift)
    for name in ("vad.scp", "utt2num_frames", "feats.scp"):
        table = pool.table(name)
        write_table(data.path / name, {utt: table[utt] for utt in kept})
    if len(kept) < len(utts):
        log.warning("%s: %d utterances without features taken out: %s", data.path, len(utts) - len(kept), reasons)
        fix_directory(data.path)
    frames = sum(int(pool.table("utt2num_frames")[utt]) for utt in kept)
    log.info("%s: %d utterances, %d frames, %d speakers", data.path, len(kept), frames, len(by_speaker))


def write_frame_shift(path: Path, seconds: float) -> None:
    """Write the file frame_shift of a data directory, as Kaldi has it."""
    with atomic_write(path / "frame_shift") as file:
        file.write(f"{seconds:g}\n")
