"""The record that `quality.py` keeps, and the table that it prints."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from flow_tables import processor

from flowlid import program
from flowlid.files import read_json, write_json

Point = list  # frame passes, seconds, CPU seconds, dev LogLL


@dataclass
class Record:
    """What was measured on some data.

    Attributes:
        data: fingerprint of training and dev frames.
        target: `settings` of the notebook's training, and where it ended: `frames`, `seconds`, `cpu`, `loglik`.
        rows: per row its `settings`, and in `seeds` the points of each training.
    """

    data: str
    target: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def lacks(self, name: str, settings: dict[str, Any], seed: int, again: bool) -> bool:
        """Whether a training is to be measured; what the record has of the row with other settings is dropped."""
        settings = json.loads(json.dumps(settings))
        if self.rows.get(name, {}).get("settings") != settings:
            self.rows[name] = {"settings": settings, "seeds": {}}
        return again or str(seed) not in self.rows[name]["seeds"]


def read_record(path: Path, data: str) -> Record:
    """The record in a file, or a new one.

    Raises:
        ValueError: it is of other data.
    """
    if not path.exists():
        return Record(data)
    record = Record(**read_json(path))
    if record.data != data:
        raise ValueError(f"{path}: measured on other frames ({record.data}, not {data}); give another --results")
    return record


def write_record(path: Path, record: Record) -> None:
    write_json(path, asdict(record))


def first_at(points: list[Point], target: float) -> Point | None:
    """The first point whose dev LogLL is the target or better."""
    return next((point for point in points if point[-1] >= target), None)


def report(record: Record, target: float | None = None) -> str:
    """The table, in Markdown; `target`: another LogLL than the notebook's."""
    found = record.target
    wanted = found["loglik"] if target is None else target
    lines = [
        f"- command: `{program.provenance()['command']}`",
        f"- machine: {processor(torch.device('cpu'))}; {torch.get_num_threads()} threads",
        "- medians over the seeds (least to most); the ratio is to the first row's CPU time of the same seed",
        "",
        f"| to dev LogLL {wanted:.2f} | seeds | frame passes | seconds | CPU seconds | ratio | last dev LogLL |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    if found:
        lines.insert(
            2,
            f"- the notebook's settings: dev LogLL {found['loglik']:.3f} after {found['frames']} frame passes, "
            f"{found['seconds']:.1f} s, {found['cpu']:.1f} s of CPU time",
        )
    first = next(iter(record.rows.values()), None)
    for name, row in record.rows.items():
        if row["seeds"]:
            lines.append(f"| {name} | {' | '.join(_cells(row['seeds'], first['seeds'], wanted))} |")
    return "\n".join(lines)


def _cells(seeds: dict[str, list[Point]], first: dict[str, list[Point]], target: float) -> list[str]:
    """A row's cells; a seed that missed the target counts with all that it took, and is told."""
    ends = {seed: first_at(points, target) or points[-1] for seed, points in seeds.items()}
    missed = sum(first_at(points, target) is None for points in seeds.values())
    bases = {seed: first_at(points, target) for seed, points in first.items()}
    ratios = [end[2] / bases[seed][2] for seed, end in ends.items() if bases.get(seed)]
    return [
        f"{len(seeds)}" + (f", {missed} missed it" if missed else ""),
        *(_spread([end[column] for end in ends.values()], digits) for column, digits in ((0, 0), (1, 1), (2, 1))),
        _spread(ratios, 2) if ratios else "-",
        _spread([points[-1][-1] for points in seeds.values()], 2),
    ]


def _spread(values: list[float], digits: int) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"
