"""Timelines as text, JSON, CSV, RTTM and Praat's TextGrid."""

import json
from collections.abc import Iterator, Sequence

from flowlid.identify.answer import NO_SPEECH
from flowlid.identify.formats import columns, csv_row, details, values_of, verdict
from flowlid.identify.windows import Segment, Timeline
from flowlid.wording import one_line

_COLUMNS = ("file", "start", "end", "segment", "language", "probability", "speech", "error")
_OF_SEGMENT = ("language", "probability", "runner_up", "runner_up_probability", "speech", "typicality", "calibrated")


def text_lines(timeline: Timeline) -> Iterator[str]:
    """A line per segment as a person reads it: file, begin and end in seconds, answer, what stands behind it."""
    if timeline.error is not None:
        yield columns(timeline.name, "error", timeline.error)
    elif not timeline.segments:
        yield columns(timeline.name, f"0.00-{timeline.seconds:.2f}", NO_SPEECH, ", ".join(timeline.notes))
    for n, segment in enumerate(timeline.segments):
        found = [*details(segment), *(timeline.notes if n == 0 else ())]
        yield columns(timeline.name, f"{segment.start:.2f}-{segment.end:.2f}", verdict(segment), ", ".join(found))


def json_lines(timeline: Timeline) -> Iterator[str]:
    """A recording as one line of JSON, with its segments."""
    segments = [
        {"start": each.start, "end": each.end}
        | {name: values_of(each)[name] for name in _OF_SEGMENT}
        | {"probabilities": dict(each.probabilities)}
        for each in timeline.segments
    ]
    about = {"file": timeline.name, "seconds": timeline.seconds, "rate": timeline.rate}
    yield json.dumps(
        about | {"segments": segments, "notes": list(timeline.notes), "error": timeline.error},
        ensure_ascii=False, allow_nan=False,
    )  # fmt: skip


def csv_header(classes: Sequence[str]) -> str:
    """The first line of a CSV file: names of columns, at the end P(class) of each class."""
    return csv_row([*_COLUMNS, *(f"P({name})" for name in classes)])


def csv_lines(timeline: Timeline, classes: Sequence[str]) -> Iterator[str]:
    """A line per block: when it is, the segment that it is in, and the answer for the window around it."""
    if timeline.error is not None:
        values = {"file": timeline.name, "error": one_line(timeline.error)}
        yield csv_row([*(values.get(name) for name in _COLUMNS), *(None for _ in classes)])
        return
    windows, segments = timeline.windows, list(timeline.segments)
    for number, language in enumerate(windows.languages):
        start, end = number * timeline.step, min((number + 1) * timeline.step, timeline.seconds)
        middle = (start + end) / 2
        while segments and segments[0].end <= middle:
            segments.pop(0)
        inside = segments and segments[0].start <= middle
        row = (
            {} if language == NO_SPEECH else dict(zip(timeline.candidates, windows.probabilities[number], strict=True))
        )
        values = {
            "file": timeline.name,
            "start": f"{start:.3f}",
            "end": f"{end:.3f}",
            "segment": segments[0].language if inside else None,
            "language": language,
            "probability": row.get(language),
            "speech": f"{windows.speech[number]:.3f}",
        }
        yield csv_row([*(values.get(name) for name in _COLUMNS), *(row.get(name) for name in classes)])


def rttm_lines(timeline: Timeline) -> Iterator[str]:
    """A line of RTTM per segment; its speaker is the language.

    The format is that of NIST's evaluation plan RT-09, fields between spaces, so that a space in the recording's name
    is written as "_".
    """
    name = "_".join(timeline.id.split())
    for each in timeline.segments:
        sure = "<NA>" if each.probability is None else f"{each.probability:.4f}"
        yield (f"SPEAKER {name} 1 {each.start:.3f} {each.end - each.start:.3f} <NA> <NA> {each.language} {sure} <NA>")


def textgrid(timeline: Timeline) -> str:
    """A TextGrid of Praat's long text format: tiers of intervals "language" and "probability", empty between segments.

    An unknown language has no probability.
    """
    intervals = list(_intervals(timeline))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {timeline.seconds:.6f}",
        "tiers? <exists>",
        "size = 2",
        "item []:",
    ]
    for number, tier in enumerate(("language", "probability"), start=1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{tier}"',
            "        xmin = 0",
            f"        xmax = {timeline.seconds:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (start, end, segment) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start:.6f}",
                f"            xmax = {end:.6f}",
                f'            text = "{_words(segment, tier)}"',
            ]
    return "\n".join(lines) + "\n"


def _intervals(timeline: Timeline) -> Iterator[tuple[float, float, Segment | None]]:
    """Begin, end and segment, or None, of stretches that cover the recording."""
    place = 0.0
    for each in timeline.segments:
        if each.start > place:
            yield place, each.start, None
        yield each.start, each.end, each
        place = each.end
    if timeline.seconds > place:
        yield place, timeline.seconds, None


def _words(segment: Segment | None, tier: str) -> str:
    if segment is None:
        return ""
    if tier == "language":
        return segment.language.replace('"', '""')
    return "" if segment.probability is None else f"{segment.probability:.3f}"
