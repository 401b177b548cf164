#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Copy the results of a run into README files: tables between markers, and the plots that they link to.

Example: utils/publish_results.py egs/prompts README.md

RECIPE/exp/RESULTS.md is copied to RECIPE/RESULTS.md, as it is. In RECIPE/README.md and in each README given, the lines
between "<!-- overview EXPERIMENT/SET ... -->" and "<!-- /overview -->" become a table of these experiments and sets,
and a picture linked as .../results/EXPERIMENT/PLOT.png is copied from RECIPE/exp/EXPERIMENT/plots.
"""

import re
from pathlib import Path

from flowlid import program
from flowlid.files import atomic_write, read_json
from flowlid.report.tables import Result, markdown_table, overview

OVERVIEW = re.compile(r"(<!-- overview ([^>]+) -->\n).*?(<!-- /overview -->)", flags=re.DOTALL)
PICTURE = re.compile(r"\]\(((?:[\w./-]+/)?results/([\w-]+)/([\w-]+\.png))\)")


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("recipe", type=Path, help="directory of the recipe that was run, such as egs/prompts")
    parser.add_argument("readme", type=Path, nargs="*", help="other READMEs to update")
    args = parser.parse_args()
    exp = args.recipe / "exp"
    results = read_json(exp / "results.json")
    with atomic_write(args.recipe / "RESULTS.md") as file:
        file.write((exp / "RESULTS.md").read_text(encoding="utf-8"))
    for readme in (args.recipe / "README.md", *args.readme):
        text = OVERVIEW.sub(
            lambda match: f"{match[1]}{table_of(match[2].split(), results)}\n{match[3]}",
            readme.read_text(encoding="utf-8"),
        )
        for target, experiment, plot in PICTURE.findall(text):
            with atomic_write(readme.parent / target, "wb") as file:
                file.write((exp / experiment / "plots" / plot).read_bytes())
        with atomic_write(readme) as file:
            file.write(text)


def table_of(names: list[str], results: list[Result]) -> str:
    """The overview of the sets "EXPERIMENT/SET", in the order in which they are named."""
    sets = {f"{result['experiment']}/{name}": (result, name) for result in results for name in result["sets"]}
    missing = [name for name in names if name not in sets]
    if missing:
        raise ValueError(f"no results of {' '.join(missing)}, which a README wants; run these experiments first")
    chosen = [sets[name] for name in names]
    return markdown_table(overview([{**result, "sets": {name: result["sets"][name]}} for result, name in chosen]))


if __name__ == "__main__":
    program.run(main)
