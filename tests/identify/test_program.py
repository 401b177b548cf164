"""steps/identify.py as it is called."""

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from tools import ROOT, call


def test_answers_go_to_stdout_and_what_fails_to_the_exit_status(
    experiment: Path, recordings: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good = list(map(str, recordings.values()))
    done = call("identify", "--device", "cpu", "--json", experiment, *good)
    lines = capsys.readouterr().out.splitlines()
    assert (done.code, [json.loads(line)["file"] for line in lines]) == (0, good)
    assert "4 answered, 0 failed" in done.log
    done = call("identify", "--device", "cpu", "--csv", experiment, "nothing.wav", good[0])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (done.code, rows[0]["error"][:13], rows[1]["file"]) == (1, "no audio file", good[0])
    done = call("identify", "--device", "cpu", "--candidates", "en,xx", experiment, good[0])
    assert done.code == 1 and "candidate 'xx': the model has no such class" in done.log
    done = call("identify", "--device", "cpu", "--priors", "en=0.999999,es=0.000001", experiment, good[2])
    assert done.code == 0 and capsys.readouterr().out.split("\t")[1].startswith("en ")
    done = call("identify", experiment.parent, good[0])
    assert done.code == 1 and "no model: give an experiment" in done.log


def test_a_list_on_stdin(experiment: Path, recordings: dict[str, Path]) -> None:
    command = [ROOT / "steps/identify.py", "--device", "cpu", experiment, "-"]
    text = "\n".join(map(str, recordings.values()))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == text.split("\n")


def test_the_python_of_the_front_page(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    model = '"egs/prompts/exp/dnf_120/model"'
    assert code.count(model) == 1 and len(code.split("\n\n")[1].splitlines()) == 2
    monkeypatch.chdir(ROOT)
    exec(code.replace(model, repr(str(experiment))), names := {})
    assert capsys.readouterr().out.startswith(f"{names['answer'].language} {{'")


def test_wrong_options_are_told_before_anything_is_loaded() -> None:
    command = [ROOT / "steps/identify.py", "--priors", "en", "exp/x", "a.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "'en' is no language with its probability, as en=0.7 is" in done.stderr
