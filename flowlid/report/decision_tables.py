"""Tables of decisions: by duration, by margin, from non-speech frames (with warnings), and against human scores."""

from flowlid.report.tables import NONE, Result, Table, count_text, nats_text, scored_sets, set_label, share_text


def durations_table(result: Result) -> Table:
    """Accuracy of each set by duration of speech, with its interval and the number of windows."""
    rows, head = [], []
    for name, found in scored_sets(result):
        durations = found["durations"] or []
        if all(each["share"] is None for each in durations):
            continue  # nothing was decided, or no language was seen
        head = ["whole" if each["seconds"] is None else f"{each['seconds']:g} s" for each in durations]
        units = " or ".join(sorted({each["unit"] for each in durations if each["low"] is not None})) or NONE
        rows.append([name, f"accuracy [95% over {units}]", *map(_with_interval, durations)])
        rows.append([name, "windows of utterances; not used", *map(_made_of, durations)])
    return Table("Accuracy by duration (seconds of selected speech)", ["set", "", *head], rows, labels=2)


def margins_table(result: Result) -> Table:
    """Share of each set's utterances that were decided by a small margin, and their accuracy."""
    rows, head = [], []
    for name, found in scored_sets(result):
        margins = found["margins"] or []
        if not margins:
            continue
        head = [text for each in margins for text in (f"below {each['nats']:g}", "their acc")]
        cells = [share_text(each[key]) for each in margins for key in ("share", "accuracy")]
        rows.append([set_label(name, found), count_text(found["utterances"]), *cells])
    title = "Small margins: share of utterances whose best class leads by less than so many nats per frame"
    return Table(title, ["set", "utterances", *head], rows, labels=1)


def calibration_table(result: Result) -> Table:
    """What the log-likelihoods of each set cost in bits, as they are, calibrated on the dev set, and at best."""
    rows = []
    for name, costs in _calibrated(result):
        pairs = costs["cllr"].values()
        cells = [nats_text(costs["log2_classes"]), nats_text(costs["bits_raw"]), _estimate_text(costs["bits"])]
        cells += [nats_text(costs["bits_min"]), _estimate_text(costs["bits_over"]), share_text(costs["accuracy"])]
        cells += [
            nats_text(sum(each[key] for each in pairs) / len(pairs)) if pairs else NONE for key in ("calibrated", "min")
        ]
        for beta in ("1", "9"):
            cost = (costs["cost"] or {}).get(beta)
            cells += (
                [f"{cost['actual']:.3f} / {cost['min']:.3f}", _estimate_text(cost["over"])] if cost else [NONE, NONE]
            )
        rows.append([set_label(name, result["sets"][name]), *cells])
    head = ["set", "log2 K", "bits as scored", "bits [95%]", "least", "over it [95%]", "utt acc", "Cllr", "min Cllr"]
    head += ["cost, beta 1: actual / least", "over it [95%]", "beta 9: actual / least", "over it [95%]"]
    return Table(f"Calibrated decisions{_fitted_on(result)}", head, rows, labels=1)


def stated_table(result: Result) -> Table:
    """Bits, and errors among the decisions stated with confidence, of whole utterances and of pieces of them."""
    rows = []
    for name, costs in _calibrated(result, seen=False):
        for each in ({**costs, "seconds": None, "pieces": result["sets"][name]["utterances"]}, *costs["pieces"]):
            sure, seconds = each["confident"], each["seconds"]
            row = [set_label(name, result["sets"][name]), "whole" if seconds is None else f"{seconds} s"]
            row += [count_text(each["pieces"]), nats_text(costs["log2_classes"]), _estimate_text(each["bits"])]
            row += [share_text(each["accuracy"]), share_text(each["trusted"])]
            rows.append([*row, count_text(sure["utterances"]), share_text(sure["wrong"])])
    head = ["set", "duration", "pieces", "log2 K", "bits [95%]", "acc", "something known of", "stated with 0.9 or more"]
    return Table("Calibrated decisions of utterances and pieces", [*head, "of these wrong"], rows, labels=2)


def _calibrated(result: Result, seen: bool = True) -> list[tuple[str, Result]]:
    """The sets that were calibrated, of which a language was seen if so wanted, and their costs."""
    found = [(name, scored.get("calibrated")) for name, scored in scored_sets(result)]  # none in earlier versions
    return [(name, costs) for name, costs in found if costs and (costs["bits"] or not seen)]


def _estimate_text(estimate: Result | None) -> str:
    """A number with its interval."""
    if estimate is None:
        return NONE
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{estimate['share']:.3f}{interval}"


def _fitted_on(result: Result) -> str:
    """What the calibration was fitted on, and whether that says anything of voices that training did not have."""
    calibration = result.get("calibration")
    if not calibration:
        return ""
    count, new = calibration["speakers"], calibration["new_speakers"]
    voices = (
        f"{count} speaker{'' if count == 1 else 's'}, {new} of them not in training" if new else "known voices only"
    )
    return f", fitted on {count_text(calibration['utterances'])} utterances of the dev set ({voices})"


def nonspeech_table(result: Result) -> Table:
    """Accuracy from the non-speech frames alone, beside that from speech."""
    head = [
        "set",
        "classifier",
        "tells the classes apart?",
        "utterances",
        "without non-speech",
        "frames",
        "acc",
        "balanced acc",
        "95% interval",
    ]
    head += ["resampled", "chance", "balanced acc on speech"]
    rows = []
    for name, found in scored_sets(result):
        check = found["nonspeech"]
        if check is None or check["mark"] is None:
            continue
        own = "flow" if result["train"]["epochs"] is not None else result["model"]  # a baseline
        classifiers = {own: check["flow"], "linear": check["linear"]}
        if not any(classifiers.values()):
            classifiers = {"none": None}
        why = f": {check['reason']}" if check["reason"] and all(classifiers.values()) else ""
        for words, judged in classifiers.items():
            label = [set_label(name, found), words, f"{check['mark']}{why}"]
            if judged is None:
                label[1] += f": {check['reason']}"
                rows.append([*label, *[NONE] * (len(head) - 3)])
                continue
            numbers = [count_text(check[key]) for key in ("utterances", "left_out", "frames")]
            shares = [share_text(judged["accuracy"]), share_text(judged["balanced_accuracy"]), interval_text(judged)]
            shares += [_resampled(judged), share_text(check["chance"]), share_text(found.get("utt_macro_accuracy"))]
            rows.append([*label, *numbers, *shares])
    return Table("Non-speech check: decisions from the non-speech frames alone", head, rows, labels=3)


def warnings(result: Result) -> list[str]:
    """What a reader must know before believing an accuracy: one sentence per set at most."""
    checks = [found["nonspeech"] for _, found in scored_sets(result)]
    return [check["warning"] for check in checks if check and check["warning"]]


def interval_text(estimate: Result) -> str:
    """The interval of an estimate, or NONE."""
    if estimate["low"] is None:
        return NONE
    return f"{nats_text(estimate['low'], 4)} to {nats_text(estimate['high'], 4)}"


def _resampled(estimate: Result) -> str:
    return NONE if estimate["low"] is None else f"{count_text(estimate['units'])} {estimate['unit']}"


def _with_interval(each: Result) -> str:
    interval = "" if each["low"] is None else f" [{each['low']:.2f}, {each['high']:.2f}]"
    return f"{share_text(each['share'])}{interval}"


def _made_of(each: Result) -> str:
    """The number of windows and of the utterances that they are cut from, and the seconds in no window."""
    counts = f"{count_text(each['windows'])} of {count_text(each['utterances'])}"
    if each["frames"] is None:
        return counts
    return f"{counts}; {each['frames_left_out'] * each['seconds'] / each['frames']:,.0f} s"


_PREDICTORS = {
    "loglik": "LogLL per frame{under}",
    "llr": "log-likelihood ratio per frame, {native} against the best other class",
    "ridge": "ridge regression on the mean latent, over unseen speakers",
}


def proficiency_table(result: Result) -> Table:
    """Correlations with human scores, of each set that has or should have them."""
    head = ["set", "predictor", "reason", "utterances", "speakers", "Pearson", "95%", "Spearman", "95%", "resampled"]
    head += ["Pearson 95%, utterances as independent"]
    rows = []
    for name, found in result["sets"].items():
        values = found["proficiency"]
        if values is None:
            continue
        if values["utterances"] is None:  # no scores at all: one reason for all predictors
            rows.append([name, NONE, values["reasons"]["loglik"], *[NONE] * 8])
            continue
        counts = [count_text(values["utterances"]), count_text(values["speakers"])]
        for key, words in _PREDICTORS.items():
            label = words.format(native=values["native"] or "native", under=_under(result, values))
            if values[key] is None:
                rows.append([name, label, values["reasons"][key], *counts, *[NONE] * 6])
            else:
                rows.append([name, label, NONE, *counts, *_cells(values[key])])
    if all(row[2] == NONE for row in rows):
        rows, head = [[*row[:2], *row[3:]] for row in rows], [*head[:2], *head[3:]]
    return Table("Proficiency: correlation with the human scores", head, rows, labels=len(head) - 8)


def _under(result: Result, values: Result) -> str:
    """The class under which LogLL was taken."""
    if result["model"] == "nf":
        return ""
    return f" under {values['native']}" if values["native"] else " under the true class, or the best if unseen"


def _cells(values: Result) -> list[str]:
    pearson, spearman, fisher = (_interval(values, name) for name in ("pearson", "spearman", "fisher"))
    return [nats_text(values["pearson"]), pearson, nats_text(values["spearman"]), spearman, values["unit"], fisher]


def _interval(values: Result, name: str) -> str:
    low, high = values[f"{name}_low"], values[f"{name}_high"]
    return NONE if low is None else f"{nats_text(low)} to {nats_text(high)}"
