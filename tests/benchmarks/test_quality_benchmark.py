"""The benchmark of time to quality runs, keeps what it measured, and its table holds what it says."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from tools import ROOT, feature_dir

sys.path.append(str(ROOT / "tests" / "benchmarks"))  # where the programs find one another
peers, quality, tables = map(import_module, ("peers", "quality", "quality_tables"))

CONF = """\
data: {train: train, dev: dev}
model: {type: dnf, hidden: 8, blocks: 2, precision: float32}
training: {epochs: 2, batch_size: 1000, learning_rate: 3.0e-3, warmup_steps: 2}
"""
NOTEBOOK = "data: {train: a}\ntraining: {epochs: 1, batch_size: 4000, learning_rate: 1.0e-5, warmup_steps: 0}\n"


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    for name, utts in (("train", 8), ("dev", 2)):
        languages = {f"{name}-{number}": ("en", "es")[number % 2] for number in range(utts)}
        feature_dir(tmp_path / "data" / name, languages, dim=2, frames=1000, seed=utts)
    (tmp_path / "tiny.yaml").write_text(CONF)
    (tmp_path / "slow.yaml").write_text(CONF.replace("3.0e-3", "1.0e-7"))
    (tmp_path / "notebook.yaml").write_text(NOTEBOOK)
    files = ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "kept.json")]
    return [str(tmp_path / "tiny.yaml"), *files, "--notebook", str(tmp_path / "notebook.yaml"), "--seeds", "1"]


def run(options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> dict[str, list[str]]:
    """The cells of each row of the table that the program prints."""
    monkeypatch.setattr(sys, "argv", [quality.__file__, *options])
    quality.main()
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in lines[2:]}


def test_rows_are_trained_to_the_target_and_kept(
    options: list[str],
    tmp_path: Path,
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    few = [*options, "--peers", "--ours", str(tmp_path / "slow.yaml")]
    found = run(few, monkeypatch, capsys)
    kept = json.loads((tmp_path / "kept.json").read_text())
    points = kept["rows"]["ours, tiny"]["seeds"]["1"]
    assert [point[0] for point in points][-1] == 2 * 6400  # two epochs of 8 utterances of 800 voiced frames
    assert points == sorted(points) and points[-1][-1] > kept["target"]["loglik"]
    at = next(point for point in points if point[-1] >= kept["target"]["loglik"])
    assert found["ours, tiny"][:2] == ["1", f"{at[0]} ({at[0]} to {at[0]})"]
    assert found["ours, slow"][0] == "1, 1 missed it"
    assert found["ours, tiny"][4] == "1.00 (1.00 to 1.00)"
    again = run(few, monkeypatch, capsys)
    assert again == found and json.loads((tmp_path / "kept.json").read_text()) == kept  # nothing was measured again
    (tmp_path / "tiny.yaml").write_text(CONF.replace("epochs: 2", "epochs: 1"))
    run(few, monkeypatch, capsys)
    other = json.loads((tmp_path / "kept.json").read_text())
    assert other["target"] == kept["target"] and other["rows"]["ours, slow"] == kept["rows"]["ours, slow"]
    assert other["rows"]["ours, tiny"]["seeds"]["1"][-1][0] == 6400
    (tmp_path / "kept.json").unlink()
    assert run([*few, "--target", "-1000"], monkeypatch, capsys)["ours, slow"][0] == "1"
    assert json.loads((tmp_path / "kept.json").read_text())["target"] == {}


def test_a_record_of_other_frames_is_refused(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "kept.json").write_text(json.dumps({"data": "other", "target": {}, "rows": {}}))
    with pytest.raises(ValueError, match="measured on other frames"):
        run([*options, "--peers"], monkeypatch, capsys)


@pytest.mark.parametrize("row", ["freia-rnvp", "normflows-halves", "zuko", "nflows"])
def test_a_peer_learns_the_classes(row: str, options: list[str], tmp_path: Path, one_thread: None) -> None:
    reason = peers.ROWS[row].missing(torch.device("cpu"))
    if reason:
        pytest.skip(reason)
    task = quality.read_task(quality.load_config(tmp_path / "tiny.yaml"), tmp_path / "data")
    training = quality.train_peer(task, peers.ROWS[row], seed=1)
    for _ in range(3):
        run = next(training)
    assert run.frames == 3 * 6400 and run.points[-1][-1] > run.points[0][-1]


def test_a_peers_class_means_are_a_density(one_thread: None) -> None:
    model = peers.Ours(6, 8, "float32")
    task_of = quality.Peer(model, 6, 2, (torch.ones(6), torch.full((6,), 2.0)))
    with torch.no_grad():
        task_of.means.copy_(torch.randn(2, 6))
    x, labels = torch.randn(5, 6), torch.tensor([0, 1, 0, 1, 1])
    z, logdet = model.flow((x - 1) / 2)
    normal = torch.distributions.Normal(task_of.means[labels], 1.0)
    wanted = normal.log_prob(z).sum(1) + logdet - 6 * torch.tensor(2.0).log()
    assert torch.allclose(task_of.log_prob(x, labels), wanted, atol=1e-4)


def test_a_row_with_other_settings_is_measured_again() -> None:
    record = tables.Record("data", rows={"a": {"settings": {"rate": 1}, "seeds": {"1": [[1, 1.0, 1.0, -3.0]]}}})
    assert not record.lacks("a", {"rate": 1}, 1, again=False) and record.lacks("a", {"rate": 1}, 1, again=True)
    assert record.lacks("a", {"rate": 1}, 2, again=False)
    assert record.lacks("a", {"rate": 2}, 1, again=False) and record.rows["a"]["seeds"] == {}
