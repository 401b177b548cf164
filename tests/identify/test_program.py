"""steps/identify.py as it is called."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
from lhotse import SupervisionSet
from praatio import textgrid as praat
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
    command[2] = "en=0.5,en=0.7"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "en has two probabilities; give it one" in done.stderr


def test_along_a_recording_each_form_has_the_same_segments(
    experiment: Path, recordings: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = recordings["e-1"], {}
    for form in ("--json", "--csv", "--rttm"):
        files = ["--textgrid", tmp_path / "grids", "--plot", tmp_path / "plots"] if form == "--rttm" else []
        done = call("identify", "--device", "cpu", "--window", "0.5", form, *files, experiment, path, "nothing.wav")
        assert done.code == 1 and "1 answered, 1 failed" in done.log and ("no audio file" in done.log) == bool(files)
        out[form] = capsys.readouterr().out
    first, second = (json.loads(line) for line in out["--json"].splitlines())
    assert first["segments"] and "no audio file" in second["error"]
    spans = [(each["start"], each["end"], each["language"]) for each in first["segments"]]
    (tmp_path / "x.rttm").write_text(out["--rttm"])
    read = SupervisionSet.from_rttm(tmp_path / "x.rttm")
    assert [(each.start, each.end, each.speaker) for each in read] == spans
    grid = praat.openTextgrid(str(tmp_path / "grids/e-1.TextGrid"), includeEmptyIntervals=False)
    assert [tuple(each) for each in grid.getTier("language").entries] == spans
    rows = list(csv.DictReader(io.StringIO(out["--csv"])))
    assert {row["segment"] for row in rows[:-1]} - {""} == {language for *_, language in spans}
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["e-1.pdf", "e-1.png"]
    done = call("identify", "--device", "cpu", "--window", "0.5", experiment, path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in lines] == [f"{start:.2f}-{end:.2f}" for start, end, _ in spans]


def test_two_recordings_of_one_name_do_not_overwrite_each_other(
    experiment: Path, recordings: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "e-1.wav"
    shutil.copy(recordings["g-1"], other)
    command = ["identify", "--device", "cpu", "--window", "1", experiment, recordings["e-1"], other]
    assert call(*command).code == 0
    assert {line.split("\t")[0] for line in capsys.readouterr().out.splitlines()} == {
        str(recordings["e-1"]),
        str(other),
    }
    done = call(*command[:1], "--rttm", "--textgrid", tmp_path, *command[1:])
    assert done.code == 1 and f"{other}: in files it is called e-1, as {recordings['e-1']} is" in done.log
    length = soundfile.info(recordings["e-1"]).duration
    assert (
        max(each.end for each in SupervisionSet.from_rttm([write(tmp_path / "x", capsys.readouterr().out)])) <= length
    )
    assert praat.openTextgrid(str(tmp_path / "e-1.TextGrid"), False).maxTimestamp == pytest.approx(length)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_forms_of_windows_need_windows() -> None:
    command = [ROOT / "steps/identify.py", "--rttm", "exp/x", "a.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "give --window too" in done.stderr
