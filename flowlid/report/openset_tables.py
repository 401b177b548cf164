"""The table of the open set: who is rejected as unknown, and how well unseen languages are told apart."""

from flowlid.report.tables import NONE, Result, Table, count_text, scored_sets, set_label, share_text

_ALONE = ("shift", "margin", "loglik")


def openset_table(result: Result) -> Table:
    """False rejection of seen languages, false acceptance of unseen ones, and AUROC, of each set."""
    rows, rate = [], None
    for name, found in scored_sets(result):
        judged = found.get("openset")  # not in a results.json of earlier versions
        if not judged:
            continue
        rate = judged["rate"]
        areas = judged["auroc"] or {}
        cells = [count_text(judged["seen"]), count_text(judged["new_voices"]), _estimate(judged["rejected"])]
        cells += [count_text(judged["unseen"]), _estimate(judged["accepted"]), _estimate(areas.get("all"))]
        cells += [share_text(areas[key]["share"]) if key in areas else NONE for key in _ALONE]
        rows.append([set_label(name, found), *cells, judged["against"] if areas else NONE])
    background = (result.get("openset") or {}).get("background")
    head = ["set", "seen", "of new voices", "rejected [95%]", "unseen", "accepted [95%]", "AUROC [95%]"]
    head += ["shift alone", "margin alone", f"ratio to {background} alone" if background else "LogLL alone", "against"]
    title = (
        f'Open set: utterances rejected as "unknown" at a false-rejection rate of {rate:g} on the dev set'
        if rows
        else ""
    )
    return Table(title, head, rows, labels=1)


def _estimate(estimate: Result | None) -> str:
    if not estimate:
        return NONE
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{estimate['share']:.3f}{interval}"
