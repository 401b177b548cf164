#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
r"""Train the flow of one experiment, in one process or several; do nothing where that is done already.

Examples: steps/train.py conf/dnf_120.yaml data exp/dnf_120
          steps/train.py --num-procs 2 conf/dnf_120.yaml data exp/dnf_120
          torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400 --max-restarts 3 \
            steps/train.py conf/dnf_120.yaml data exp/dnf_120   (on each of two machines that share the directories)
Writes EXP/final.pt (the model), config.yaml (resolved), train.jsonl (one line per epoch) and train.json. After each
epoch EXP/checkpoint.pt is replaced; a training that was cut off goes on from it.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

from flowlid import program
from flowlid.training import launcher
from flowlid.training.directory import locked
from flowlid.training.experiment import make_model, prepare
from flowlid.training.interruption import interruptible
from flowlid.training.processes import Processes


def main() -> None:
    args = parse_arguments()
    overwrite = args.overwrite == "true" and launcher.started_anew()
    inputs = (args.config, args.data, args.exp, overwrite, args.allow_pipes == "true")
    processes = Processes.from_environment()
    again = "the same command" + (" without --overwrite true" if args.overwrite == "true" else "")
    with interruptible(again) as progress:
        if args.num_procs > 1 and processes.world_size == 1:
            with locked(args.exp):  # wrong inputs are reported before any process starts
                wanted = prepare(*inputs, processes)
            if wanted:
                launcher.launch(args.num_procs)
            return
        if args.num_procs not in (1, processes.local_world_size):
            raise ValueError(
                f"--num-procs {args.num_procs}: torchrun's own number of processes holds; leave the option out"
            )
        program.log_as(processes.rank)
        provenance = program.log_provenance()
        device = program.choose_device(args.device, processes.local_rank if processes.world_size > 1 else None)
        with locked(args.exp) if processes.first else nullcontext():
            with launcher.together(processes, device, args.hang_timeout):
                wanted = prepare(*inputs, processes)
                if wanted:
                    make_model(wanted, device, args.exp, processes, provenance, progress)


def parse_arguments() -> argparse.Namespace:
    parser = program.argument_parser(__doc__)
    program.add_device_option(parser)
    program.add_pipes_option(parser)
    parser.add_argument(
        "--overwrite",
        choices=("true", "false"),
        default="false",
        help="train from the start, and replace the model that is there, whatever it was trained with",
    )
    parser.add_argument(
        "--num-procs",
        type=int,
        default=1,
        help="processes on this machine that train together, each on a GPU if it has any",
    )
    parser.add_argument(
        "--hang-timeout",
        type=float,
        default=1800,
        help="seconds without a sign of life until such processes give up",
    )
    parser.add_argument("config", type=Path, help="experiment configuration")
    parser.add_argument("data", type=Path, help="where the data directories are")
    parser.add_argument("exp", type=Path, help="experiment directory")
    args = parser.parse_args()
    for option, value in (("--num-procs", args.num_procs), ("--hang-timeout", args.hang_timeout)):
        if not value > 0:
            raise ValueError(f"{option} {value}: it must be above 0")
    return args


if __name__ == "__main__":
    program.run(main)
