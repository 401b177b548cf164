"""What Ctrl-C, SIGTERM and SIGUSR1 do to a training."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from flowlid.training.processes import Lost

log = logging.getLogger("flowlid")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # a scheduler may send the last one before it ends a job


@dataclass
class Progress:
    """How far a training got that is saved, and the signal that is to end it.

    Attributes:
        epoch, epochs: whole epochs, and those to do.
        step, steps: steps of the epoch after them, and those to do.
        signal: one that came in a block of `deferred`, or None.
    """

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    signal: int | None = None
    _deferred: bool = False

    def __str__(self) -> str:
        """ "epoch 5 of 40", or "epoch 5 of 40 and 120 of 6000 steps"."""
        within = f" and {self.step} of {self.steps} steps" if self.step else ""
        return f"epoch {self.epoch} of {self.epochs}{within}"

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that a signal does not end: it is noted, for the block to look at, and ends the training after it.

        A process that had no such block at the time is gone by then; who misses it ends for the signal, too.
        """
        self._deferred = True
        try:
            yield
        except Lost:
            if self.signal is None:
                raise
        finally:
            self._deferred = False
        if self.signal is not None:
            self.end(self.signal)

    def note(self, number: int) -> None:
        """A signal came."""
        if self._deferred:
            self.signal = number
        else:
            self.end(number)

    def end(self, number: int) -> NoReturn:
        """End the training, as a signal does."""
        raise _Interrupted(number)


class _Interrupted(BaseException):
    """Not an Exception, so that only `interruptible` catches it."""


@contextmanager
def interruptible(again: str) -> Iterator[Progress]:
    """A block that each of SIGNALS ends, with exit status 128 + its number and a last line in the log.

    Args:
        again: what continues, as the line says: "interrupted after epoch 5 of 40; the same command continues".
    """

    def end(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a second one must not disturb the end
        progress.note(number)

    # a signal that is ignored stays ignored, as nohup wants it
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    progress = Progress()
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield progress
    except _Interrupted as interrupted:
        far = f"after {progress}" if progress.epochs else "before the first epoch"
        log.warning("interrupted %s; %s continues", far, again)
        sys.exit(128 + interrupted.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
