"""run.sh with several experiments, with several jobs, on GPUs and on nodes; --status and --submit."""

import os
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
    write_wrapper,
)
from tools import ROOT

TRAINING = ("--stage", "3", "--stop-stage", "3")
BOTH = (*TRAINING, "--experiments", "tiny other", "--parallel", "2")
# what a wrapper begins with: the log, and the experiment, which is the last argument
NAMED = 'log=$1; for exp in "$@"; do :; done; name=${exp##*/}\n'
EPOCH = "2026-01-02 03:04:05,678 INFO (experiment.py:1) epoch 5 of 40: LogLL -1.2 nats per frame; and so on"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """One with the experiments `tiny` and `other`."""
    folder = make_recipe(tmp_path / "mine")
    write_experiment(folder, "other")
    return folder


@pytest.fixture
def start(recipe: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`start(*options)` starts run.sh and waits until all its trainings work, which take a minute."""
    write_wrapper(recipe, f'{NAMED}echo "{EPOCH}" >"$log"; touch "begun.$name"; exec sleep 61.25')
    started = []

    def begin(*options: str) -> subprocess.Popen:
        command = ["./run.sh", *options]
        running = subprocess.Popen(command, cwd=recipe, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(running)
        names = ("tiny", "other") if "tiny other" in options else ("tiny",)
        until(lambda: all((recipe / f"begun.{name}").exists() for name in names))
        return running

    yield begin
    for running in started:
        with running:  # closes its pipes too
            running.kill()


def write_steps(recipe: Path, *names: str) -> None:
    """Steps of its own, of which these only print what they are called with."""
    (recipe / "steps").unlink()
    (recipe / "steps").mkdir()
    for step in (ROOT / "steps").iterdir():
        (recipe / "steps" / step.name).symlink_to(step)
    for name in names:
        (recipe / "steps" / name).unlink()
        (recipe / "steps" / name).write_text('#!/bin/bash\nprintf "%s|" "$0" "$@"\nmkdir -p exp/other/plots\n')
        (recipe / "steps" / name).chmod(0o755)


def test_experiments_are_side_by_side_and_their_lines_named(recipe: Path) -> None:
    """Each waits for the other; by themselves, they could not."""
    write_experiment(recipe, "third")
    script = f"""{NAMED}touch "begun.$name"; echo "$name $OMP_NUM_THREADS" >"$log"
        if [ "$name" != third ]; then until [ -f begun.tiny ] && [ -f begun.other ]; do sleep 0.1; done; fi"""
    write_wrapper(recipe, script)
    done = run(recipe, *TRAINING, "--experiments", "tiny other third", "--parallel", "2")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    *lines, last = done.stdout.splitlines()
    assert last.startswith("done in ")
    assert sorted(re.sub(r"\(.* s; ", "(", line) for line in lines) == [
        f"[{name}] stage 3  train {name}:  (exp/{name}/log/train.log)" for name in ("other", "third", "tiny")
    ]


@pytest.mark.parametrize("at_once", ["1", "2"])
def test_an_experiment_with_a_background_comes_after_it(recipe: Path, at_once: str) -> None:
    """It reads its scores."""
    write_steps(recipe, "make_report.py")
    (recipe / "conf/other.yaml").write_text("data: {train: train, tests: []}\nmodel: {background: tiny}\n")
    write_wrapper(recipe, f'{NAMED}echo "$name" >>order; touch "$log"')
    options = ("--stage", "3", "--stop-stage", "4", "--parallel", at_once)
    done = run(recipe, *options, "--experiments", "other tiny")
    assert done.returncode == 0, done.stderr
    assert (recipe / "order").read_text().split() == ["tiny", "other"]


def test_one_that_fails_does_not_end_the_others_and_is_told_at_the_end(recipe: Path) -> None:
    """The report leaves it out."""
    write_steps(recipe, "make_report.py", "plot.py", "analyse_latents.py")
    script = f"""{NAMED}if [ "$name" = tiny ]; then echo "D T ERROR (x.py:1) no good" >"$log"; exit 1; fi
        while [ -d "exp/tiny" ] && ! flock -n -s exp/tiny/.run.lock true; do sleep 0.1; done; touch "$log" """
    write_wrapper(recipe, script)
    done = run(recipe, "--stage", "3", "--experiments", "tiny other", "--parallel", "2")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "[tiny] failed; the others go on",
        "[tiny] run.sh: the end of exp/tiny/log/train.log:",
        "[tiny] D T ERROR (x.py:1) no good",
        "[tiny] run.sh: stage 3  train tiny failed",
        "run.sh: 1 of 2 experiments failed: tiny",
    ]
    assert "[other] stage 3  train other" in done.stdout and "[other] stage 5  latents and plots" in done.stdout
    assert "exp/RESULTS.md, without tiny (" in done.stdout and "|--without|tiny|exp|" in done.stdout
    assert "[tiny]" not in done.stdout


def test_side_by_side_on_a_terminal_one_live_line_shows_all(recipe: Path) -> None:
    script = f"""{NAMED}echo "$((${{#name}} - 3)) 8 61 words" >"$FLOWLID_PROGRESS"; sleep 3; touch "$log" """
    write_wrapper(recipe, script)
    text = on_terminal(recipe, *BOTH)
    assert re.search(r"\r\x1b\[K(tiny|other) stage 3 (12|25)%, (tiny|other) stage 3 (12|25)%\r", text), repr(text)
    lines = [line.strip() for line in screen(text) if line.strip()]
    assert sorted(re.sub(r" *\(.*", "", line) for line in lines[:2]) == [
        "[other] stage 3  train other:",
        "[tiny] stage 3  train tiny:",
    ]
    assert lines[2].startswith("done in") and len(lines) == 3


def test_the_live_line_of_several_has_no_words_of_their_logs(recipe: Path) -> None:
    message = "2026-01-02 03:04:05,678 INFO (train.py:1) device: cpu"
    write_wrapper(recipe, f'{NAMED}echo "{message}" >"$log"; sleep 2')
    shown = re.findall(r"\r\x1b\[K((?:tiny|other)[^\r]*)", on_terminal(recipe, *BOTH))
    one = r"(tiny|other)( stage 3 \d+ s)?"
    assert len(shown) > 3 and [line for line in shown if not re.fullmatch(f"{one}(, {one})?", line)] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them(recipe: Path, start: Callable[..., subprocess.Popen], number: int) -> None:
    running = start(*BOTH)
    running.send_signal(number)
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + number
    *each, last = said.splitlines()
    assert sorted(each) == [
        f"[{name}] run.sh: interrupted after epoch 5 of 40; the same command continues" for name in ("other", "tiny")
    ]
    assert last == "run.sh: interrupted in stages 3 to 5; the same command continues"
    until(lambda: not sleepers(recipe))


def test_all_end_when_run_sh_is_killed(recipe: Path, start: Callable[..., subprocess.Popen]) -> None:
    running = start(*BOTH)
    running.kill()
    until(lambda: not sleepers(recipe))


def test_a_second_start_is_refused_an_experiment_and_goes_on_with_the_others(
    recipe: Path, start: Callable[..., subprocess.Popen]
) -> None:
    running = start(*TRAINING)
    write_wrapper(recipe, 'touch "$1"')
    done = run(recipe, *BOTH)
    assert done.returncode == 1 and "[other] stage 3  train other" in done.stdout
    assert f"[tiny] run.sh: another run is at work in exp/tiny (pid {running.pid}, since" in done.stderr
    assert done.stderr.endswith("run.sh: 1 of 2 experiments failed: tiny\n")
    assert running.poll() is None


# Status and submission


def test_status_shows_who_is_at_work_and_the_last_epoch(recipe: Path, start: Callable[..., subprocess.Popen]) -> None:
    assert run(recipe, "--status").stdout == "tiny: not at work; no epoch yet\n"
    running = start(*BOTH)
    before = {path: path.stat().st_mtime_ns for path in recipe.rglob("*")}
    done = run(recipe, "--status")
    assert done.returncode == 0 and done.stderr == ""
    at_work = (
        rf"at work \(pid {running.pid}, since [-\d]+ [:\d]+\); epoch 5 of 40: LogLL -1.2 nats per frame; and so on"
    )
    assert re.fullmatch(rf"tiny: {at_work}\nother: {at_work}\n", done.stdout), done.stdout
    assert {path: path.stat().st_mtime_ns for path in recipe.rglob("*")} == before
    running.terminate()
    running.wait(PATIENCE)
    assert "tiny: not at work; epoch 5 of 40" in run(recipe, "--status").stdout


def test_submitted_on_this_machine_it_works_on_by_itself(recipe: Path, start: Callable[..., subprocess.Popen]) -> None:
    running = start("--submit", *TRAINING)
    said, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0 and errors == ""
    pid = re.fullmatch(r"run.sh: started as process (\d+); its output goes to exp/log/run.log, .*\n", said)[1]
    assert f"tiny: at work (pid {pid}, since" in run(recipe, "--status").stdout
    again = run(recipe, "--submit", *TRAINING)
    assert again.returncode == 1 and f"another run is at work in exp/tiny (pid {pid}, since" in again.stderr
    subprocess.run(["kill", pid], check=True)
    until(lambda: not sleepers(recipe))
    assert "interrupted after epoch 5 of 40; the same command continues" in (recipe / "exp/log/run.log").read_text()


# What jobs ask for


def asked(folder: Path, *options: str) -> list[str]:
    """What the job of training was given: its options, "|", and those of steps/train.py."""
    write_wrapper(folder, 'echo "$@" >asked; log=exp/tiny/log/train.log; mkdir -p exp/tiny/log; touch "$log"')
    done = run(folder, *TRAINING, *options)
    assert done.returncode == 0, done.stderr
    return (folder / "asked").read_text().split()


@pytest.mark.parametrize(
    ("options", "of_job", "of_step"),
    [
        ((), [], ["--device auto", "--num-procs 1"]),
        (("--gpus", "2"), ["--gpu", "2"], ["--device cuda", "--num-procs 2"]),
        (("--gpus", "0"), ["--gpu", "0"], ["--device cpu", "--num-procs 1"]),
        (("--save-minutes", "3"), [], ["--save-minutes 3"]),
    ],
)
def test_gpus_imply_the_device_and_a_process_on_each(
    recipe: Path, options: tuple[str, ...], of_job: list[str], of_step: list[str]
) -> None:
    words = asked(recipe, *options)
    log = words.index("exp/tiny/log/train.log")
    assert words[:log] == of_job and words[log + 1] == "steps/train.py"
    assert all(f" {each} " in " ".join(words[log:]) for each in of_step) and "--nodes" not in words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpus", "x"), "--gpus takes a number, not 'x'"),
        (("--gpus", "2", "--device", "cpu"), "--gpus 2 does not go with --device cpu; leave out one"),
        (("--gpus", "0", "--device", "cuda"), "--gpus 0 does not go with --device cuda; leave out one"),
        (("--gpus", "2", "--num-procs", "3"), "--gpus 2 has a process on each GPU: leave out --num-procs 3"),
        (("--nodes", "2"), "--nodes 2: this is one machine; a cluster is chosen in cmd.sh"),
        (("--parallel", "0"), "--parallel takes a number from 1 on, not '0'"),
        (("--score-jobs", "many"), "--score-jobs takes a number from 1 on, not 'many'"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_written(
    recipe: Path, options: tuple[str, ...], message: str
) -> None:
    done = run(recipe, *TRAINING, *options)
    assert done.returncode == 1 and done.stderr == f"run.sh: {message}\n"
    assert not (recipe / "exp").exists()


def test_nodes_without_gpus_have_a_process_each(recipe: Path) -> None:
    write_cmd(recipe, "utils/slurm.py", "cmd_backend=slurm")
    done = run(recipe, *TRAINING, "--nodes", "2", "--num-procs", "3")
    assert done.returncode == 1 and not (recipe / "exp").exists()
    assert done.stderr == "run.sh: --nodes 2 without --gpus has one process on each node: leave out --num-procs 3\n"


@pytest.mark.parametrize(("visible", "works"), [("4,7", True), ("4", False)])
def test_side_by_side_each_has_gpus_of_its_own(
    recipe: Path, visible: str, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    write_wrapper(recipe, 'echo "$CUDA_VISIBLE_DEVICES" >"$3"; sleep 1')
    done = run(recipe, *BOTH, "--gpus", "1")
    seen = {path.read_text().strip() for path in recipe.glob("exp/*/log/train.log")}
    assert seen == ({"4", "7"} if works else {"4"}), done.stderr
    needed = "--parallel 2 with --gpus 1 needs 2 GPUs, and these are visible: 4"
    assert done.returncode == (0 if works else 1) and (needed in done.stderr) != works


def test_of_many_jobs_that_fail_three_logs_are_shown(tmp_path: Path) -> None:
    """Those that ended well, and those of an earlier run, are not."""
    for number in range(1, 24):
        end = "# Ended (code 0) at" if number in (1, 5) else "# Ended (code 1) at"
        (tmp_path / f"a.{number}.log").write_text(f"# head\nwhy {number}\n{end}\n")
    script = f"""set -euo pipefail; caller=$PWD; . {ROOT}/utils/console.sh
        before=$(find_logs a.JOB.log -printf '%p %i %s %T@\\n'); for n in {{1..22}}; do echo >>a.$n.log; done
        for n in {{1..22}}; do sed -i '/^$/d' a.$n.log; done; failed 'stage 4  score' a.JOB.log "$before" """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        *(line for n in (2, 3, 4) for line in (f"run.sh: the end of a.{n}.log:", f"why {n}")),
        "run.sh: and 17 more",
        "run.sh: stage 4  score failed",
    ]
    (tmp_path / "features.log").write_text("words\nrun.py: 21 / 23 failed, log is in a.*.log\n")
    script = f"set -euo pipefail; caller=$PWD; . {ROOT}/utils/console.sh; failed 'stage 2' features.log"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[:2] == ["run.sh: the end of a.2.log:", "why 2"]
    assert done.stderr.splitlines()[-2:] == ["run.sh: and 18 more", "run.sh: stage 2 failed"]


def test_a_lock_of_another_machine_is_named_with_it(recipe: Path) -> None:
    (recipe / "exp/tiny").mkdir(parents=True)
    lock = recipe / "exp/tiny/.run.lock"
    lock.write_text("12 far-away 2026-01-02 03:04:05\n")
    with subprocess.Popen(["flock", lock, "sleep", "61.25"], start_new_session=True) as holder:
        until(lambda: subprocess.run(["flock", "-n", "-s", lock, "true"], check=False).returncode)
        done = run(recipe, "--status")
        os.killpg(holder.pid, signal.SIGKILL)
    assert done.stdout == "tiny: at work (pid 12 on far-away, since 2026-01-02 03:04:05); no epoch yet\n"
