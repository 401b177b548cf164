"""Answers as lines: text for people, JSON, CSV."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from flowlid.evaluation.openset import UNKNOWN
from flowlid.identify.answer import Answer
from flowlid.wording import one_line

_COLUMNS = (
    "file", "language", "probability", "runner_up", "runner_up_probability", "speech", "seconds", "typicality",
    "calibrated", "rate", "notes", "error",
)  # fmt: skip


def text_line(answer: Answer) -> str:
    """An answer as a person reads it: file, answer, and what stands behind it, separated by tabs."""
    if answer.error is not None:
        return columns(answer.name, "error", answer.error)  # which names the file itself, mostly
    return columns(answer.name, verdict(answer), ", ".join(details(answer)))


def columns(*cells: str) -> str:
    """A line of text with tabs between its cells; names of files can have lines and tabs."""
    return "\t".join(map(one_line, cells))


def verdict(answer: Answer) -> str:
    """The answer, with its probability if there is one."""
    if answer.language is None:
        return " ".join(f"{value:.3f} nats per frame under {name}" for name, value in answer.loglik.items())
    return answer.language if answer.probability is None else f"{answer.language} {answer.probability:.3f}"


def details(answer: Answer) -> list[str]:
    """What stands behind an answer, as a person reads it."""
    found = []
    if answer.runner_up:
        word = "nearest " if answer.language == UNKNOWN else ""
        found.append(f"{word}{answer.runner_up} {answer.probabilities[answer.runner_up]:.3f}")
    found.append(f"{answer.speech:.2f} s of speech in {answer.seconds:.2f} s")
    if answer.typicality is not None:
        found.append(f"typicality {answer.typicality:.3f}")
    if answer.probabilities and not answer.calibrated:
        found.append("not calibrated")
    return [*found, *answer.notes]


def json_line(answer: Answer) -> str:
    """An answer as one line of JSON."""
    values = values_of(answer)
    values |= {"probabilities": dict(answer.probabilities), "loglik": dict(answer.loglik), "notes": list(answer.notes)}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def csv_header(classes: Sequence[str]) -> str:
    """The first line of a CSV file: names of columns, at the end P(class) of each class."""
    return csv_row([*_COLUMNS, *(f"P({name})" for name in classes)])


def csv_line(answer: Answer, classes: Sequence[str]) -> str:
    """An answer as a line of CSV; what does not apply is empty."""
    values = values_of(answer)
    return csv_row([*(values[name] for name in _COLUMNS), *(answer.probabilities.get(name) for name in classes)])


def values_of(answer: Answer) -> dict[str, Any]:
    """What every form but text has of an answer, by its column's name."""
    of = answer.probabilities
    return {
        "file": answer.name,
        "language": answer.language,
        "probability": answer.probability,
        "runner_up": answer.runner_up,
        "runner_up_probability": of[answer.runner_up] if answer.runner_up else None,
        "speech": answer.speech,
        "seconds": answer.seconds,
        "typicality": answer.typicality,
        "calibrated": answer.calibrated,
        "rate": answer.rate,
        "notes": "; ".join(answer.notes),
        "error": answer.error,
    }


def csv_row(values: Sequence[object]) -> str:
    """A line of CSV without its end; None is empty."""
    line = io.StringIO()
    cells = (str(value).lower() if isinstance(value, bool) else value for value in values)
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
