"""run.sh on a real Slurm: a recipe with two experiments side by side, its status, its end, and run.sh as a job."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from stage_machine import PATIENCE, make_recipe, run, sleepers, until, write_cmd, write_experiment
from tools import ROOT, YAML, call, contents, speech, write_wav

from flowlid.files import read_json
from flowlid.kaldi.datadir import DataDir

if TYPE_CHECKING:
    from conftest import Slurm

RECIPE = ROOT / "egs/table"
BOTH = ("--stage", "3", "--stop-stage", "3", "--experiments", "tiny other")


def write_table(folder: Path) -> None:
    """Recordings of two languages in my.tsv, and the experiments `one` and `two`."""
    rows = ["utt_id path speaker language set".split()]
    for n, part in enumerate(["train"] * 6 + ["test"] * 5):
        write_wav(folder / f"wav/{n}.wav", speech(1.0 + n % 4 / 10, n))
        rows.append([f"s{n}-u", f"wav/{n}.wav", f"s{n}", ("en", "es")[n % 2], part])
    (folder / "my.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")
    (folder / "conf").mkdir()
    for name, context in (("one", 0), ("two", 1)):
        (folder / f"conf/{name}.yaml").write_text(YAML.replace("context: 1", f"context: {context}"))


def run_table(folder: Path, out: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Stages of egs/table, with all that they write below `folder`/`out`."""
    places = ["--data", str(folder / out / "data"), "--exp", str(folder / out / "exp"), "--conf", str(folder / "conf")]
    command = [RECIPE / "run.sh", *places, "--nj", "2", "--experiments", "one two", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done


def results(exp: Path) -> dict[str, object]:
    """All that training and scoring found, but for the command, the time and the machine."""
    files = contents(exp / "score_test")
    paths = ("made_from.json", "result.json", "mean_latents.scp", "blocks.scp")
    found: dict[str, object] = {name: content for name, content in files.items() if name not in paths}
    found["result.json"] = {**read_json(exp / "score_test/result.json"), "provenance": None}
    trained = read_json(exp / "train.json")
    return found | {key: value for key, value in trained.items() if key.startswith(("log", "frames", "epochs"))}


def test_a_recipe_gives_the_same_bits_as_on_this_machine(
    slurm: "Slurm", tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features, packs, trainings and scores in parts are made by jobs, all experiments side by side by itself."""
    write_table(tmp_path)
    run_table(tmp_path, "slurm", "--table", "my.tsv", "--stop-stage", "1")
    shutil.copytree(tmp_path / "slurm/data", tmp_path / "local/data")
    run_table(tmp_path, "local", "--stage", "2", "--stop-stage", "2")
    (tmp_path / "slurm.conf").write_text("default mem=1G\n")
    monkeypatch.setenv("FLOWLID_SLURM_CONF", str(tmp_path / "slurm.conf"))
    monkeypatch.setenv("FLOWLID_CMD_BACKEND", "slurm")
    done = run_table(tmp_path, "slurm", "--stage", "2", "--stop-stage", "4", "--score-jobs", "2")
    here, there = (DataDir(tmp_path / out / "data/train") for out in ("local", "slurm"))
    for utt in here.table("feats.scp"):
        np.testing.assert_array_equal(here.feats(utt), there.feats(utt))
    for name in ("one", "two"):
        exp = tmp_path / "local/exp" / name
        assert call("train", tmp_path / f"conf/{name}.yaml", tmp_path / "local/data", exp).code == 0
        assert call("score", exp, tmp_path / "local/data", "test").code == 0
        assert results(tmp_path / f"slurm/exp/{name}") == results(exp)
        assert re.search(rf"^\[{name}\] stage 4  score {name}: 1 sets", done.stdout, re.MULTILINE)
        log = (tmp_path / f"slurm/exp/{name}/log/score.2.log").read_text()
        assert "test, part 2 of 2: " in log and "Slurm job" in log
    assert "Slurm job" in (tmp_path / "slurm/data/log/pack.1.log").read_text()


@pytest.fixture
def recipe(slurm: "Slurm", tmp_path: Path) -> Iterator[Path]:
    """One whose jobs run on Slurm; its trainings of `tiny` and `other` say an epoch, and take a minute."""
    folder = make_recipe(tmp_path / "mine")
    write_experiment(folder, "other")
    (folder / "steps").unlink()
    (folder / "steps").mkdir()
    for step in (ROOT / "steps").iterdir():
        (folder / "steps" / step.name).symlink_to(step)
    (folder / "steps/train.py").unlink()
    line = "2026-01-02 03:04:05,678 INFO (experiment.py:1) epoch 5 of 40: LogLL -1.2"
    (folder / "steps/train.py").write_text(f"#!/bin/bash\necho '{line}'\nwhile [ ! -f go ]; do sleep 0.2; done\n")
    (folder / "steps/train.py").chmod(0o755)
    write_cmd(folder, "utils/slurm.py", "master_cmd=utils/slurm.py cmd_backend=slurm")
    yield folder
    (folder / "go").touch()
    until(lambda: not sleepers(folder))


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(["./run.sh", *options], cwd=folder, stdout=pipe, stderr=pipe, text=True)


def test_status_and_the_end_of_two_side_by_side(recipe: Path, slurm: "Slurm") -> None:
    with start(recipe, *BOTH) as running:
        slurm.until(lambda: len(slurm.jobs("running")) == 2)
        slurm.until(lambda: all((recipe / f"exp/{name}/log/train.log").exists() for name in ("tiny", "other")))
        shown = run(recipe, "--status").stdout
        for name in ("tiny", "other"):
            at_work = rf"{name}: at work \(pid {running.pid}, since .*\); epoch 5 of 40: LogLL -1.2\n"
            assert re.search(at_work + r" +train: job \d+, RUNNING on n\d, 0 min\n", shown), shown
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=PATIENCE)[1]
    assert running.returncode == 143 and slurm.jobs() == []
    assert said.count("run.sh: interrupted after epoch 5 of 40; the same command continues\n") == 2, said
    assert said.count("slurm.py: stopped by SIGTERM; cancelled 1 running, 0 waiting") in (0, 2)


def test_jobs_of_a_run_that_was_killed_are_waited_for(recipe: Path, slurm: "Slurm") -> None:
    """Not even the guards of run.sh are left; features are not made anew meanwhile."""
    running = start(recipe, *BOTH)
    slurm.until(lambda: len(slurm.jobs("running")) == 2)
    jobs = slurm.jobs()
    here = set(sleepers(recipe))
    for pid in list(here):
        with suppress(FileNotFoundError):  # one that ended meanwhile
            if "SLURM_JOB_ID" in Path(f"/proc/{pid}/environ").read_text():
                here.remove(pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in here:
            with suppress(ProcessLookupError):  # one that was about to end
                os.kill(int(pid), number)
    running.communicate(timeout=PATIENCE)
    assert slurm.jobs() == jobs
    assert re.fullmatch(
        r"(\w+: not at work; epoch.*\n +train: job \d+, RUNNING on n\d, 0 min\n){2}",
        run(recipe, "--status", "--experiments", "tiny other").stdout,
    )
    with start(recipe, *BOTH) as again:
        until(lambda: sum("submitted" in path.read_text() for path in recipe.glob("exp/*/log/.said")) == 2)
        (recipe / "go").touch()
        out, said = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0 and "[tiny] stage 3  train tiny: epoch 5 of 40: LogLL -1.2" in out
    assert len(re.findall(r"^\[\w+\] slurm.py: .*: already submitted as job \d+ \(RUNNING", said, re.MULTILINE)) == 2, (
        said
    )


def test_features_are_not_made_anew_while_their_jobs_live(recipe: Path, slurm: "Slurm") -> None:
    """--detach stands for a run that was killed."""
    log = "data/_pool/log/make_fbank.1.log"
    subprocess.run(["utils/slurm.py", "--detach", log, "sleep", "60"], cwd=recipe, check=True, timeout=PATIENCE)
    slurm.until(lambda: slurm.jobs("running"))
    done = run(recipe, "--stage", "2", "--stop-stage", "2")
    found = (
        r"run.sh: jobs of an earlier run are still at work in data/_pool: make_fbank.1, job \d+, RUNNING on n\d, 0 min"
    )
    assert done.returncode == 1 and re.match(found, done.stderr), done.stderr
    slurm.ask("scancel", "-Q", "-u", "root")
    slurm.until(lambda: not slurm.jobs())


def test_run_sh_itself_as_a_job(recipe: Path, slurm: "Slurm") -> None:
    submitted = run(recipe, "--submit", *BOTH)
    assert submitted.returncode == 0 and submitted.stderr == ""
    job = re.fullmatch(r"run.sh: submitted as job (\d+); its output goes to exp/log/run.log, .*\n", submitted.stdout)[1]
    slurm.until(lambda: len(slurm.jobs("running")) == 3)
    assert re.match(rf"exp: run: job {job}, RUNNING on n\d, 0 min\n", run(recipe, "--status").stdout)
    again = run(recipe, "--submit", *BOTH)
    assert again.returncode == 1 and f"already submitted as job {job} (RUNNING on" in again.stderr
    slurm.ask("scancel", job)  # it ends its own jobs
    slurm.until(lambda: not slurm.jobs())
    log = recipe / "exp/log/run.log"
    assert "run.sh: interrupted in stages 3 to 5; the same command continues" in log.read_text()
    (recipe / "go").touch()
    assert run(recipe, "--submit", *BOTH).returncode == 0
    slurm.until(lambda: not slurm.jobs())
    assert re.search(r"^done in .*\n# Accounting.*\n# Ended \(code 0\)", log.read_text(), re.MULTILINE)
