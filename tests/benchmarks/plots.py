#!/usr/bin/env -S bash -c '. "${0%/*}/../../path.sh" && exec python3 "$0" "$@"'
"""How long pictures and intervals take, and whether that grows faster than it should.

Example: tests/benchmarks/plots.py --frames "1000 2000 5000 10000 20000" --units "1000 10000 100000" --rounds 3
Prints two tables. Of latents (120 dims, two languages): seconds of t-SNE and of each picture by the number of frames,
and t-SNE's seconds over n log n, which should stay what they are. Of intervals: seconds by the number of units that
the bootstrap draws, of a share's interval (flowlid/intervals.py) and of two correlations' (flowlid/proficiency.py). A
figure is the median over rounds, each of which goes through all sizes.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from flowlid import program
from flowlid.evaluation.bootstrap import estimate_recall
from flowlid.evaluation.proficiency import correlate
from flowlid.evaluation.tsne import tsne_embedding
from flowlid.plots.latents import first_dims, histograms, tsne

DIMS = 120
PICTURES = ("t-SNE", "its picture", "first two dims", "histograms")
INTERVALS = ("share", "correlations")
Jobs = Mapping[str, Callable[[], object]]


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--frames", default="1000 2000 5000 10000 20000", help="sizes of samples")
    parser.add_argument("--units", default="1000 10000 100000", help="numbers of units of a bootstrap")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    args = parser.parse_args()
    frames, units = (sorted(map(int, sizes.split())) for sizes in (args.frames, args.units))
    with tempfile.TemporaryDirectory(prefix="flowlid-plots-") as out:
        drawn = {n: pictures(n, Path(out)) for n in frames}
        estimated = {n: intervals(n) for n in units}
        took: dict[tuple[str, int], list[float]] = {}
        for _ in range(args.rounds):
            for n, jobs in [*drawn.items(), *estimated.items()]:
                for name, job in jobs.items():
                    took.setdefault((name, n), []).append(seconds_of(job))
    print(report({key: statistics.median(seconds) for key, seconds in took.items()}, frames, units))
    print(f"\nMachine: {program.provenance()['machine']}; median of {args.rounds} rounds.")


def pictures(n: int, out: Path) -> Jobs:
    """t-SNE of n frames, and the pictures of them."""
    generator = np.random.default_rng(n)
    each = n // 2
    z = {name: generator.normal(mean, 1, (each, DIMS)).astype(np.float32) for name, mean in (("en", 0), ("es", 0.5))}
    latents, labels = np.concatenate(list(z.values())), ["en"] * each + ["es"] * each
    density = {"en": [(0.0, 1.0)] * 8, "es": [(0.5, 1.0)] * 8}
    jobs = (
        lambda: tsne_embedding(latents, seed=1),
        lambda: tsne(latents[:, :2], labels, set(), out / "tsne", "t-SNE"),
        lambda: first_dims(z, set(), out / "first_dims", "first two dims"),
        lambda: histograms(z, density, range(8), set(), out / "histograms", "histograms"),
    )
    return dict(zip(PICTURES, jobs, strict=True))


def intervals(n: int) -> Jobs:
    """Intervals by a bootstrap over n utterances, of fewer speakers than it draws."""
    generator = np.random.default_rng(n)
    right, names = generator.random(n) < 0.8, [f"u{k}" for k in range(n)]
    predictor = generator.normal(size=n)
    human = np.round(5 + predictor + generator.normal(size=n))
    jobs = (lambda: estimate_recall(right, ["s"] * n, names), lambda: correlate(predictor, human, ["s"] * n))
    return dict(zip(INTERVALS, jobs, strict=True))


def seconds_of(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def report(took: Mapping[tuple[str, int], float], frames: Sequence[int], units: Sequence[int]) -> str:
    """Both tables, in Markdown."""
    lines = [f"| frames | {' | '.join(PICTURES)} | t-SNE: us per n log n |", "|" + " --- |" * (len(PICTURES) + 2)]
    for n in frames:
        cells = [f"{took[name, n]:.2f} s" for name in PICTURES]
        lines.append(f"| {n} | {' | '.join(cells)} | {1e6 * took['t-SNE', n] / (n * np.log(n)):.0f} |")
    lines += ["", f"| units | {' | '.join(INTERVALS)} | correlations: us per unit |", "| --- | --- | --- | --- |"]
    for n in units:
        cells = [f"{took[name, n]:.2f} s" for name in INTERVALS]
        lines.append(f"| {n} | {' | '.join(cells)} | {1e6 * took['correlations', n] / n:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    program.run(main)
