"""The benchmark of spliced recordings counts what it says, and runs."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tools import SPEECH, load, write_tables

from flowlid.config import Config, DataConfig, ModelConfig
from flowlid.features.extract import Job
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.vad import VadOptions
from flowlid.flow.checkpoint import Model, save_model
from flowlid.flow.flow import build_flow
from flowlid.identify.windows import Segment
from flowlid.kaldi.tables import write_table

diarize = load("tests/benchmarks/diarize.py")


def test_a_splice_has_every_prompt_once_until_a_language_is_used_up() -> None:
    prompts = [(name, np.full(10 * (n + 1), n, np.float32)) for n, name in enumerate(["en", "es"] * 6)]
    found = diarize.splice(prompts, (3.0, 5.0), 1, 10)
    numbers, counts = np.unique(found.samples, return_counts=True)
    assert counts.tolist() == [10 * (int(n) + 1) for n in numbers]
    languages = found.languages_at((np.arange(len(found.samples)) + 0.5) / 10)
    assert [prompts[int(n)][0] for n in found.samples] == languages.tolist()
    changes = np.flatnonzero(languages[1:] != languages[:-1]) + 1
    assert [start for start, _ in found.turns] == [0, *(changes / 10)]
    assert np.diff(changes).min() >= 30


def test_answers_and_changes_are_those_of_the_segments() -> None:
    segments = [
        Segment("x", "en", start=0.0, end=2.0),
        Segment("x", "en", start=3.0, end=4.0),
        Segment("x", "es", start=4.5, end=6.0),
    ]
    assert diarize.answers_at(segments, np.array([1.9, 2.5, 4.2, 4.5])).tolist() == ["en", "", "", "es"]
    (change,) = diarize.changes_of(segments)
    assert change == (4.0, 4.5, "en", "es")


@pytest.mark.parametrize(
    ("true", "found"),
    [
        ([(4.2, "en", "es")], 1),  # in the gap
        ([(3.5, "en", "es")], 1),
        ([(5.01, "en", "es")], 0),  # more than half a second away
        ([(4.2, "es", "en")], 0),  # the other way
        ([(4.2, "en", "es"), (4.4, "en", "es")], 1),  # each is counted once
    ],
)
def test_a_change_is_found_that_is_near_and_of_the_same_languages(true: list, found: int) -> None:
    assert diarize.matched(true, [(4.0, 4.5, "en", "es")]) == found


def test_a_table_is_printed(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = Job(None, FeatureExtractor(FbankOptions(sample_frequency=8000)), VadOptions(), False).options()
    settings = ModelConfig(type="dnf", blocks=1, hidden=8, layers=1)
    flow = build_flow(settings, 2, torch.full((120,), 10.0), torch.ones(120))
    config = Config(DataConfig("train"), model=settings, features=options)
    save_model(tmp_path / "final.pt", Model(flow, config, ["en", "es"], 40))
    utts = {f"{name}-{n}": name for name in ("en", "es") for n in range(3)}
    write_tables(tmp_path / "x", utts)
    write_table(tmp_path / "x/wav.scp", {utt: str(SPEECH / f"{name}.wav") for utt, name in utts.items()})
    options = ["--set", "x", "--splices", "2", "--turn", "1,2", "--window", "1,2"]
    monkeypatch.setattr(sys, "argv", ["diarize.py", *options, str(tmp_path), str(tmp_path)])
    diarize.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:4]]
    assert [row[0] for row in rows] == ["1", "2"] and float(rows[0][3]) > 0
    for row in rows:
        assert 0 <= float(row[4].rstrip("%")) <= 100 and float(row[8]) > 0
