"""Tables of how sure decisions are, and of the control on non-speech frames; with the warnings it gives rise to."""

from flowlid.report.tables import NONE, Result, Table, count_text, nats_text, scored_sets, set_label, share_text


def durations_table(result: Result) -> Table:
    """Accuracy of each set after so much speech, with its interval and what it is made of."""
    rows, head = [], []
    for name, found in scored_sets(result):
        durations = found["durations"] or []
        if all(each["share"] is None for each in durations):
            continue  # nothing was decided, or no language was seen
        head = ["whole" if each["seconds"] is None else f"{each['seconds']:g} s" for each in durations]
        units = " or ".join(sorted({each["unit"] for each in durations if each["low"] is not None})) or NONE
        rows.append([name, f"accuracy [95%, {units}]", *map(_with_interval, durations)])
        rows.append([name, "windows of utterances; left out", *map(_made_of, durations)])
    return Table("Accuracy against duration (seconds of selected speech)", ["set", "", *head], rows, labels=2)


def margins_table(result: Result) -> Table:
    """Share of each set's utterances that were decided by little, and how many of them rightly."""
    rows, head = [], []
    for name, found in scored_sets(result):
        margins = found["margins"] or []
        if not margins:
            continue
        head = [text for each in margins for text in (f"below {each['nats']:g}", "acc of these")]
        cells = [share_text(each[key]) for each in margins for key in ("share", "accuracy")]
        rows.append([set_label(name, found), count_text(found["utterances"]), *cells])
    title = "Decisions by small margins: share of the utterances whose best class leads by less, in nats per frame"
    return Table(title, ["set", "utterances", *head], rows, labels=1)


def control_table(result: Result) -> Table:
    """What the non-speech frames alone tell, beside what speech tells."""
    head = ["set", "decided by", "utterances", "without non-speech", "frames", "acc", "balanced acc", "95% interval"]
    head += ["drawn", "chance", "balanced acc on speech"]
    rows = []
    for name, found in scored_sets(result):
        control = found["nonspeech"]
        if control is None or result["model"] != "dnf" or set(found["languages"]) <= set(found["unseen"]):
            continue
        judges = {"the flow": control["flow"], "linear classifier": control["linear"]}
        if not any(judges.values()):
            judges = {"nobody": None}
        for words, judged in judges.items():
            if judged is None:
                rows.append([set_label(name, found), f"{words}: {control['reason']}", *[NONE] * (len(head) - 2)])
                continue
            numbers = [count_text(control[key]) for key in ("utterances", "left_out", "frames")]
            shares = [share_text(judged["accuracy"]), share_text(judged["balanced_accuracy"]), interval_text(judged)]
            shares += [_drawn(judged), share_text(control["chance"]), share_text(_balanced(found))]
            rows.append([set_label(name, found), words, *numbers, *shares])
    return Table("Control: decided from the non-speech frames alone", head, rows, labels=2)


def warnings(result: Result) -> list[str]:
    """What a reader must know before believing an accuracy, a sentence a set."""
    controls = [found["nonspeech"] for _, found in scored_sets(result)]
    return [control["warning"] for control in controls if control and control["warning"]]


def interval_text(estimate: Result) -> str:
    """The interval of an estimate, or NONE."""
    if estimate["low"] is None:
        return NONE
    return f"{nats_text(estimate['low'], 4)} to {nats_text(estimate['high'], 4)}"


def _drawn(estimate: Result) -> str:
    return NONE if estimate["low"] is None else f"{count_text(estimate['units'])} {estimate['unit']}"


def _with_interval(each: Result) -> str:
    interval = "" if each["low"] is None else f" [{each['low']:.2f}, {each['high']:.2f}]"
    return f"{share_text(each['share'])}{interval}"


def _made_of(each: Result) -> str:
    """How many windows of how many utterances there are, and the seconds that are in none."""
    counts = f"{count_text(each['windows'])} of {count_text(each['utterances'])}"
    if each["frames"] is None:
        return counts
    return f"{counts}; {each['frames_left_out'] * each['seconds'] / each['frames']:,.0f} s"


def _balanced(found: Result) -> float | None:
    """Mean of the seen languages' recalls on speech; None for fewer than two."""
    confusion = found["utt_confusion"] or {}
    recalls = [shares.get(language, 0.0) for language, shares in confusion.items() if language not in found["unseen"]]
    return sum(recalls) / len(recalls) if len(recalls) > 1 else None


_PREDICTORS = {
    "loglik": "LogLL per frame{under}",
    "llr": "log-likelihood ratio per frame, {native} against the best other class",
    "ridge": "ridge regression on the mean latent, speakers apart",
}


def proficiency_table(result: Result) -> Table:
    """Correlations of each set that has human scores, or should have them."""
    head = ["set", "predictor", "why not", "utterances", "speakers", "Pearson", "95%", "Spearman", "95%", "drawn"]
    head += ["Pearson's 95%, utterances taken for independent"]
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
    """Under which class LogLL was taken."""
    if result["model"] == "nf":
        return ""
    return f" under {values['native']}" if values["native"] else " under the own or, unseen, the best class"


def _cells(values: Result) -> list[str]:
    pearson, spearman, fisher = (_interval(values, name) for name in ("pearson", "spearman", "fisher"))
    return [nats_text(values["pearson"]), pearson, nats_text(values["spearman"]), spearman, values["unit"], fisher]


def _interval(values: Result, name: str) -> str:
    low, high = values[f"{name}_low"], values[f"{name}_high"]
    return NONE if low is None else f"{nats_text(low)} to {nats_text(high)}"
