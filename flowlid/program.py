"""What every program does around its work: read options, log where it ran, show progress, end with a clear error."""

import argparse
import contextlib
import ctypes
import logging
import math
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from flowlid.left_out import MAX_BAD

if TYPE_CHECKING:
    import torch

_LIBRARIES = ("torch", "lhotse", "kaldiio", "numpy", "scipy", "scikit-learn", "matplotlib")
_FORMAT = "%(asctime)s %(levelname)s (%(filename)s:%(lineno)d) %(message)s"
_ROOT = Path(__file__).resolve().parent.parent
_LONGEST, _START, _END = 3000, 1000, 1000  # characters of an error's line, and of one that is cut
_SECONDS_BETWEEN_LOOKS = 0.5  # at a progress file: run.sh looks as often
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from <malloc.h>


def run(main: Callable[[], None]) -> None:
    """Run a program's `main` with logging set up, and exit 1 with one line on bad input.

    A `ValueError` or an `OSError` is something that the user can correct: only its message is logged. Any
    other exception is a defect of flowlid, and keeps its traceback.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_FORMAT)
    logging.captureWarnings(True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # hundreds of lines for each PDF
    _keep_freed_memory()
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has enough of it, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        sys.exit(128 + signal.SIGPIPE)
    except (ValueError, OSError) as error:
        if os.environ.get("FLOWLID_TRACEBACK"):
            raise
        logging.getLogger("flowlid").error("%s", told(error))
        sys.exit(1)


def told(error: Exception) -> str:
    """What is said of an error: its message, with the middle of a line left out that is longer than anybody reads.

    Such a line holds a value of the user's that is not what it should be, such as another file's content.
    """
    lines = str(error).split("\n")
    return "\n".join(line if len(line) <= _LONGEST else f"{line[:_START]} ... {line[-_END:]}" for line in lines)


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for what comes next, where it is the C library.

    As it is, it gives the activations of a training step back to the system, which clears each page of them anew in
    the next step: up to a fifth of the time of small flows.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 2**25)  # the most that glibc takes
        library.mallopt(_M_TRIM_THRESHOLD, 2**30)


def log_as(rank: int) -> None:
    """Let the first of several processes log as a single one does, the others only their errors, marked by rank."""
    if rank > 0:
        root = logging.getLogger()
        root.setLevel(logging.ERROR)
        for handler in root.handlers:
            handler.setFormatter(logging.Formatter(_FORMAT.replace("%(message)s", f"rank {rank}: %(message)s")))


def argument_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose --help shows the description as it is written, and each option's default if it has one."""
    return argparse.ArgumentParser(description=description, formatter_class=_Help)


class _Help(argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.help and action.option_strings and action.default not in (None, "", [], argparse.SUPPRESS)
        return f"{action.help} (default: %(default)s)" if shown and action.default is not False else action.help


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Give a program `--device`."""
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda or cuda:N")


def add_pipes_option(parser: argparse.ArgumentParser) -> None:
    """Give a program `--allow-pipes`."""
    parser.add_argument("--allow-pipes", choices=("true", "false"), default="false", help="run commands in scp files")


def add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    """Give a program `--overwrite`."""
    words = "make again what is up to date"
    parser.add_argument("--overwrite", choices=("true", "false"), default="false", help=words)


def add_max_bad_option(parser: argparse.ArgumentParser) -> None:
    """Give a program `--max-bad`."""
    words = "share of the utterances, 0 to 1, that may be unusable (one in any case, but for 0): left out and named"
    parser.add_argument("--max-bad", metavar="SHARE", type=_share, default=MAX_BAD, help=words)


def part_of_jobs(text: str) -> tuple[int, int]:
    """The type of an option such as `--part 2/4`: the second of four jobs."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part such as 2/4, the second of four")
    return int(number), int(count)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return share


def add_corpus_options(parser: argparse.ArgumentParser, counts: str = "") -> None:
    """Give a preparation what all have: `--nj`, `--max-bad`, and `--check-counts` where `counts` says what it does."""
    if counts:
        parser.add_argument("--check-counts", choices=("true", "false"), default="false", help=counts)
    add_max_bad_option(parser)
    parser.add_argument("--nj", type=int, default=4, help="files opened at a time")


def corpus_arguments(parser: argparse.ArgumentParser, root: str, counts: str = "") -> argparse.Namespace:
    """The options of a preparation of one corpus, read and logged: what all have, DIR (described by `root`), OUT_DIR.

    `counts` is as of `add_corpus_options`.
    """
    add_corpus_options(parser, counts)
    parser.add_argument("root", metavar="DIR", type=Path, help=root)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go")
    args = parser.parse_args()
    log_provenance()
    return args


def add_choice_options(parser: argparse.ArgumentParser) -> None:
    """Give a preparation of many languages `--languages` and `--hours-per-language`, which take a part of them."""
    parser.add_argument("--languages", metavar='"L L"', default="", help="only these; empty: all that are there")
    words = "at most this many hours of training speech of each language; 0: all"
    parser.add_argument("--hours-per-language", metavar="HOURS", type=float, default=0, help=words)


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a program that uses a trained model its options, and `exp`, `data` and `sets`."""
    add_device_option(parser)
    add_pipes_option(parser)
    add_overwrite_option(parser)
    parser.add_argument("exp", type=Path, help="experiment directory with final.pt")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("sets", nargs="+", help="names of data directories")


def add_part_of_sets_option(parser: argparse.ArgumentParser) -> None:
    """Give a program `--part`, by which several jobs share its sets (`own_sets`)."""
    words = "as the J-th of N jobs, which share the sets"
    parser.add_argument("--part", metavar="J/N", type=part_of_jobs, default="1/1", help=words)


def own_sets(args: argparse.Namespace) -> list[str]:
    """The sets that this job takes."""
    number, count = args.part
    return args.sets[number - 1 :: count]


def choose_device(name: str, local_rank: int | None = None) -> "torch.device":
    """The device that `--device` names.

    Args:
        name: auto, cpu, cuda or cuda:N.
        local_rank: number of this process among those of this machine, where several work together: each takes
            a GPU of its own.

    Raises:
        ValueError: no such device on this machine, or none left for this process.
    """
    import torch  # here, because most programs start in a fraction of the time without it

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if local_rank is not None and name.startswith("cuda") and torch.cuda.is_available():
        if name != "cuda":
            raise ValueError(f"--device {name}: several processes take a GPU each; say --device cuda")
        if local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"--device cuda: no GPU is left for rank {local_rank} of this machine: it has "
                f"{torch.cuda.device_count()}, and each process needs its own; use --num-procs "
                f"{torch.cuda.device_count()}, or --device cpu"
            )
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: not on this machine ({reason}); use cpu, or auto") from error
    logging.getLogger("flowlid").info("device: %s, %d threads", device, torch.get_num_threads())
    return device


@contextlib.contextmanager
def progress_bar(name: str, total: int, hidden: bool = False) -> Iterator[Callable[..., None]]:
    """Show how far a loop is, unless `hidden`; gives a function of (done, total) and of what else to show.

    A job of `run.sh`, whose stderr is a log, leaves it in the file that FLOWLID_PROGRESS names: done, total, seconds
    left and words, from which `run.sh` makes its live line. Elsewhere it is a bar on a terminal, nothing in a log.
    """
    path = os.environ.get("FLOWLID_PROGRESS")
    if path and not hidden:
        yield _ProgressFile(Path(path), name).show
        return
    with tqdm(total=total, desc=name, file=sys.stderr, disable=hidden or not sys.stderr.isatty(), leave=False) as bar:

        def show(done: int, total: int, **values: float | str) -> None:
            if done <= bar.n:
                bar.reset(total)
            bar.set_postfix(values, refresh=False)
            bar.update(done - bar.n)

        yield show


class _ProgressFile:
    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.first, self.done = 0, -1
        self.began = self.written = -math.inf

    def show(self, done: int, total: int, **values: float | str) -> None:
        now = time.monotonic()
        if done <= self.done or self.done < 0:  # it begins, perhaps where an earlier run ended
            self.first, self.began = done, now
        self.done = done
        if now - self.written < _SECONDS_BETWEEN_LOOKS and done < total:
            return
        self.written = now
        left = (now - self.began) * (total - done) / (done - self.first) if done > self.first else 0
        shown = (f"{key} {value if isinstance(value, str) else format(value, '.2f')}" for key, value in values.items())
        with contextlib.suppress(OSError):  # a full disk ends the work, not its progress
            self.path.write_text(f"{done} {total} {left:.0f} {', '.join([self.name, *shown])}\n", encoding="utf-8")


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
        "command": shlex.join([_program(), *sys.argv[1:]]),
        "versions": f"python {platform.python_version()} {versions}",
        "commit": git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


def _program() -> str:
    """This program as one calls it from a recipe: steps/train.py, whatever the directory or link."""
    path = Path(sys.argv[0]).resolve()
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name


def git_commit() -> str:
    """Commit of this checkout, with "+changes" where tracked files differ from it; or "unknown"."""
    git = ["git", "-C", str(_ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")
