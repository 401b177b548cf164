"""The sweep over the weight of discrimination runs, keeps what it measured, and its table holds what it says."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tools import ROOT, feature_dir

sys.path.append(str(ROOT / "tests" / "benchmarks"))
discrimination = import_module("discrimination")

CONF = """\
data: {train: train, dev: dev, tests: [test, other, unseen]}
model: {type: dnf, hidden: 8, blocks: 2, precision: float32}
training: {epochs: 2, batch_size: 200, learning_rate: 3.0e-3, warmup_steps: 2}
"""


def test_a_weight_and_a_seed_are_trained_once(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, languages in {"train": "en es", "dev": "en es", "test": "en es", "other": "es", "unseen": "fr"}.items():
        names = (languages.split() * 4)[:4]
        utts = {f"{name}-{number}": language for number, language in enumerate(names)}
        feature_dir(tmp_path / "data" / name, utts, dim=2, frames=100, seed=len(name))
    (tmp_path / "tiny.yaml").write_text(CONF)
    kept = tmp_path / "kept.json"

    def rows(*options: str) -> list[list[str]]:
        files = [str(tmp_path / "tiny.yaml"), "--data", str(tmp_path / "data"), "--results", str(kept)]
        monkeypatch.setattr(sys, "argv", [discrimination.__file__, *files, "--device", "cpu", *options])
        discrimination.main()
        return [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]

    one = rows("--weights", "0", "5", "--seeds", "1")
    assert [row[:2] for row in one] == [[name, w] for name in ("dev", "test", "other") for w in ("0", "5")]
    assert [row[3] == "-" for row in one] == [False] * 4 + [True] * 2  # cross-entropy of one language
    measured = json.loads(kept.read_text())
    first = measured["runs"][0]["sets"]["test"]
    assert one[2][2:] == [f"{first[key]:.{digits}f}" for key, digits in discrimination.COLUMNS.items()]
    assert first["calibrated"] != first["bits"]

    monkeypatch.setattr(discrimination, "train_and_score", None)  # nothing is trained again
    assert rows("--weights", "0", "5", "--seeds", "1") == one
    monkeypatch.undo()
    both = rows("--weights", "0", "--seeds", "1", "2")
    assert re.fullmatch(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", both[0][2])
    with pytest.raises(ValueError, match=r"kept\.json: of another experiment or other data; give another --results"):
        rows("--set", "training.epochs=1")
