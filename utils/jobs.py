"""What utils/run.py, utils/slurm.py and utils/gridengine.py share: command line, quoting, log, messages.

Needs the standard library only, so that the programs run wherever there is a Python.
"""

import math
import re
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

USAGE = """\
Usage: utils/{program} [options] [JOB=1:N] <log-file> <command> [arguments...]
e.g.:  utils/{program} --max-jobs-run 2 JOB=1:4 exp/log/a.JOB.log steps/x.py in.JOB.scp out.JOB.ark

Runs <command> in bash{where}, its output in <log-file>. With JOB=1:N (or 3:5, or a single number; any name will do) it
runs once for each number, which replaces JOB in <log-file> and in <command>. All jobs run, even if one fails.

Options, before or after JOB=1:N:
{options}
Arguments reach the command as they are, blanks and quotes included, except that
  - a shell operator or a redirection, quoted for your own shell, acts in the job: '|' '&&' ';' '>' out.JOB '2>&1'
  - an argument without blanks that holds a $ or a backquote is expanded in the job: --seed '$[JOB+10]'

Exit status: 0 when all jobs ended with 0; 1 when one did not, or on wrong usage; 128 + the signal that stopped it.
"""

# Options of all programs, with the number of their values, and the least value of those that are whole numbers.
VALUES = {"--mem": 1, "--time": 1, "--config": 1, "--gpu": 1, "--num-threads": 1, "--max-jobs-run": 1, "--nodes": 1}
VALUES |= {"--name": 1, "--after": 1, "--requeue": 1, "--wait-file": 1, "--no-test": 0, "--detach": 0}
VALUES |= {"-V": 0, "-sync": 1, "-l": 1, "-q": 1, "-pe": 2, "-tc": 1}
COUNTS = {"gpu": 0, "num_threads": 1, "max_jobs_run": 1, "nodes": 1, "requeue": 0, "wait_file": 0}
OF_GRID_ENGINE = ("-l", "-q", "-pe")  # Kaldi hands them to qsub as they are
JOBS = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", re.ASCII)
LIKE_JOBS = re.compile(r"[A-Za-z_]\w*=([^/]*:[^/]*|[-+.\d]*)", re.ASCII)  # e.g. JOB=1: where $nj was empty
OPERATORS = {"|", "||", "|&", "&", "&&", ";", "(", ")", "{", "}", "!", "[[", "]]"}
REDIRECTION = re.compile(r"(\d*(<|>|>>|>\||<&|>&)|&>>?)[^\s<>|&;()'\"]*")  # not <unk>


@dataclass
class Call:
    """What the command line asks for.

    Options are known by Kaldi's names in conf files: `num_threads` for --num-threads.
    """

    log: str
    command: str
    name: str | None = None
    first: int = 1
    last: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    of_grid_engine: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        return self.last - self.first + 1

    def numbered(self, text: str, number: int | str) -> str:
        return text if self.name is None else text.replace(self.name, str(number))


def parse(arguments: Sequence[str], usage: str, others: bool = False) -> Call:
    """Read the command line.

    Args:
        arguments: without the program's name.
        usage: printed on --help, which ends the program.
        others: take each other `--x value` too; the conf file says later what it means.

    Raises:
        ValueError: it is wrong; the message names the argument.
    """
    left, call = deque(arguments), Call("", "")
    _take_options(left, call, usage, others)
    if left and (match := JOBS.fullmatch(left[0])):
        call.name, call.first, call.last = match[1], int(match[2]), int(match[3] or match[2])
        spec = left.popleft()
        if not 1 <= call.first <= call.last:
            raise ValueError(f"{spec}: job numbers start at 1 or above, and the first is not above the last")
        _take_options(left, call, usage, others)
    elif left and LIKE_JOBS.fullmatch(left[0]):
        raise ValueError(f"{left[0]}: not a range of jobs; write JOB=1:4 or JOB=3 (is the number of jobs empty?)")
    if len(left) < 2:
        raise ValueError("a log file and a command are needed (see --help)")
    call.log, call.command = left.popleft(), join(left)
    if call.name is not None and call.name not in call.log and call.jobs > 1:
        raise ValueError(f"{call.log}: {call.jobs} jobs cannot share one log file; put {call.name} into its name")
    if "detach" in call.texts and call.jobs > 1:
        raise ValueError(f"--detach: {call.jobs} jobs need a program that waits for them; leave it out")
    return call


def _take_options(left: deque[str], call: Call, usage: str, others: bool) -> None:
    """Take the options off the front of `left`."""
    while left and left[0].startswith("-"):
        option, equals, value = left.popleft().partition("=")
        if option in ("-h", "--help"):
            print(usage, end="")
            sys.exit(0)
        known = option in VALUES or (others and re.fullmatch(r"--[a-z][\w-]*", option, re.ASCII))
        if not known or (equals and not option.startswith("--")):
            raise ValueError(f"{option}: unknown option (see --help)")
        if equals:
            left.appendleft(value)
        values = []
        for _ in range(VALUES.get(option, 1)):
            if not left or left[0].startswith("--") or not left[0]:
                raise ValueError(f"{option}: needs a value")
            values.append(left.popleft())
        if option in OF_GRID_ENGINE:
            call.of_grid_engine += [option, *values]
        elif option not in ("-V", "-sync"):  # jobs have the environment, and are always waited for
            _note(call, option, values[0] if values else "")


def _note(call: Call, option: str, value: str) -> None:
    """Put an option's value into `call`."""
    key = "max_jobs_run" if option == "-tc" else option.removeprefix("--").replace("-", "_")
    if key not in COUNTS:
        call.texts[key] = value
        return
    if not re.fullmatch("[0-9]+", value) or int(value) < COUNTS[key]:
        raise ValueError(f"{option}: needs a whole number, at least {COUNTS[key]}, and got {value!r}")
    # As in run.pl, the strictest of several limits holds; otherwise the last value does.
    limit = call.counts.get(key, math.inf) if key == "max_jobs_run" else math.inf
    call.counts[key] = int(min(limit, int(value)))


def join(arguments: Sequence[str]) -> str:
    """Join arguments to a line of bash: see USAGE for those that bash may interpret."""

    def quote(argument: str) -> str:
        expands = re.search(r"[$`]", argument) and not re.search(r"\s", argument)
        if expands or argument in OPERATORS or REDIRECTION.fullmatch(argument):
            return argument
        return shlex.quote(argument)

    return " ".join(map(quote, arguments))


def date() -> str:
    """Now, as the program `date` shows it."""
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def head(command: str) -> str:
    """The first lines of a job's log."""
    shown = command.replace("\n", "\n# ")
    return f"# {shown}\n# Started at {date()}\n#\n"


def foot(how: str, seconds: int, threads: int) -> str:
    """The last lines of a job's log; `how` is from `ending`, or says "code 1; memory"."""
    end = f"# Ended ({how}) at {date()}, elapsed time {seconds} seconds\n"
    return f"# Accounting: time={seconds} threads={threads}\n{end}"


def ending(code: int) -> str:
    """How a job ended, for its log: "code 3", or "code 1; signal 9" of a code that stands for a signal.

    Args:
        code: exit status of bash, which has 128 + n for a child killed by signal n; below 0 if bash itself was killed.
    """
    number = -code if code < 0 else code - 128
    return f"code 1; signal {number}" if number in set(signal.Signals) else f"code {code}"


def say(message: str) -> None:
    """A message of this program."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)


def tell_failures(call: Call, failed: int) -> None:
    """Say how many jobs failed, and where their logs are."""
    if call.jobs > 1:
        say(f"{failed} / {call.jobs} failed, log is in {call.numbered(call.log, '*')}")
        return
    say(f"job failed, log is in {call.numbered(call.log, call.first)}")
    if call.name is None and "JOB" in call.log:
        say("the log file's name holds JOB: is JOB=1:N missing before it?")
