"""The end of a training that was told to end: Ctrl-C, or a cluster that takes the machine back."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

log = logging.getLogger("flowlid")


@dataclass
class Progress:
    """How far training got: whole epochs, and those to do."""

    epoch: int = 0
    epochs: int = 0


class _Interrupted(BaseException):
    """Not an Exception: nothing but `interruptible` may take it for an error."""


@contextmanager
def interruptible(again: str) -> Iterator[Progress]:
    """A block that SIGINT or SIGTERM ends with a last line in the log and exit status 130 or 143.

    Args:
        again: what continues, as the line says: "interrupted after epoch 5 of 40; the same command continues".
    """

    def end(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # once is enough
        raise _Interrupted(number)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]  # nohup's wish
    before = {number: signal.signal(number, end) for number in numbers}
    progress = Progress()
    try:
        yield progress
    except _Interrupted as interrupted:
        far = f"after epoch {progress.epoch} of {progress.epochs}" if progress.epochs else "before the first epoch"
        log.warning("interrupted %s; %s continues", far, again)
        sys.exit(128 + interrupted.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
