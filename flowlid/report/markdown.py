"""RESULTS.md, and the short table for the terminal."""

from collections.abc import Mapping, Sequence

from flowlid.report import decision_tables
from flowlid.report import tables as report_tables
from flowlid.report.decision_tables import warnings
from flowlid.report.tables import NONE, Result, Table, markdown_table, overview, setting

NOTES = (
    "LogLL = LogP + LogDet, natural logarithms, nats per frame, averaged over the frames of a set (DNF: under the true "
    "class, or under the best class where the language is unseen). The notebook of the reference experiments prints "
    'the loss, -LogLL, and calls it "LogLL".',
    "Decisions are per frame argmax log p(x|y), per utterance argmax of the sum over its frames. Detection scores are "
    "log-likelihood ratios of whole utterances, not calibrated; sets of one language have none. EER and minDCF "
    "(C_miss = C_fa = 1, P_target = 0.5, not normalised) are over all utterance trials, C_avg (NIST LRE 2009, closed "
    "set) at the Bayes threshold. Unseen languages count in no accuracy.",
    "Windows of a duration are cut one after the other from an utterance's selected (voiced) frames, and decided by "
    "the sum over their own frames; what is left at its end is in none. Intervals hold 95% of 2000 bootstrap resamples "
    "of speakers, or of utterances where there are fewer than 5 speakers. Where all that is drawn is alike, such as "
    "all right, the interval is one point, which tells nothing of other speakers. Longer windows come from fewer and "
    "longer utterances, so that the durations are not of the same speech.",
    "Control: non-speech frames are those without a voiced frame in their context. The linear classifier (discriminant "
    "analysis) knows the mean of an utterance's non-speech frames, and was trained on the training set's. Chance is "
    "one over the number of classes in the set. Under cmvn by utterance or speaker the mean that was subtracted is "
    "over speech too, so that how far speech stands above the noise can still be seen in those frames. In the table of "
    'all experiments "non-speech" is the better balanced accuracy of the two; (!) stands where a warning does.',
    "Proficiency: correlations with scores by human raters. LogLL is log p(x) of a normal flow, log p(x|native) of a "
    "model with a native class; of another one it is under the utterance's own class, or the best where that is "
    "unseen. The log-likelihood ratio is that of the native class against the best other one; the ridge regression "
    "predicts each utterance without having seen its speaker (and is not fitted again in each resample). Intervals "
    "hold 95% of 2000 bootstrap resamples of what is said to be drawn; those of utterances taken for independent are "
    "by Fisher's transform, and too narrow where a speaker has many.",
    f'"{NONE}" stands for a value that does not apply.',
)


def results_markdown(
    results: Sequence[Result],
    command: str,
    title: str = "Results",
    references: Mapping[str, Table] | None = None,
) -> str:
    """The text of RESULTS.md: settings and tables of each experiment, and the command that makes them.

    `references` holds a last table for some experiments, by name.
    """
    parts = [f"# {title}", f"Made by `{command}`.", markdown_table(overview(results)), NOTES[0]]
    for result in results:
        made = f"Trained by `{result['command']}`, commit {result['commit']}; {result['versions']}."
        parts += [f"## {result['experiment']}", setting(result), made, *(f"> **{text}**" for text in warnings(result))]
        found = [*tables(result), *reference_of(result, references)]
        parts += [f"{table.title}:\n\n{markdown_table(table)}" for table in found]
    parts += ["## How to read the tables", *NOTES[1:]]
    return "\n\n".join(parts) + "\n"


def results_table_text(results: Sequence[Result]) -> str:
    """A short fixed-width table for the terminal, a line per experiment and set."""
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
    lines += [f"{result['experiment']}: {text}" for result in results for text in warnings(result)]
    return "\n".join(lines) + "\n"


def tables(result: Result) -> list[Table]:
    """The tables of one experiment; those without a row are left out."""
    makers = (
        report_tables.training_table,
        report_tables.sets_table,
        decision_tables.control_table,
        decision_tables.durations_table,
        decision_tables.margins_table,
        decision_tables.proficiency_table,
        report_tables.confusion_table,
        report_tables.moments_table,
    )
    return [table for table in (make(result) for make in makers) if table.rows]


def reference_of(result: Result, references: Mapping[str, Table] | None) -> list[Table]:
    """The table of `references` for this experiment, if there is one."""
    return [table for name, table in (references or {}).items() if name == result["experiment"]]
