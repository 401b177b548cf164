"""The recipes of published benchmarks from end to end, by their own commands, on miniatures of the corpora."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from replicas import commonlanguage, commonvoice, fleurs, vctk, voxlingua107
from tools import ROOT

from flowlid.config import differences, load_config

# recipe -> what makes its replica below a directory, and the options that a holder of the corpus would type
RECIPES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "commonlanguage": (
        commonlanguage.build, ("--languages", "ja zh-HK zh-TW", "--experiments", "dnf_120_disc gmm_120"),
    ),
    "voxlingua107": (voxlingua107.build, ("--languages", "et he nn", "--hours-per-language", "1")),
    "fleurs": (lambda root: fleurs.build(root, sentences=3), ()),
    "commonaccent": (lambda root: commonvoice.build(root, clips=4), ()),
    "vctk": (vctk.build, ()),
}  # fmt: skip
CLASSES = {
    "commonlanguage": ["ja", "zh-HK", "zh-TW"],
    "voxlingua107": ["et", "he", "nn"],
    "fleurs": sorted(fleurs.LANGUAGES),
    "commonaccent": ["england", "indian", "us"],
    "vctk": ["american", "english", "irish"],
}


def reduced(recipe: str, name: str) -> str:
    """The recipe's own experiment with a tiny flow and a training of seconds."""
    config = yaml.safe_load((ROOT / f"egs/{recipe}/conf/{name}.yaml").read_text())
    config["frames"] |= {"subsampling": 1, "per_class": 150}
    if config["model"]["type"] == "gmm":
        config["model"]["components"] = 2
        return yaml.safe_dump(config)
    config["model"] |= {"blocks": 2, "hidden": 8, "layers": 1}
    config["training"] |= {"epochs": 2, "batch_size": 200, "warmup_steps": 2}
    return yaml.safe_dump(config)


def run(recipe: str, out: Path, *options: str) -> str:
    """What a recipe's run.sh says, up to the scores and then the report, with everything that it writes below `out`."""
    (out / "conf").mkdir(exist_ok=True)
    for path in (ROOT / f"egs/{recipe}/conf").glob("*.yaml"):
        (out / "conf" / path.name).write_text(reduced(recipe, path.stem))
    places = ["--data", out / "data", "--exp", out / "exp", "--conf", out / "conf", "--corpus", out / "corpus"]
    said = ""
    for stages in (("--stop-stage", "4"), ("--stage", "6")):
        done = subprocess.run(
            [ROOT / f"egs/{recipe}/run.sh", *places, *stages, *options, "--nj", "1", "--max-bad", "0.2"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said += done.stdout + done.stderr
        assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_on_its_replica(recipe: str, tmp_path: Path) -> None:
    build, options = RECIPES[recipe]
    build(tmp_path / "corpus")
    run(recipe, tmp_path, *options)
    for result in json.loads((tmp_path / "exp/results.json").read_text()):
        assert result["classes"] == CLASSES[recipe]
        assert result["train"]["frames"] <= 150 * len(CLASSES[recipe])
        found = result["sets"]["test"]
        assert found["utterances"] > 2 and 0 <= found["utt_accuracy"] <= 1 and 0 <= found["utt_macro_accuracy"] <= 1
        unseen = {"vctk": ["newzealand"], "commonaccent": ["wales"]}  # of one person each
        assert found["unseen"] == unseen.get(recipe, [])
    said = (tmp_path / "exp/RESULTS.md").read_text()
    assert ("Reference figures beside ours" in said) == (recipe not in ("vctk", "commonaccent"))


def test_commonaccents_lists_are_sets_of_their_own(tmp_path: Path) -> None:
    commonvoice.build(tmp_path / "corpus", clips=3)
    lists = commonvoice.build_lists(tmp_path / "lists", clips=3)
    options = ("--lists", str(lists), "--sets", "sets_list.yaml", "--experiments", "dnf_list_120")
    run("commonaccent", tmp_path, *options)
    (result,) = json.loads((tmp_path / "exp/results.json").read_text())
    assert set(result["sets"]) >= {"test_list"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_all_experiments_of_a_recipe_train_on_as_many_frames_of_each_class(recipe: str) -> None:
    found = {path.stem: load_config(path) for path in (ROOT / f"egs/{recipe}/conf").glob("*.yaml")}
    (most,) = {config.frames.per_class for config in found.values()}
    assert most >= 40000 and {"dnf_120", "dnf_120_disc", "gmm_120"} <= set(found)
    assert differences(found["dnf_120"], found["dnf_120_disc"]) == ["training.discriminative: 0.0 -> 3.0"]
    assert found["dnf_120"].data == found["gmm_120"].data and found["dnf_120"].frames == found["gmm_120"].frames
