"""Conf files of a site: how options such as --mem become options of the cluster's own commands. Kaldi's syntax.

command sbatch --partition=long         how jobs are submitted
option mem=* --mem=$0                   what --mem 4G adds, $0 being its value
option gpu=0                            nothing for --gpu 0; a value that is named goes before *
default gpu=0                           as if --gpu 0 were given where it is not
"""

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

# What the programs do themselves, whatever a conf file has for it, since they must find their jobs again.
OURS = {"name", "max_jobs_run"}
LINE = re.compile(r"option\s+([A-Za-z][\w-]*)=(\S+)(.*)|default\s+([A-Za-z][\w-]*)=(\S+)\s*|command\s+(\S.*)", re.ASCII)


@dataclass
class Conf:
    """A conf file, on top of what is built in."""

    source: str
    command: list[str] = field(default_factory=list)
    options: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)

    def values(self, given: dict[str, str]) -> dict[str, str]:
        """The options that hold: those given, and the defaults of the others."""
        return self.defaults | given

    def words(self, values: dict[str, str]) -> list[str]:
        """What `values` add to the command.

        Raises:
            ValueError: an option that no line knows.
        """
        words = []
        for name, value in values.items():
            lines, option = self.options.get(name), "--" + name.replace("_", "-")
            if lines is None:
                line = f"option {name}=* {option}=$0"
                raise ValueError(f'{option}: unknown option; give it a line "{line}" in {self.source}')
            found = lines.get(value, lines.get("*"))
            if found is None:
                known = ", ".join(sorted(lines))
                raise ValueError(f"{option} {value}: {self.source} has lines for the values {known} alone")
            words += [word.replace("$0", value) for word in found]
        return words


def find(given: str | None, program: str) -> Path | None:
    """The conf file that holds: --config, $FLOWLID_<PROGRAM>_CONF, conf/<program>.conf, ~/.config/flowlid/.

    Raises:
        ValueError: one that was named is not there.
    """
    variable = f"FLOWLID_{program.upper()}_CONF"
    for named, by in ((given, "--config"), (os.environ.get(variable), variable)):
        if named:
            if not Path(named).is_file():
                raise ValueError(f"{by} {named}: no such file")
            return Path(named)
    places = [Path("conf"), Path.home() / ".config/flowlid"]
    return next((place / f"{program}.conf" for place in places if (place / f"{program}.conf").is_file()), None)


def read(builtin: str, path: Path | None, program: str) -> Conf:
    """Read a conf file; where it says nothing of an option, or of the command, what is built in holds.

    Raises:
        ValueError: a line is wrong; the message names it.
    """
    conf = _read(builtin, "built in")
    conf.source = str(path or f"conf/{program}.conf")
    if path is not None:
        own = _read(path.read_text(encoding="utf-8"), str(path))
        conf.command = own.command or conf.command
        conf.options |= own.options
        conf.defaults |= own.defaults
    return conf


def _read(text: str, source: str) -> Conf:
    conf = Conf(source)
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _take(conf, line)
        except ValueError as error:
            raise ValueError(f"{source}:{number}: {error}") from None
    return conf


def _take(conf: Conf, line: str) -> None:
    bare = " ".join(map(shlex.quote, shlex.split(line, comments=True)))  # without its comment
    if not bare:
        return
    match = LINE.fullmatch(line.split("#")[0].strip())
    if match is None:
        raise ValueError(f'"{line.strip()}" is no "command ...", "option name=value ..." or "default name=value"')
    option, value, words, name, default, command = match.groups()
    if command:
        conf.command = shlex.split(command)
    elif name:
        if _key(name) not in OURS:
            conf.defaults[_key(name)] = default
    elif _key(option) not in OURS:
        conf.options.setdefault(_key(option), {})[value] = shlex.split(words)


def _key(name: str) -> str:
    """ESPnet's conf files call the nodes num_nodes."""
    key = name.replace("-", "_")
    return "nodes" if key == "num_nodes" else key
