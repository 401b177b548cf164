"""Data directories that others made are used as they are, and ours are read by others' tools."""

import os
import subprocess
import sys
from pathlib import Path

import kaldiio
import lhotse.kaldi
import numpy as np
import pytest
import soundfile
from tools import ROOT, SPEECH, YAML, call, write_tables, write_wav

from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.files import read_json
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import write_table


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/mine: wav.scp, segments, utt2spk, spk2utt and utt2lang of two recordings, and stage 2 by hand."""
    path = tmp_path_factory.mktemp("corpus")
    languages, segments, recordings = {}, {}, {}
    for language in ("en", "es"):
        samples, rate = soundfile.read(SPEECH / f"{language}.wav")
        recordings[f"{language}-tape"] = str(write_wav(path / "audio" / f"{language}.wav", samples, rate))
        for number in range(3):
            languages[f"{language}-{number}"] = language
            segments[f"{language}-{number}"] = f"{language}-tape {0.35 * number:.2f} {0.35 * (number + 1):.2f}"
    data = write_tables(path / "data" / "mine", languages)
    write_table(data / "segments", segments)
    write_table(data / "wav.scp", recordings)
    write_table(data / "text", dict.fromkeys(languages, "words"))  # lhotse wants one
    (path / "fbank.conf").write_text("--sample-frequency=8000\n--num-mel-bins=23\n")
    (path / "vad.conf").write_text("--vad-frames-context=2\n--vad-proportion-threshold=0.5\n")
    options = ["--nj", "2", "--fbank-config", path / "fbank.conf", "--vad-config", path / "vad.conf"]
    for command in (
        ["steps/make_fbank.sh", *options, data],
        [sys.executable, "steps/copy_features.py", data, data],
    ):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (path / "tiny.yaml").write_text(YAML.replace("train: train, tests: [test]", "train: mine, tests: [mine]"))
    return path


def test_audio_with_segments_from_stage_2_on(corpus: Path, tmp_path: Path) -> None:
    data = DataDir(corpus / "data" / "mine")
    data.validate(require=("utt2spk", "spk2utt", "utt2lang", "segments", "feats.scp", "vad.scp", "cmvn.scp"))
    assert data.table("utt2num_frames") == dict.fromkeys(data.utts, "33")  # 1 + (2800 - 200) // 80
    assert (data.path / "frame_shift").read_text() == "0.01\n"
    samples = soundfile.read(SPEECH / "es.wav")[0][2800:5600]
    expected, _ = FeatureExtractor(FbankOptions(sample_frequency=8000, num_mel_bins=23))(samples)
    assert np.abs(data.feats("es-1") - expected).max() < 1e-3
    exp = tmp_path / "exp" / "tiny"
    assert call("train", "--device", "cpu", corpus / "tiny.yaml", corpus / "data", exp).code == 0
    assert call("score", "--device", "cpu", exp, corpus / "data", "mine").code == 0
    result = read_json(exp / "score_mine" / "result.json")
    assert result["utterances"] == 6 and result["frames"] == sum(data.vad(utt).sum() for utt in data.utts)
    assert result["classes"] == ["en", "es"] and result["unseen"] == []
    assert list(read_table(exp / "score_mine" / "utt2pred")) == data.utts


def test_features_alone_from_stage_3_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed archives at relative paths, no audio and no VAD: what a Kaldi user has."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("train", "test"):
        languages = {f"{spk}-{name}": spk[:2] for spk in ("en1", "en2", "es1", "es2")}
        data = write_tables(Path("data") / name, languages)
        matrices = {
            utt: (generator.normal(size=(40, 5)) + 3 * (language == "es")).astype(np.float32)
            for utt, language in sorted(languages.items())
        }
        kaldiio.save_ark(f"mfcc_{name}.ark", matrices, scp=str(data / "feats.scp"), compression_method=2)
        assert read_table(data / "feats.scp")[min(languages)].startswith("mfcc_")  # relative
    Path("tiny.yaml").write_text(YAML.replace("context: 1", "context: 1, vad: false"))
    assert call("train", "--device", "cpu", "tiny.yaml", "data", "exp/tiny").code == 0
    assert call("score", "--device", "cpu", "exp/tiny", "data", "test").code == 0
    result = read_json("exp/tiny/score_test/result.json")
    assert result["utterances"] == 4 and result["frames"] == 160
    assert result["utt_accuracy"] == 1.0 and result["frame_accuracy"] > 0.9


def test_our_directories_load_in_kaldiio(corpus: Path) -> None:
    path = corpus / "data" / "mine"
    data = DataDir(path)
    feats, vad = (kaldiio.load_scp(str(path / name)) for name in ("feats.scp", "vad.scp"))
    assert list(feats) == list(vad) == data.utts
    for utt in data.utts:
        assert feats[utt].dtype == np.float32 and (feats[utt] == data.feats(utt)).all()
        assert set(np.unique(vad[utt])) <= {0.0, 1.0} and ((vad[utt] == 1) == data.vad(utt)).all()
    cmvn = kaldiio.load_scp(str(path / "cmvn.scp"))
    assert sorted(cmvn) == ["en", "es"]
    frames = np.concatenate([data.feats(f"es-{number}") for number in range(3)]).astype(np.float64)
    assert cmvn["es"].dtype == np.float64 and cmvn["es"].shape == (2, 24)
    assert cmvn["es"][0, :-1] == pytest.approx(frames.sum(0)) and cmvn["es"][0, -1] == len(frames)
    assert cmvn["es"][1, :-1] == pytest.approx((frames**2).sum(0)) and cmvn["es"][1, -1] == 0


def test_our_directories_load_in_lhotse(corpus: Path) -> None:
    data = DataDir(corpus / "data" / "mine")
    recordings, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(data.path, sampling_rate=8000)
    assert sorted(recording.id for recording in recordings) == ["en-tape", "es-tape"]
    found = {s.id: (s.recording_id, s.start, s.duration, s.speaker, s.language) for s in supervisions}
    assert sorted(found) == data.utts
    assert found["es-1"] == ("es-tape", 0.35, 0.35, "es", "es")
