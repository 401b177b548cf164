#!/usr/bin/env python3
"""Draw the pictures of one experiment, as PNG and PDF, into EXP/plots.

Example: steps/plot.py --each "test_a test_b" exp/dnf_120 test_a test_b
Draws the training curves; the first two latent dims, t-SNE, and histograms with the model's density, of the training
set, the first test set, all test sets together, and each set of --each; and the confusion of frames and of utterances,
the log-likelihood ratio of each utterance, and the accuracy by duration, of all test sets.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np

from flowlid import program
from flowlid.evaluation.latents import FEWEST_FOR_TSNE, tsne_embedding
from flowlid.files import atomic_directory, read_json
from flowlid.flow.checkpoint import Model, load_model
from flowlid.kaldi.datadir import read_table
from flowlid.plots.decisions import accuracy_duration, confusion_shares, llr_per_frame
from flowlid.plots.fonts import boxes_note
from flowlid.plots.latents import first_dims, histograms, tsne
from flowlid.plots.style import class_colors
from flowlid.plots.training import loss_curve

_HISTOGRAMS = 4  # dims of c, and as many of r, that are shown
log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--seed", type=int, default=1, help="random seed of t-SNE")
    parser.add_argument("--tsne-frames", type=int, default=1000, help="largest number of frames in one t-SNE")
    parser.add_argument("--each", default="", help="test sets whose latents are drawn each by itself")
    parser.add_argument("exp", type=Path, help="experiment directory with latent_<set> and score_<set>")
    parser.add_argument("tests", nargs="*", help="names of the test sets")
    args = parser.parse_args()
    program.log_provenance()
    model = load_model(args.exp / "final.pt")
    history = [json.loads(line) for line in (args.exp / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    with atomic_directory(args.exp / "plots") as out:  # pictures of sets that are no longer tested go
        loss_curve(history, out / "loss_curve", f"{args.exp.name}: training")
        draw(model, args, out)
    log.info("%s: pictures in %s", args.exp.name, args.exp / "plots")


def draw(model: Model, args: argparse.Namespace, out: Path) -> None:
    """All pictures but the training curves."""
    name, train = args.exp.name, model.config.data.train
    groups = {"train": ([train], train)}
    tests = [test for test in args.tests if test != train]
    if tests:
        groups["test"] = (tests[:1], tests[0])
        groups["all"] = (tests, "all test sets")
        groups.update({test: ([test], test) for test in args.each.split() if test not in (train, tests[0])})
    note_boxes(args.exp, [train, *args.tests], out)
    samples = {group: read_samples(args.exp, sets) for group, (sets, _) in groups.items()}
    languages = {language for sample in samples.values() for language in sample}
    unseen = languages - set(model.languages)
    colors = class_colors(model.languages, sorted(unseen))
    for group, (_, shown) in groups.items():
        draw_latents(model, samples[group], unseen, colors, out, group, f"{name}: {shown}", args)
    if model.config.model.type == "dnf" and args.tests:
        draw_confusion(args.exp, model, args.tests, unseen, out)
        draw_decisions(args.exp, model, args.tests, unseen, colors, out)


def read_samples(exp: Path, sets: list[str]) -> dict[str, np.ndarray]:
    """Language -> sampled latents (n, D) of these sets together."""
    parts: dict[str, list[np.ndarray]] = {}
    for name in sets:
        with np.load(exp / f"latent_{name}" / "sample.npz") as sample:
            for language in np.unique(sample["language"]):
                parts.setdefault(str(language), []).append(sample["z"][sample["language"] == language])
    return {language: np.concatenate(parts[language]) for language in sorted(parts)}


def note_boxes(exp: Path, sets: list[str], out: Path) -> None:
    """Say once, in the log and for the report, which characters of the labels no installed font has."""
    note = boxes_note([exp.name, *sets, *read_samples(exp, sets)])
    if note:
        log.warning("%s: %s", exp.name, note)
        (out / "notes.txt").write_text(f"{note[0].upper()}{note[1:]}.\n", encoding="utf-8")


def draw_latents(
    model: Model,
    samples: dict[str, np.ndarray],
    unseen: set[str],
    colors: dict[str, str],
    out: Path,
    group: str,
    title: str,
    args: argparse.Namespace,
) -> None:
    """First two dims, t-SNE and histograms of one group of sets."""
    base = model.flow.base
    # a normal flow holds all of its languages to one mean
    rows = base.means.detach().expand(len(model.languages), -1)
    means = {name: mean.numpy() for name, mean in zip(model.languages, rows, strict=True)}
    first_dims(samples, unseen, out / f"first_dims_{group}", title, class_means=means, colors=colors)

    each = max(1, args.tsne_frames // len(samples))
    generator = np.random.default_rng(args.seed)
    balanced = {
        name: z[np.sort(generator.choice(len(z), min(each, len(z)), replace=False))] for name, z in samples.items()
    }
    # of c alone: a residual of large variance would be all that t-SNE sees
    c = np.concatenate(list(balanced.values()))[:, : base.class_dim]
    if len(c) >= FEWEST_FOR_TSNE and base.class_dim > 1:
        labels = [name for name, z in balanced.items() for _ in range(len(z))]
        start = time.perf_counter()
        embedding = tsne_embedding(c, args.seed)
        log.info("%s: t-SNE of %d frames in %.1f s", group, len(c), time.perf_counter() - start)
        tsne(embedding, labels, unseen, out / f"tsne_{group}", title, colors=colors)
    else:
        log.warning("%s: no t-SNE of %d frames in %d dims", group, len(c), base.class_dim)

    dims = list(range(min(_HISTOGRAMS, base.class_dim)))
    dims += list(range(base.class_dim, min(base.class_dim + _HISTOGRAMS, model.flow.dim)))
    density = {
        name: [
            (float(mean[dim]), base.class_variance) if dim < base.class_dim else (0.0, base.residual_variance)
            for dim in dims
        ]
        for name, mean in means.items()
    }
    histograms(samples, density, dims, unseen, out / f"histograms_{group}", title, colors=colors)


def draw_confusion(exp: Path, model: Model, tests: list[str], unseen: set[str], out: Path) -> None:
    """Where frames and utterances of each test set went."""
    results = {name: read_json(exp / f"score_{name}" / "result.json") for name in tests}
    for unit, words in (("frame", "frames"), ("utt", "utterances")):
        confusion = {name: result[f"{unit}_confusion"] for name, result in results.items()}
        title = f"{exp.name}: share of {words} given to each class"
        confusion_shares(confusion, model.classes, unseen, out / f"confusion_{unit}", title)


def draw_decisions(
    exp: Path, model: Model, tests: list[str], unseen: set[str], colors: dict[str, str], out: Path
) -> None:
    """Log-likelihood ratios of each test set's utterances, and accuracy against duration."""
    llr, durations = {}, {}
    for name in tests:
        scored = exp / f"score_{name}"
        values, languages = read_table(scored / "utt2llr"), read_table(scored / "utt2lang")
        llr[name] = {language: [] for language in sorted(set(languages.values()))}
        for utt, value in values.items():
            llr[name][languages[utt]].append(float(value))
        found = read_json(scored / "result.json")["durations"]
        if any(row["share"] is not None for row in found):  # not where all languages are unseen
            durations[name] = found
    title = f"{exp.name}: log-likelihood ratio of each utterance"
    llr_per_frame(llr, model.classes, unseen, out / "llr_per_frame", title, colors)
    if durations:
        title = f"{exp.name}: accuracy against duration, 95% intervals"
        accuracy_duration(durations, model.classes, out / "accuracy_duration", title)


if __name__ == "__main__":
    program.run(main)
