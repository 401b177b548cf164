"""What the READMEs say is there, what they tell to run, and the program that copies results into them."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT, YAML, call, feature_dir

from flowlid import program

sys.path.insert(0, str(ROOT / "utils"))

import publish_results  # a program of utils/

READMES = [
    ROOT / "README.md",
    ROOT / "egs/README.md",
    *sorted(ROOT.glob("egs/*/*.md")),
    *sorted(ROOT.glob("flowlid/*/README.md")),
    ROOT / "utils/README.md",
    ROOT / "tests/data/README.md",
    ROOT / "tests/benchmarks/README.md",
]
FRONT = (ROOT / "README.md").read_text(encoding="utf-8")
SHARED = (ROOT / "flowlid/program.py", ROOT / "utils/jobs.py")  # options of several programs
each_readme = pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a file."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@functools.cache
def help_of(script: Path) -> str:
    return subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout


@each_readme
def test_links_point_to_files_and_headings(readme: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([^)#]+)(#([^)]+))?\)", readme.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (readme.parent / target).is_file(), target
            assert not anchor or anchor in anchors((readme.parent / target).read_text(encoding="utf-8")), anchor


@each_readme
def test_files_of_the_code_that_are_named_exist(readme: Path) -> None:
    named = r"`((?:flowlid|steps|utils|local|tests)/[\w/.]+)(?: [^`]*)?`"
    for path in re.findall(named, readme.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def test_the_front_page_opens_with_the_two_commands_and_ci_calls_the_second() -> None:
    commands = re.findall(r"^    (\S.*)$", FRONT, flags=re.MULTILINE)
    assert commands[:2] == ["./run.sh", "tests/run.sh"]
    assert re.search(r"^(\w+=\S+ )*tests/run.sh$", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE)
    assert all((ROOT / command).stat().st_mode & 0o111 for command in ("run.sh", "tests/run.sh", ".ci/run"))


def test_the_front_page_is_short() -> None:
    assert len(FRONT.splitlines()) <= 120
    (table,) = re.findall(r"<!-- overview [^>]+ -->\n(.*?)<!-- /overview -->", FRONT, flags=re.DOTALL)
    assert len(table.splitlines()) <= 2 + 6
    assert len(re.findall(r"!\[", FRONT)) == 1


def test_the_python_of_the_frames_page_scores_a_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "flowlid/frames/README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    model, data = (re.search(rf'"(egs/[^"]*{end})"', code)[1] for end in (r"final\.pt", "/data/test[^/]*"))
    test, folder, exp = Path(data).name, tmp_path / Path(data).parent, tmp_path / Path(model).parent
    utts = {f"{speaker}-{n}": language for speaker, language in (("a", "en"), ("b", "es")) for n in range(4)}
    for name in ("train", test):
        feature_dir(folder / name, utts)
    (tmp_path / "tiny.yaml").write_text(YAML.replace("[test]", f"[{test}]"))
    assert call("train", tmp_path / "tiny.yaml", folder, exp).code == 0
    assert call("score", exp, folder, test).code == 0
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    names: dict[str, object] = {}
    exec(code, names)
    decided = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert decided == dict(line.split() for line in (exp / f"score_{test}/utt2pred").read_text().splitlines())
    assert names["z"].shape == (100, 9) and names["logdet"].shape == (100,)


@each_readme
def test_options_of_run_sh_in_the_readmes_exist(readme: Path) -> None:
    commands = re.findall(r"(?:cd egs/(\w+) && )?\./run\.sh (.*)", readme.read_text(encoding="utf-8"))
    for recipe, line in commands:
        folder = ROOT / "egs" / recipe if recipe else readme.parent
        script = (folder if (folder / "run.sh").is_file() else ROOT) / "run.sh"
        for option in re.findall(r"--[a-z][a-z0-9-]*", line.split("#")[0]):
            assert option == "--help" or f"  {option} " in help_of(script), option


@each_readme
def test_options_of_other_programs_in_the_readmes_exist(readme: Path) -> None:
    text = re.sub(r"\\\n\s*", "", readme.read_text(encoding="utf-8"))
    programs = r"^ {4}((?:utils|local|steps|tests/benchmarks)/[\w.]+) (.*)$"
    for path, line in re.findall(programs, text, flags=re.MULTILINE):
        code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / path, *SHARED))
        for option in re.findall(r"--[a-z][a-z0-9-]*", line.split("#")[0]):
            assert f'"{option}"' in code, f"{path} {option}"


def test_every_recipe_has_a_readme_and_is_in_the_table_of_recipes() -> None:
    table = (ROOT / "egs/README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("egs/*/run.sh"):
        assert f"({path.parent.name}/README.md)" in table


def test_every_experiment_is_described_in_its_recipes_readme() -> None:
    for conf in ROOT.glob("egs/*/conf/*.yaml"):
        assert f"`{conf.stem}`" in (conf.parent.parent / "README.md").read_text(encoding="utf-8")


def test_results_are_published_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = tmp_path / "recipe/exp"
    (exp / "a/plots").mkdir(parents=True)
    (exp / "a/plots/tsne.png").write_bytes(b"picture")
    numbers = {"utterances": 3, "frame_accuracy": 0.5, "utt_accuracy": None, "eer": None, "loglik": -1.5, "unseen": []}
    sets = {"test_x": numbers, "test_y": {**numbers, "loglik": -2.5}}
    (exp / "results.json").write_text(json.dumps([{"experiment": "a", "sets": sets}]))
    (exp / "RESULTS.md").write_text("# Results\n\nall tables\n")
    front, own = tmp_path / "README.md", tmp_path / "recipe/README.md"
    front.write_text("top\n<!-- overview a/test_y -->\nold\n<!-- /overview -->\n![t](recipe/results/a/tsne.png)\n")
    own.write_text("[all](RESULTS.md)\n")
    monkeypatch.setattr(sys, "argv", ["publish_results.py", str(tmp_path / "recipe"), str(front)])
    program.run(publish_results.main)
    text = front.read_text()
    assert text.startswith("top\n<!-- overview a/test_y -->\n| experiment |") and "old" not in text
    assert "| a | test_y | 3 | 0.5000 | - | - | -2.500 |\n<!-- /overview -->" in text and "test_x" not in text
    assert (tmp_path / "recipe/RESULTS.md").read_text() == (exp / "RESULTS.md").read_text()
    assert (tmp_path / "recipe/results/a/tsne.png").read_bytes() == b"picture"
    assert own.read_text() == "[all](RESULTS.md)\n"
    program.run(publish_results.main)  # and again
    assert front.read_text() == text
    own.write_text("<!-- overview a/test_y b/test_z -->\n<!-- /overview -->\n")
    with pytest.raises(SystemExit):
        program.run(publish_results.main)
    assert own.read_text() == "<!-- overview a/test_y b/test_z -->\n<!-- /overview -->\n"
