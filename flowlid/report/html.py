"""The report as one HTML file with its tables, plots and settings: no script, and nothing loaded from elsewhere."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from flowlid.report.baseline_tables import not_beaten
from flowlid.report.contents import NOTES, experiment_tables, first_line, made_by
from flowlid.report.decision_tables import warnings
from flowlid.report.tables import Result, Table, overview, setting

_TITLE = "flowlid: results"
# What a plot shows, by a word in its file name.
_CAPTIONS = {
    "loss": "training curves in nats per frame; train is a running mean over the epoch while the model changes, dev is "
    "measured at its end; dotted lines mark epochs in which training went back to a snapshot",
    "first_dims": "the first two latent dimensions of single frames; crosses mark the class means",
    "best_dims": "the two dimensions of the class part with the highest Fisher ratio on the training set",
    "by_set": "the same t-SNE, coloured by set: what sets apart voices or channels, not languages, shows here",
    "tsne": "t-SNE of the class part of the latent; distances between separate groups mean little",
    "hist": "histograms of single latent dimensions, with the model's Gaussian densities (dashed)",
    "accuracy_duration": "accuracy by duration of selected speech, and of whole utterances, with 95% intervals; "
    "small figures: number of utterances; hollow: all units agree, so that there is no interval",
    "llr_per_frame": "log-likelihood ratio of each utterance (points), with quartiles and the 5th and 95th percentiles",
    "reliability": "share in which a class is the true one against its stated probability, by PAV; ideal: the diagonal",
    "bayes_error": "normalized Bayes error at every prior: as calibrated, and at best (thin); 1 is knowing nothing",
    "tippett": "targets below each calibrated log-likelihood ratio (rising), and the other trials above it (falling)",
    "det": "misses against false alarms at every threshold",
    "openset": "share of each set's utterances rejected as unknown at each threshold; the vertical line is in use",
    "confusion": "share of each true language recognised as each class, of N; (unseen): a language not in training",
}
_CSS = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; border-top: 2px solid #ccc; padding-top: 1rem; margin-top: 2.5rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
a { color: #004a80; }
code, pre { font: .85em/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; }
.word { text-align: left; }
td.word { white-space: normal; min-width: 6rem; }
figure { display: inline-block; vertical-align: top; margin: 1rem 1.5rem 0 0; max-width: 100%; }
figure img { max-width: 100%; height: auto; }
figcaption, .note, dd { font-size: .85rem; color: #444; }
figcaption { max-width: 30rem; }
.warning { border: 2px solid #a33a00; border-left-width: .6rem; background: #fff4e8; padding: .6rem .8rem; }
dt { font-weight: 600; font-size: .85rem; } dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; } table, figure { break-inside: avoid; } .wide { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: .1rem .25rem; }
}
"""


def report_html(
    results: Sequence[Result],
    exp_dir: str | Path,
    command: str,
    references: Mapping[str, Table] | None = None,
) -> str:
    """Lay out `collect`'s results, and the plots and configurations below `exp_dir`, as one HTML document.

    All text is escaped.

    Args:
        results: from `collect`.
        exp_dir: has <experiment>/plots/*.png, which become data URIs in the order of their names, what is to be said
            of them in <experiment>/plots/notes.txt, and <experiment>/config.yaml.
        command: what writes this report.
        references: experiment -> a last table for it.

    Raises:
        OSError: a plot or a configuration cannot be read.
    """
    names = [escape(result["experiment"]) for result in results]
    links = [f'<li><a href="#experiment-{number}">{name}</a></li>' for number, name in enumerate(names)]
    body = [
        f"<h1>{_TITLE}</h1>",
        f"<p>{first_line(results)} <code>{escape(command)}</code>.</p>",
        f'<nav aria-label="Experiments"><ol>{"".join(links)}</ol></nav>',
        _table(overview(results)),
        *(f'<p class="note">{escape(note)}</p>' for note in NOTES),
        *(
            _experiment(n, result, Path(exp_dir) / result["experiment"], experiment_tables(result, references or {}))
            for n, result in enumerate(results)
        ),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLE}</title><style>{_CSS}</style>"
    )
    lines = ["<!DOCTYPE html>", '<html lang="en">', f"<head>{head}</head>", "<body>", *body, "</body>", "</html>"]
    return "\n".join(lines) + "\n"


def _experiment(number: int, result: Result, path: Path, tables: Sequence[Table]) -> str:
    parts = [
        f'<section id="experiment-{number}"><h2>{escape(result["experiment"])}</h2>',
        f"<p>{escape(setting(result))}</p>",
        *(f'<p class="warning" role="note">{escape(text)}</p>' for text in (*warnings(result), *not_beaten(result))),
        *map(_table, tables),
    ]
    plots = sorted((path / "plots").glob("*.png"))
    if plots:
        notes = path / "plots" / "notes.txt"
        lines = notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else []
        parts += ["<h3>Plots</h3>", *(f'<p class="note">{escape(line)}</p>' for line in lines), *map(_figure, plots)]
    parts.append("<h3>How it was made</h3>")
    made = "".join(f"<dt>{key}</dt><dd>{escape(text)}</dd>" for key, text in made_by(result).items())
    parts.append(f"<dl>{made}</dl>")
    config = path / "config.yaml"
    if config.is_file():
        parts.append(f"<h3>Configuration</h3><pre>{escape(config.read_text(encoding='utf-8'))}</pre>")
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    def row(cells: list[str], tag: str) -> str:
        words = [' class="word"' if index < table.labels else "" for index in range(len(cells))]
        return "".join(f"<{tag}{word}>{escape(cell)}</{tag}>" for cell, word in zip(cells, words, strict=True))

    body = "".join(f"<tr>{row(cells, 'td')}</tr>\n" for cells in table.rows)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide"><table>\n'
        f"<thead><tr>{row(table.head, 'th')}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _figure(path: Path) -> str:
    meaning = next((text for word, text in _CAPTIONS.items() if word in path.stem), "")
    caption = escape(f"{path.stem}: {meaning}" if meaning else path.stem)
    image = base64.b64encode(path.read_bytes()).decode("ascii")
    picture = f'<img alt="{caption}" src="data:image/png;base64,{image}">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
