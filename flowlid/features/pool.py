"""The features of a pool of utterances: gathered from the jobs that extracted them, and given to data directories."""

import io
import logging
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flowlid.features.marks import checksum_of_statistics
from flowlid.files import atomic_write, read_text, write_tsv
from flowlid.kaldi.arks import AGAIN, ArkWriter, ark_path
from flowlid.kaldi.datadir import DataDir, fix_directory
from flowlid.kaldi.tables import read_table, write_table
from flowlid.left_out import LeftOut
from flowlid.wording import some

_STATISTICS = "cmvn.npy"
log = logging.getLogger("flowlid")


def gather(data: DataDir, jobs: Sequence[Path], max_bad: float) -> None:
    """Join what the jobs wrote into one data directory: tables, options, left_out.tsv and channels.tsv.

    Raises:
        ValueError: no features of more than the share `max_bad` of the utterances.
    """
    tables: dict[str, dict[str, str]] = {name: {} for name in ("vad.scp", "utt2num_frames", "feats.scp")}
    language = _languages(data)
    left_out = LeftOut()
    for out in jobs:
        for name, table in tables.items() if (out / "utt2num_frames").exists() else ():
            table.update(read_table(out / name))
        for line in read_text(out / "left_out.tsv").splitlines()[1:] if (out / "left_out.tsv").exists() else ():
            file, utt, reason, detail = line.split("\t")
            left_out.add_bad(reason, file, detail, utt, ("", language[utt]))
    utts, named = data.utts, {utt for _, utt, _, _ in left_out.rows}
    for utt in utts:
        if utt not in tables["feats.scp"] and utt not in named:
            why = f"{utt}: no job wrote it; see {data.path}/log/make_fbank.*.log"
            left_out.add_bad("not extracted", data.path / "wav.scp", why, utt, ("", language[utt]))
    reasons = data.path / "left_out.tsv"
    _gather_channels(data.path, jobs)
    everything = Counter(("", language[utt]) for utt in utts)
    for line in left_out.write(reasons):
        log.warning("%s: %s", data.path, line)
    for line in left_out.check(everything, max_bad, data.path, reasons):
        log.warning("%s: %s", data.path, line)
    write_options(data.path, float(read_text(jobs[0] / "frame_shift")), read_table(jobs[0] / "feature_options"))
    for name, table in tables.items():
        write_table(data.path / name, table)
    log.info("%s: features of %d of %d utterances", data.path, len(tables["feats.scp"]), len(utts))


def _gather_channels(path: Path, jobs: Sequence[Path]) -> None:
    """Tell of how many utterances the channels differ; they are listed in channels.tsv, if there are any."""
    files = [out / "channels.tsv" for out in jobs if (out / "channels.tsv").exists()]
    rows = [tuple(line.split("\t")) for file in files for line in read_text(file).splitlines()]
    if rows:
        write_tsv(path / "channels.tsv", [("utterance", "channels"), *rows])
        kinds = ", ".join(f"{kind}: {count}" for kind, count in Counter(kind for _, kind in rows).most_common())
        names, listed = some([utt for utt, _ in rows], 3), path / "channels.tsv"
        log.warning("channels differ in %d utterances (%s): %s; all in %s", len(rows), kinds, names, listed)


def check_coverage(pool: DataDir, sets: Sequence[DataDir], max_bad: float) -> None:
    """Log how many utterances of these directories have no features in the pool, by directory and language.

    Raises:
        ValueError: more than the share `max_bad` of the utterances, or all of a directory.
    """
    without, everything = LeftOut(), Counter()
    for data in sets:
        language, name = _languages(data), data.path.name
        everything.update((name, language[utt]) for utt in data.utts)
        lost = [utt for utt in data.utts if utt not in pool.table("feats.scp")]
        for utt in lost:
            why = f"{data.path}: utterance {utt}: no features; {pool.path}/left_out.tsv says why"
            without.add_bad("no features", data.path, why, utt, (name, language[utt]))
        if len(lost) == len(data.utts):
            raise ValueError(
                f"{data.path}: none of its {len(lost)} utterances has features; {pool.path}/left_out.tsv says why"
            )
    for line in without.check(everything, max_bad, pool.path, None):
        log.warning("%s", line)


def _languages(data: DataDir) -> dict[str, str]:
    return data.table("utt2lang") if data.has("utt2lang") else dict.fromkeys(data.utts, "")


def write_statistics(place: Path, stats: Sequence[np.ndarray]) -> str:
    """Write CMVN statistics of utterances, (2, F + 1) each, into the directory of a job; returns their checksum."""
    content = io.BytesIO()
    np.save(content, np.stack(stats) if stats else np.zeros((0, 0, 0)))
    with atomic_write(place / _STATISTICS, "wb") as file:
        file.write(content.getbuffer())
    return f"{zlib.crc32(content.getbuffer()):08x}"


def utterance_statistics(pool: DataDir) -> dict[str, tuple[np.ndarray, int]]:
    """Where the CMVN statistics of each utterance are that has features in the pool: an array, mapped, and its row.

    Raises:
        ValueError: statistics that are missing, damaged, or of another number of utterances than the archive beside.
    """
    of_job: dict[Path, list[str]] = {}
    for utt, specifier in pool.table("feats.scp").items():
        of_job.setdefault(Path(str(ark_path(specifier))).parent, []).append(utt)
    found = {}
    for place, utts in of_job.items():
        path = place / _STATISTICS
        if not path.is_file() or checksum_of_statistics(place) != f"{zlib.crc32(path.read_bytes()):08x}":
            raise ValueError(f"{path}: missing, or damaged: not what was written; {AGAIN}")
        stats = np.load(path, mmap_mode="r")
        if len(stats) != len(utts):
            raise ValueError(f"{path}: of {len(stats)} utterances, but feats.scp has {len(utts)} of them; {AGAIN}")
        found.update((utt, (stats, row)) for row, utt in enumerate(utts))
    return found


def copy_features(pool: DataDir, data: DataDir, statistics: Mapping[str, tuple[np.ndarray, int]]) -> None:
    """Give `data` the features of `pool`, which holds its utterances, and cmvn.{ark,scp}: statistics of its speakers.

    Utterances without features in the pool are taken out of all tables of `data`. The features are not read: the jobs
    that extracted them left the statistics of each utterance beside them, which `statistics` gives.
    """
    utts = data.utts
    kept = [utt for utt in utts if utt in pool.table("feats.scp")]
    reasons = pool.path / "left_out.tsv"
    by_speaker: dict[str, np.ndarray] = {}
    for utt in kept:
        arrays, row = statistics[utt]
        speaker = data.table("utt2spk")[utt]
        if speaker not in by_speaker:
            by_speaker[speaker] = np.zeros(arrays.shape[1:])
        by_speaker[speaker] += arrays[row]
    with ArkWriter(data.path / "cmvn.ark", data.path / "cmvn.scp") as write:
        for speaker in sorted(by_speaker):
            write(speaker, by_speaker[speaker])
    write_options(data.path, pool.frame_shift, pool.feature_options)
    for name in ("vad.scp", "utt2num_frames", "feats.scp"):
        table = pool.table(name)
        write_table(data.path / name, {utt: table[utt] for utt in kept})
    if len(kept) < len(utts):
        log.warning("%s: %d utterances without features taken out: %s", data.path, len(utts) - len(kept), reasons)
        fix_directory(data.path)
    frames = sum(int(pool.table("utt2num_frames")[utt]) for utt in kept)
    log.info("%s: %d utterances, %d frames, %d speakers", data.path, len(kept), frames, len(by_speaker))


def write_options(path: Path, frame_shift: float, options: Mapping[str, str]) -> None:
    """Write into a data directory how its features were made: frame_shift in seconds, as Kaldi has it, and all options.

    They are in feature_options, "fbank.num-mel-bins 40" and so on; a model is trained and used with the same.
    """
    with atomic_write(path / "frame_shift") as file:
        file.write(f"{frame_shift:g}\n")
    write_table(path / "feature_options", options)
