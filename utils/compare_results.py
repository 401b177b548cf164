#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Say what changed between two runs, or between two experiments: accuracy and bits of each set, with a p-value.

Usage:   utils/compare_results.py [--data DIR] [--out STEM] BEFORE AFTER
Example: utils/compare_results.py --data data old/exp exp                     (all experiments that both have)
Example: utils/compare_results.py --data data exp/dnf_120 exp/dnf_120_lu      (two experiments)

Only sets with the same utterances and classes are compared, utterance by utterance. Intervals (95%) and p-values are of
a paired bootstrap over the speakers of --data's utt2spk; without it, or with fewer than five speakers, over utterances,
which is too sure of other speakers. Rows are sorted by p. Differences are AFTER - BEFORE: more accuracy and fewer bits
are better. With many rows some p-values are small by chance: with n rows, look for p below 0.05 / n.

--out STEM draws the differences as STEM.png and STEM.pdf, and writes them as STEM.tsv.
"""

from collections.abc import Sequence
from pathlib import Path

from flowlid.evaluation.changes import Change, changes, pairs_of
from flowlid.files import write_tsv
from flowlid.program import argument_parser, run

HEAD = ("p", "quantity", "experiment", "set", "utterances", "before", "after", "difference", "low", "high", "over")
AXES = {"accuracy": "utterance accuracy, after - before", "bits": "bits, after - before"}


def row(change: Change) -> list[str]:
    """A change as cells."""
    found, digits = change.difference, 3
    shares = [f"{value:.{digits}f}" for value in (change.before, change.after)]
    interval = ["-" if value is None else f"{value:+.{digits}f}" for value in (found.share, found.low, found.high)]
    p = "-" if change.p is None else f"{change.p:.2g}"
    over = f"{found.units} {found.unit}"
    return [p, change.quantity, change.experiment, change.set, str(change.utterances), *shares, *interval, over]


def show(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows)
    return "\n".join(line.rstrip() for line in lines)


def draw(found: Sequence[Change], stem: str) -> None:
    """The differences of each quantity, in the order given."""
    from flowlid.plots.changes import differences  # here, because most calls draw nothing

    several = len({change.experiment for change in found}) > 1
    panels: dict[str, list[tuple[str, float, float | None, float | None]]] = {axis: [] for axis in AXES.values()}
    for change in found:
        label = f"{change.experiment}: {change.set}" if several else change.set
        estimate = change.difference
        panels[AXES[change.quantity]].append((label, estimate.share, estimate.low, estimate.high))
    differences({axis: rows for axis, rows in panels.items() if rows}, stem)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--data", metavar="DIR", type=Path, help="data directories, for the speakers")
    parser.add_argument("--out", metavar="STEM", default="", help="where the table and the picture go; empty: nowhere")
    parser.add_argument("before", metavar="BEFORE", type=Path, help="exp directory or experiment")
    parser.add_argument("after", metavar="AFTER", type=Path, help="the other one")
    args = parser.parse_args()
    found = [change for pair in pairs_of(args.before, args.after) for change in changes(*pair, args.data)]
    if not found:
        raise ValueError(
            f"{args.before} and {args.after} have scored no set in common, or only sets of unseen languages"
        )
    found.sort(key=lambda change: (1.0 if change.p is None else change.p, change.experiment, change.set))
    rows = [HEAD, *map(row, found)]
    print(show(rows))
    if args.out:
        write_tsv(f"{args.out}.tsv", rows)
        draw(found, args.out)


if __name__ == "__main__":
    run(main)
