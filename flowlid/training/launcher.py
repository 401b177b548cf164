"""How several processes that train one flow are started, and how they end when one of them fails.

On one machine `launch` starts them with torchrun's own engine; on several machines, torchrun does on each. However a
process was started, it does its work inside `together`.
"""

import ctypes
import logging
import os
import platform
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowlid.training.interruption import SIGNALS
from flowlid.training.processes import Lost, Processes

log = logging.getLogger("flowlid")

RESTARTS = 3
_LOST = 75  # exit status of a process that has lost the others: sysexits' EX_TEMPFAIL
_TRIED_AGAIN = {_LOST, *(128 + number for number in SIGNALS)}  # and every death by a signal
_ROOM = 15.0  # seconds that a process waits for another one to report an error that both may have
_LAUNCHER = "FLOWLID_LAUNCHER"  # environment of the workers: who started them
_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def launch(num_procs: int) -> None:
    """Run this program's own command line in `num_procs` processes; return when all ended well.

    If one is killed, all are started again, RESTARTS times at most: the program is expected to go on from what it has
    saved. An error that a process reported itself would come again, so it is final.

    Raises:
        SystemExit: 1 after a failure, 128 + the number of the signal that ended this program.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // num_procs)))
    # seconds between a signal and SIGKILL, in which training saves; Slurm gives as many
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30")
    os.environ[_LAUNCHER] = str(os.getpid())
    for restart in range(RESTARTS + 1):
        ended = _run_workers(num_procs)
        if not ended:
            return
        report = ", ".join(f"rank {rank}: {_name(code)}" for rank, code in sorted(ended.items()))
        reported = any(code > 0 and code not in _TRIED_AGAIN for code in ended.values())
        if reported or restart == RESTARTS:
            break
        log.warning("a process was killed (%s); starting all again, %d of %d", report, restart + 1, RESTARTS)
    why = "for the reason above" if reported else f"and {RESTARTS} restarts did not help; is memory short?"
    log.error("%d processes ended (%s), %s", num_procs, report, why)
    sys.exit(1)


def started_anew() -> bool:
    """False in a process that goes on with what its launcher, or the process that it replaces, has begun."""
    return _LAUNCHER not in os.environ and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"


def is_worker() -> bool:
    """Whether torchrun, or its engine in `launch`, has started this process."""
    return "RANK" in os.environ


def check_numbers(processes: Processes, nodes: int | None, num_procs: int | None) -> None:
    """Check what was asked for, machines and processes on each (None: whatever there is), against what was started.

    Raises:
        ValueError: too few, or too many, have been started, so that training would be another one.
    """
    if not is_worker():
        if (nodes or 1) > 1:
            raise ValueError(
                f"--nodes {nodes}: this process is alone, nothing has started it on {nodes} machines; start it with "
                "torchrun on each (--help shows how), or by run.sh on a cluster"
            )
        return
    asked, per_node = (nodes or 1) * (num_procs or 1), num_procs or 1
    came = (processes.world_size, processes.local_world_size)
    if (nodes is not None or num_procs is not None) and came != (asked, per_node):
        raise ValueError(
            f"--nodes {nodes or 1} --num-procs {per_node} asks for {asked} processes, {per_node} per machine; torchrun "
            f"has started {came[0]}, {came[1]} on this machine: give it --nnodes {nodes or 1} --nproc-per-node "
            f"{per_node}, or these options what it has"
        )


def _run_workers(num_procs: int) -> dict[int, int]:
    """Start the processes and wait; the exit status of each that failed by rank, below 0 for a signal."""
    # imported here, because a process that launches nothing starts faster without them
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # `launch` says how each process ended

    def stop(number: int, frame: object) -> None:
        raise SignalException("told to end", signal.Signals(number))

    if signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN:
        signal.signal(signal.SIGUSR1, stop)  # as the engine does with SIGTERM and SIGINT: it passes them on
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_procs,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # whatever the machine's name resolves to
        max_restarts=0,  # torchrun would also repeat an error that a process has reported
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),  # no redirection, no temporary files
    )
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException as error:
        sys.exit(128 + error.sigval)  # the first process has logged how far training got
    return {}


@contextmanager
def together(processes: Processes, device: torch.device, timeout: float) -> Iterator[None]:
    """A block that the processes work in together; one that hangs, or has lost the others, ends with a message.

    Args:
        processes: of this training; a single one needs none of this.
        device: of this process.
        timeout: seconds without a sign of life after which a process counts as hung.
    """
    if processes.world_size == 1:
        yield
        return
    _die_with_parent()
    threading.Thread(target=_watch, args=(processes, timeout), daemon=True).start()
    try:
        processes.connect(device, 2 * timeout)  # `_watch` comes first: it says more
        log.info("rank %d of %d processes, pid %d", processes.rank, processes.world_size, os.getpid())
        yield
        processes.disconnect()
    except Lost as error:
        time.sleep(_ROOM)  # the launcher knows how the other process ended, and ends this one
        log.error("the other processes cannot be reached: %s", error)
        sys.exit(_LOST)
    except (ValueError, OSError):
        if not processes.first:
            time.sleep(_ROOM)  # the first process reports the same error, as a rule, and that ends this one
        raise


def _watch(processes: Processes, timeout: float) -> None:
    """End this process when there was no sign of life for `timeout` seconds.

    Only seconds in which this thread ran count: a job that was suspended as a whole has not hung.
    """
    tick, quiet, seen = min(1.0, timeout / 5), 0.0, processes.signs
    while quiet < timeout:
        time.sleep(tick)
        quiet, seen = (quiet + tick if processes.signs == seen else 0.0), processes.signs
    log.error(
        "no sign of life for %g s: one of the %d processes hangs (it was stopped, or its GPU, disk or network does not "
        "answer). Start the stage again, and training goes on from its last checkpoint; if all was well but slow, "
        "with a longer --hang-timeout",
        timeout,
        processes.world_size,
    )
    os._exit(1)  # the main thread waits for a process that does not answer


def _die_with_parent() -> None:
    """Have Linux kill this process when the one that started it ends, in whatever way."""
    if platform.system() == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.environ.get(_LAUNCHER, str(os.getppid())) != str(os.getppid()):
        os._exit(1)  # it had ended before


def _name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
