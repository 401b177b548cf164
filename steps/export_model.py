#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Write an experiment's model directory, which steps/identify.py takes on any machine.

Example: steps/export_model.py --readme README.md exp/dnf_120 data
Writes EXP/model: model.pt (weights and configuration), calibration.json and openset.json as far as there are any,
card.md (what it was trained on, figures, warnings, licence of the speech) and model.json (what belongs together). It is
skipped if it is up to date.
"""

import logging
from pathlib import Path

from flowlid import program
from flowlid.evaluation.reuse import digest, make_unless_up_to_date
from flowlid.flow.checkpoint import load_model
from flowlid.identify.card import write_card
from flowlid.identify.carry import write_model

log = logging.getLogger("flowlid")


def main() -> None:
    parser = program.argument_parser(__doc__)
    program.add_overwrite_option(parser)
    parser.add_argument("--readme", type=Path, help='README of the recipe; its section "Licences" goes into the card')
    parser.add_argument("exp", type=Path, help="experiment directory, scored")
    parser.add_argument("data", type=Path, help="where the data directories are")
    args = parser.parse_args()
    program.log_provenance()
    card = write_card(args.exp, load_model(args.exp / "final.pt"), args.data, args.readme)

    def make(out: Path) -> None:
        weights = write_model(args.exp, out, card)
        size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
        log.info("%s: %.1f MB, weights in %s", args.exp / "model", size, weights)

    files = digest(
        *(args.exp / name for name in ("final.pt", "calibration/calibration.json", "openset/openset.json")), card
    )
    make_unless_up_to_date(args.exp / "model", {"files": files}, make, args.overwrite == "true")


if __name__ == "__main__":
    program.run(main)
