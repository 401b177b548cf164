"""The benchmark of noise floors runs, and what it prints is what the classifier finds."""

import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from tools import ROOT, write_tables

from flowlid.kaldi.arks import ArkWriter

sys.path.append(str(ROOT / "tests" / "benchmarks"))
floors = import_module("floors")


def two_channels(path: Path, seed: int) -> None:
    """Two languages whose silence differs by three and whose speech by one, in log energy."""
    generator = np.random.default_rng(seed)
    languages = {f"{name}-{n}": name for name in ("en", "es") for n in range(20)}
    write_tables(path, languages)
    with (
        ArkWriter(path / "feats.ark", path / "feats.scp") as write,
        ArkWriter(path / "vad.ark", path / "vad.scp") as write_vad,
    ):
        for utt, language in sorted(languages.items()):
            vad = np.repeat([0.0, 1.0], 20)
            mean = np.where(vad == 1, 12 + (language == "es"), 1 + 3 * (language == "es"))
            write(utt, (generator.normal(size=(40, 2)) * 0.3 + mean[:, None]).astype(np.float32))
            write_vad(utt, vad.astype(np.float32))


def test_silence_tells_without_a_floor_and_speech_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    two_channels(tmp_path / "train", 0)
    two_channels(tmp_path / "test", 1)
    monkeypatch.setattr(sys, "argv", ["floors.py", str(tmp_path), "train", "test", "--floors", "none", "9"])
    floors.main()
    none, nine = (re.findall(r"[^| ][^|]*[^| ]|[^| ]", line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert none[:3] == ["none", "none", "test"] and nine[:3] == ["none", "9", "test"]
    assert [float(cell.split()[0]) for cell in none[3:]] == [1.0, 1.0]
    silence, speech = (float(cell.split()[0]) for cell in nine[3:])
    assert silence < 0.75 and speech == 1.0
