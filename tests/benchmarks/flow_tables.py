"""The tables that `flows.py` prints: frames per second, shares of the ceiling, ratios."""

import argparse
import os
import platform
import re
import statistics
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from peers import Row
from timing import Task

from flowlid import program

_ALIKE = 0.2  # parameters in use that a peer may have more or less, to be called one of the same size
_NOTEBOOK = ("120x256", 4.56e6 * 100)  # size, and frames seen in training, of the reference's normal flow


@dataclass
class Entry:
    """A row at one size.

    Attributes:
        parameters: trained ones.
        used: those of them that log p(x) depends on.
        multiplied, needed: products a frame in scoring: by the library; by weights that log p(x) depends on.
        error: mean |log p(x) - the same in float64|, nats a frame.
    """

    row: Row
    kind: str  # of arithmetic
    parameters: int
    used: int
    multiplied: int
    needed: int
    error: float
    train: Task
    score: Task

    def shares(self, ceilings: dict[str, float]) -> tuple[float, float]:
        """Of its ceiling, in training and in scoring: 2 operations a product, three times as many in training."""
        ceiling = ceilings[ceiling_of(self.kind)]
        return 6 * self.multiplied * self.train.rate / ceiling, 2 * self.multiplied * self.score.rate / ceiling


@dataclass
class Size:
    """All that was measured at one size."""

    name: str
    entries: list[Entry]
    trainer: Task | None

    def cell(self, row: Row) -> str:
        found = [entry for entry in self.entries if entry.row is row]
        return f"{found[0].train.rate:.0f} / {found[0].score.rate:.0f}" if found else "-"

    def ratios(self, ours: Entry) -> str:
        """How many times faster one of ours is than the best peers, training / scoring, and which those are."""
        peers = [entry for entry in self.entries if entry.row.package]
        groups = {
            "of its size": [peer for peer in peers if abs(peer.used / ours.used - 1) <= _ALIKE],
            "of all": peers,
        }
        found = []
        for what, group in groups.items():
            if group:
                train, score = (_against_best(ours, group, task) for task in ("train", "score"))
                found.append(f"{train} / {score} the best peer {what}")
        return f"{self.name}: {ours.row.name}: " + "; ".join(found)


def _against_best(ours: Entry, peers: list[Entry], task: str) -> str:
    best = max(peers, key=lambda peer: getattr(peer, task).rate)
    pairs = zip(getattr(ours, task).rates, getattr(best, task).rates, strict=True)
    return f"{statistics.median(own / other for own, other in pairs):.2f} x ({best.row.key})"


def ceiling_of(kind: str) -> str:
    """The kind of products that bounds an arithmetic: "autocast" multiplies in bfloat16."""
    return "bfloat16" if kind == "autocast" else kind


def report(args: argparse.Namespace, rows: list[Row], sizes: list[Size], ceilings: dict[str, dict[str, Task]]) -> str:
    """The tables, in Markdown."""
    labels = [f"{dim}-dim, hidden {hidden}" for dim, hidden in (size.name.split("x") for size in sizes)]
    lines = [*_header(args, rows), "", f"| frames per second, training step / scoring | {' | '.join(labels)} |"]
    lines.append("| --- |" + " --- |" * len(sizes))
    lines += [f"| {row.name} | {' | '.join(size.cell(row) for size in sizes)} |" for row in rows]
    best = {kind: max(task.rate for task in ways.values()) for kind, ways in ceilings.items()}
    lines += ["", *_ceiling_lines(ceilings), "", *_details(sizes, best), ""]
    if any(row.package for row in rows):
        lines += [f"- {size.ratios(entry)}" for size in sizes for entry in size.entries if not entry.row.package]
    for size in sizes:
        if size.trainer:
            lines.append(f"- {size.name}: whole epochs of flowlid's Trainer: {size.trainer.rate:.0f} frames per second")
        if size.name == _NOTEBOOK[0]:
            ours = [entry for entry in size.entries if not entry.row.package]
            times = [f"{entry.row.name} {_NOTEBOOK[1] / entry.train.rate / 60:.1f} min" for entry in ours]
            lines.append(f"- 100 epochs of 4.56 million frames at {size.name}: {', '.join(times)}")
    return "\n".join(lines)


def _header(args: argparse.Namespace, rows: list[Row]) -> list[str]:
    libraries = ["torch", *sorted({row.package for row in rows if row.package})]
    return [
        f"- command: `{program.provenance()['command']}`",
        f"- machine: {processor(args.device)}; {os.cpu_count()} processors, {torch.get_num_threads()} threads",
        f"- versions: {', '.join(f'{name} {version(name)}' for name in libraries)}",
        f"- batch {args.batch}, {args.rounds} rounds of {args.seconds:g} s; others in {args.peers}; fused Adam",
    ]


def _ceiling_lines(ceilings: dict[str, dict[str, Task]]) -> list[str]:
    lines = []
    for kind, ways in ceilings.items():
        best: dict[str, str] = {}  # of each way, its best shape
        for name in sorted(ways, key=lambda name: ways[name].rate):
            best[name.split(",")[0]] = name
        found = [f"{name}: {ways[name].rate / 1e9:.0f} ±{ways[name].spread:.0%}" for name in best.values()]
        lines.append(f"- ceiling of {kind} products, GFLOP/s: {'; '.join(reversed(found))}")
    return lines


def _details(sizes: list[Size], ceilings: dict[str, float]) -> list[str]:
    lines = [
        "| size | flow | parameters (used), million | MFLOP a frame in scoring (needed) | arithmetic "
        "| error, nats | training: spread, share of ceiling | scoring: spread, share of ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size in sizes:
        for entry in size.entries:
            tasks = zip((entry.train, entry.score), entry.shares(ceilings), strict=True)
            shares = (f"±{task.spread:.0%}, {share:.0%}" for task, share in tasks)
            counts = f"{entry.parameters / 1e6:.2f} ({entry.used / 1e6:.2f})"
            work = f"{2 * entry.multiplied / 1e6:.2f} ({2 * entry.needed / 1e6:.2f})"
            cells = [size.name, entry.row.name, counts, work, entry.kind, f"{entry.error:.1g}", *shares]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def processor(device: torch.device) -> str:
    """Name of the processor that does the work, with what it has for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    units = [flag for flag in ("amx_bf16", "avx512_bf16") if re.search(rf"\b{flag}\b", text)]
    return f"{name[1] if name else platform.machine()} ({', '.join(units) or 'no bfloat16 units known'})"
