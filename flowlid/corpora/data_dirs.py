"""From lhotse manifests to Kaldi data directories: tables of each set, validated, put in place together."""

import logging
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from lhotse import RecordingSet, SupervisionSet
from lhotse.audio import Recording
from lhotse.supervision import SupervisionSegment

from flowlid.corpora.corpus import read_gender
from flowlid.corpora.sets import Sets, is_set_name, select
from flowlid.files import raise_problems, read_lines, temporary_directory, write_tsv
from flowlid.kaldi.datadir import DataDir, alike
from flowlid.kaldi.tables import invert, write_table
from flowlid.wording import look_alikes

logger = logging.getLogger("make_data_dirs")
TABLES = (
    "wav.scp", "reco2dur", "segments", "utt2spk", "spk2utt", "utt2lang", "utt2dur", "spk2gender", "text", "utt2score",
)  # fmt: skip
Tables = dict[str, dict[str, str]]
_UNREADABLE = (  # what lhotse raises for a manifest that is damaged, or none
    ValueError, KeyError, TypeError, AttributeError, AssertionError, EOFError, OSError, zlib.error,
)  # fmt: skip


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
        except _UNREADABLE as error:
            raise ValueError(f"{path}: not a lhotse manifest of {kind} ({error!r}); prepare it again") from error
        for item in items:
            if item.id in found:
                raise ValueError(f"{path}: {kind} id {item.id} is in {origin[item.id]} too; keep one of them")
            found[item.id], origin[item.id] = item, path
    return found


def make_sets(
    sets: Sets, recordings: Mapping[str, Recording], supervisions: Mapping[str, SupervisionSegment]
) -> tuple[dict[str, Tables], list[list[str]]]:
    """Tables of the data directory of each set, by name, and the rows of sets.tsv (`count`).

    Raises:
        ValueError: as `flowlid.corpora.sets.select` and `make_tables`.
    """
    chosen = select(sets, supervisions)
    tables = {name: make_tables(name, items, recordings) for name, items in chosen.items()}
    # segments for all sets or for none: an utterance of several sets has the same line in each
    if not any(need_segments(items, recordings) for items in chosen.values()):
        for set_tables in tables.values():
            del set_tables["segments"]
    return tables, count(chosen)


def make_tables(name: str, items: list[SupervisionSegment], recordings: Mapping[str, Recording]) -> Tables:
    """Tables of the Kaldi data directory of a set, by file name; times in seconds.

    Raises:
        ValueError: an utterance without speaker, outside its recording, or whose recording
            is not a single mono file that exists.
    """
    tables: Tables = {file: {} for file in TABLES}
    for item in items:
        recording = recordings[item.recording_id]
        if not item.speaker:
            raise ValueError(f"supervision {item.id}: no speaker; set it where the corpus is prepared (stage 0)")
        start, end = _times(item, recording)
        tables["wav.scp"][recording.id] = _source_of(recording)
        tables["reco2dur"][recording.id] = f"{recording.duration:.3f}"
        tables["segments"][item.id] = f"{recording.id} {start:.6f} {end:.6f}"
        tables["utt2spk"][item.id] = item.speaker
        tables["utt2lang"][item.id] = item.language
        tables["utt2dur"][item.id] = f"{end - start:.3f}"
        if (item.text or "").strip():
            tables["text"][item.id] = " ".join(item.text.split())
        if item.gender:
            _add_gender(tables["spk2gender"], item)
        if (item.custom or {}).get("score") is not None:
            tables["utt2score"][item.id] = f"{_score(item):g}"
    tables["spk2utt"] = invert(tables["utt2spk"])
    # Kaldi needs text and spk2gender for all or not at all, and so does a correlation utt2score.
    wanted = {"text": "utt2spk", "utt2score": "utt2spk", "spk2gender": "spk2utt"}
    for file, keys in ((file, tables[other]) for file, other in wanted.items()):
        missing = keys.keys() - tables[file].keys()
        if missing:
            if tables[file]:
                logger.info("%s: no %s, it is not known for %d of %d", name, file, len(missing), len(keys))
            del tables[file]
    return tables


def need_segments(items: list[SupervisionSegment], recordings: Mapping[str, Recording]) -> bool:
    """Whether an utterance is only a part of its recording, or is named otherwise."""
    for item in items:
        recording = recordings[item.recording_id]
        if item.id != recording.id or _times(item, recording) != (0, recording.duration):
            return True
    return False


def _score(item: SupervisionSegment) -> float:
    try:
        return float(item.custom["score"])
    except (TypeError, ValueError):
        raise ValueError(f"supervision {item.id}: score {item.custom['score']!r} is not a number; correct it") from None


def _times(item: SupervisionSegment, recording: Recording) -> tuple[float, float]:
    """Start and end of an utterance; within a sample of its recording's they are the recording's."""
    sample = 1 / recording.sampling_rate
    if item.start < -sample or item.end > recording.duration + sample or item.duration <= 0:
        raise ValueError(
            f"supervision {item.id}: {item.start} to {item.end} s is not within its recording "
            f"{recording.id} of {recording.duration} s; correct the manifest"
        )
    start = 0.0 if item.start < sample else float(item.start)
    return start, recording.duration if item.end > recording.duration - sample else float(item.end)


def _source_of(recording: Recording) -> str:
    """What wav.scp says of a recording: a path, or "command |"."""
    kind = recording.sources[0].type if len(recording.sources) == 1 else None
    if kind not in ("file", "command") or recording.num_channels != 1:
        raise ValueError(f"recording {recording.id}: not one mono file; write its channels to files of their own")
    if kind == "command":
        return f"{recording.sources[0].source} |"
    path = Path(recording.sources[0].source).absolute()
    if not path.is_file():
        raise ValueError(f"recording {recording.id}: no file {path}; prepare the corpus again (stage 0)")
    return str(path)


def _add_gender(spk2gender: dict[str, str], item: SupervisionSegment) -> None:
    gender = read_gender(item.gender, f"supervision {item.id}")
    if spk2gender.setdefault(item.speaker, gender) != gender:
        raise ValueError(f"supervision {item.id}: speaker {item.speaker} is of another gender in other utterances")


def write_dirs(tables: Mapping[str, Tables], counts: list[list[str]], data_dir: Path) -> None:
    """Write a data directory per set, and sets.tsv: all are validated before the first is put in place.

    A directory that already holds the same tables stays, with its features; any other is replaced whole. Sets that
    the old sets.tsv names and the new one does not are removed.

    Raises:
        ValueError: a directory is not valid, names in them look the same, or there is a directory of such a name that
            is not in sets.tsv, and so the user's own; all of `data_dir` is as it was.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    made = data_dir / "sets.tsv"
    before = [line.split("\t")[0] for line in read_lines(made)[1:]] if made.is_file() else []
    strange = [name for name in before if not is_set_name(name)]
    if strange:
        raise ValueError(f"{made}: {strange[0]!r} is no name of a set; remove the line")
    problems = alike({data_dir / name: set_tables for name, set_tables in tables.items()})
    problems += [f"set {other!r} looks like set {name!r}; rename one" for name, other in look_alikes(tables)]
    problems += [
        f"{data_dir / name}: not made by this stage, and so not replaced; move it, or call the set otherwise"
        for name in tables
        if name not in before and (data_dir / name).exists()
    ]
    raise_problems(problems)
    with temporary_directory(data_dir / "make_data_dirs") as temporary:
        for name, set_tables in tables.items():
            new = temporary / name
            new.mkdir()
            for file, table in set_tables.items():
                write_table(new / file, table)
            DataDir(new).validate(("wav.scp", "utt2spk", "spk2utt", "utt2lang", "utt2dur"))
        # Until all is in place sets.tsv names the old sets too, so that the run after a killed one still removes them.
        write_tsv(made, [*counts, *([name] for name in before if name not in tables)])
        for name in tables:
            new, final = temporary / name, data_dir / name
            if _contents(new) == _contents(final):
                logger.info("%s: unchanged", final)
                continue
            if final.exists():
                logger.info("%s: replaced, with its features if it had any", final)
                final.rename(temporary / f"{name}.old")
            new.rename(final)
        for name in sorted(set(before) - set(tables)):
            if (data_dir / name).is_dir():
                logger.info("%s: removed, the sets file no longer makes it", data_dir / name)
                (data_dir / name).rename(temporary / f"{name}.old")
        write_tsv(made, counts)


def _contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in TABLES if (path / name).is_file()}


def count(chosen: Mapping[str, list[SupervisionSegment]]) -> list[list[str]]:
    """What each set holds, below a row of headings."""
    rows = [["set", "utterances", "speakers", "hours", "languages"]]
    for name, items in chosen.items():
        speakers, hours = len({item.speaker for item in items}), sum(item.duration for item in items) / 3600
        languages = ",".join(sorted({item.language for item in items}))
        rows.append([name, str(len(items)), str(speakers), f"{hours:.3f}", languages])
    return rows
