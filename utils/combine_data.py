#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Merge Kaldi data directories into one.

A table that only some of the sources have is left out, with a message; only segments are made where they
are missing: each recording is one, from 0 to its end (-1). The same line may be in several sources; a key with two
values is an error, and so are features of two frame shifts, and names that differ only in case or Unicode form.

Example: utils/combine_data.py data/wsj+ce data/wsj data/ce
"""

from pathlib import Path

from flowlid.files import raise_problems
from flowlid.kaldi.datadir import DataDir, alike, disagreements
from flowlid.kaldi.tables import invert, table_names, write_directory
from flowlid.program import argument_parser, run

SAME_SHIFT = 1.02  # at most, of two frame shifts that are the same: those of tables are estimates
_Tables = dict[str, dict[str, str]]


def read_source(path: Path, with_segments: bool, skip: list[str]) -> _Tables:
    """The tables of a source; its recordings become segments where another source has segments."""
    directory = DataDir(path)
    directory.validate(ignore=skip)
    tables = {name: directory.table(name) for name in table_names(path) if name not in skip}
    if with_segments and "segments" not in tables:
        tables["segments"] = {utt: f"{utt} 0 -1" for utt in tables["utt2spk"]}
    return tables


def merge(name: str, sources: dict[Path, _Tables]) -> dict[str, str]:
    """One table of all sources; ValueError lists the keys that have two values."""
    merged: dict[str, str] = {}
    origin: dict[str, Path] = {}
    problems: list[str] = []
    for path, tables in sources.items():
        for number, (key, value) in enumerate(tables[name].items(), 1):
            if merged.setdefault(key, value) != value:
                other = origin[key] / name
                problems.append(f"{path / name}:{number}: {key!r} has another value in {other}; rename one")
            origin.setdefault(key, path)
    raise_problems(problems)
    return dict(sorted(merged.items()))


def shift_of(sources: list[Path]) -> dict[str, bytes]:
    """The file frame_shift of directories whose features are merged, if any has it; ValueError if they differ."""
    directories = [DataDir(path) for path in sources]
    known = [
        each for each in directories if each.has("frame_shift") or (each.has("utt2dur") and each.has("utt2num_frames"))
    ]
    shifts = {each.path: each.frame_shift for each in known}
    if not shifts:
        return {}
    (least, shift), (most, other) = (choose(shifts.items(), key=lambda item: item[1]) for choose in (min, max))
    if other > shift * SAME_SHIFT:
        raise ValueError(
            f"{most}: frames every {other:g} s, but in {least} every {shift:g} s (frame_shift, or utt2dur and "
            "utt2num_frames); extract the features of both with one configuration (stage 2)"
        )
    named = [each.path / "frame_shift" for each in directories if each.has("frame_shift")]
    return {"frame_shift": named[0].read_bytes()} if named else {}


def options_of(sources: list[Path]) -> dict[str, bytes]:
    """The file feature_options of directories whose features are merged, if all have it; ValueError if they differ."""
    options = {path: DataDir(path).feature_options for path in sources}
    known = [(path, table) for path, table in options.items() if table]
    for path, table in known[1:]:
        first, other = known[0]
        changed = sorted(name for name in table.keys() | other.keys() if table.get(name) != other.get(name))
        if changed:
            raise ValueError(
                f"{path}/feature_options: {changed[0]} is {table.get(changed[0])}, but in {first} "
                f"{other.get(changed[0])}; extract the features of both with one configuration (stage 2)"
            )
    return {"feature_options": (sources[0] / "feature_options").read_bytes()} if len(known) == len(sources) else {}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("dest", type=Path, metavar="DEST", help="data directory to make")
    parser.add_argument("sources", type=Path, nargs="+", metavar="SRC", help="data directories to merge")
    parser.add_argument("--skip-files", default="", help='files that are not merged, such as "feats.scp cmvn.scp"')
    args = parser.parse_args()
    if args.dest.resolve() in [source.resolve() for source in args.sources]:
        raise ValueError(f"{args.dest}: the destination is one of the sources; give another destination")
    with_segments = any((source / "segments").is_file() for source in args.sources)
    sources = {source: read_source(source, with_segments, args.skip_files.split()) for source in args.sources}
    raise_problems(alike(sources))
    names = sorted({name for tables in sources.values() for name in tables} - {"spk2utt"})
    missing = {name: [str(source) for source, tables in sources.items() if name not in tables] for name in names}
    for name in names:
        if missing[name]:
            print(f"combine_data.py: {name} left out: not in {', '.join(missing[name])}")
    merged = {name: merge(name, sources) for name in names if not missing[name]}
    merged["spk2utt"] = invert(merged["utt2spk"])
    raise_problems(disagreements(args.dest, merged), f"{args.dest}: not made; it would have")
    facts = {**shift_of(args.sources), **options_of(args.sources)} if "feats.scp" in merged else {}
    write_directory(args.dest, merged, facts)
    print(f"combine_data.py: {len(merged['utt2spk'])} utterances of {len(sources)} directories in {args.dest}")


if __name__ == "__main__":
    run(main)
