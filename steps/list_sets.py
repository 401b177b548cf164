#!/usr/bin/env python3
"""Print the data sets that experiments use, each once: training, development and test sets.

Example: steps/list_sets.py --role tests conf/dnf_120.yaml
"""

import argparse

from flowlid import program
from flowlid.config import load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=("all", "train", "dev", "tests"), default="all")
    parser.add_argument("config", nargs="+", help="experiment configurations")
    args = parser.parse_args()
    names: dict[str, None] = {}
    for path in args.config:
        data = load_config(path).data
        roles = {"train": [data.train], "dev": [data.dev] if data.dev else [], "tests": data.tests}
        for role in ("train", "dev", "tests"):
            if args.role in ("all", role):
                names.update(dict.fromkeys(roles[role]))
    for name in names:
        print(name)


if __name__ == "__main__":
    program.run(main)
