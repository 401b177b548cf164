#!/usr/bin/env python3
"""A Slurm of two nodes on this machine, for as long as whoever started it lives.

Usage: tests/cluster/slurm_cell.py, as root; needs Debian's slurm-wlm and munge.

Prints its configuration file when it takes jobs: the programs of Slurm find it by SLURM_CONF. Everything ends when the
standard input does. Nothing listens but on the loopback, on ports that are free. While the file `down` is beside the
configuration file, there is no controller. Exit status: 77 where it cannot start here, with the reason.
"""

import ctypes
import os
import platform
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0
DAEMONS = ("munged", "slurmctld", "slurmd")
PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
CANNOT = 77  # exit status where no Slurm can start


def why_not() -> str | None:
    """Why no Slurm can start here, or None."""
    if missing := [name for name in DAEMONS if shutil.which(name, path=path()) is None]:
        return f"no {missing[0]}: apt-get install -y --no-install-recommends slurm-wlm munge"
    return None if os.geteuid() == 0 and platform.system() == "Linux" else "only root can start a Slurm, on Linux"


def path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def free_ports(count: int) -> int:
    """The first of some free ports in a row."""
    while True:
        first = random.SystemRandom().randrange(20000, 32000)
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + number))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Cell:
    """The daemons, and their directory."""

    def __init__(self, root: Path) -> None:
        self.root, self.conf, self.daemons = root, root / "slurm.conf", []
        self.controller: subprocess.Popen[bytes] | None = None
        self.environment = os.environ | {"SLURM_CONF": str(self.conf), "PATH": path()}

    def start(self) -> None:
        for name in ("state", "log", "spool.n1", "spool.n2"):
            (self.root / name).mkdir()
        (self.root / "munge").mkdir(mode=0o711)
        key = self.root / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        port = free_ports(3)
        text = (Path(__file__).parent / "slurm.conf").read_text()
        values = {"D": self.root, "HOST": socket.gethostname().split(".")[0]}
        values |= {"PORT": port, "NODES": f"{port + 1}-{port + 2}"}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        self.conf.write_text(text)
        files = {"socket": "munge/socket", "pid-file": "munged.pid", "log-file": "log/munged.log", "seed-file": "seed"}
        files["key-file"] = "key"
        self.daemon("munged", "-F", *(f"--{option}={self.root / file}" for option, file in files.items()))
        self.until(lambda: (self.root / "munge/socket").exists())
        self.controller = self.daemon("slurmctld", "-D", "-c", "-f", self.conf)
        for node in ("n1", "n2"):
            self.daemon("slurmd", "-D", "-c", "-N", node, "-f", self.conf)
        self.until(lambda: self.ask("sinfo", "-h", "-p", "main", "-o", "%t %D") == "idle 2\n")

    def daemon(self, *command: str | Path) -> subprocess.Popen[bytes]:
        with (self.root / "log" / f"{command[0]}.out").open("ab") as out:
            process = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self.daemons.append(process)
        return process

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE).stdout

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(file.read_text() for file in (self.root / "log").iterdir()))
            time.sleep(0.02)

    def serve(self) -> None:
        """Until the standard input ends; stop and start the controller as the file `down` says."""
        while not select.select([0], [], [], 0.1)[0]:
            down = (self.root / "down").exists()
            if down and self.controller is not None:
                self.end(self.controller)
                self.controller = None
            elif not down and self.controller is None:
                self.controller = self.daemon("slurmctld", "-D", "-f", self.conf)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Cancel all jobs, and end the daemons."""
        if self.controller is not None and self.controller.poll() is None:
            self.ask("scancel", "-Q", "-u", "root")
            deadline = time.monotonic() + 10
            while self.ask("squeue", "-h").strip() and time.monotonic() < deadline:
                time.sleep(0.05)
        for process in reversed(self.daemons):
            self.end(process)


def main() -> int:
    if reason := why_not():
        print(f"no Slurm here: {reason}", file=sys.stderr)
        return CANNOT
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else lambda *_: sys.exit(1))
    root = Path(tempfile.mkdtemp(prefix="slurm_cell."))
    root.chmod(0o755)
    cell = Cell(root)
    try:
        cell.start()
        print(cell.conf, flush=True)
        cell.serve()
    finally:
        cell.stop()
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
