"""The benchmark of augmentation runs, keeps what it measured, and prints the means of its seeds."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tools import ROOT, feature_dir

sys.path.append(str(ROOT / "tests" / "benchmarks"))  # where the programs find one another
augmentation = import_module("augmentation")


def test_augmentations_are_compared_by_seed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("train", "test"):
        feature_dir(tmp_path / "data" / name, {"a1": "en", "a2": "es"}, dim=4, frames=100)
    (tmp_path / "tiny.yaml").write_text("data: {train: train}\nmodel: {type: dnf, blocks: 2}\n")
    kept = tmp_path / "kept.json"
    settings = ["--model", "hidden=8 precision=float32", "--training", "epochs=1 batch_size=40"]
    options = [tmp_path / "tiny.yaml", "--data", tmp_path / "data", "--results", kept, "--sets", "test", *settings]
    options += ["--seeds", "1", "2", "--changes", "", "gain=3 noise_floor=[0,1]"]
    monkeypatch.setattr(sys, "argv", list(map(str, ["augmentation.py", *options])))
    augmentation.main()
    first = capsys.readouterr().out
    results = json.loads(kept.read_text())
    assert (
        list(results) == ["", "gain=3 noise_floor=[0,1]"]
        and [list(seeds) for seeds in results.values()] == [["1", "2"]] * 2
    )
    plain, changed = (results[name]["1"]["test"]["loglik"] for name in results)
    assert plain != changed
    results[""]["1"]["test"] = {"frames": 0.25, "utterances": 0.5, "loglik": -10.0}
    results[""]["2"]["test"] = {"frames": 0.75, "utterances": 1.0, "loglik": -11.0}
    kept.write_text(json.dumps(results))
    augmentation.main()  # measures nothing again
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| none | 2 | 0.500, 0.750 [0.500, 1.000], -10.5 |"
    assert lines[3] == first.splitlines()[3]
