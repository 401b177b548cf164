#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Sort the tables of a Kaldi data directory in C order, and keep only the utterances that all of them hold.

Repeated identical lines are removed, and so are recordings and speakers that no utterance uses; spk2utt is
made from utt2spk. The tables as they were go to DIR/.backup. A malformed line, a key with two values, or
nothing left: exits 1, and changes nothing.

Example: utils/fix_data_dir.py data/train
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowlid.kaldi.datadir import disagreements
from flowlid.kaldi.tables import key_kind, listed, parse_segment, scan_table, select, table_names, write_directory
from flowlid.program import argument_parser, run

_Tables = dict[str, dict[str, str]]


def read_tables(path: Path) -> _Tables:
    """The tables of a directory, except spk2utt, sorted; ValueError names every malformed or conflicting line."""
    tables: _Tables = {}
    problems: list[str] = []
    for name in sorted({"utt2spk", *table_names(path)} - {"spk2utt"}):
        table, found = scan_table(path / name, ordered=False)
        tables[name] = dict(sorted(table.items()))
        problems += found
    if problems:
        raise ValueError(listed(problems))
    return tables


def complete_utterances(tables: _Tables) -> set[str]:
    """The utterances that all tables hold, themselves or by their speaker or recording; says what was dropped."""
    utt2rec = {utt: parse_segment(value)[0] for utt, value in tables.get("segments", {}).items()}
    key_of = {"utt": {}, "spk": tables["utt2spk"], "rec": utt2rec}
    kept = set(tables["utt2spk"])
    for name in sorted(tables, key=lambda name: key_kind(name) != "utt"):  # segments before the recordings
        lacking = {utt for utt in kept if key_of[key_kind(name)].get(utt, utt) not in tables[name]}
        if lacking:
            print(f"fix_data_dir.py: dropped {len(lacking)} utterances not in {name}, the first {min(lacking)}")
        kept -= lacking
    return kept


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("dir", type=Path, help="data directory, changed in place")
    path = parser.parse_args().dir
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such data directory; make it with run.sh --stage 1")
    tables = read_tables(path)
    utts = complete_utterances(tables)
    if not utts:
        raise ValueError(f"{path}: no utterance is in all of {', '.join(tables)}; remove the file that is wrong")
    fixed = select(tables, utts)
    problems = disagreements(path, fixed)
    if problems:
        raise ValueError(f"{path}: cannot be fixed; sorted and filtered, it would still have\n{listed(problems)}")
    backup = path / ".backup"
    backup.mkdir(exist_ok=True)
    for name in table_names(path):
        shutil.copy2(path / name, backup / name)
    write_directory(path, fixed)
    print(f"fix_data_dir.py: kept {len(utts)} utterances out of {len(tables['utt2spk'])}")
    print(f"fix_data_dir.py: the old files are in {backup}")


if __name__ == "__main__":
    run(main)
