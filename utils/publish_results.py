#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Copy the results of a run into README files: tables between markers, and the plots that they link to.

Example: utils/publish_results.py egs/prompts/exp README.md egs/prompts/README.md

In a README the lines between "<!-- overview -->" and "<!-- /overview -->" become one table of all experiments and
sets; those between "<!-- results -->" and "<!-- /results -->" become the whole of RESULTS.md, below its title. A
picture linked as .../results/<experiment>/<plot>.png is copied from <experiment>/plots. Uses flowlid.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowlid import program
from flowlid.files import atomic_write, read_json
from flowlid.report.tables import markdown_table, overview


def main() -> None:
    parser = program.argument_parser(__doc__)
    parser.add_argument("exp", type=Path, help="experiments of the run, with results.json and RESULTS.md")
    parser.add_argument("readme", type=Path, nargs="+", help="files to update")
    args = parser.parse_args()
    whole = (args.exp / "RESULTS.md").read_text(encoding="utf-8").split("\n", 1)[1].strip()
    blocks = {
        "overview": markdown_table(overview(read_json(args.exp / "results.json"))),
        "results": re.sub(r"^#", "##", whole, flags=re.MULTILINE),
    }
    for readme in args.readme:
        text = readme.read_text(encoding="utf-8")
        for name, block in blocks.items():
            pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
            text = re.sub(pattern, lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text, flags=re.DOTALL)
        for target, experiment, plot in re.findall(r"\]\(((?:[\w./-]+/)?results/([\w-]+)/([\w-]+\.png))\)", text):
            with atomic_write(readme.parent / target, "wb") as file:
                file.write((args.exp / experiment / "plots" / plot).read_bytes())
        with atomic_write(readme) as file:
            file.write(text)


if __name__ == "__main__":
    program.run(main)
