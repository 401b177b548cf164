"""What every step's program does around its work: log where it ran, and end with a clear error."""

import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "lhotse", "kaldiio", "numpy", "scipy", "scikit-learn", "matplotlib")
_ROOT = Path(__file__).resolve().parent.parent


def run(main: Callable[[], None]) -> None:
    """Run a program's `main` with logging set up, and exit 1 with one line on bad input.

    A `ValueError` or an `OSError` is the user's to mend: its message alone is logged. Any other
    exception is ours, and keeps its traceback.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s (%(filename)s:%(lineno)d) %(message)s",
    )
    logging.captureWarnings(True)
    try:
        main()
    except (ValueError, OSError) as error:
        if os.environ.get("FLOWLID_TRACEBACK"):
            raise
        logging.getLogger("flowlid").error("%s", error)
        sys.exit(1)


def log_provenance() -> dict[str, str]:
    """Log, and return, the command line, the versions and the git commit that a result came from."""
    found = provenance()
    for name, value in found.items():
        logging.getLogger("flowlid").info("%s: %s", name, value)
    return found


def provenance() -> dict[str, str]:
    """Command line, versions of Python and of each library, git commit, and host of this process."""
    versions = " ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": f"python {platform.python_version()} {versions}",
        "commit": git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


def git_commit() -> str:
    """Commit of this checkout, with "+changes" where tracked files differ from it; or "unknown"."""
    git = ["git", "-C", str(_ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")
