#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
r"""Train the flow of one experiment, in one process or several, or fit its baseline; do nothing if that is done.

Examples: steps/train.py conf/dnf_120.yaml data exp/dnf_120
          steps/train.py --num-procs 2 conf/dnf_120.yaml data exp/dnf_120
          torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400 --max-restarts 3 \
            steps/train.py --nodes 2 --num-procs 4 conf/dnf_120.yaml data exp/dnf_120
            (on each of two machines that share the directories)
Writes EXP/final.pt (the model), config.yaml (resolved), train.jsonl (one line per epoch) and train.json. After each
epoch, and every --save-minutes within one, EXP/checkpoint.pt is replaced; a training that was cut off goes on from it,
with the same result. INT, TERM and USR1 end training after the next step, which is saved; exit status 128 + signal.
A baseline is fitted from the start, by the first process; it has no train.jsonl.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

from flowlid import program
from flowlid.training import launcher
from flowlid.training.baselines import make_baseline
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
        launcher.check_numbers(processes, args.nodes, args.num_procs)
        if args.num_procs not in (None, 1) and not launcher.is_worker():
            with locked(args.exp):  # wrong inputs are reported before any process starts
                wanted = prepare(*inputs, processes)
            if wanted:
                launcher.launch(args.num_procs)
            return
        program.log_as(processes.rank)
        provenance = program.log_provenance()
        device = program.choose_device(args.device, processes.local_rank if processes.world_size > 1 else None)
        with locked(args.exp) if processes.first else nullcontext():
            with launcher.together(processes, device, args.hang_timeout):
                wanted = prepare(*inputs, processes)
                if wanted and wanted.config.model.is_baseline:
                    make_baseline(wanted, device, args.exp, processes, provenance)
                elif wanted:
                    make_model(wanted, device, args.exp, processes, provenance, progress, args.save_minutes)


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
        help="processes on each machine that train together, each on a GPU if it has any; 1 without torchrun, whose "
        "number must be this one if the option is given",
    )
    parser.add_argument(
        "--nodes",
        type=int,
        help="machines that torchrun starts the processes on: checked, and an error without torchrun if above 1",
    )
    parser.add_argument(
        "--save-minutes",
        type=float,
        default=10,
        help="minutes between two saves of the training state within an epoch",
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
    for name in ("num_procs", "nodes", "hang_timeout", "save_minutes"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} {value}: it must be above 0")
    return args


if __name__ == "__main__":
    program.run(main)
