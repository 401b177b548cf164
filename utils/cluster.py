"""What a cluster is to the programs that submit to it: a queue that takes jobs, shows them and cancels them."""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from jobscript import Work


class Refused(Exception):
    """The cluster does not take the job, and would not later."""


class Busy(Exception):
    """The cluster did not answer, or not now; the job may have been submitted all the same."""


@dataclass(frozen=True)
class Block:
    """Jobs that are submitted together: the numbers from `first` to `last`."""

    first: int
    last: int


@dataclass(frozen=True)
class Seen:
    """One job, as the cluster shows it.

    Args:
        job: its name in the cluster's own commands, "30_3".
        number: of JOB.
        kind: "waiting", "running" or "ended".
        state: in words, with the reason of one that waits: "PENDING (Resources), starts about 14:05".
        how: in one word or two for the log, of one that ended badly: "memory", "time limit"; of one that waits: why it
            will never start.
        told: the same in a message: "killed, over its memory of 512M; give --mem".
    """

    job: str
    number: int
    kind: str
    state: str
    how: str = ""
    told: str = ""


class Queue(Protocol):
    """A cluster."""

    def most(self) -> int:
        """How many jobs one array may have."""

    def submit(self, work: Work, block: Block, limit: int | None) -> None:
        """Submit a block, at most `limit` of it running together.

        Raises:
            Refused: for good.
            Busy: it may work later, or may have worked.
        """

    def look(self, work: Work) -> list[Seen] | None:
        """All jobs of this work, those that ended a short while ago too; None where the cluster does not answer."""

    def cancel(self, seen: Iterable[Seen]) -> None:
        """Ask for the end of all these jobs, in one command."""

    def cancelling(self, seen: Iterable[Seen]) -> str:
        """The command for a user to do so."""


def ask(
    *words: str, environment: Mapping[str, str] | None = None, keep: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command of the cluster, in a session of its own: Ctrl-C must not end it halfway.

    Args:
        words: the command; one that takes over a minute counts as failed.
        environment: its own, if not that of this program.
        keep: open files that it must have too.

    Raises:
        Refused: there is no such command.
    """
    try:
        return subprocess.run(
            words,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=keep,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} timed out")
    except OSError as error:
        raise Refused(f"{words[0]}: {error.strerror}; is this a machine of the cluster?") from None
