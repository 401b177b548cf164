"""Timing that alternates, the ceiling of matrix products, and where the time of a step goes."""

import contextlib
import math
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# what an operator's name says of its work, the first that fits
_WORK = {
    "optimizer": r"adam|optimizer|zero_grad",
    "matrix products": r"mm(_|$)|linear|matmul|gemm",
    "activations": r"tanh|relu|threshold|clamp|sigmoid",
    "copies": r"copy|cat$|stack|index|gather|scatter|clone|contiguous|fill|zero|slice|select|reorder",
    "other element-wise": r"::(_foreach_)?(mul|add|sub|div|exp|neg|sum|mean|square|pow|log|rsqrt|addcmul|where|lerp)",
}


@dataclass
class Task:
    """Something to time, again and again.

    Attributes:
        run: does it once.
        amount: frames, or floating-point operations, that `run` deals with.
        before: to be called before a series of runs; is not timed.
        steps: runs in one measurement.
        rates: amount per second of each round.
    """

    run: Callable[[], object]
    amount: float
    before: Callable[[], object] = lambda: None
    steps: int = 1
    rates: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """Half the range over the rounds, as a share of the median."""
        return (max(self.rates) - min(self.rates)) / 2 / self.rate

    def seconds(self, device: torch.device) -> float:
        """Time of one of `steps` runs in a row."""
        self.before()
        _wait(device)
        began = time.perf_counter()
        for _ in range(self.steps):
            self.run()
        _wait(device)
        return (time.perf_counter() - began) / self.steps


def measure(tasks: list[Task], rounds: int, seconds: float, device: torch.device) -> None:
    """Time all tasks `rounds` times in turn, each for about `seconds`, after two runs to warm up."""
    for task in tasks:
        task.seconds(device)
        task.steps = max(1, math.ceil(seconds / task.seconds(device)))
    for number in range(rounds):
        for task in tasks[:: -1 if number % 2 else 1]:
            task.rates.append(task.amount / task.seconds(device))


@contextlib.contextmanager
def arithmetic(kind: str, device: torch.device) -> Iterator[None]:
    """Matrix products of float32 data in "tf32", or by "autocast" in bfloat16; any other kind: as they come."""
    if kind == "autocast":
        with torch.autocast(device.type, torch.bfloat16):
            yield
    elif kind == "tf32":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
    else:
        yield


def product_tasks(kind: str, batch: int, device: torch.device) -> dict[str, Task]:
    """Large products in "float32", "tf32" or "bfloat16", (batch, n) times (n, n), in each way that torch has."""
    tasks = {}
    for n in (1024, 4096, 8192) if device.type == "cuda" else (512, 1024, 2048):
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        x, weight = (torch.randn(rows, n, device=device).to(dtype) for rows in (batch, n))
        for way, product in _ways(x, weight).items():
            tasks[f"{way}, {batch} x {n} x {n}"] = Task(_under(kind, device, product), 2 * batch * n**2)
    return tasks


def _ways(x: Tensor, weight: Tensor) -> dict[str, Callable[[], Tensor]]:
    ways = {"torch.mm": lambda: torch.mm(x, weight), "linear": lambda: torch.nn.functional.linear(x, weight)}
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
        ways["oneDNN linear"] = lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    return ways


def _under(kind: str, device: torch.device, product: Callable[[], Tensor]) -> Callable[[], None]:
    @torch.no_grad()
    def run() -> None:
        with arithmetic(kind, device):
            product()

    return run


def profile_lines(task: Task, device: torch.device, steps: int = 3, longest: int = 12) -> list[str]:
    """Shares of the time of a task by kind of work, and of its longest operators, as Markdown's list.

    On a CPU the operators' own time, on CUDA that of their kernels.
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    task.before()
    task.run()
    _wait(device)
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            task.run()
        _wait(device)
    # a kernel is an event of its own beside the operator that started it: count it once
    events = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    clock = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times = {event.key: getattr(event, clock) for event in events if getattr(event, clock) > 0}
    total = sum(times.values())
    work = dict.fromkeys([*_WORK, "rest"], 0.0)
    for name, amount in times.items():
        work[work_of(name)] += amount
    top = sorted(times, key=times.__getitem__, reverse=True)[:longest]
    return [
        ", ".join(f"{name} {share / total:.0%}" for name, share in work.items()),
        "longest: " + ", ".join(f"`{name}` {times[name] / total:.1%}" for name in top),
    ]


def work_of(operator: str) -> str:
    """The kind of work that an operator does, by its name."""
    return next((work for work, names in _WORK.items() if re.search(names, operator.lower())), "rest")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
