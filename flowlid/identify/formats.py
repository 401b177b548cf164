"""Answers as lines: text for people, JSON, CSV."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from flowlid.evaluation.openset import UNKNOWN
from flowlid.identify.answer import Answer

_COLUMNS = (
    "file", "language", "probability", "runner_up", "runner_up_probability", "speech", "seconds", "typicality",
    "calibrated", "rate", "notes", "error",
)  # fmt: skip


def text_line(answer: Answer) -> str:
    """An answer as a person reads it: file, answer, and what stands behind it, separated by tabs."""
    if answer.error is not None:
        error = " ".join(answer.error.split("\n"))  # which names the file itself, mostly
        return f"{answer.name}\terror\t{error}"
    return "\t".join([answer.name, _verdict(answer), ", ".join(_details(answer))])


def _verdict(answer: Answer) -> str:
    if answer.language is None:
        return " ".join(f"{value:.3f} nats per frame under {name}" for name, value in answer.loglik.items())
    return answer.language if answer.probability is None else f"{answer.language} {answer.probability:.3f}"


def _details(answer: Answer) -> list[str]:
    details = []
    if answer.runner_up:
        word = "nearest " if answer.language == UNKNOWN else ""
        details.append(f"{word}{answer.runner_up} {answer.probabilities[answer.runner_up]:.3f}")
    details.append(f"{answer.speech:.2f} s of speech in {answer.seconds:.2f} s")
    if answer.typicality is not None:
        details.append(f"typicality {answer.typicality:.3f}")
    if answer.probabilities and not answer.calibrated:
        details.append("not calibrated")
    return [*details, *answer.notes]


def json_line(answer: Answer) -> str:
    """An answer as one line of JSON."""
    values = _values(answer)
    values |= {"probabilities": dict(answer.probabilities), "loglik": dict(answer.loglik), "notes": list(answer.notes)}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def csv_header(classes: Sequence[str]) -> str:
    """The first line of a CSV file: names of columns, at the end P(class) of each class."""
    return _csv_row([*_COLUMNS, *(f"P({name})" for name in classes)])


def csv_line(answer: Answer, classes: Sequence[str]) -> str:
    """An answer as a line of CSV; what does not apply is empty."""
    values = _values(answer)
    return _csv_row([*(values[name] for name in _COLUMNS), *(answer.probabilities.get(name) for name in classes)])


def _values(answer: Answer) -> dict[str, Any]:
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


def _csv_row(values: Sequence[object]) -> str:
    line = io.StringIO()
    cells = (str(value).lower() if isinstance(value, bool) else value for value in values)
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
