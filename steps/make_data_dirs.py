#!/usr/bin/env python3
"""Cut lhotse manifests into Kaldi data directories, one per set, and refuse a split that leaks.

Usage:   steps/make_data_dirs.py --sets sets.yaml MANIFEST_DIR DATA_DIR
Example: steps/make_data_dirs.py --sets sets.yaml data/manifests data

All *recordings*.jsonl.gz and *supervisions*.jsonl.gz of MANIFEST_DIR are read. The sets file:

    disjoint: prompt     # no value of this field may stand in a train set and in a dev or test set
    sets:                # name: field -> a value or several; the name starts with train, dev or test
      train_en_es: {voice: [en_allison, es_allison], part: train}

Fields are language, speaker, gender, recording_id, and whatever the supervisions hold in `custom`.
"""

import argparse
import difflib
import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from lhotse import RecordingSet, SupervisionSet
from lhotse.audio import Recording
from lhotse.supervision import SupervisionSegment

from flowlid.datadir import DataDir, invert, write_table
from flowlid.program import log_provenance, run

logger = logging.getLogger("make_data_dirs")

FIELDS = ("language", "speaker", "gender", "recording_id")
GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m"}
TABLES = ("wav.scp", "reco2dur", "segments", "utt2spk", "spk2utt", "utt2lang", "utt2dur", "spk2gender", "text")
SHOWN = 5

Selection = dict[str, list[str]]


@dataclass(frozen=True)
class Sets:
    """A sets file: the field that must not leak (or None), and the selection of each set."""

    path: Path
    disjoint: str | None
    sets: dict[str, Selection]


def read_sets(path: Path) -> Sets:
    """Read a sets file.

    Raises:
        ValueError: no YAML, an unknown key, a set without a selection, or a name of no known kind.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("sets"), dict) or not config["sets"]:
        raise ValueError(f"{path}: expected the keys `disjoint` (a field) and `sets` (name -> selection)")
    for key in config:
        if key not in ("disjoint", "sets"):
            raise ValueError(f"{path}: unknown key {key!r}{_nearest(str(key), ['disjoint', 'sets'])}")
    disjoint = config.get("disjoint")
    if disjoint is not None and not isinstance(disjoint, str):
        raise ValueError(f"{path}: disjoint: {disjoint!r} is not the name of a field")
    return Sets(path, disjoint, {str(name): _selection(path, name, value) for name, value in config["sets"].items()})


def _selection(path: Path, name: object, fields: object) -> Selection:
    if not re.fullmatch(r"(train|dev|test)[\w.-]*", str(name)):
        raise ValueError(f"{path}: set {name!r}: a set's name starts with train, dev or test, and is a file name")
    if not isinstance(fields, dict) or not fields:
        raise ValueError(f"{path}: set {name}: expected field -> value or list of values, not {fields!r}")
    selection = {}
    for field, value in fields.items():
        values = value if isinstance(value, list) else [value]
        # YAML 1.1 reads the language codes `no` and `on` as booleans.
        if not values or any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in values):
            raise ValueError(f"{path}: set {name}: {field}: {value!r} is no value or list of values; put it in quotes")
        selection[str(field)] = [str(item) for item in values]
    return selection


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else f"; known: {' '.join(sorted(known)[:20])}"


def read_manifests(manifest_dir: Path) -> tuple[dict[str, Recording], dict[str, SupervisionSegment]]:
    """All recordings and supervisions of a directory, by id.

    Raises:
        ValueError: no manifests, one that cannot be read, an id twice, or a supervision without recording.
    """
    recordings = _read(manifest_dir, "recordings", RecordingSet)
    supervisions = _read(manifest_dir, "supervisions", SupervisionSet)
    for name, supervision in supervisions.items():
        if supervision.recording_id not in recordings:
            raise ValueError(
                f"{manifest_dir}: supervision {name}: no recording {supervision.recording_id!r}; "
                "run the corpus's preparation (stage 0) again"
            )
    return recordings, supervisions


def _read(folder: Path, kind: str, manifest: type) -> dict:
    paths = sorted(path for path in folder.glob("*.jsonl.gz") if re.search(rf"(^|_){kind}[_.]", path.name))
    if not paths:
        raise ValueError(f"{folder}: no *{kind}*.jsonl.gz in it; prepare a corpus first (stage 0)")
    found, origin = {}, {}
    for path in paths:
        try:
            items = list(manifest.from_jsonl(path))
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError, EOFError, OSError) as error:
            raise ValueError(f"{path}: not a lhotse manifest of {kind} ({error!r}); prepare it again") from error
        for item in items:
            if item.id in found:
                raise ValueError(f"{path}: {kind} id {item.id} stands in {origin[item.id]} too; keep one of them")
            found[item.id], origin[item.id] = item, path
    return found


def field_of(supervision: SupervisionSegment, field: str) -> str | None:
    """Value of a field of a supervision, as text; None where it has none."""
    value = getattr(supervision, field) if field in FIELDS else (supervision.custom or {}).get(field)
    return None if value is None else str(value)


def select(sets: Sets, supervisions: Mapping[str, SupervisionSegment]) -> dict[str, list[SupervisionSegment]]:
    """Supervisions of each set, by id.

    Raises:
        ValueError: an unknown field, a value that nothing has, an empty set, or a leak.
    """
    known = {field for item in supervisions.values() for field in item.custom or {}} | set(FIELDS)
    values = {field: {field_of(item, field) for item in supervisions.values()} - {None} for field in known}
    chosen = {}
    for name, selection in sets.sets.items():
        for field, wanted in selection.items():
            if field not in known:
                raise ValueError(f"{sets.path}: set {name}: unknown field {field!r}{_nearest(field, list(known))}")
            for value in wanted:
                if value not in values[field]:
                    nearest = _nearest(value, list(values[field]))
                    raise ValueError(f"{sets.path}: set {name}: no utterance has {field} {value!r}{nearest}")
        chosen[name] = [
            supervisions[key]
            for key in sorted(supervisions)
            if all(field_of(supervisions[key], field) in wanted for field, wanted in selection.items())
        ]
        if not chosen[name]:
            raise ValueError(f"{sets.path}: set {name}: empty, no utterance has all of {selection}")
    if sets.disjoint is None:
        logger.warning("%s has no `disjoint: FIELD`, so that nobody checks what train and test sets share", sets.path)
    elif sets.disjoint not in known:
        nearest = _nearest(sets.disjoint, list(known))
        raise ValueError(f"{sets.path}: disjoint: unknown field {sets.disjoint!r}{nearest}")
    check_leaks(sets, chosen)
    return chosen


def check_leaks(sets: Sets, chosen: Mapping[str, list[SupervisionSegment]]) -> None:
    """Check that no train set shares a value of `disjoint` with a dev or test set; log shared speakers.

    Raises:
        ValueError: a shared value, with the two sets, or an utterance without the field.
    """
    others = [name for name in chosen if not name.startswith("train")]
    for train in (name for name in chosen if name.startswith("train")):
        speakers = {item.speaker for item in chosen[train]}
        same = [name for name in others if speakers & {item.speaker for item in chosen[name]}]
        if same:
            logger.info("%s shares speakers with %s", train, " ".join(same))
        for other in others if sets.disjoint else []:
            shared = _values(sets, train, chosen[train]) & _values(sets, other, chosen[other])
            if shared:
                raise ValueError(
                    f"{sets.path}: leak: {train} and {other} share {len(shared)} values of {sets.disjoint}, such as "
                    f"{', '.join(sorted(shared)[:SHOWN])}; select other parts, or say what else must be disjoint"
                )


def _values(sets: Sets, name: str, items: list[SupervisionSegment]) -> set[str]:
    values = {item.id: field_of(item, sets.disjoint) for item in items}
    for utt, value in values.items():
        if value is None:
            raise ValueError(f"{sets.path}: set {name}: utterance {utt} has no {sets.disjoint}, which must be disjoint")
    return set(values.values())


def make_tables(items: list[SupervisionSegment], recordings: Mapping[str, Recording]) -> dict[str, dict[str, str]]:
    """Tables of a Kaldi data directory, by file name; times in seconds.

    Raises:
        ValueError: an utterance without speaker or language, outside its recording, or whose recording
            is no single mono file that exists.
    """
    tables: dict[str, dict[str, str]] = {name: {} for name in TABLES}
    whole = True
    for item in items:
        recording = recordings[item.recording_id]
        for field in ("speaker", "language"):
            if not getattr(item, field):
                raise ValueError(f"supervision {item.id}: no {field}; set it where the corpus is prepared (stage 0)")
        start, end = _times(item, recording)
        whole = whole and item.id == recording.id and start == 0 and end == recording.duration
        tables["wav.scp"][recording.id] = _path_of(recording)
        tables["reco2dur"][recording.id] = f"{recording.duration:.3f}"
        tables["segments"][item.id] = f"{recording.id} {start:.6f} {end:.6f}"
        tables["utt2spk"][item.id] = item.speaker
        tables["utt2lang"][item.id] = item.language
        tables["utt2dur"][item.id] = f"{end - start:.3f}"
        if (item.text or "").strip():
            tables["text"][item.id] = " ".join(item.text.split())
        if item.gender:
            _add_gender(tables["spk2gender"], item)
    tables["spk2utt"] = invert(tables["utt2spk"])
    if whole:
        del tables["segments"]
    # Kaldi wants these two for all or not at all.
    for name, keys in (("text", tables["utt2spk"]), ("spk2gender", tables["spk2utt"])):
        missing = keys.keys() - tables[name].keys()
        if missing:
            if tables[name]:
                logger.warning("%s left out: it is not known for %d of %d", name, len(missing), len(keys))
            del tables[name]
    return tables


def _times(item: SupervisionSegment, recording: Recording) -> tuple[float, float]:
    """Start and end of an utterance; within a sample of its recording's they are the recording's."""
    sample = 1 / recording.sampling_rate
    if item.start < -sample or item.end > recording.duration + sample or item.duration <= 0:
        raise ValueError(
            f"supervision {item.id}: {item.start} to {item.end} s is not within its recording "
            f"{recording.id} of {recording.duration} s; mend the manifest"
        )
    start = 0.0 if item.start < sample else float(item.start)
    return start, recording.duration if item.end > recording.duration - sample else float(item.end)


def _path_of(recording: Recording) -> str:
    if len(recording.sources) != 1 or recording.sources[0].type != "file" or recording.num_channels != 1:
        raise ValueError(f"recording {recording.id}: not one mono file; write its channels to files of their own")
    path = Path(recording.sources[0].source).absolute()
    if not path.is_file():
        raise ValueError(f"recording {recording.id}: no file {path}; prepare the corpus again (stage 0)")
    return str(path)


def _add_gender(spk2gender: dict[str, str], item: SupervisionSegment) -> None:
    gender = GENDERS.get(item.gender.lower())
    if gender is None:
        raise ValueError(f"supervision {item.id}: gender {item.gender!r} is none of {' '.join(GENDERS)}")
    if spk2gender.setdefault(item.speaker, gender) != gender:
        raise ValueError(f"supervision {item.id}: speaker {item.speaker} is of another gender in other utterances")


def write_dirs(tables: Mapping[str, dict[str, dict[str, str]]], data_dir: Path) -> None:
    """Write a data directory per set: all are validated before the first is put in place.

    A directory that already holds the same tables stays, with its features; any other is replaced whole.

    Raises:
        ValueError: a directory is not valid; all of `data_dir` is as it was.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".make_data_dirs.") as temporary:
        for name, set_tables in tables.items():
            new = Path(temporary) / name
            new.mkdir()
            for file, table in set_tables.items():
                write_table(new / file, table)
            DataDir(new).validate(("wav.scp", "utt2spk", "spk2utt", "utt2lang", "utt2dur"))
        for name in tables:
            new, final = Path(temporary) / name, data_dir / name
            if _contents(new) == _contents(final):
                logger.info("%s: unchanged", final)
                continue
            if final.exists():
                logger.info("%s: replaced, with its features if it had any", final)
                final.rename(Path(temporary) / f"{name}.old")
            new.rename(final)


def _contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in TABLES if (path / name).is_file()}


def main() -> None:
    """Parse the command line and make the directories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", metavar="FILE", type=Path, required=True, help="YAML file: which sets to make")
    parser.add_argument("manifest_dir", metavar="MANIFEST_DIR", type=Path, help="lhotse manifests")
    parser.add_argument("data_dir", metavar="DATA_DIR", type=Path, help="where the data directories go")
    args = parser.parse_args()
    log_provenance()
    sets = read_sets(args.sets)
    recordings, supervisions = read_manifests(args.manifest_dir)
    chosen = select(sets, supervisions)
    write_dirs({name: make_tables(items, recordings) for name, items in chosen.items()}, args.data_dir)
    logger.info("%-20s %10s %8s %-16s %8s", "set", "utterances", "speakers", "languages", "minutes")
    for name, items in chosen.items():
        languages = ",".join(sorted({item.language for item in items}))
        speakers, minutes = len({item.speaker for item in items}), sum(item.duration for item in items) / 60
        logger.info("%-20s %10d %8d %-16s %8.2f", name, len(items), speakers, languages, minutes)


if __name__ == "__main__":
    run(main)
