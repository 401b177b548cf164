"""RESULTS.md, and the short table for the terminal."""

from collections.abc import Mapping, Sequence

from flowlid.report.baseline_tables import not_beaten
from flowlid.report.contents import NOTES, experiment_tables, first_line, made_by
from flowlid.report.decision_tables import warnings
from flowlid.report.tables import Result, Table, markdown_table, overview, setting


def results_markdown(results: Sequence[Result], command: str, references: Mapping[str, Table] | None = None) -> str:
    """The text of RESULTS.md: one table of all experiments, then each one's settings, commands and tables.

    Args:
        results: from `collect`.
        command: what writes this report.
        references: experiment -> a last table for it.
    """
    parts = ["# Results", f"{first_line(results)} `{command}`.", markdown_table(overview(results)), NOTES[0]]
    for result in results:
        parts += [f"## {result['experiment']}", setting(result), _made_by(result)]
        parts += [f"> **{text}**" for text in (*warnings(result), *not_beaten(result))]
        parts += [f"{table.title}:\n\n{markdown_table(table)}" for table in experiment_tables(result, references or {})]
    parts += ["## How to read the tables", *NOTES[1:]]
    return "\n\n".join(parts) + "\n"


def _made_by(result: Result) -> str:
    lines = made_by(result)
    return "\n".join(f"- {key}: {f'`{text}`' if key.endswith('by') else text}" for key, text in lines.items())


def results_table_text(results: Sequence[Result]) -> str:
    """A short fixed-width table for the terminal, a line per experiment and set; what (!) and (?) mean is below it."""
    table = overview(results)
    columns = list(zip(table.head, *table.rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (table.head, ["-" * width for width in widths], *table.rows):
        cells = [
            cell.ljust(width) if index < table.labels else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    warned = sum(len(warnings(result)) for result in results)
    if warned:
        lines += [
            f"(!) {warned} of these sets: non-speech frames alone tell the classes apart. Their recordings differ in",
            "    channel or noise, and the accuracy may be due to that (more in RESULTS.md).",
        ]
    unsure = sum(cell.endswith("(?)") for row in table.rows for cell in row)
    if unsure:
        lines += [
            f"(?) {unsure} of these sets: whether non-speech frames alone tell the classes apart cannot be told",
            "    (why: RESULTS.md).",
        ]
    lines += [f"{result['experiment']}: {text}" for result in results for text in not_beaten(result)]
    return "\n".join(lines) + "\n"
