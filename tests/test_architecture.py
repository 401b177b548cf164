"""Who may import whom: the rules that keep data flowing one way."""

import ast
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("flowlid", "steps", "utils", "local")
FILES = {folder: sorted((ROOT / folder).glob("*.py")) for folder in FOLDERS}
STEPS = {path.stem for path in FILES["steps"]}

# what each module of the library may import of the others; a module is below all that it names
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "files": set(),
    "precision": {"config"},
    "config": set(),
    "program": set(),
    "tables": {"files"},
    "arks": {"files"},
    "datadir": {"arks", "tables"},
    "features": set(),
    "recordings": set(),
    "audio": {"datadir", "recordings"},
    "corpus": {"files", "recordings"},
    "speech_table": set(),
    "table_audio": {"corpus", "files", "recordings", "speech_table"},
    "names": set(),
    "sets": {"names"},
    "mapped": {"files"},
    "cmvn": {"datadir"},
    "packed": {"cmvn", "config", "datadir", "mapped"},
    "frames": {"config", "datadir", "packed"},
    "shuffled": {"frames"},
    "fused": set(),
    "transforms": {"fused"},
    "bases": set(),
    "distributed": set(),
    "launcher": {"distributed"},
    "flow": {"bases", "config", "precision", "transforms"},
    "checkpoint": {"config", "datadir", "files", "flow", "frames"},
    "metrics": set(),
    "repeats": set(),
    "scoring": {"distributed", "flow", "frames", "metrics"},
    "intervals": set(),
    "durations": {"frames", "intervals", "scoring"},
    "training": {"config", "distributed", "flow", "frames", "scoring", "shuffled", "transforms", "watch"},
    "watch": set(),
    "latents": {"flow", "frames"},
    "control": {"checkpoint", "datadir", "frames", "intervals", "latents", "scoring"},
    "proficiency": {"checkpoint", "datadir", "flow", "frames", "intervals", "scoring"},
    "figures": {"files"},
    "plots": {"figures"},
    "decision_plots": {"figures"},
    "report_tables": set(),
    "decision_tables": {"report_tables"},
    "proficiency_tables": {"report_tables"},
    "reference": {"names", "report_tables"},
    "report": {"decision_tables", "files", "proficiency_tables", "report_tables"},
    "report_html": {"decision_tables", "report", "report_tables"},
}
# the only modules of the library that may know these packages
ONLY_IN = {
    "kaldiio": {"arks"},
    "lhotse": {"features", "audio", "recordings", "corpus", "sets", "table_audio"},
    "argparse": {"program"},
    "yaml": {"config", "reference", "sets", "report"},
    "matplotlib": {"figures", "plots", "decision_plots"},
    "sklearn": {"control", "plots", "proficiency"},
}


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, anywhere in it: "a.b" for `import a.b`, "a.b" too for `from a import b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "flowlid." * bool(node.level) + (node.module or "")
            found |= {f"{package.rstrip('.')}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def library_modules(path: Path) -> set[str]:
    """Modules of flowlid that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("flowlid.")} & set(MAY_IMPORT)


def calls(path: Path) -> set[str]:
    """Names of the plain functions that a file calls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def files(*folders: str) -> pytest.MarkDecorator:
    paths = [path for folder in folders for path in FILES[folder]]
    return pytest.mark.parametrize("path", paths, ids=[f"{path.parent.name}/{path.name}" for path in paths])


def test_the_reading_of_imports_finds_each_form(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import os.path\nfrom flowlid import frames, program as p\nfrom flowlid.flow import Flow\n"
        "from . import bases\nfrom .config import Config\ndef f():\n    import steps.train\n    print(1)\n"
    )
    assert imports(path) == {
        "os.path", "flowlid.frames", "flowlid.program", "flowlid.flow.Flow", "flowlid.bases",
        "flowlid.config.Config", "steps.train",
    }  # fmt: skip
    assert packages(path) == {"os", "flowlid", "steps"}
    assert library_modules(path) == {"frames", "program", "flow", "bases", "config"}
    assert calls(path) == {"print"}


def test_the_table_names_every_module() -> None:
    assert {path.stem for path in FILES["flowlid"]} == set(MAY_IMPORT)


def test_the_table_has_one_direction() -> None:
    left = dict(MAY_IMPORT)
    while left:
        lowest = {name for name, above in left.items() if not above & set(left)}
        assert lowest, f"these import one another in a circle: {sorted(left)}"
        left = {name: above for name, above in left.items() if name not in lowest}


@files("flowlid")
def test_a_library_module_imports_only_what_is_below_it(path: Path) -> None:
    assert library_modules(path) <= MAY_IMPORT[path.stem]


@files("flowlid")
def test_the_library_knows_no_program_and_no_corpus(path: Path) -> None:
    assert not packages(path) & ({"steps", "utils", "local", "egs", "tests"} | STEPS)


@files("flowlid")
def test_a_package_stays_in_its_module(path: Path) -> None:
    allowed = {package for package, modules in ONLY_IN.items() if path.stem in modules}
    assert packages(path) & set(ONLY_IN) <= allowed


@files("flowlid", "steps")
def test_torchs_process_groups_stay_in_their_modules(path: Path) -> None:
    found = {name for name in imports(path) if name.startswith("torch.distributed")}
    groups = {
        name for name in found if not name.startswith(("torch.distributed.elastic", "torch.distributed.launcher"))
    }
    assert not groups or path.stem == "distributed"
    assert found == groups or path.stem == "launcher"


@files("flowlid")
def test_the_library_prints_nothing_and_ends_no_program(path: Path) -> None:
    assert not calls(path) & {"print", "input", "exit", "quit"}
    if path.stem not in ("program", "launcher"):
        assert not {"sys", "sys.exit", "sys.stdout", "sys.argv"} & imports(path)


@files("steps", "local", "utils")
def test_a_program_imports_no_other_program(path: Path) -> None:
    programs = {other.stem for folder in ("steps", "local", "utils") for other in FILES[folder]} - {path.stem}
    assert not packages(path) & (programs | {"steps", "utils", "local", "egs", "tests"})


@files("utils")
def test_utils_need_the_standard_library_and_flowlid_alone(path: Path) -> None:
    assert packages(path) <= set(sys.stdlib_module_names) | {"flowlid"}


def test_the_job_wrapper_needs_the_standard_library_alone() -> None:
    assert packages(ROOT / "utils" / "run.py") <= set(sys.stdlib_module_names)


@files("steps", "local", "utils")
def test_a_program_has_a_main_an_interpreter_and_the_right_to_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    guard = tree.body[-1]
    assert isinstance(guard, ast.If) and ast.unparse(guard.test) == "__name__ == '__main__'"
    assert text.startswith("#!/usr/bin/env python3\n")
    assert os.access(path, os.X_OK)


@files("steps", "local")
def test_a_step_reports_its_errors_as_all_do(path: Path) -> None:
    assert {"flowlid.program", "flowlid.program.run"} & imports(path)
    guard = ast.parse(path.read_text(encoding="utf-8")).body[-1]
    assert ast.unparse(guard.body[0]) in ("program.run(main)", "run(main)")


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/run.sh")), ids=lambda path: path.parent.name)
def test_a_recipe_shares_the_stage_machine(path: Path) -> None:
    assert os.access(path, os.X_OK)
    for name in ("steps", "utils", "local", "path.sh", "cmd.sh"):
        link = path.parent / name
        assert link.is_symlink() and link.resolve() == ROOT / name


def test_there_is_a_recipe() -> None:
    assert list(ROOT.glob("egs/*/run.sh"))
