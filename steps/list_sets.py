#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Print the data sets that experiments use, each once: training, development and test sets; or their backgrounds.

Patterns such as test_* stand for the sets that are there.

Example: steps/list_sets.py --data data --role "dev tests" conf/dnf_120.yaml
"""

from pathlib import Path

from flowlid import program
from flowlid.config import load_config, resolve_sets

ROLES = ("train", "dev", "tests", "plots", "background")


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where the data directories are")
    parser.add_argument("--role", default="train dev tests", help=f"which sets: some of {' '.join(ROLES)}")
    parser.add_argument("--if-made", nargs="+", default=[], help="experiments of which only sets that are there count")
    parser.add_argument("config", nargs="+", help="experiment configurations")
    args = parser.parse_args()
    roles = args.role.split()
    if not set(roles) <= set(ROLES):
        raise ValueError(f"--role {args.role!r}: choose from {' '.join(ROLES)}")
    names = [name for path in args.config for name in sets_of(path, args.data, roles)]
    names += [name for path in args.if_made for name in sets_of(path, args.data, roles) if (args.data / name).is_dir()]
    for name in dict.fromkeys(names):
        print(name)


def sets_of(config: str, data_dir: Path, roles: list[str]) -> list[str]:
    """Names of an experiment's sets that have one of these roles, and of its background experiment."""
    read = load_config(config)
    data, background = resolve_sets(read, data_dir).data, read.model.background
    found = {"train": [data.train], "dev": [data.dev] if data.dev else [], "tests": data.tests, "plots": data.plots}
    found["background"] = [background] if background else []
    return [name for role in ROLES if role in roles for name in found[role]]


if __name__ == "__main__":
    program.run(main)
