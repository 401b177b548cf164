"""Timelines are read back by other programs' readers."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from lhotse import SupervisionSet
from praatio import textgrid as praat

from flowlid.evaluation.openset import UNKNOWN
from flowlid.identify.answer import NO_SPEECH
from flowlid.identify.timelines import csv_header, csv_lines, json_lines, rttm_lines, text_lines, textgrid
from flowlid.identify.windows import Segment, Timeline, Windows

CLASSES = ["en", "es", "fr"]
SEGMENTS = (
    Segment("d/a b.wav", "en", {"en": 0.75, "es": 0.25}, True, 1.0, 1.2, start=0.3, end=1.5),
    Segment("d/a b.wav", "es", {"es": 0.9, "en": 0.1}, True, 0.4, 0.5, start=1.5, end=2.0),
    Segment("d/a b.wav", UNKNOWN, {"es": 0.6, "en": 0.4}, True, 0.3, 0.3, typicality=0.01, start=2.7, end=3.0),
)
WINDOWS = Windows(
    [NO_SPEECH, "en", "en", "es", NO_SPEECH, UNKNOWN, "es"],
    np.array([[np.nan] * 2, [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [np.nan] * 2, [0.4, 0.6], [0.45, 0.55]]),
    np.array([0, 0.4, 0.5, 0.5, 0, 0.3, 0.1]),
)
SPOKEN = Timeline(
    "d/a b.wav", "a b", ("en", "es"), SEGMENTS, WINDOWS, 0.5, np.zeros((320, 8)), 3.225, 16000, ("resampled",)
)
SILENT = Timeline("s.wav", "s", ("en", "es"), (), Windows.silent(1, 2), 0.5, np.zeros((20, 8)), 0.25, 8000)
FAILED = Timeline("x.wav", error="x.wav: no audio file\ncorrect the path")


def test_rttm_is_read_by_lhotse(tmp_path: Path) -> None:
    lines = [line for each in (SPOKEN, SILENT, FAILED) for line in rttm_lines(each)]
    (tmp_path / "x.rttm").write_text("\n".join(lines) + "\n")
    found = [
        (each.recording_id, each.start, each.end, each.speaker)
        for each in SupervisionSet.from_rttm(tmp_path / "x.rttm")
    ]
    assert found == [("a_b", each.start, each.end, each.language) for each in SEGMENTS]
    assert {len(line.split(" ")) for line in lines} == {10} and [line.split(" ")[8] for line in lines] == [
        "0.7500", "0.9000", "<NA>",
    ]  # fmt: skip


@pytest.mark.parametrize("timeline", [SPOKEN, SILENT], ids=["spoken", "silent"])
def test_a_textgrid_is_read_by_praatio(timeline: Timeline, tmp_path: Path) -> None:
    (tmp_path / "x.TextGrid").write_text(textgrid(timeline), encoding="utf-8")
    found = praat.openTextgrid(str(tmp_path / "x.TextGrid"), includeEmptyIntervals=True, reportingMode="error")
    assert found.tierNames == ("language", "probability")
    assert (found.minTimestamp, found.maxTimestamp) == (0, timeline.seconds)
    for tier in found.tiers:
        edges = [(each.start, each.end) for each in tier.entries]
        assert edges[0][0] == 0 and edges[-1][1] == timeline.seconds
        assert [end for _, end in edges[:-1]] == [start for start, _ in edges[1:]]
    words = [[tuple(each) for each in tier.entries if each.label] for tier in found.tiers]
    assert words[0] == [(each.start, each.end, each.language) for each in timeline.segments]
    assert words[1] == [
        (each.start, each.end, f"{each.probability:.3f}") for each in timeline.segments if each.language != UNKNOWN
    ]


def test_quotation_marks_in_a_textgrid_are_doubled(tmp_path: Path) -> None:
    odd = Timeline("x", "x", ('a"b', "ü"), (Segment("x", 'a"b', start=0.0, end=1.0),), None, seconds=1.0)
    (tmp_path / "x.TextGrid").write_text(textgrid(odd), encoding="utf-8")
    (entry,) = praat.openTextgrid(str(tmp_path / "x.TextGrid"), includeEmptyIntervals=False).getTier("language").entries
    assert entry.label.replace('""', '"') == 'a"b'  # praatio leaves the doubling to its user


def test_csv_has_a_line_per_block_with_the_segment_that_it_is_in() -> None:
    text = "\n".join([csv_header(CLASSES), *csv_lines(SPOKEN, CLASSES), *csv_lines(FAILED, CLASSES)])
    *rows, failed = csv.DictReader(io.StringIO(text))
    assert [row["segment"] for row in rows] == ["", "en", "en", "es", "", UNKNOWN, ""]
    assert [row["language"] for row in rows] == WINDOWS.languages
    assert [(float(row["start"]), float(row["end"])) for row in rows[-2:]] == [(2.5, 3.0), (3.0, 3.225)]
    assert [(row["P(en)"], row["P(es)"], row["P(fr)"]) for row in rows[:2]] == [("", "", ""), ("0.8", "0.2", "")]
    assert [row["probability"] for row in rows] == ["", "0.8", "0.7", "0.9", "", "", "0.55"]
    assert [row["speech"] for row in rows[:2]] == ["0.000", "0.400"]
    assert (failed["file"], failed["error"], failed["start"]) == ("x.wav", "x.wav: no audio file correct the path", "")


def test_json_and_text_have_the_segments() -> None:
    spoken, silent, failed = (json.loads(line) for each in (SPOKEN, SILENT, FAILED) for line in json_lines(each))
    assert [(each["start"], each["end"], each["language"], each["probability"]) for each in spoken["segments"]] == [
        (0.3, 1.5, "en", 0.75), (1.5, 2.0, "es", 0.9), (2.7, 3.0, UNKNOWN, None),
    ]  # fmt: skip
    assert spoken["segments"][2]["probabilities"] == {"es": 0.6, "en": 0.4}
    assert (spoken["file"], spoken["notes"], silent["segments"], failed["error"]) == (
        "d/a b.wav", ["resampled"], [], FAILED.error,
    )  # fmt: skip
    assert [line for each in (SPOKEN, SILENT, FAILED) for line in text_lines(each)] == [
        "d/a b.wav\t0.30-1.50\ten 0.750\tes 0.250, 1.00 s of speech in 1.20 s, resampled",
        "d/a b.wav\t1.50-2.00\tes 0.900\ten 0.100, 0.40 s of speech in 0.50 s",
        "d/a b.wav\t2.70-3.00\tunknown\tnearest es 0.600, 0.30 s of speech in 0.30 s, typicality 0.010",
        "s.wav\t0.00-0.25\tno speech\t",
        "x.wav\terror\tx.wav: no audio file correct the path",
    ]
