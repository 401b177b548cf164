"""Who may import whom: the rules that keep data flowing one way."""

import ast
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("steps", "utils", "local")
FILES = {folder: sorted((ROOT / folder).glob("*.py")) for folder in FOLDERS}
FILES["flowlid"] = sorted((ROOT / "flowlid").rglob("*.py"))
# The first line of a program: it runs in the checkout's own environment, wherever and however it is called.
FINDS_ITS_ENVIRONMENT = """#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'\n"""
# Modules in utils that only the programs which run jobs import: they need the standard library alone.
SHARED = {"accounting", "cluster", "gridqueue", "jobs", "jobscript", "siteconf", "slurmqueue", "submission", "watch"}
JOB_PROGRAMS = ("run", "slurm", "gridengine", "show_jobs")
FILES["utils"] = [path for path in FILES["utils"] if path.stem not in SHARED]
STEPS = {path.stem for path in FILES["steps"]}

# The rooms of the library, lowest first, and the rooms that each may import.
MAY_IMPORT: dict[str, set[str]] = {
    "wording": set(),
    "files": {"wording"},
    "left_out": {"files"},
    "config": {"files", "wording"},
    "program": {"left_out"},
    "kaldi": {"files", "wording"},
    "flow": {"config", "files", "wording"},
    "plots": {"files"},
    "report": {"files", "wording"},
    "audio": {"kaldi", "wording"},
    "corpora": {"audio", "files", "kaldi", "left_out", "wording"},
    "features": {"audio", "files", "kaldi", "left_out", "wording"},
    "frames": {"config", "files", "flow", "kaldi", "wording"},
    "evaluation": {"config", "files", "flow", "frames", "kaldi", "wording"},
    "identify": {
        "audio", "corpora", "evaluation", "features", "files", "flow", "frames", "kaldi", "program", "wording",
    },
    "training": {"config", "evaluation", "files", "flow", "frames", "kaldi", "program"},
}  # fmt: skip
# The only modules of the library that may know these packages.
ONLY_IN = {
    "kaldiio": {"kaldi/arks"},
    "lhotse": {
        "audio/headers", "audio/samples", "corpora/augmented", "corpora/corpus", "corpora/data_dirs", "corpora/sets",
        "corpora/speech_table_audio", "corpora/speech_table_channels", "features/fbank",
    },
    "argparse": {"program"},
    "yaml": {"config", "files"},
    "matplotlib": {
        "plots/calibration", "plots/changes", "plots/confusion", "plots/decisions", "plots/fonts", "plots/latents",
        "plots/openset", "plots/style", "plots/timeline", "plots/training", "plots/voices",
    },
    "sklearn": {"evaluation/tsne", "evaluation/nonspeech", "evaluation/proficiency", "training/baselines"},
}  # fmt: skip


def name_of(path: Path) -> str:
    """A module of the library by its place: "kaldi/arks"."""
    return str(path.relative_to(ROOT / "flowlid").with_suffix(""))


def room_of(path: Path) -> str:
    return name_of(path).split("/")[0]


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


def rooms(path: Path) -> set[str]:
    """Rooms of flowlid that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("flowlid.")} & set(MAY_IMPORT)


def calls(path: Path) -> set[str]:
    """Names of the plain functions that a file calls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def files(*folders: str) -> pytest.MarkDecorator:
    paths = [path for folder in folders for path in FILES[folder]]
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(ROOT)) for path in paths])


def test_the_reading_of_imports_finds_each_form(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import os.path\nfrom flowlid import program as p\nfrom flowlid.flow.flow import Flow\n"
        "from flowlid.frames import pack\ndef f():\n    import steps.train\n    print(1)\n"
    )
    assert imports(path) == {
        "os.path", "flowlid.program", "flowlid.flow.flow.Flow", "flowlid.frames.pack", "steps.train",
    }  # fmt: skip
    assert packages(path) == {"os", "flowlid", "steps"}
    assert rooms(path) == {"frames", "program", "flow"}
    assert calls(path) == {"print"}


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    assert {room_of(path) for path in FILES["flowlid"]} - {"__init__"} == set(MAY_IMPORT)


def test_a_room_stands_on_those_above_it_in_the_table() -> None:
    order = list(MAY_IMPORT)
    for room, below in MAY_IMPORT.items():
        assert below <= set(order[: order.index(room)]), room


@files("flowlid")
def test_a_room_imports_only_what_is_below_it(path: Path) -> None:
    assert rooms(path) <= MAY_IMPORT.get(room_of(path), set()) | {room_of(path)}


def test_every_arrow_of_the_table_is_needed() -> None:
    used = {room: set() for room in MAY_IMPORT}
    for path in FILES["flowlid"]:
        used.setdefault(room_of(path), set()).update(rooms(path) - {room_of(path)})
    assert {room: used[room] for room in MAY_IMPORT} == MAY_IMPORT


@pytest.mark.parametrize("face", sorted((ROOT / "flowlid").glob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_a_rooms_face_names_its_modules_and_imports_nothing(face: Path) -> None:
    named = re.findall(
        r"`(\w+)`", " ".join(re.findall(r"(?m)^- (.*?):", ast.get_docstring(ast.parse(face.read_text()))))
    )
    assert sorted(named) == sorted(path.stem for path in face.parent.glob("*.py") if path != face)
    assert not imports(face)


@files("flowlid")
def test_the_library_knows_no_program_and_no_corpus(path: Path) -> None:
    assert not packages(path) & ({"steps", "utils", "local", "egs", "tests"} | STEPS)


@files("flowlid")
def test_a_package_stays_in_its_module(path: Path) -> None:
    allowed = {package for package, modules in ONLY_IN.items() if name_of(path) in modules}
    assert packages(path) & set(ONLY_IN) <= allowed


@files("flowlid", "steps")
def test_torchs_process_groups_stay_in_their_modules(path: Path) -> None:
    found = {name for name in imports(path) if name.startswith("torch.distributed")}
    groups = {
        name for name in found if not name.startswith(("torch.distributed.elastic", "torch.distributed.launcher"))
    }
    assert not groups or path.stem == "processes"
    assert found == groups or path.stem == "launcher"


@files("flowlid")
def test_the_library_prints_nothing_and_ends_no_program(path: Path) -> None:
    assert not calls(path) & {"print", "input", "exit", "quit"}
    if path.stem not in ("program", "launcher", "interruption"):
        assert not {"sys", "sys.exit", "sys.stdout", "sys.argv"} & imports(path)


@files("steps", "local", "utils")
def test_a_program_imports_no_other_program(path: Path) -> None:
    programs = {other.stem for folder in ("steps", "local", "utils") for other in FILES[folder]} - {path.stem}
    assert not packages(path) & (programs | {"steps", "utils", "local", "egs", "tests"})


@files("utils")
def test_utils_need_the_standard_library_and_flowlid_alone(path: Path) -> None:
    assert packages(path) <= set(sys.stdlib_module_names) | ({"flowlid"} if path.stem not in JOB_PROGRAMS else SHARED)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_the_job_programs_share_needs_the_standard_library_alone(name: str) -> None:
    assert packages(ROOT / "utils" / f"{name}.py") <= set(sys.stdlib_module_names) | SHARED


@files("steps", "local", "utils")
def test_a_program_has_a_main_an_interpreter_and_the_right_to_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    guard = tree.body[-1]
    assert isinstance(guard, ast.If) and ast.unparse(guard.test) == "__name__ == '__main__'"
    assert text.startswith("#!/usr/bin/env python3\n" if path.stem in JOB_PROGRAMS else FINDS_ITS_ENVIRONMENT)
    assert os.access(path, os.X_OK)


@files("steps", "local")
def test_a_step_reports_its_errors_as_all_do(path: Path) -> None:
    assert {"flowlid.program", "flowlid.program.run"} & imports(path)
    guard = ast.parse(path.read_text(encoding="utf-8")).body[-1]
    assert ast.unparse(guard.body[0]) in ("program.run(main)", "run(main)")


RECIPES = sorted(path for path in ROOT.glob("egs/*") if path.is_dir())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_is_settings_and_links_to_the_stage_machine(recipe: Path) -> None:
    for name in ("run.sh", "steps", "utils", "local", "path.sh", "cmd.sh"):
        link = recipe / name
        assert link.is_symlink() and link.resolve() == ROOT / name
    text = (recipe / "recipe.sh").read_text(encoding="utf-8")
    assert "# options begin\n" in text and "# options end\n" in text and "prepare_corpus() {" in text
    assert not os.access(recipe / "recipe.sh", os.X_OK)  # it is read, not run


def test_there_is_a_recipe() -> None:
    assert RECIPES
