#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Draw the pictures of one experiment, as PNG and PDF, into EXP/plots.

Example: steps/plot.py --each "test_a test_b" exp/dnf_120 test_a test_b
Draws the training curves; the first two latent dims, the two that tell the classes apart best,
t-SNE, and histograms with the model's density, of the training
set, the first test set, all test sets together, and each set of --each; and the confusion of frames and of utterances,
the log-likelihood ratio of each utterance, the accuracy by duration, and who is rejected as unknown, of all test sets;
and of those that were calibrated their reliability, normalized Bayes error, Tippett and DET curves. A baseline has
neither epochs nor latents: it has only what comes from the confusion on.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np

from flowlid import program
from flowlid.config import Config, ModelConfig, load_config
from flowlid.evaluation.decisions import class_numbers
from flowlid.evaluation.metrics import detection_llr
from flowlid.evaluation.reuse import MADE_FROM, digest, make_unless_up_to_date
from flowlid.evaluation.tsne import FEWEST_FOR_TSNE, perplexity_of, tsne_embedding
from flowlid.files import read_json
from flowlid.kaldi.tables import read_table
from flowlid.plots.calibration import draw_bayes_error, draw_det, draw_reliability, draw_tippett
from flowlid.plots.confusion import confusion_shares
from flowlid.plots.decisions import accuracy_duration, llr_per_frame
from flowlid.plots.fonts import boxes_note
from flowlid.plots.latents import discriminative_dims, first_dims, histograms, tsne
from flowlid.plots.openset import rejection
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
    program.add_overwrite_option(parser)
    args = parser.parse_args()
    program.log_provenance()
    config = load_config(args.exp / "config.yaml")
    tests = [test for test in args.tests if test != config.data.train]
    latents = [args.exp / f"latent_{name}" / MADE_FROM for name in (config.data.train, *tests)]
    scores = [args.exp / f"score_{name}" / MADE_FROM for name in args.tests]
    calibrated = [args.exp / f"calibrated_{name}" / MADE_FROM for name in args.tests]
    scores += [args.exp / f"openset_{name}" / MADE_FROM for name in args.tests]
    inputs = {"files": digest(args.exp / "train.jsonl", args.exp / "config.yaml", *latents, *scores, *calibrated)}
    inputs |= {"tests": args.tests, "each": args.each, "tsne_frames": args.tsne_frames, "seed": args.seed}

    def make(out: Path) -> None:
        if config.model.is_baseline:
            log.info("%s: a baseline (model.type: %s) has no epochs and no latents", args.exp.name, config.model.type)
            draw_baseline(args, out)
        else:
            history = [json.loads(line) for line in (args.exp / "train.jsonl").read_text(encoding="utf-8").splitlines()]
            loss_curve(history, out / "loss_curve", f"{args.exp.name}: training", config.training.discriminative > 0)
            draw(config, tests, args, out)
        log.info("%s: pictures in %s", args.exp.name, args.exp / "plots")

    make_unless_up_to_date(args.exp / "plots", inputs, make, args.overwrite == "true")


def draw(config: Config, tests: list[str], args: argparse.Namespace, out: Path) -> None:
    """All pictures but the training curves."""
    name, train = args.exp.name, config.data.train
    groups = {"train": ([train], train)}
    if tests:
        groups["test"] = (tests[:1], tests[0])
        groups["all"] = (tests, "all test sets")
        groups.update({test: ([test], test) for test in args.each.split() if test not in (train, tests[0])})
    note_boxes(args.exp, [train, *args.tests, *read_samples(args.exp, [train, *args.tests])], out)
    samples = {group: read_samples(args.exp, sets) for group, (sets, _) in groups.items()}
    with np.load(args.exp / f"latent_{train}" / "sample.npz") as sample:
        means = dict(zip(sample["languages"].tolist(), sample["means"], strict=True))
    unseen = {language for sample in samples.values() for language in sample} - set(means)
    colors = class_colors(list(means), sorted(unseen))
    own = {language: z for language, z in samples["train"].items() if language in means}
    dim = config.model.class_dim or next(iter(own.values())).shape[1]
    pair = discriminative_dims(own, dim) if len(own) > 1 and dim > 1 else None
    for group, (sets, shown) in groups.items():
        title = f"{name}: {shown}"
        draw_latents(
            config.model, means, samples[group], unseen, colors, out, group, title, args, sets_of(args.exp, sets)
        )
        if pair:
            first_dims(samples[group], unseen, out / f"best_dims_{group}", title, means, colors, pair)
    draw_openset(args.exp, args.tests, out)
    if config.model.decides and args.tests:
        draw_confusion(args.exp, list(means), args.tests, unseen, out)
        draw_decisions(args.exp, list(means), args.tests, unseen, colors, out)
        draw_calibration(args.exp, args.tests, out)


def read_samples(exp: Path, sets: list[str]) -> dict[str, np.ndarray]:
    """Language -> sampled latents (n, D) of these sets together."""
    parts: dict[str, list[np.ndarray]] = {}
    for name in sets:
        with np.load(exp / f"latent_{name}" / "sample.npz") as sample:
            for language in np.unique(sample["language"]):
                parts.setdefault(str(language), []).append(sample["z"][sample["language"] == language])
    return {language: np.concatenate(parts[language]) for language in sorted(parts)}


def sets_of(exp: Path, sets: list[str]) -> dict[str, np.ndarray]:
    """Language -> set of each of its latents (n,), in the order of `read_samples`."""
    parts: dict[str, list[str]] = {}
    for name in sets:
        with np.load(exp / f"latent_{name}" / "sample.npz") as sample:
            for language in sample["language"].tolist():
                parts.setdefault(language, []).append(name)
    return {language: np.array(names) for language, names in parts.items()}


def draw_baseline(args: argparse.Namespace, out: Path) -> None:
    """The pictures of decisions."""
    classes = read_json(args.exp / "train.json")["classes"]
    tables = [read_table(args.exp / f"score_{name}" / "utt2lang") for name in args.tests]
    unseen = {language for table in tables for language in table.values()} - set(classes)
    note_boxes(args.exp, [*args.tests, *classes, *sorted(unseen)], out)
    if args.tests:
        draw_confusion(args.exp, classes, args.tests, unseen, out)
        draw_decisions(args.exp, classes, args.tests, unseen, class_colors(classes, sorted(unseen)), out)


def note_boxes(exp: Path, labels: list[str], out: Path) -> None:
    """Say once, in the log and for the report, which characters of the labels no installed font has."""
    note = boxes_note([exp.name, *labels])
    if note:
        log.warning("%s: %s", exp.name, note)
        (out / "notes.txt").write_text(f"{note[0].upper()}{note[1:]}.\n", encoding="utf-8")


def draw_latents(
    config: ModelConfig,
    means: dict[str, np.ndarray],
    samples: dict[str, np.ndarray],
    unseen: set[str],
    colors: dict[str, str],
    out: Path,
    group: str,
    title: str,
    args: argparse.Namespace,
    origin: dict[str, np.ndarray],
) -> None:
    """First two dims, t-SNE and histograms of one group of sets."""
    first_dims(samples, unseen, out / f"first_dims_{group}", title, class_means=means, colors=colors)

    each = max(1, args.tsne_frames // len(samples))
    generator = np.random.default_rng(args.seed)
    chosen = {name: np.sort(generator.choice(len(z), min(each, len(z)), replace=False)) for name, z in samples.items()}
    balanced = {name: samples[name][rows] for name, rows in chosen.items()}
    z = np.concatenate(list(balanced.values()))
    dim = z.shape[1]
    class_dim = config.class_dim or dim
    c = z[:, :class_dim]  # alone: a residual of large variance would be all that t-SNE sees
    if len(c) >= FEWEST_FOR_TSNE and class_dim > 1:
        labels = [name for name, z in balanced.items() for _ in range(len(z))]
        start = time.perf_counter()
        log.info("%s: t-SNE of %d frames begins", group, len(c))
        with program.progress_bar(f"{group}, t-SNE of {len(c)} frames", 1) as show:
            show(0, 1)  # it tells no more until it ends
            embedding = tsne_embedding(c, args.seed)
        log.info("%s: t-SNE of %d frames in %.1f s", group, len(c), time.perf_counter() - start)
        note = f"{len(c)} frames, perplexity {perplexity_of(len(c)):g}"
        tsne(embedding, labels, unseen, out / f"tsne_{group}", title, colors=colors, note=note)
        sets = np.concatenate([origin[name][rows] for name, rows in chosen.items()])
        if len(set(sets)) > 1:
            tsne(embedding, sets, set(), out / f"tsne_{group}_by_set", f"{title}, by set", note=note)
    else:
        log.warning("%s: no t-SNE of %d frames in %d dims", group, len(c), class_dim)

    dims = [*range(min(_HISTOGRAMS, class_dim)), *range(class_dim, min(class_dim + _HISTOGRAMS, dim))]
    density = {
        name: [
            (float(mean[dim]), config.class_variance) if dim < class_dim else (0.0, config.residual_variance)
            for dim in dims
        ]
        for name, mean in means.items()
    }
    histograms(samples, density, dims, unseen, out / f"histograms_{group}", title, colors=colors)


def draw_confusion(exp: Path, classes: list[str], tests: list[str], unseen: set[str], out: Path) -> None:
    """Where frames and utterances of each test set went."""
    units = {"utt": {}, "frame": {}}
    for name in tests:
        frames = read_table(exp / f"score_{name}" / "utt2num_frames")
        for utt, language in read_table(exp / f"score_{name}" / "utt2lang").items():
            for unit, number in (("utt", 1), ("frame", int(frames[utt]))):
                found = units[unit].setdefault(name, {})
                found[language] = found.get(language, 0) + number
    results = {name: read_json(exp / f"score_{name}" / "result.json") for name in tests}
    for unit, words in (("frame", "frames"), ("utt", "utterances")):
        confusion = {name: result[f"{unit}_confusion"] for name, result in results.items()}
        title = f"{exp.name}: share of {words} recognised as each class"
        confusion_shares(confusion, units[unit], classes, unseen, out / f"confusion_{unit}", title)


def draw_decisions(
    exp: Path, classes: list[str], tests: list[str], unseen: set[str], colors: dict[str, str], out: Path
) -> None:
    """Log-likelihood ratios of each test set's utterances, and accuracy by duration."""
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
    llr_per_frame(llr, classes, unseen, out / "llr_per_frame", title, colors)
    if durations:
        title = f"{exp.name}: accuracy by duration, 95% intervals"
        accuracy_duration(durations, classes, out / "accuracy_duration", title)


def draw_calibration(exp: Path, tests: list[str], out: Path) -> None:
    """Reliability of the calibrated sets, and of those of several languages what detection costs at every prior."""
    stated, trials = {}, {}
    for name in tests:
        place = exp / f"calibrated_{name}"
        if not (place / "utt2prob").is_file():
            continue
        languages = read_table(exp / f"score_{name}" / "utt2lang")
        rows = {utt: row.strip("[] ").split() for utt, row in read_table(place / "utt2prob").items()}
        labels = class_numbers(list(map(languages.get, rows)), read_json(place / "result.json")["classes"])
        probability = np.array(list(rows.values()), dtype=float)[labels >= 0]
        own = labels[labels >= 0, None] == np.arange(probability.shape[-1])
        if len(own):
            stated[name] = probability.ravel(), own.ravel()
        if own.any(axis=0).sum() > 1:
            llr = detection_llr(np.log(np.maximum(probability, np.finfo(float).tiny)))
            trials[name] = llr[own], llr[~own]
    if stated:
        draw_reliability(stated, out / "reliability", f"{exp.name}: calibrated probabilities")
    if trials:
        draw_bayes_error(trials, out / "bayes_error", f"{exp.name}: Bayes decisions at every prior")
        draw_tippett(trials, out / "tippett", f"{exp.name}: calibrated ratios")
        draw_det(trials, out / "det", f"{exp.name}: detection error tradeoff")


def draw_openset(exp: Path, tests: list[str], out: Path) -> None:
    """How many of each test set's utterances are rejected as unknown, if the experiment has an open set."""
    surprise, judged = {}, {}
    for name in tests:
        place = exp / f"openset_{name}"
        if (place / "result.json").is_file():
            judged = read_json(place / "result.json")
            unseen = read_json(exp / f"score_{name}" / "result.json")["unseen"]
            languages = read_table(exp / f"score_{name}" / "utt2lang")
            values = {utt: float(value) for utt, value in read_table(place / "utt2surprise").items()}
            surprise[name] = {
                seen: [value for utt, value in values.items() if (languages[utt] not in unseen) == seen]
                for seen in (True, False)
            }
    if surprise:
        title = f"{exp.name}: utterances rejected as unknown"
        rejection(surprise, judged["threshold"], judged["rate"], out / "openset", title)


if __name__ == "__main__":
    program.run(main)
