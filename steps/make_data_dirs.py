#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Cut lhotse manifests into Kaldi data directories, one per set, and refuse a split that leaks.

Usage:   steps/make_data_dirs.py --sets sets.yaml MANIFEST_DIR DATA_DIR
Example: steps/make_data_dirs.py --sets sets.yaml data/manifests data

All *recordings*.jsonl.gz and *supervisions*.jsonl.gz of MANIFEST_DIR are read. The sets file:

    disjoint: speaker    # no value of this field may be in both a train set and a dev or test set
    label: accent        # the field that becomes utt2lang; if left out, language
    classes: {native: [native, mixed]}   # values of that field that count as one class; others as themselves
    optional: [test_je_poor]             # sets that are skipped, with a log line, if a corpus was not given
    sets:                # name: field -> a value, several, or a range; the name starts with train, dev or test
      train_wsj_ce: {corpus: [wsj, ce], part: train}
      test_je_poor: {corpus: je, accent: japanese, score: {min: 1, below: 2.5}}   # or max, above
      test_wsj_ce_je: [test_wsj_ce, test_je]         # sets named before it, joined

Fields are language, speaker, gender, recording_id, and whatever the supervisions hold in `custom`. DATA_DIR/sets.tsv
lists the sets made; sets of an earlier run that the sets file no longer makes are removed.
"""

from pathlib import Path

from flowlid.corpora.data_dirs import logger, make_sets, read_manifests, write_dirs
from flowlid.corpora.sets import read_sets
from flowlid.program import argument_parser, log_provenance, run


def main() -> None:
    """Parse the command line and make the directories."""
    parser = argument_parser(__doc__)
    parser.add_argument("--sets", metavar="FILE", type=Path, required=True, help="YAML file: which sets to make")
    parser.add_argument("manifest_dir", metavar="MANIFEST_DIR", type=Path, help="lhotse manifests")
    parser.add_argument("data_dir", metavar="DATA_DIR", type=Path, help="where the data directories go")
    args = parser.parse_args()
    log_provenance()
    tables, counts = make_sets(read_sets(args.sets), *read_manifests(args.manifest_dir))
    write_dirs(tables, counts, args.data_dir)
    logger.info("sets:\n%s", "\n".join("".join(cell.ljust(24) for cell in row).rstrip() for row in counts))


if __name__ == "__main__":
    run(main)
