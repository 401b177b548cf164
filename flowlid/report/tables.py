"""Tables of likelihoods, accuracies and moments, and an experiment's settings: text, for every form of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
NONE = "-"
MANY = 15  # classes; of more, the most frequent confusions are shown, and not every class by its name
WORST = 20  # confusions of each set that are shown
SIGNIFICANT = 0.05  # a difference of a smaller p-value counts
NOT_CHECKED, NOT_APPLICABLE = "not checked", "not applicable"  # in the column of the non-speech check
_SIGNS = {"apart": " (!)", "not apart": "", "cannot tell": " (?)"}


@dataclass(frozen=True)
class Table:
    """A table of text; its first `labels` columns are words, the others numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]
    labels: int


def overview(results: Sequence[Result]) -> Table:
    """The main figures of every experiment and set; a column that would say nothing is left out."""
    rows = [
        [
            result["experiment"], set_label(name, found), count_text(found["utterances"]),
            share_text(found["frame_accuracy"]), share_text(found["utt_accuracy"]),
            share_text(found.get("utt_macro_accuracy")),  # not in a results.json of earlier versions, nor the next
            _nonspeech_text(found.get("nonspeech")),
            bits_text(found.get("calibrated")), _calibrated_accuracy(found.get("calibrated")),
            _beats_text(found.get("baselines")),
            share_text(found["eer"]), nats_text(found["loglik"]),
        ]
        for result in results
        for name, found in scored_sets(result)
    ]  # fmt: skip
    head = ["experiment", "set", "utterances", "frame acc", "utt acc", "macro acc", "non-speech", "bits"]
    head += ["calibrated acc", "beats baselines", "EER", "LogLL"]
    for column in (9, 8, 7, 6, 5):
        as_before = column == 5 and all(row[5] in (NONE, row[4]) for row in rows)
        if as_before or all(row[column] in (NONE, NOT_CHECKED, NOT_APPLICABLE) for row in rows):
            rows = [[*row[:column], *row[column + 1 :]] for row in rows]
            head = [*head[:column], *head[column + 1 :]]
    return Table("All experiments", head, rows, labels=2)


def setting(result: Result) -> str:
    """What was trained on what, and how, in one line."""
    train, flow = result["train"], result["train"]["epochs"] is not None  # or a baseline, which has none
    made = f"{train['epochs']} epochs (epoch {train['selected_epoch']} kept)"
    parts = [
        f"{result['model'].upper()} on {train['set'] or 'an unnamed set'}",
        *([_classes_text(result["classes"])] if result["model"] != "nf" else []),
        *_features_text(result.get("features") or {}),  # not in a results.json of earlier versions
        f"D = {result['dim']}",
        *([f"class_dim {result['class_dim']}"] if result["class_dim"] is not None else []),
        *_floor_text(result),
        f"cmvn {result['cmvn']}",
        *([f"normalization {result['normalization']}", made] if flow else []),
        f"{count_text(train['frames'])} frames",
        f"{count_text(result['parameters'])} parameters",
        f"{train['seconds']:.0f} s on {result['device']}, matrix products in {result['precision']}",
    ]
    return "; ".join(parts) + "."


def _classes_text(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes" if len(classes) > MANY else f"classes {', '.join(classes)}"


def _floor_text(result: Result) -> list[str]:
    """What was done to the log-mel energies first: `frames.level` and `frames.floor`."""
    words = {"level": "speech at level {:g}", "floor": "noise floor {:g}"}
    found = {key: result.get(key) for key in words}  # not in a results.json of earlier versions
    return [words[key].format(value) for key, value in found.items() if value is not None]


def _features_text(features: Result) -> list[str]:
    """The features' options, as far as they are known."""
    if "fbank.num-mel-bins" not in features:
        return [f"features of its own, {features['dim']} dims"] if "dim" in features else []
    bins, rate, length, shift = (
        f"{float(features[f'fbank.{name}']):g}"
        for name in ("num-mel-bins", "sample-frequency", "frame-length", "frame-shift")
    )
    return [f"{bins} mel bins at {rate} Hz, frames of {length} ms every {shift} ms"]


def training_table(result: Result) -> Table:
    """Log-likelihood of the training set, while training and under the model that was saved."""
    train = result["train"]
    head = ["training frames", "LogLL as trained", "LogLL of the saved model", "difference", "LogP", "LogDet"]
    title = "Training set, under the model as trained and as saved"
    if train["loglik_eval"] is None:  # a model without a density
        return Table(title, head, [], labels=0)
    trained = train["loglik_train"]  # None of a baseline, which is evaluated when it was saved
    values = [trained, train["loglik_eval"], None if trained is None else train["loglik_eval"] - trained]
    row = [count_text(train["frames"]), *map(nats_text, [*values, train["logp_eval"], train["logdet_eval"]])]
    return Table(title, head, [row], labels=0)


def sets_table(result: Result) -> Table:
    """Size, log-likelihood, accuracy and detection costs of each set."""
    rows = []
    for name, found in scored_sets(result):
        words = [set_label(name, found), _unseen_text(found)]
        counts = [count_text(found["utterances"]), count_text(found["frames"]), hours_text(found["hours"])]
        nats = [nats_text(found[key]) for key in ("loglik", "logp", "logdet")]
        shares = [share_text(found[key]) for key in ("frame_accuracy", "utt_accuracy")]
        shares += [share_text(found.get(key)) for key in ("utt_macro_accuracy", "eer", "min_dcf", "cavg")]
        rows.append(words + counts + nats + shares)
    head = ["set", "unseen recognised as (utterances)", "utterances", "frames", "voiced hours"]
    head += ["LogLL", "LogP", "LogDet"]
    head += ["frame acc", "utt acc", "macro acc", "EER", "minDCF", "C_avg"]
    labels = 2
    if all(row[1] == NONE for row in rows):
        rows, head, labels = [[row[0], *row[2:]] for row in rows], [head[0], *head[2:]], 1
    return Table("Scores of each set", head, rows, labels)


def confusion_table(result: Result) -> Table:
    """Share of each language's utterances and frames that were recognised as each class; of many classes, the worst."""
    if len(result["classes"]) > MANY:
        return _worst_table(result)
    classes, rows = result["classes"], []
    for name, found in scored_sets(result):
        for true, shares in (found["utt_confusion"] or {}).items():
            frames = found["frame_confusion"][true]
            label = f"{true} (unseen)" if true in found["unseen"] else true
            rows.append([name, label, *(share_text(row.get(k, 0.0)) for row in (shares, frames) for k in classes)])
    head = ["set", "true language", *(f"{unit}: {k}" for unit in ("utterances", "frames") for k in classes)]
    return Table("Confusion: share recognised as each class", head, rows, labels=2)


def _worst_table(result: Result) -> Table:
    """The most frequent confusions of each set, by the share of the true language's utterances."""
    rows = []
    for name, found in scored_sets(result):
        counts, confusions = found.get("utterances_of") or {}, found["utt_confusion"] or {}
        wrong = [
            (share, true, called)
            for true, shares in confusions.items()
            for called, share in shares.items()
            if called != true and share > 0
        ]
        for share, true, called in sorted(wrong, key=lambda pair: (-pair[0], -counts.get(pair[1], 0), pair[1:]))[
            :WORST
        ]:
            label = f"{true} (unseen)" if true in found["unseen"] else true
            cells = [share_text(share), share_text(found["frame_confusion"][true].get(called, 0.0))]
            cells += [count_text(counts.get(true)), share_text(confusions[true].get(true))]
            rows.append([name, label, called, *cells])
    head = ["set", "true language", "recognised as", "share of its utterances", "of its frames", "its utterances"]
    title = f"Most frequent confusions: the first {WORST} of each set"
    return Table(title, [*head, "recognised correctly"], rows, labels=3)


def moments_table(result: Result) -> Table:
    """Skewness and excess kurtosis of each set's latents; of many classes, only those of all together."""
    rows = []
    part = "z" if result["class_dim"] in (None, result["dim"]) else "c"
    for name, found in result["sets"].items():
        for group, values in (found["moments"] or {}).items():
            if group == "residual" and values is None:
                continue  # class_dim = D: there is none
            if len(result["classes"]) > MANY and group not in ("pooled", "residual"):
                continue
            skew, kurt = (values["skew"], values["kurt"]) if values else (None, None)
            label = "r, pooled" if group == "residual" else f"{part}, {group}"
            rows.append([name, label, nats_text(skew, 4), nats_text(kurt, 4)])
    title = "Moments of the latent, averaged over its dimensions (both are 0 for a Gaussian)"
    return Table(title, ["set", "part", "skewness", "excess kurtosis"], rows, labels=2)


def scored_sets(result: Result) -> list[tuple[str, Result]]:
    """The sets that were scored, not only analysed, with their results."""
    return [(name, found) for name, found in result["sets"].items() if found["utterances"] is not None]


def set_label(name: str, found: Result) -> str:
    """A set's name, with its unseen languages."""
    unseen = found["unseen"] or ()
    names = ", ".join(unseen) if len(unseen) <= MANY else f"{len(unseen)} languages"
    return f"{name} (unseen: {names})" if unseen else name


def _nonspeech_text(found: Result | None) -> str:
    """The higher balanced accuracy of the two classifiers of non-speech frames, with the sign of the mark."""
    if found is None:
        return NOT_CHECKED
    if found["mark"] is None:
        return NOT_APPLICABLE
    judged = [found[key] for key in ("flow", "linear") if found[key]]
    shares = [each["balanced_accuracy"] for each in judged if each["balanced_accuracy"] is not None]
    return f"{share_text(max(shares)) if shares else found['mark']}{_SIGNS[found['mark']]}"


def bits_text(calibrated: Result | None) -> str:
    """The calibrated cross-entropy, and what knowing nothing costs: "0.26 of 1.00"."""
    if not calibrated or not calibrated["bits"]:
        return NONE
    return f"{calibrated['bits']['share']:.2f} of {calibrated['log2_classes']:.2f}"


def _calibrated_accuracy(calibrated: Result | None) -> str:
    return share_text(calibrated["accuracy"]) if calibrated else NONE


def verdict(beside: Result) -> str:
    """Whether a flow beats a baseline: "yes", "no" (no difference is shown) or "worse"."""
    if beside["p"] >= SIGNIFICANT:
        return "no"
    return "yes" if beside["alone"] > beside["baseline_alone"] else "worse"


def _beats_text(baselines: dict[str, Result] | None) -> str:
    """The worst verdict over all baselines."""
    found = {verdict(each) for each in (baselines or {}).values()}
    return next((word for word in ("worse", "no", "yes") if word in found), NONE)


def _unseen_text(found: Result) -> str:
    parts, unseen = [], (found["unseen"] or ()) if found["utt_confusion"] else ()
    for language in unseen if len(unseen) <= MANY else ():
        shares = sorted(found["utt_confusion"][language].items(), key=lambda item: (-item[1], item[0]))
        parts.append(
            f"{language}: " + ", ".join(f"{name} {share_text(share)}" for name, share in shares[:3] if share > 0)
        )
    return "; ".join(parts) or NONE


def nats_text(value: float | None, digits: int = 3) -> str:
    """A number with so many digits; NONE for None, as in the functions below."""
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.000"


def share_text(value: float | None) -> str:
    return nats_text(value, 4)


def hours_text(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def count_text(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def markdown_table(table: Table) -> str:
    """A table in Markdown, without its title."""
    rule = ["---" if index < table.labels else "---:" for index in range(len(table.head))]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.head, *table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
