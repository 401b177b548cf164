"""The benchmark of couplings runs, keeps what it measured, and its table holds what it says."""

import json
import math
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tools import ROOT, feature_dir

sys.path.append(str(ROOT / "tests" / "benchmarks"))  # where the programs find one another
couplings = import_module("couplings")

CONF = """\
data: {train: train, dev: dev}
model: {hidden: 8, blocks: 3, precision: float32}
training: {epochs: 1, batch_size: 400, learning_rate: 3.0e-3}
"""


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    for name, utts in (("train", 4), ("dev", 2)):
        feature_dir(tmp_path / "data" / name, {f"{name}-{n}": "en" for n in range(utts)}, dim=2, frames=500, seed=utts)
    (tmp_path / "tiny.yaml").write_text(CONF)
    files = ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "kept.json")]
    return [str(tmp_path / "tiny.yaml"), *files, "--training", "epochs=2", "--seeds", "1", "2"]


def run(options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> dict[str, list[str]]:
    """The cells of each row of the table that the program prints."""
    monkeypatch.setattr(sys, "argv", [couplings.__file__, *options])
    couplings.main()
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in lines[2:]}


def test_models_are_compared_by_seed_and_kept(
    options: list[str],
    tmp_path: Path,
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    other_name = "mixing=lu coupling=shared training.learning_rate=6e-3 training.epochs=3"
    models = ["--models", "mixing=none", other_name]
    found = run([*options, *models], monkeypatch, capsys)
    kept = json.loads((tmp_path / "kept.json").read_text())["seeds"]
    assert list(found) == models[1:] == list(kept["1"]) == list(kept["2"])
    (plain, other), (plain_2, other_2) = ([kept[seed][name]["loglik"] for name in models[1:]] for seed in "12")
    gains = sorted((other - plain, other_2 - plain_2))
    assert gains[0] != gains[1]
    assert found[other_name][2] == f"{sum(gains) / 2:.2f} ({gains[0]:.2f} to {gains[1]:.2f})"
    t = (gains[0] + gains[1]) / (gains[1] - gains[0])  # of two values; with one degree of freedom it is Cauchy's law
    assert found[other_name][3] == f"{1 - 2 / math.pi * math.atan(abs(t)):.2g}"
    assert found["mixing=none"][3] == "-" and found["mixing=none"][-1] == "1.00 (1.00 to 1.00)"
    assert run([*options, *models], monkeypatch, capsys) == found  # nothing is measured again
    with pytest.raises(ValueError, match=r"kept\.json: measured with other frames or settings"):
        run([*options, *models, "--training", "epochs=1"], monkeypatch, capsys)


def test_a_key_that_no_model_has_is_named(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"model 'mixin=lu': unknown key model\.mixin"):
        run([*options, "--models", "mixin=lu"], monkeypatch, capsys)
    with pytest.raises(ValueError, match=r"'frames\.context=2': .*only training\. is compared"):
        run([*options, "--models", "frames.context=2"], monkeypatch, capsys)
