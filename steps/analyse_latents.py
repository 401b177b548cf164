#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Moments of the latents of data sets under the flow of one experiment, and a sample of them for plots.

Example: steps/analyse_latents.py exp/dnf_120 data train_en_es test_en_es
Writes EXP/latent_<set>/sample.npz (z, language: as many frames of each language) and moments.json (skewness
and excess kurtosis, averaged over the dims of c and of r).
"""

import logging

import numpy as np

from flowlid import program
from flowlid.evaluation import metrics
from flowlid.evaluation.latents import balanced_frames, frame_languages, latents, random_frames
from flowlid.files import atomic_directory, write_json
from flowlid.flow.checkpoint import load_model
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
    args = parser.parse_args()
    program.log_provenance()
    device = program.choose_device(args.device)
    model = load_model(args.exp / "final.pt").to(device)
    for name in args.sets:
        frames = load_model_frames(model, DataDir(args.data / name), args.allow_pipes == "true")
        chosen = random_frames(frames, args.max_frames, args.seed)
        z = latents(model.flow, frames, chosen)
        moments = metrics.latent_moments(z, frame_languages(frames, chosen).tolist(), model.flow.base.class_dim)
        each = max(args.sample, -(-args.tsne_frames // len(set(frames.languages))))
        sample = balanced_frames(frames, each, args.seed)
        with atomic_directory(args.exp / f"latent_{name}") as out:
            z = latents(model.flow, frames, sample)
            np.savez(out / "sample.npz", z=z, language=frame_languages(frames, sample))
            write_json(out / "moments.json", {"frames": len(chosen), "moments": moments})
        log.info("%s: moments of %d frames, a sample of %d", name, len(chosen), len(sample))


if __name__ == "__main__":
    program.run(main)
