"""The benchmark of identification runs, and its table holds what it says."""

import sys
from pathlib import Path

import pytest
import torch
from tools import SPEECH, load

from flowlid.config import Config, DataConfig, ModelConfig
from flowlid.features.extract import Job
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.vad import VadOptions
from flowlid.flow.checkpoint import Model, save_model
from flowlid.flow.flow import build_flow


def test_all_tables(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = Job(None, FeatureExtractor(FbankOptions(sample_frequency=8000)), VadOptions(), False).options()
    settings = ModelConfig(type="dnf", blocks=1, hidden=8, layers=1)
    config = Config(DataConfig("train"), model=settings, features=options)
    flow = build_flow(settings, 2, torch.full((120,), 10.0), torch.ones(120))
    save_model(tmp_path / "final.pt", Model(flow, config, ["en", "es"], 40))
    sizes = ["--files", "3", "--minutes", "0.1", "--threads", "1", "--rounds", "1"]
    speech = [str(SPEECH / "en.wav"), str(SPEECH / "es.wav")]
    monkeypatch.setattr(sys, "argv", ["identify.py", *sizes, str(tmp_path), *speech])
    load("tests/benchmarks/identify.py").main()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    table = {tuple(cells[:2]): cells for cells in lines if len(cells) == 8}
    assert table["1", "the flow alone, on ready batches"][5] == "100%"
    assert int(table["1", "3 files of 1.5 s"][6]) > 0 and int(table["1", "a file of 0.1 minutes"][7]) > 0
    (start,) = (cells for cells in lines if cells[0] == "steps/identify.py, one file")
    assert float(start[1]) > 0 and float(start[3]) > 0.5
