"""Frames of utterances in memory are those of a data directory with the same features."""

import dataclasses

import numpy as np
import pytest
import torch
from tools import feature_dir

from flowlid.config import Config, FramesConfig
from flowlid.flow.checkpoint import Model
from flowlid.flow.flow import build_flow
from flowlid.frames.frameset import load_frames
from flowlid.frames.normalization import global_cmvn
from flowlid.frames.utterances import Utterance, frames_of
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir

UTTS = {"a-1": "en", "b-1": "es", "c-1": "es"}  # a speaker each


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    data = DataDir(feature_dir(tmp_path_factory.mktemp("data"), UTTS))
    with ArkWriter(data.path / "cmvn.ark", data.path / "cmvn.scp") as write:
        for utt in UTTS:
            write(utt[0], cmvn_stats(data.feats(utt)).astype(np.float32))
    return data


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"context": 2, "vad": False},
        {"cmvn": "utterance"},
        {"cmvn": "speaker", "norm_vars": True},
        {"cmvn": "global", "norm_vars": True},
        {"level": 3.0, "floor": 1.0},
        {"level": 3.0, "floor": 1.0, "cmvn": "utterance"},
    ],
    ids=str,
)
def test_frames_are_those_of_a_data_directory(data: DataDir, settings: dict) -> None:
    config = FramesConfig(**settings)
    stats = global_cmvn(data, config) if config.cmvn == "global" else None
    expected = load_frames(data, config, stats)
    flow = build_flow(dataclasses.replace(Config().model, hidden=4), 1, torch.zeros(9), torch.ones(9))
    model = Model(flow, dataclasses.replace(Config(), frames=config), ["en"], 3, stats)
    utterances = [Utterance(utt, data.feats(utt), data.vad(utt), cmvn_stats(data.feats(utt))) for utt in UTTS]
    for chosen in ([0, 1, 2], [1], [2, 0]):
        found = frames_of(model, [utterances[n] for n in chosen])
        own = [torch.nonzero(expected.utt_of == n).squeeze(1) for n in chosen]
        assert torch.allclose(found.batch(torch.arange(len(found))), expected.batch(torch.cat(own)), atol=1e-5)
        assert found.utts == [list(UTTS)[n] for n in chosen]
        assert found.counts.tolist() == [len(each) for each in own]
