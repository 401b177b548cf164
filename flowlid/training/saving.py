"""When the training state is saved within an epoch: every so many minutes, and before a signal ends the training."""

import math
import time
from collections.abc import Callable

from torch import Tensor

from flowlid.training.interruption import SIGNALS, Progress
from flowlid.training.processes import Processes


class Saves:
    """Saves a training state within an epoch; all processes of a training stop at the same step for it.

    The first process's clock and a signal to any of them decide. What each one wishes is summed along with what a
    step sums anyway, so that no step has a message more; `look`, which all call after the same step, acts on it.

    Args:
        processes: those that train together.
        write: saves the state, in the first process; the others leave it alone.
        seconds: between saves.
        progress: says whether a signal came.
    """

    def __init__(
        self,
        processes: Processes,
        write: Callable[[], None] = lambda: None,
        seconds: float = math.inf,
        progress: Progress | None = None,
    ) -> None:
        self._processes, self._write, self._seconds = processes, write, seconds
        self.progress = progress or Progress()
        self._sums: Tensor | None = None
        self.done()

    def done(self) -> None:
        """Note that the state has just been saved."""
        self._last = time.monotonic()

    def wishes(self, like: Tensor) -> list[Tensor]:
        """What a step must sum over the processes, of the type and device of `like`; nothing for a single process."""
        if self._processes.world_size == 1:
            return []
        if self._sums is None:
            self._sums = like.new_zeros(1 + len(SIGNALS))
        self._sums.zero_()
        for place, wished in enumerate(self._own()):
            if wished:
                self._sums[place] = 1
        return [self._sums]

    def look(self) -> None:
        """Save if it is time, and if a signal has come, save and end the training."""
        save, *signals = self._own() if self._sums is None else (self._sums > 0).tolist()
        if not save and not any(signals):
            return
        if self._processes.first:
            self._write()
        self.done()
        if any(signals):
            self._processes.wait()  # who ends first has the others ended, by their launcher
            self.progress.end(SIGNALS[signals.index(True)])

    def _own(self) -> list[bool]:
        due = self._processes.first and time.monotonic() - self._last >= self._seconds
        return [due, *(self.progress.signal == number for number in SIGNALS)]
