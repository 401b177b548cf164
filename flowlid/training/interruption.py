"""What Ctrl-C and SIGTERM do to a training."""

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
    """Not an Exception, so that only `interruptible` catches it."""


@contextmanager
def interruptible(again: str) -> Iterator[Progress]:
    """A block that SIGINT or SIGTERM ends, with exit status 130 or 143 and a last line in the log.

    Args:
        again: what continues, as the line says: "interrupted after epoch 5 of 40; the same command continues".
    """

    def end(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a second one must not disturb the end
        raise _Interrupted(number)

    # a signal that is ignored stays ignored, as nohup wants it
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
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
