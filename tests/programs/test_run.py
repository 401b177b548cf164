"""run.sh around the programs: which recipe it runs, its locks, signals, failures and what it shows."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage_machine import (
    PATIENCE,
    make_recipe,
    on_terminal,
    run,
    screen,
    sleepers,
    until,
    write_cmd,
    write_experiment,
    write_recipe,
    write_wrapper,
)
from tools import ROOT


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return make_recipe(tmp_path / "mine")


@pytest.fixture
def start(recipe: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`start(*options)` starts the recipe's run.sh; its stage 0 writes the file `begun` and takes a minute."""
    write_recipe(recipe, "touch begun; sleep 61.25; echo not reached >reached")
    started = []

    def begin(*options: str) -> subprocess.Popen:
        command = ["./run.sh", "--stop-stage", "0", *options]
        running = subprocess.Popen(command, cwd=recipe, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(running)
        until((recipe / "begun").exists)
        return running

    yield begin
    for running in started:
        with running:  # closes its pipes too
            running.kill()


def test_the_recipe_is_the_one_whose_link_is_called_or_that_is_named(recipe: Path) -> None:
    ours = re.compile(r"^Options of this recipe, (\w+):$", re.MULTILINE)
    for command, cwd in (
        (["./run.sh"], recipe),
        ([str(recipe / "run.sh")], ROOT),
        ([str(ROOT / "run.sh"), "--recipe", "mine"], recipe.parent),
    ):
        done = subprocess.run([*command, "--help"], cwd=cwd, capture_output=True, text=True, check=True)
        assert ours.search(done.stdout)[1] == "mine"
    for name in ("table", "egs/table"):
        done = run(ROOT, "--recipe", name, "--help", cwd=recipe)
        assert ours.search(done.stdout)[1] == "table" and "  --table " in done.stdout
    assert ours.search(run(ROOT, "--help").stdout)[1] == "prompts"


def test_the_recipes_are_listed_and_nothing_else(tmp_path: Path) -> None:
    done = run(ROOT, "--recipe", "nope", cwd=tmp_path)
    recipes = sorted(path.name for path in (ROOT / "egs").iterdir() if path.is_dir())
    assert done.returncode == 1 and done.stderr.strip().endswith(f"one of {' '.join(recipes)}")


def test_a_stage_that_fails_ends_the_run_with_the_message_of_its_program(recipe: Path) -> None:
    write_recipe(recipe, 'echo "some words"; false; echo "after the failure"')
    done = run(recipe)
    assert done.returncode == 1
    assert done.stderr == "run.sh: the end of data/log/prepare.log:\nsome words\nrun.sh: stage 0  corpus failed\n"
    assert (recipe / "data/log/prepare.log").read_text() == "some words\n"  # `set -e` holds in a recipe's function
    write_recipe(recipe, 'for n in {1..30}; do echo "$n"; done; echo "D T ERROR (x.py:1) a: 2 errors"; echo b; false')
    assert run(recipe).stderr.splitlines()[1:3] == ["D T ERROR (x.py:1) a: 2 errors", "b"]


def test_a_job_that_cannot_start_is_not_explained_by_the_log_of_an_earlier_run(recipe: Path) -> None:
    write_cmd(recipe, "no-such-wrapper")
    log = recipe / "exp/tiny/log/train.log"
    log.parent.mkdir(parents=True)
    log.write_text("D T ERROR (train.py:1) of an earlier run\n")
    done = run(recipe, "--stage", "3")
    assert done.returncode == 1 and "no-such-wrapper: command not found" in done.stderr
    assert "earlier" not in done.stderr and done.stderr.endswith("run.sh: stage 3  train tiny failed\n")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("kill -9 $$", "Killed"),
        ("exit 3", "# Ended (code 3) at"),  # it wrote nothing: only the wrapper's lines are there
        ("echo '# Ended (code 0)'; echo words; exit 3", "words"),  # its exit status decides
        ("echo '# only a comment'; exit 3", "# only a comment\n"),
    ],
)
def test_a_job_that_fails_ends_the_run_whatever_it_wrote(recipe: Path, job: str, said: str) -> None:
    (recipe / "job").write_text(f"#!/bin/bash\n{job}\n")
    (recipe / "job").chmod(0o755)
    write_wrapper(recipe, 'exec utils/run.py "$1" ./job')
    done = run(recipe, "--stage", "3")
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert "run.sh: the end of exp/tiny/log/train.log:\n" in done.stderr
    assert done.stderr.endswith("run.sh: stage 3  train tiny failed\n")


@pytest.mark.parametrize("script", ["kill -9 $$", "kill -TERM $$", "exit 5", "exit 0"])
@pytest.mark.parametrize("as_function", [True, False])
def test_foreground_gives_128_and_the_signal(script: str, as_function: bool, tmp_path: Path) -> None:
    expected = {"kill -9 $$": 137, "kill -TERM $$": 143, "exit 5": 5, "exit 0": 0}[script]
    call = f"f() {{ bash -c '{script}'; }}; foreground f" if as_function else f"foreground bash -c '{script}'"
    text = f"set -euo pipefail\n. {ROOT}/utils/foreground.sh\n{call}\necho $foreground_status\n"
    done = subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_says_so_and_leaves_nothing_running(
    recipe: Path, start: Callable[..., subprocess.Popen], number: int, code: int
) -> None:
    running = start()
    running.send_signal(number)
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == code
    assert said == "run.sh: interrupted in stage 0; the same command continues\n"
    until(lambda: not sleepers(recipe))
    assert not (recipe / "reached").exists()


def test_an_interrupted_training_says_after_which_epoch(recipe: Path) -> None:
    line = "2026-01-02 03:04:05,678 INFO (experiment.py:1) epoch 5 of 40: LogLL -1.2 nats per frame; and so on"
    write_wrapper(recipe, f'echo "{line}" >"$1"\nexec sleep 61.25')
    running = subprocess.Popen(["./run.sh", "--stage", "3"], cwd=recipe, stderr=subprocess.PIPE, text=True)
    log = recipe / "exp/tiny/log/train.log"
    until(lambda: log.exists() and log.stat().st_size > 0)
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=PATIENCE)[1] == (
        "run.sh: interrupted after epoch 5 of 40; the same command continues\n"
    )
    assert running.returncode == 130
    until(lambda: not sleepers(recipe))


def test_a_second_run_is_refused_before_it_touches_anything(
    recipe: Path, start: Callable[..., subprocess.Popen]
) -> None:
    running = start()
    before = {path: path.stat().st_mtime_ns for path in recipe.rglob("*")}
    for options in ((), ("--stage", "3"), ("--experiments", "all", "--stop-stage", "2")):
        done = run(recipe, *options)
        assert done.returncode == 1
        assert re.fullmatch(
            rf"run.sh: another run is at work in data \(pid {running.pid}, since [-\d]+ [:\d]+\); .*\n", done.stderr
        )
    assert {path: path.stat().st_mtime_ns for path in recipe.rglob("*")} == before


def test_later_stages_share_the_data_but_not_an_experiment(
    recipe: Path, start: Callable[..., subprocess.Popen]
) -> None:
    write_experiment(recipe, "other")
    write_wrapper(recipe, "touch begun\nexec sleep 61.25")
    running = start("--stage", "3", "--stop-stage", "3")
    assert "another run is at work in exp/tiny (pid" in run(recipe, "--stage", "4").stderr
    assert "another run is at work in data (pid" in run(recipe, "--stage", "0", "--experiments", "other").stderr
    write_cmd(recipe, "false")
    assert run(recipe, "--stage", "3", "--experiments", "other").stderr.endswith("stage 3  train other failed\n")
    assert running.poll() is None


def test_after_a_killed_run_the_next_one_works(recipe: Path, start: Callable[..., subprocess.Popen]) -> None:
    running = start()
    running.kill()
    running.wait()
    write_recipe(recipe, "echo ended; false")
    done = run(recipe)
    assert "ended\nrun.sh: stage 0  corpus failed" in done.stderr, done.stderr
    until(lambda: not sleepers(recipe))
    assert not (recipe / "reached").exists()


def test_on_a_terminal_a_live_line_shows_how_far_it_is(recipe: Path) -> None:
    write_recipe(recipe, 'echo "5 20 61 all jobs" >"$FLOWLID_PROGRESS"; sleep 2; false')
    text = on_terminal(recipe)
    assert re.search(r"\r\x1b\[Kstage 0  corpus: \d s, 25% \[##        \] all jobs, 1 min 1 s left\r", text)
    assert screen(text)[0] == "run.sh: the end of data/log/prepare.log:"  # the line is gone
    assert not list((recipe / "data/log").glob(".progress*"))
