#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Report all trained experiments: RESULTS.md, results.json and report.html.

Example: steps/make_report.py --command "./run.sh" --reference reference.yaml exp
It prints a short table.
"""

from pathlib import Path

from flowlid import program
from flowlid.evaluation.comparison import with_baselines
from flowlid.files import atomic_write, write_json
from flowlid.report.html import report_html
from flowlid.report.markdown import results_markdown, results_table_text
from flowlid.report.reference import read_reference, reference_tables
from flowlid.report.results import collect, trained

OURS = {"RESULTS.md": b"# Results\n\nReport of", "results.json": b'"experiment"', "report.html": b"Report of"}


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--command", default="./run.sh", help="the command that writes the report; the report names it")
    parser.add_argument(
        "--reference", metavar="FILE", type=Path, help="YAML file: published figures to print beside ours"
    )
    parser.add_argument("--without", default="", help='leave these experiments out ("a b")')
    parser.add_argument("exp", type=Path, help="where the experiments are")
    parser.add_argument("--table-of", default="", help='print the table of these experiments ("a b"), write nothing')
    args = parser.parse_args()
    if args.table_of:
        print(results_table_text(with_baselines(args.exp, collect(args.exp, args.table_of.split()))))
        return
    without = set(args.without.split())
    names = [name for name in trained(args.exp) if name not in without]
    results = with_baselines(args.exp, collect(args.exp, names))
    check_ours(args.exp)
    references = reference_tables(read_reference(args.reference), results) if args.reference else {}
    write_json(args.exp / "results.json", results)
    with atomic_write(args.exp / "RESULTS.md") as file:
        file.write(results_markdown(results, args.command, references=references))
    with atomic_write(args.exp / "report.html") as file:
        file.write(report_html(results, args.exp, args.command, references=references))
    print(results_table_text(results))


def check_ours(exp: Path) -> None:
    """Raise ValueError if there is a file of a report's name that is no report: it is the user's own."""
    for name, mark in OURS.items():
        if (exp / name).exists() and mark not in (exp / name).read_bytes():
            raise ValueError(f"{exp / name}: not written by a report, which would replace it; rename it")


if __name__ == "__main__":
    program.run(main)
