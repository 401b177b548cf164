"""utils/parse_options.sh as scripts use it: sourced, under `set -euo pipefail`."""

import subprocess
from pathlib import Path

import pytest
from tools import ROOT

PARSE = ROOT / "utils" / "parse_options.sh"
SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
help_message="Usage: tool [--nj 4]
  50% of \\\\n"
nj=4
empty=
fetch=false
train_cmd="run.pl"
. {PARSE}
printf '%s|' "$nj" "$empty" "$fetch" "$train_cmd" "$@"
"""


def run(folder: Path, *arguments: str, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    path = folder / "tool.sh"
    path.write_text(script)
    return subprocess.run(["bash", str(path), *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "4||false|run.pl|"),
        (["--nj", "8"], "8||false|run.pl|"),
        (["--fetch", "true", "--nj", "8", "data", "exp dir"], "8||true|run.pl|data|exp dir|"),
        (["--train-cmd", "queue.pl -l 'x' --mem 4G"], "4||false|queue.pl -l 'x' --mem 4G|"),
        (["--train_cmd", "a"], "4||false|a|"),
        (["--empty", '$(touch bad) `touch bad` "\\ *'], '4|$(touch bad) `touch bad` "\\ *|false|run.pl|'),
        (["--empty", "--verbose"], "4|--verbose|false|run.pl|"),  # no option of the script
        (["--train-cmd", ""], "4||false||"),
        (["--nj", "1", "--nj", "2"], "2||false|run.pl|"),
        (["--nj", "-1"], "-1||false|run.pl|"),
        (["data", "--nj", "8", "--help"], "4||false|run.pl|data|--nj|8|--help|"),
        (["--nj", "8", "", "--nj"], "8||false|run.pl||--nj|"),
        (["-x", "--nj"], "4||false|run.pl|-x|--nj|"),
    ],
)
def test_options_set_variables_and_leave_the_rest(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    assert [path.name for path in tmp_path.iterdir()] == ["tool.sh"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--njobs", "4"], "unknown option --njobs"),
        (["--nj", "4", "--no-such", "4"], "unknown option --no-such"),
        (["--", "4"], "unknown option --"),
        (["--1x", "4"], "unknown option --1x"),
        (["--a[$(touch bad)]", "4"], "unknown option --a[$(touch bad)]"),
        (["--__argument", "4"], "unknown option --__argument"),
        (["--nj=4"], "--nj=4: write --name value"),
        (["--nj"], "option --nj needs a value"),
        (["--fetch"], "option --fetch needs a value"),
        (["--config"], "option --config needs a value"),
        (["--nj", "--fetch", "true"], "option --nj needs a value, and option --fetch follows"),
        (["--nj", "--help"], "option --nj needs a value, and --help follows"),
        (["--fetch", "yes"], "option --fetch needs true or false, and got 'yes'"),
        (["--fetch", ""], "option --fetch needs true or false, and got ''"),
        (["--config", "none.conf"], "--config none.conf: no such file"),
    ],
)
def test_wrong_options_end_the_script(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{tmp_path}/tool.sh: {message}") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tool.sh"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--nj", "3", "--help"], ["--no-such", "3", "-h", "data"]])
def test_help_shows_the_message_as_it_is(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Usage: tool [--nj 4]\n  50% of \\n\n", "")


def test_help_without_a_message(tmp_path: Path) -> None:
    done = run(tmp_path, "--help", script=f"set -eu\n. {PARSE}\necho reached\n")
    assert done.returncode == 0 and "no help text" in done.stdout and "reached" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "a.conf"], "10|c|false|run.pl|"),
        (["--nj", "7", "--config", "a.conf", "data"], "7|c|false|run.pl|data|"),
        (["--config", "a.conf", "--nj", "7"], "7|c|false|run.pl|"),
        (["--config", "a.conf", "--config", "dir/b.conf"], "20|c|false|run.pl|"),
        (["data", "--config", "a.conf"], "4||false|run.pl|data|--config|a.conf|"),
    ],
)
def test_options_win_over_configuration_files(tmp_path: Path, arguments: list[str], expected: str) -> None:
    (tmp_path / "a.conf").write_text("nj=10\nempty=c\n")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/b.conf").write_text("nj=20\n")
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_configuration_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("nj=10\nfalse\n")
    done = run(tmp_path, "--config", "a.conf")
    assert done.returncode == 1 and "--config a.conf: its last command failed" in done.stderr


def test_a_configuration_as_windows_writes_it(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_bytes(b"\xef\xbb\xbfnj=10\r\ncmd=run.pl\r\n")
    done = run(tmp_path, "--config", "a.conf", script=f'set -eu\nnj=4 cmd=x\n. {PARSE}\necho "$nj|$cmd|"\n')
    assert (done.returncode, done.stdout, done.stderr) == (0, "10|run.pl|\n", "")


def test_config_is_kept_for_a_script_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("nj=10\n")
    script = f'set -eu\nnj=4\nconfig=\n. {PARSE}\necho "$nj $config"\n'
    assert run(tmp_path, "--config", "a.conf", script=script).stdout == "10 a.conf\n"


def test_nothing_leaks(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("nj=10\n")
    listing = "{ compgen -v; compgen -A function || true; set +o; shopt || true; }"
    script = f"""
set -euo pipefail
nj=4
{listing} > before
. {PARSE}
{listing} > after
echo "$nj $*"
"""
    done = run(tmp_path, "--nj", "3", "--config", "a.conf", "data", script=script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 data\n", "")
    before, after = ((tmp_path / name).read_text().splitlines() for name in ("before", "after"))
    assert "nj" in before and after == before


def test_environment_counts_as_set_and_no_strict_mode_is_needed(tmp_path: Path) -> None:
    script = f'export from_outside=1\n. {PARSE}\necho "$from_outside"\n'
    assert run(tmp_path, "--from-outside", "2", script=script).stdout == "2\n"
