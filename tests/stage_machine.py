"""run.sh on recipes that tests make: their files, and what runs in their directories."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tools import ROOT

PATIENCE = 60  # seconds: the machine may be busy


def make_recipe(folder: Path) -> Path:
    """A recipe with a link to run.sh and the experiment `tiny`; its corpus is made by `prepare_corpus` in recipe.sh."""
    (folder / "conf").mkdir(parents=True)
    for name in ("run.sh", "steps", "utils", "local", "path.sh"):
        (folder / name).symlink_to(ROOT / name)
    write_cmd(folder)
    write_experiment(folder, "tiny")
    write_recipe(folder, "true")
    return folder


def write_recipe(folder: Path, commands: str) -> None:
    text = f"# options begin\nexperiments=tiny   # to run\n# options end\nprepare_corpus() {{\n{commands}\n}}\n"
    (folder / "recipe.sh").write_text(text)


def write_experiment(folder: Path, name: str) -> None:
    (folder / f"conf/{name}.yaml").write_text("data: {train: train, tests: []}\n")


def write_cmd(folder: Path, train_cmd: str = "utils/run.py", rest: str = "") -> None:
    """Its cmd.sh: what trains, and more of it."""
    text = f"train_cmd={train_cmd} score_cmd=utils/run.py extract_cmd=utils/run.py {rest}\n"
    (folder / "cmd.sh").write_text(text)


def write_wrapper(folder: Path, script: str) -> None:
    """Have jobs of training run by a script of sh, which gets the log, steps/train.py and its arguments."""
    (folder / "wrapper").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "wrapper").chmod(0o755)
    write_cmd(folder, "./wrapper")


def run(folder: Path, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [folder / "run.sh", *options]
    return subprocess.run(command, cwd=cwd or folder, capture_output=True, text=True, check=False, timeout=PATIENCE)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sleepers(folder: Path) -> list[str]:
    """Process ids of what runs in a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "cwd") == str(folder) and (path / "cmdline").read_bytes():
                found.append(path.name)
        except OSError:  # it has ended, or is another user's
            continue
    return found


def on_terminal(folder: Path, *options: str) -> str:
    """What run.sh shows on a terminal of 100 columns, until it ends."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(["./run.sh", *options], cwd=folder, stdout=slave, stderr=slave, stdin=slave) as running:
        os.close(slave)
        said = b""
        while select.select([master], [], [], PATIENCE)[0]:
            try:
                said += os.read(master, 4096)
            except OSError:  # all writers are gone
                break
        running.wait(PATIENCE)
    os.close(master)
    return said.decode()


def screen(text: str) -> list[str]:
    """The lines of a terminal: what follows a carriage return and "erase line" takes a line's place."""
    return [line.rsplit("\r\x1b[K", 1)[-1].strip("\r") for line in text.split("\n")]
