"""Results of all experiments: collected from exp/, as JSON, as Markdown and as a table for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowlid.files import read_json

Result = dict[str, Any]
_ABOUT = ("model", "classes", "dim", "class_dim", "parameters", "cmvn", "normalization", "device", "provenance")
_TRAIN = ("frames", "epochs", "selected_epoch", "loglik_train", "loglik_eval", "logp_eval", "logdet_eval", "seconds")
_SCORES = (
    "languages", "unseen", "utterances", "frames", "hours", "loglik", "logp", "logdet", "frame_accuracy",
    "utt_accuracy", "frame_confusion", "utt_confusion", "eer", "cavg", "min_dcf",
)  # fmt: skip
_NONE = "-"
NOTES = (
    "LogLL = LogP + LogDet, natural logarithms, nats per frame, averaged over the frames of a set (DNF: under the true "
    "class, or under the best class where the language is unseen). The notebook of the reference experiments prints "
    'the loss, -LogLL, and calls it "LogLL".',
    "Decisions are per frame argmax log p(x|y), per utterance argmax of the sum over its frames. Detection scores are "
    "log-likelihood ratios of whole utterances, not calibrated; sets of one language have none. EER and minDCF "
    "(C_miss = C_fa = 1, P_target = 0.5, not normalised) are over all utterance trials, C_avg (NIST LRE 2009, closed "
    "set) at the Bayes threshold. Unseen languages count in no accuracy.",
    f'"{_NONE}" stands for a value that does not apply.',
)


@dataclass(frozen=True)
class Table:
    """A titled table of text; the first `labels` columns are words, the others numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]
    labels: int


def collect(exp_dir: str | Path, names: Sequence[str] | None = None) -> list[Result]:
    """Gather what training, scoring and analysis wrote: the content of results.json, an object an experiment.

    Reads train.json, config.yaml, score_<set>/result.json and latent_<set>/moments.json. A value that
    does not apply, or whose stage has not run, is None; a set that was neither scored nor analysed is
    left out. Sets stand in the order of `data: {tests: [...]}` in config.yaml, then by name.

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


def results_markdown(results: Sequence[Result], command: str, title: str = "Results") -> str:
    """The text of RESULTS.md: settings and tables of each experiment, and the command that makes them."""
    parts = [f"# {title}", f"Made by `{command}`.", *NOTES]
    for result in results:
        made = f"Trained by `{result['command']}`, commit {result['commit']}; {result['versions']}."
        parts += [f"## {result['experiment']}", setting(result), made]
        parts += [f"{table.title}:\n\n{markdown_table(table)}" for table in tables(result)]
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
    return "\n".join(lines) + "\n"


def overview(results: Sequence[Result]) -> Table:
    """The figures that one looks for first."""
    rows = [
        [
            result["experiment"], _set_name(name, found), _count(found["utterances"]), _share(found["frame_accuracy"]),
            _share(found["utt_accuracy"]), _share(found["eer"]), _nats(found["loglik"]),
        ]
        for result in results
        for name, found in _scored(result)
    ]  # fmt: skip
    head = ["experiment", "set", "utterances", "frame acc", "utt acc", "EER", "LogLL"]
    return Table("All experiments", head, rows, labels=2)


def setting(result: Result) -> str:
    """One line that says what was trained, how, and on what."""
    train = result["train"]
    parts = [
        f"{result['model'].upper()} on {train['set'] or 'an unnamed set'}",
        *([f"classes {', '.join(result['classes'])}"] if result["model"] == "dnf" else []),
        f"D = {result['dim']}",
        *([f"class_dim {result['class_dim']}"] if result["class_dim"] is not None else []),
        f"cmvn {result['cmvn']}",
        f"normalization {result['normalization']}",
        f"{train['epochs']} epochs (epoch {train['selected_epoch']} kept)",
        f"{_count(train['frames'])} frames",
        f"{_count(result['parameters'])} parameters",
        f"{train['seconds']:.0f} s on {result['device']}",
    ]
    return "; ".join(parts) + "."


def tables(result: Result) -> list[Table]:
    """The tables of one experiment: training, sets, confusion, moments; those without a row are left out."""
    found = [_training_table(result), _sets_table(result), _confusion_table(result), _moments_table(result)]
    return [table for table in found if table.rows]


def _training_table(result: Result) -> Table:
    train = result["train"]
    head = ["training frames", "LogLL as trained", "LogLL of the saved model", "difference", "LogP", "LogDet"]
    values = [train["loglik_train"], train["loglik_eval"], train["loglik_eval"] - train["loglik_train"]]
    row = [_count(train["frames"]), *map(_nats, [*values, train["logp_eval"], train["logdet_eval"]])]
    return Table("Training set under the model as trained and as saved", head, [row], labels=0)


def _sets_table(result: Result) -> Table:
    rows = []
    for name, found in _scored(result):
        words = [_set_name(name, found), _went(found)]
        counts = [_count(found["utterances"]), _count(found["frames"]), _hours(found["hours"])]
        nats = [_nats(found[key]) for key in ("loglik", "logp", "logdet")]
        shares = [_share(found[key]) for key in ("frame_accuracy", "utt_accuracy", "eer", "min_dcf", "cavg")]
        rows.append(words + counts + nats + shares)
    head = ["set", "unseen went mostly to (utterances)", "utterances", "frames", "voiced hours"]
    head += ["LogLL", "LogP", "LogDet"]
    head += ["frame acc", "utt acc", "EER", "minDCF", "C_avg"]
    labels = 2
    if all(row[1] == _NONE for row in rows):
        rows, head, labels = [[row[0], *row[2:]] for row in rows], [head[0], *head[2:]], 1
    return Table("Sets", head, rows, labels)


def _confusion_table(result: Result) -> Table:
    classes, rows = result["classes"], []
    for name, found in _scored(result):
        for true, shares in (found["utt_confusion"] or {}).items():
            frames = found["frame_confusion"][true]
            label = f"{true} (unseen)" if true in found["unseen"] else true
            rows.append([name, label, *(_share(row.get(k, 0.0)) for row in (shares, frames) for k in classes)])
    head = ["set", "true language", *(f"{unit}: {k}" for unit in ("utterances", "frames") for k in classes)]
    return Table("Share recognised as each class", head, rows, labels=2)


def _moments_table(result: Result) -> Table:
    rows = []
    part = "z" if result["class_dim"] in (None, result["dim"]) else "c"
    for name, found in result["sets"].items():
        for group, values in (found["moments"] or {}).items():
            if group == "residual" and values is None:
                continue  # class_dim = D: there is none
            skew, kurt = (values["skew"], values["kurt"]) if values else (None, None)
            label = "r, pooled" if group == "residual" else f"{part}, {group}"
            rows.append([name, label, _nats(skew, 4), _nats(kurt, 4)])
    title = "Moments of the latent, averaged over its dimensions (a Gaussian's are 0 and 0)"
    return Table(title, ["set", "part", "skewness", "excess kurtosis"], rows, labels=2)


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


def _scored(result: Result) -> list[tuple[str, Result]]:
    return [(name, found) for name, found in result["sets"].items() if found["utterances"] is not None]


def _set_name(name: str, found: Result) -> str:
    return f"{name} (unseen: {', '.join(found['unseen'])})" if found["unseen"] else name


def _went(found: Result) -> str:
    parts = []
    for language in (found["unseen"] or ()) if found["utt_confusion"] else ():
        shares = sorted(found["utt_confusion"][language].items(), key=lambda item: (-item[1], item[0]))
        parts.append(f"{language}: " + ", ".join(f"{name} {_share(share)}" for name, share in shares[:3] if share > 0))
    return "; ".join(parts) or _NONE


def _nats(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.000"


def _share(value: float | None) -> str:
    return _nats(value, 4)


def _hours(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _count(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}"


def markdown_table(table: Table) -> str:
    rule = ["---" if index < table.labels else "---:" for index in range(len(table.head))]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.head, *table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
