"""A flow beside the baselines of the same sets: a table, and sentences where it does not beat them."""

from flowlid.report.tables import (
    Result,
    Table,
    bits_text,
    count_text,
    nats_text,
    scored_sets,
    set_label,
    share_text,
    verdict,
)

_WORDS = {"yes": "beaten", "no": "no difference shown", "worse": "better than the flow"}


def baselines_table(result: Result) -> Table:
    """Accuracy and bits of a flow and of each baseline, set by set, and whether their accuracies differ."""
    rows = []
    for name, found in scored_sets(result):
        for baseline, each in (found.get("baselines") or {}).items():  # not in a results.json of earlier versions
            shares = [share_text(each["accuracy"]), share_text(each["baseline"])]
            counts = [count_text(each[key]) for key in ("alone", "baseline_alone")]
            words = [set_label(name, found), baseline, _WORDS[verdict(each)]]
            bits = [bits_text(found.get("calibrated")), nats_text(each["bits"], 2)]
            rows.append([*words, count_text(each["utterances"]), *shares, *counts, f"{each['p']:.2g}", *bits])
    head = ["set", "baseline", "which is", "utterances", "utt acc", "baseline's"]
    head += ["right by the flow alone", "by the baseline alone", "p", "bits", "baseline's"]
    return Table("Beside the baselines: decisions on the same utterances", head, rows, labels=3)


def not_beaten(result: Result) -> list[str]:
    """A sentence for each set in which a flow does not beat all baselines."""
    sentences = []
    for name, found in scored_sets(result):
        others = {each: row for each, row in (found.get("baselines") or {}).items() if verdict(row) != "yes"}
        if not others:
            continue
        told = [
            f"{baseline} {share_text(each['baseline'])} ({nats_text(each['bits'], 2)} bits, p = {each['p']:.2g}"
            + (", which is better)" if verdict(each) == "worse" else ")")
            for baseline, each in others.items()
        ]
        sentences.append(
            f"On {name} this flow does not beat the baselines: it decides {share_text(found['utt_accuracy'])} of the "
            f"utterances correctly ({bits_text(found.get('calibrated'))} bits), {', '.join(told)}."
        )
    return sentences
