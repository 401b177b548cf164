#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Moments of the latents of data sets under the flow of one experiment, and a sample of them for plots.

Example: steps/analyse_latents.py exp/dnf_120 data train_en_es test_en_es
Writes EXP/latent_<set>/sample.npz (z, language: as many frames of each language; means: the mean of the latent density
of each language of the model) and moments.json (skewness and excess kurtosis, averaged over the dims of c and of r).
Sets that are up to date are skipped. A baseline has no latents: nothing is written.
"""

import argparse
import logging
from pathlib import Path

from flowlid import program
from flowlid.evaluation.latents import analyse_set
from flowlid.evaluation.reuse import digest, make_unless_up_to_date
from flowlid.evaluation.scoring import frames_digest
from flowlid.flow.checkpoint import Model, load_model
from flowlid.frames.agreement import check_labels
from flowlid.frames.frameset import load_model_frames
from flowlid.kaldi.datadir import DataDir

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_scoring_arguments(parser)
    parser.add_argument("--max-frames", type=int, default=50000, help="random frames that moments are computed from")
    parser.add_argument("--sample", type=int, default=600, help="frames of each language in the sample")
    parser.add_argument("--tsne-frames", type=int, default=0, help="the sample is at least large enough for so many")
    parser.add_argument("--seed", type=int, default=1, help="of both choices")
    program.add_part_of_sets_option(parser)
    args = parser.parse_args()
    program.log_provenance()
    device = program.choose_device(args.device)
    model = load_model(args.exp / "final.pt").to(device)
    check_labels(model, args.data)
    if model.config.model.is_baseline:
        log.info("%s: a baseline (model.type: %s) has no latents to analyse", args.exp, model.config.model.type)
        return
    inputs = {"model": digest(args.exp / "final.pt"), "precision": model.flow.precision}
    for name in program.own_sets(args):
        analyse(args, name, model, inputs)


def analyse(args: argparse.Namespace, name: str, model: Model, inputs: dict[str, str]) -> None:
    """Analyse one set."""
    frames = load_model_frames(model, DataDir(args.data / name), args.allow_pipes == "true")
    each = max(args.sample, -(-args.tsne_frames // len(set(frames.languages))))

    def make(out: Path) -> None:
        with program.progress_bar(f"{name}, latents", len(frames)) as show:
            used = analyse_set(out, model, frames, args.max_frames, each, args.seed, show)
        log.info("%s: moments of %d frames, a sample of %d", name, *used)

    options = {"max_frames": args.max_frames, "each": each, "seed": args.seed}
    inputs = {**inputs, "frames": frames_digest(frames), **options}
    make_unless_up_to_date(args.exp / f"latent_{name}", inputs, make, args.overwrite == "true")


if __name__ == "__main__":
    program.run(main)
