"""The table of what a model's values of utterances have to do with human scores."""

from flowlid.report_tables import NONE, Result, Table, count_text, nats_text

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
