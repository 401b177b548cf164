"""Results of all experiments: collected from exp/, as JSON, as Markdown and as a table for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from flowlid import decision_tables, proficiency_tables, report_tables
from flowlid.decision_tables import warnings
from flowlid.files import read_json
from flowlid.report_tables import NONE, Result, Table, markdown_table, overview, setting

_ABOUT = (
    "model", "classes", "dim", "class_dim", "parameters", "cmvn", "normalization", "precision", "device", "provenance",
)  # fmt: skip
_TRAIN = (
    "frames", "epochs", "selected_epoch", "loglik_train", "logp_train", "logdet_train", "loglik_eval", "logp_eval",
    "logdet_eval", "seconds",
)  # fmt: skip
_SCORES = (
    "languages", "unseen", "utterances", "frames", "hours", "precision", "loglik", "logp", "logdet", "frame_accuracy",
    "utt_accuracy", "frame_confusion", "utt_confusion", "eer", "cavg", "min_dcf", "utt_accuracy_interval", "durations",
    "margins",
)  # fmt: skip
_PROFICIENCY = (
    "utterances", "speakers", "score_mean", "score_min", "score_max", "native", "loglik", "llr", "ridge", "reasons",
)  # fmt: skip
_CONTROL = ("utterances", "left_out", "frames", "hours", "chance", "flow", "linear", "warning", "reason")
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


def collect(exp_dir: str | Path, names: Sequence[str] | None = None) -> list[Result]:
    """Gather what training, scoring and analysis wrote: the content of results.json, an object an experiment.

    Reads train.json, config.yaml, score_<set>/result.json, nonspeech_<set>/result.json,
    proficiency_<set>/result.json and latent_<set>/moments.json. A value that does not apply, or whose stage
    has not run, is None; a set that was neither scored nor analysed is left out. Sets stand in the order of
    `data: {tests: [...]}` in config.yaml, then by name.

    Args:
        exp_dir: holds an experiment a directory.
        names: the experiments, in this order; by default every directory with a train.json, by name.

    Raises:
        ValueError: no (such) experiment, or a file that is corrupt or lacks an entry; it is named.
    """
    exp_dir = Path(exp_dir)
    if names is None:
        names = sorted(path.parent.name for path in exp_dir.glob("*/train.json"))
    if not names:
        raise ValueError(f"{exp_dir}: no experiment with a train.json; train one first (stage 3)")
    return [_experiment(exp_dir / name) for name in names]


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
        proficiency_tables.proficiency_table,
        report_tables.confusion_table,
        report_tables.moments_table,
    )
    return [table for table in (make(result) for make in makers) if table.rows]


def reference_of(result: Result, references: Mapping[str, Table] | None) -> list[Table]:
    """The table of `references` for this experiment, if there is one."""
    return [table for name, table in (references or {}).items() if name == result["experiment"]]


def _experiment(path: Path) -> Result:
    if not (path / "train.json").is_file():
        raise ValueError(f"{path}/train.json: no such file; train {path.name} first (stage 3)")
    trained = _entries(path / "train.json", (*_ABOUT, *_TRAIN))
    data = _data_section(path / "config.yaml")
    found = {file.parent.name.split("_", 1)[1] for file in path.glob("score_*/result.json")}
    found |= {file.parent.name.split("_", 1)[1] for file in path.glob("latent_*/moments.json")}
    tests = [name for name in data.get("tests") or [] if name in found]
    order = [*tests, *sorted(found - set(tests))]
    return {
        "experiment": path.name,
        **{key: trained[key] for key in _ABOUT if key != "provenance"},
        "train": {"set": data.get("train"), **{key: trained[key] for key in _TRAIN}},
        "sets": {name: _set(path, name) for name in order},
        **{key: trained["provenance"].get(key) for key in ("command", "versions", "commit", "machine")},
    }


def _set(path: Path, name: str) -> Result:
    scores, moments = path / f"score_{name}" / "result.json", path / f"latent_{name}" / "moments.json"
    found = _entries(scores, _SCORES) if scores.is_file() else dict.fromkeys(_SCORES)
    control = path / f"nonspeech_{name}" / "result.json"
    found["nonspeech"] = _entries(control, _CONTROL) if control.is_file() else None
    proficiency = path / f"proficiency_{name}" / "result.json"
    found["proficiency"] = _entries(proficiency, _PROFICIENCY) if proficiency.is_file() else None
    return {**found, "moments": _entries(moments, ("moments",))["moments"] if moments.is_file() else None}


def _entries(path: Path, keys: Sequence[str]) -> Result:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object; remove it and run its stage again")
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{path}: no entry {missing[0]}; remove it and run its stage again")
    return {key: content[key] for key in keys}


def _data_section(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file: {error}") from error
    section = content.get("data") if isinstance(content, dict) else None
    return section if isinstance(section, dict) else {}
