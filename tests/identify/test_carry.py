"""A model directory: the same scores wherever it is copied to, a card, and what is wrong with damaged ones."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tools import ROOT, call

from flowlid.flow.checkpoint import load_model
from flowlid.identify.carry import compact_weights, open_model, pinned
from flowlid.identify.identifier import Identifier, load


@pytest.fixture(scope="module")
def carried(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by its program, and copied away from the experiment."""
    done = call(
        "export_model", "--readme", ROOT / "egs/prompts/README.md", experiment, experiment.parent.parent / "data"
    )
    assert done.code == 0, done.log
    return Path(shutil.copytree(experiment / "model", tmp_path_factory.mktemp("elsewhere") / "model"))


@pytest.fixture
def spoilt(carried: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(carried, tmp_path / "model"))


def test_a_copied_directory_gives_the_scores_of_the_experiment(
    experiment: Path, carried: Path, recordings: dict[str, Path]
) -> None:
    ours, theirs = load(experiment, "cpu"), load(carried, "cpu")
    for path in recordings.values():
        assert theirs.identify(path).loglik == pytest.approx(ours.identify(path).loglik, abs=1e-6)
        assert theirs.identify(path).probabilities == pytest.approx(ours.identify(path).probabilities, abs=1e-6)
    result = json.loads((experiment / "score_dev/result.json").read_text())
    assert theirs.model.flow.precision == result["precision"]
    again = call("export_model", experiment, experiment.parent.parent / "data")
    assert "model" in again.log and again.code == 0


@pytest.mark.parametrize("kind", ["lda", "lr"])
def test_a_baselines_model_directory_is_opened(
    experiment: Path, recordings: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    data, exp = experiment.parent.parent / "data", tmp_path / kind
    (tmp_path / "x.yaml").write_text(f"data: {{train: train, dev: dev}}\nmodel: {{type: {kind}}}\n")
    for done in (
        call("train", "--device", "cpu", tmp_path / "x.yaml", data, exp),
        call("score", "--device", "cpu", exp, data, "dev"),
        call("export_model", exp, data),
    ):
        assert done.code == 0, done.log
    ours, theirs = (load(place, "cpu").identify(recordings["e-1"]) for place in (exp, exp / "model"))
    assert theirs.loglik == ours.loglik


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_are_rounded_only_if_no_score_changes(experiment: Path, precision: str, tmp_path: Path) -> None:
    model = pinned(load_model(experiment / "final.pt"), precision)
    with torch.no_grad():
        for parameter in model.flow.transform.parameters():  # two epochs leave few bits in them
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(parameter))))
    before = {name: value.clone() for name, value in model.flow.state_dict().items()}
    frames = model.flow.sample([0, 1] * 50, torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = model.flow.log_prob(frames)
        rounded = compact_weights(model)
        assert torch.equal(model.flow.log_prob(frames), expected)
    changed = {name for name, value in model.flow.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(rounded) == (precision == "bfloat16") and changed <= rounded
    assert bool(changed) == bool(rounded)
    assert not any(name.startswith("base") or "standard" in name for name in rounded)


def test_a_damaged_result_is_named(experiment: Path, tmp_path: Path) -> None:
    exp = Path(shutil.copytree(experiment, tmp_path / "exp"))
    (exp / "score_test/result.json").write_text("[]")
    done = call("export_model", exp, experiment.parent.parent / "data")
    assert done.code == 1 and "score_test/result.json: not a JSON object; remove" in done.log


def test_the_card_says_what_a_user_has_to_know(carried: Path) -> None:
    card = (carried / "card.md").read_text()
    assert "# tiny\n" in card and "- en: 0.00 hours, 1 speaker\n" in card
    assert "| test | en es it | 4 |" in card and "| dev | en es | 8 |" in card
    assert "CC BY-SA 3.0" in card.partition("## Licence of the speech")[2]
    assert "not calibrated" not in card


def test_a_directory_that_is_damaged_or_of_another_format(spoilt: Path) -> None:
    content = json.loads((spoilt / "model.json").read_text())
    (spoilt / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match=r"calibration\.json: missing, or not as it was written; copy"):
        open_model(spoilt)
    (spoilt / "calibration.json").unlink()
    with pytest.raises(ValueError, match=r"calibration\.json: missing"):
        open_model(spoilt)
    (spoilt / "model.json").write_text(json.dumps({**content, "format": 7, "flowlid": "9.9"}))
    with pytest.raises(ValueError, match=r"format 7 \(flowlid 9\.9\), this flowlid .* reads 1; use that flowlid"):
        open_model(spoilt)
    (spoilt / "model.json").write_text("[]")
    with pytest.raises(ValueError, match="not that of a model directory"):
        open_model(spoilt)
    (spoilt / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match="no model: give an experiment"):
        open_model(spoilt)


def test_a_model_without_calibration_says_so(
    experiment: Path, recordings: dict[str, Path], tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    shutil.copy(experiment / "final.pt", tmp_path)
    model = load(tmp_path, "cpu")
    answer = model.identify(recordings["e-1"])
    assert not answer.calibrated and sum(answer.probabilities.values()) == pytest.approx(1)
    assert "it has no calibration" in messages.text


def test_a_normal_flow_scores_and_decides_nothing(
    experiment: Path, recordings: dict[str, Path], tmp_path: Path, one_thread: None
) -> None:
    text = (experiment.parent.parent / "tiny.yaml").read_text().replace("type: dnf", "type: nf")
    (tmp_path / "nf.yaml").write_text(text)
    data = experiment.parent.parent / "data"
    assert call("train", tmp_path / "nf.yaml", data, tmp_path / "nf").code == 0
    model: Identifier = load(tmp_path / "nf", "cpu")
    answer = model.identify(recordings["e-1"])
    assert answer.language is None and not answer.probabilities and list(answer.loglik) == ["en+es"]
    with pytest.raises(ValueError, match="a normal flow decides nothing: it takes no candidates"):
        model.identify(recordings["e-1"], candidates=["en", "es"])
    assert call("export_model", tmp_path / "nf", data).code == 0
    assert "A normal flow gives log-likelihoods" in (tmp_path / "nf/model/card.md").read_text()
