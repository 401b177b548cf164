"""A small experiment with recordings, from the sound to its calibration, that the tests of this folder share."""

import shutil
from pathlib import Path

import pytest
from tools import YAML, audio_dir, call

from flowlid.kaldi.tables import read_table

SETS = {
    "train": {f"{speaker}-{n}": language for speaker, language in (("a", "en"), ("b", "es")) for n in range(4)},
    "dev": {f"{speaker}-{n}": language for speaker, language in (("a", "en"), ("b", "es")) for n in range(4, 8)},
    "test": {"e-1": "en", "e-2": "en", "f-1": "es", "g-1": "it"},
}


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """exp/tiny beside data/{train,dev,test}: trained, scored and calibrated."""
    root = tmp_path_factory.mktemp("identify")
    (root / "fbank.conf").write_text("--sample-frequency=8000\n--num-mel-bins=8\n")
    (root / "vad.conf").write_text("--vad-frames-context=2\n")
    for number, (name, utts) in enumerate(SETS.items()):
        data = audio_dir(root / "data" / name, utts, seconds=0.7 + number / 10)
        out = data / "fbank"
        assert call("compute_fbank", root / "fbank.conf", root / "vad.conf", data, out).code == 0
        for file in ("feats.scp", "vad.scp", "utt2num_frames", "frame_shift", "feature_options"):
            shutil.copy(out / file, data)
    (root / "tiny.yaml").write_text(YAML.replace("{train: train,", "{train: train, dev: dev,"))
    exp = root / "exp" / "tiny"
    assert call("train", root / "tiny.yaml", root / "data", exp).code == 0
    assert call("score", exp, root / "data", "dev", "test").code == 0
    assert call("calibrate", "--dev", "dev", exp, root / "data", "train", "dev", "test").code == 0
    return exp


@pytest.fixture(scope="session")
def recordings(experiment: Path) -> dict[str, Path]:
    """The sound files of the test set, by utterance."""
    return {utt: Path(path) for utt, path in read_table(experiment.parent.parent / "data/test/wav.scp").items()}
