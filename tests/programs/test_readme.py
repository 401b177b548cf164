"""What the READMEs say is there, and the program that copies results into them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT

from flowlid import program

READMES = [
    ROOT / "README.md",
    ROOT / "egs/README.md",
    *sorted(ROOT.glob("egs/*/README.md")),
    ROOT / "tests/data/README.md",
    ROOT / "tests/benchmarks/README.md",
]
sys.path.insert(0, str(ROOT / "utils"))

import publish_results  # noqa: E402  (a program of utils/, not a package)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_point_to_files(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (readme.parent / target).is_file(), target


def test_the_readme_opens_with_the_two_commands_and_ci_calls_the_second() -> None:
    commands = re.findall(r"^    (\S.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert commands[:2] == ["./run.sh", "tests/run.sh"]
    assert re.search(r"^(\w+=\S+ )?tests/run.sh$", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE)
    assert all((ROOT / command).stat().st_mode & 0o111 for command in ("run.sh", "tests/run.sh", ".ci/run"))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_in_the_readmes_exist(readme: Path) -> None:
    commands = re.findall(r"(?:cd egs/(\w+) && )?\./run\.sh (.*)", readme.read_text(encoding="utf-8"))
    for recipe, line in commands:
        folder = ROOT / "egs" / recipe if recipe else readme.parent
        script = (folder if (folder / "run.sh").is_file() else ROOT) / "run.sh"
        known = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
        for option in re.findall(r"--[a-z][a-z0-9-]*", line.split("#")[0]):
            assert option == "--help" or f"  {option} " in known, option


def test_every_recipe_has_a_readme_and_stands_in_the_table_of_recipes() -> None:
    table = (ROOT / "egs/README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("egs/*/run.sh"):
        assert f"({path.parent.name}/README.md)" in table


def test_every_experiment_is_described_in_its_recipes_readme() -> None:
    for conf in ROOT.glob("egs/*/conf/*.yaml"):
        assert f"`{conf.stem}`" in (conf.parent.parent / "README.md").read_text(encoding="utf-8")


def test_results_are_copied_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = tmp_path / "exp"
    (exp / "a/plots").mkdir(parents=True)
    (exp / "a/plots/tsne.png").write_bytes(b"picture")
    numbers = {"utterances": 3, "frame_accuracy": 0.5, "utt_accuracy": None, "eer": None, "loglik": -1.5, "unseen": []}
    (exp / "results.json").write_text(json.dumps([{"experiment": "a", "sets": {"test_x": numbers}}]))
    (exp / "RESULTS.md").write_text("# Results\n\nMade so.\n\n## a\n\ntables\n")
    readme = tmp_path / "README.md"
    overview, picture = "<!-- overview -->\nold\n<!-- /overview -->", "![t](results/a/tsne.png)"
    readme.write_text(f"top\n{overview}\n{picture}\n<!-- results -->\n<!-- /results -->\n")
    monkeypatch.setattr(sys, "argv", ["publish_results.py", str(exp), str(readme)])
    program.run(publish_results.main)
    text = readme.read_text()
    assert text.startswith("top\n<!-- overview -->\n|") and "old" not in text
    assert "| a | test_x |" in text and "-1.5" in text
    assert "<!-- results -->\nMade so.\n\n### a\n\ntables\n<!-- /results -->" in text
    assert (tmp_path / "results/a/tsne.png").read_bytes() == b"picture"
    program.run(publish_results.main)  # and again
    assert readme.read_text() == text
