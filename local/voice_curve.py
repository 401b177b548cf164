#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Train models on one, two and all voices per language, by turns, and draw what they say of voices they have not heard.

Usage:   local/voice_curve.py [options]     (in egs/voices, after ./run.sh --stop-stage 0)
Example: local/voice_curve.py --models "dnf gmm" --nj 2

A model is a file of --models-dir (curve/dnf.yaml): an experiment without its data. For each of the CHOICES below this
program writes sets and experiments, and has ./run.sh make, train and score them below --out (default exp/_curve); what
is up to date is kept. Writes OUT/voices.tsv (a line per model, number of voices and voice) and OUT/voices.{png,pdf}.

Each of n voices gives every n-th slice of its training prompts, so that more voices are not more speech.
"""

import argparse
import logging
import math
import os
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from flowlid.corpora.prompts import SLICES
from flowlid.evaluation.voices import MEANS, Voice, averaged, mean_over_voices, read_voices, wrong_of_sure
from flowlid.files import atomic_write, read_yaml, write_tsv
from flowlid.plots.voices import MEASURES, Interval, Point, voice_curves
from flowlid.program import argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

# The voices of each language that have enough speech for training, and one that is always new.
LARGE = {
    "es": ("es_allison", "es_co", "es_ortiz"),
    "fr": ("fr_june", "fr_armelle", "fr_paulk"),
    "it": ("it_carlo", "it_menardi"),
    "ru": ("ru_ivrvoice", "ru_veber"),
}
SMALL = tuple(f"{language}_ktuberling" for language in LARGE)
TURNS = 3  # choices with one number of voices: so many suffice for each of three voices to be new in one or more


@dataclass(frozen=True)
class Choice:
    """The voices of a run: those of training, by language, and all others."""

    name: str
    voices: int
    train: tuple[tuple[str, ...], ...]

    @property
    def known(self) -> list[str]:
        return [voice for own in self.train for voice in own]

    @property
    def new(self) -> list[str]:
        return sorted({*SMALL, *(voice for own in LARGE.values() for voice in own)} - set(self.known))


def choices() -> list[Choice]:
    """One voice per language and two (all but one, where there are three) by turns, and all.

    The voices of a turn are from one kind of studio where they can be: else the channel gives the language away.
    """
    found = []
    for number in (1, 2):
        for turn in range(TURNS):
            train = []
            for own in LARGE.values():
                first = turn % len(own)
                rotated = own[first:] + own[:first]
                # with two voices: all but `first`, so that each is new as often as it is the only one known
                train.append(rotated[:1] if number == 1 else rotated[1:] if len(own) > number else own)
            found.append(Choice(f"{number}_{turn}", number, tuple(train)))
    found.append(Choice("all", max(map(len, LARGE.values())), tuple(LARGE.values())))
    return found


def sets_of(choice: Choice) -> dict[str, object]:
    """The entries of sets.yaml for a choice: each of n voices gives the slices that are its place modulo n."""
    pieces: dict[tuple[int, int], list[str]] = defaultdict(list)
    for own in choice.train:
        for place, voice in enumerate(own):
            pieces[place, len(own)].append(voice)
    sets: dict[str, object] = {}
    for (place, count), voices in pieces.items():
        numbers = list(range(place, SLICES, count))
        sets[f"train_{choice.name}_{place}_of_{count}"] = {"voice": voices, "part": "train", "slice": numbers}
    sets[f"train_{choice.name}"] = list(sets)
    sets[f"dev_{choice.name}"] = {"voice": choice.known, "part": "dev"}
    sets[f"test_{choice.name}_known"] = {"voice": choice.known, "part": "test"}
    sets[f"test_{choice.name}_new"] = {"voice": choice.new, "part": "test"}
    return sets


def write_plan(models: Sequence[str], directory: Path, out: Path) -> list[str]:
    """Write `out`/sets.yaml and an experiment per model and choice; returns the experiments' names.

    Raises:
        ValueError: a model without a file, or whose file names data.
    """
    sets: dict[str, object] = {}
    for choice in choices():
        sets |= sets_of(choice)
    _write_yaml(out / "sets.yaml", {"disjoint": "prompt", "sets": sets})
    names = []
    for model in models:
        path = directory / f"{model}.yaml"
        if not path.is_file():
            known = " ".join(sorted(other.stem for other in directory.glob("*.yaml")))
            raise ValueError(f"--models: there is no {path}; choose from {known}")
        content = read_yaml(path)
        if "data" in content:
            raise ValueError(f"{path}: remove its section data; the sets are those of the choices of voices")
        for choice in choices():
            data = {"train": f"train_{choice.name}", "dev": f"dev_{choice.name}"}
            data["tests"] = [f"test_{choice.name}_{which}" for which in ("known", "new")]
            names.append(f"{model}_{choice.name}")
            _write_yaml(out / "conf" / f"{names[-1]}.yaml", {"data": data, **content})
    return names


def _write_yaml(path: Path, content: object) -> None:
    with atomic_write(path) as file:
        yaml.safe_dump(content, file, sort_keys=False, default_flow_style=None)


def run_experiments(names: Sequence[str], manifests: Path, out: Path, jobs: Sequence[str]) -> None:
    """Have ./run.sh make the sets and features, train and score.

    Raises:
        ValueError: no manifests, or run.sh failed, which has said why.
    """
    if not any(manifests.glob("voices_supervisions.jsonl.gz")):
        raise ValueError(f"{manifests}: no manifests of voices; first run ./run.sh --stop-stage 0 in egs/voices")
    (out / "data").mkdir(parents=True, exist_ok=True)
    link = out / "data" / "manifests"
    if not link.exists():
        link.symlink_to(manifests.absolute())
    places = [word for name in ("conf", "data", "exp") for word in (f"--{name}", out / name)]
    options = ["--stage", "1", "--stop-stage", "4", "--sets", out / "sets.yaml", *jobs]
    command = ["./run.sh", *options, *places, "--experiments", " ".join(names)]
    if subprocess.run(command, check=False).returncode:
        raise ValueError("./run.sh failed, as said above; the same command continues")


Rows = list[tuple[str, int, str, Voice]]  # model, voices per language, "new" or "known", a voice over all its runs


def collect(models: Sequence[str], out: Path) -> tuple[Rows, int]:
    """Each model's results on each voice, averaged over the runs with one number of voices; and the classes' number."""
    rows: Rows = []
    count = 0
    for model in models:
        found: dict[tuple[int, str], list[Voice]] = defaultdict(list)
        for choice in choices():
            for which in ("new", "known"):
                exp = out / "exp" / f"{model}_{choice.name}"
                voices, classes = read_voices(exp, out / "data", f"test_{choice.name}_{which}")
                found[choice.voices, which] += voices
                count = len(classes)
        rows += [(model, number, which, each) for (number, which), voices in found.items() for each in averaged(voices)]
    return rows, count


def points_of(rows: Rows, model: str) -> list[Point]:
    """The points of a model's curve."""
    points = []
    for number in sorted({row[1] for row in rows if row[0] == model}):
        own = {which: [v for m, n, w, v in rows if (m, n, w) == (model, number, which)] for which in ("new", "known")}
        means = {which: {measure: _mean(voices, measure) for measure in MEASURES} for which, voices in own.items()}
        each = {(v.language, v.speaker): {measure: getattr(v, measure) for measure in MEASURES} for v in own["new"]}
        points.append(Point(number, means["new"], means["known"], each))
    return points


def _mean(voices: Sequence[Voice], measure: str) -> Interval:
    of_language: dict[str, list[float]] = defaultdict(list)
    for voice in voices:
        of_language[voice.language].append(getattr(voice, measure))
    found = mean_over_voices(of_language)
    return found.share, found.low, found.high


def table_of(curves: dict[str, list[Point]], rows: Rows) -> str:
    """The means as a Markdown table, with the share that is wrong of what is stated with 0.9 or more."""
    columns = [f"{which}: {measure}" for which in ("new", "known") for measure in (*MEASURES, "sure but wrong")]
    lines = [f"| model | voices per language | {' | '.join(columns)} |"]
    lines.append(f"| --- | ---: |{' --- |' * len(columns)}")
    for model, points in curves.items():
        for point in points:
            cells = []
            for which, means in (("new", point.new), ("known", point.known)):
                cells += [_cell(means[measure]) for measure in MEASURES]
                wrong = wrong_of_sure([v for *run, v in rows if run == [model, point.voices, which]])
                cells.append(_cell((wrong.share, wrong.low, wrong.high)) if wrong else "none stated")
            lines.append(f"| {model} | {point.voices} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: Interval) -> str:
    mean, low, high = value
    return f"{mean:.2f}" if low is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def draw(models: Sequence[str], out: Path) -> None:
    """Write OUT/voices.tsv and the figure, and log the table."""
    rows, count = collect(models, out)
    header = ("model", "voices", "new", "language", "speaker", "utterances", *MEANS)
    lines = [
        (
            model,
            str(number),
            which,
            v.language,
            v.speaker,
            str(v.utterances),
            *(f"{getattr(v, key):.4f}" for key in MEANS),
        )
        for model, number, which, v in rows
    ]
    write_tsv(out / "voices.tsv", [header, *lines])
    curves = {model: points_of(rows, model) for model in models}
    chance = {"accuracy": 1 / count, "bits": math.log2(count)}
    voice_curves(curves, chance, out / "voices")
    log.info("means over voices, with 95%% intervals over voices:\n%s", table_of(curves, rows))


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--models", default="dnf", help="names of files in --models-dir")
    parser.add_argument("--models-dir", metavar="DIR", type=Path, default=Path("curve"), help="where the models are")
    parser.add_argument("--manifests", metavar="DIR", type=Path, default=Path("data/manifests"), help="of stage 0")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("exp/_curve"), help="where everything goes")
    parser.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="parallel jobs of feature extraction")
    parser.add_argument("--parallel", type=int, default=1, help="experiments side by side")
    words = "true: draw what is there; train and score nothing"
    parser.add_argument("--draw-only", choices=("true", "false"), default="false", help=words)
    args: argparse.Namespace = parser.parse_args()
    log_provenance()
    models = list(dict.fromkeys(args.models.split()))
    if not models:
        raise ValueError("--models names nothing")
    if args.draw_only == "false":
        names = write_plan(models, args.models_dir, args.out)
        jobs = ["--nj", str(args.nj), "--parallel", str(args.parallel)]
        run_experiments(names, args.manifests, args.out, jobs)
    draw(models, args.out)


if __name__ == "__main__":
    run(main)
