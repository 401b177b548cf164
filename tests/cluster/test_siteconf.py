"""Conf files of a site: Kaldi's and ESPnet's are read as they are. No cluster is needed: `submit` shows its words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT

# The syntax of the conf files that Kaldi's egs and ESPnet's recipes have, each peculiarity of theirs included.
KALDI_SLURM = """\
# jobs of this site
command ./submit --export=PATH  --ntasks-per-node=1
option name=* --job-name $0
option time=* --time $0
option mem=* --mem-per-cpu $0
option mem=0                      # nothing
option num_threads=* --cpus-per-task $0
option num_threads=1 --cpus-per-task 1  # one is asked for too
option num_nodes=* --nodes $0
default gpu=0
option gpu=0 -p cpu
option gpu=* -p gpu --gres=gpu:$0 -c $0   # as many processors as GPUs

# max_jobs_run is done by the program itself
option max_jobs_run=*
"""
KALDI_QUEUE = """\
command ./submit -v PATH -cwd -S /bin/bash -j y -l arch=*64*
option mem=* -l mem_free=$0,ram_free=$0
option mem=0          # do not add anything
option num_threads=* -pe smp $0
option num_threads=1  # do not add anything
option max_jobs_run=* -tc $0
option num_nodes=* -pe mpi $0  # allocation_rule=1
default gpu=0
option gpu=0
option gpu=* -l gpu=$0 -q g.q
default allow_old=true
option allow_old=true
option allow_old=false -l 'hostname=!b0[1-9]*&!b10*'
"""
PBS = """\
command ./submit -V -v PATH -S /bin/bash
option name=* -N $0
option mem=* -l mem=$0
option num_threads=* -l ncpus=$0
option num_threads=1
option num_nodes=* -l nodes=$0:ppn=1
default gpu=0
option gpu=0
option gpu=* -l ngpus=$0
"""


def asked(folder: Path, conf: str, *options: str) -> list[str]:
    """What a conf file makes of some options: the words after the command."""
    (folder / "site.conf").write_text(conf)
    (folder / "submit").write_text('#!/bin/bash\nprintf "%s\\n" "$@" >asked\necho "error: no" >&2\nexit 1\n')
    (folder / "submit").chmod(0o755)
    done = run(folder, "--config", "site.conf", *options, "a.log", "true")
    assert "cannot run this: no; asked for: " in done.stderr
    words = (folder / "asked").read_text().splitlines()
    assert words.count("--test-only") == 1 and words[-1].startswith("q/a.") and words[-1].endswith(".sh")
    return [word for word in words[:-1] if word != "--test-only"]


def run(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-S", str(ROOT / "utils/slurm.py"), *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "FLOWLID_SLURM_CONF"} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("conf", "options", "words"),
    [
        (KALDI_SLURM, [], "--export=PATH --ntasks-per-node=1 -p cpu --cpus-per-task 1"),
        (KALDI_SLURM, ["--mem", "0", "--gpu", "0"], "--export=PATH --ntasks-per-node=1 -p cpu --cpus-per-task 1"),
        (
            KALDI_SLURM,
            ["--gpu", "2", "--mem=4G", "--num-threads", "3", "--nodes", "1", "--name", "x", "--max-jobs-run", "2"],
            "--export=PATH --ntasks-per-node=1 -p gpu --gres=gpu:2 -c 2 --cpus-per-task 3 --nodes 1 --mem-per-cpu 4G",
        ),
        (KALDI_QUEUE, [], "-v PATH -cwd -S /bin/bash -j y -l arch=*64*"),
        (
            KALDI_QUEUE,
            ["--allow-old", "false", "--num-threads", "4", "--gpu", "1"],
            "-v PATH -cwd -S /bin/bash -j y -l arch=*64* -pe smp 4 -l gpu=1 -q g.q -l hostname=!b0[1-9]*&!b10*",
        ),
        (
            PBS,
            ["--gpu", "1", "--mem", "4gb", "--nodes", "2"],
            "-V -v PATH -S /bin/bash -l ngpus=1 -l mem=4gb -l nodes=2:ppn=1",
        ),
        ("command ./submit\n", ["--mem", "2G", "--account", "speech"], "--cpus-per-task=1 --mem=2G --account=speech"),
        ('command ./submit --comment "two words"\n', [], "--comment|two words|--cpus-per-task=1"),
        (
            "command ./submit\noption constraint=* -C $0,$0\n",
            ["--constraint", "a100"],
            "--cpus-per-task=1 -C a100,a100",
        ),
        ("command ./submit\ndefault time=1:00:00\n", [], "--cpus-per-task=1 --time=1:00:00"),
        ("command ./submit\ndefault time=1:00:00\n", ["--time", "5"], "--cpus-per-task=1 --time=5"),
        ("command ./submit\n", ["--time", "10", "--requeue", "2"], "--cpus-per-task=1 --time=10 --signal=B:USR1@60"),
        ("command ./submit\n", ["--time", "1-2", "--requeue", "2"], "--cpus-per-task=1 --time=1-2 --signal=B:USR1@120"),
        (
            "command ./submit\n",
            ["--gpu", "2", "--nodes", "2"],
            "--cpus-per-task=1 --gres=gpu:2 --nodes=2 --ntasks-per-node=1",
        ),
    ],
)
def test_what_is_submitted(tmp_path: Path, conf: str, options: list[str], words: str) -> None:
    expected = words.split("|") if "|" in words else words.split()
    assert sorted(asked(tmp_path, conf, *options)) == sorted(expected)


@pytest.mark.parametrize(
    ("conf", "options", "message"),
    [
        ("command x\noptoin mem=* --mem=$0\n", [], 'site.conf:2: "optoin mem=* --mem=$0" is no "command ..."'),
        ("option mem --mem=$0\n", [], 'site.conf:1: "option mem --mem=$0" is no'),
        ("\ncommand x 'y\n", [], "site.conf:2: No closing quotation"),
        ("default gpu=0 1\n", [], "site.conf:1: "),
        (
            "",
            ["--licence", "x"],
            '--licence: unknown option; give it a line "option licence=* --licence=$0" in site.conf',
        ),
        ("option size=big -l big\n", ["--size", "low"], "--size low: site.conf has lines for the values big alone"),
        ("", ["--config", "none.conf"], "--config none.conf: no such file"),
        (
            "command no-such-program\n",
            [],
            "no-such-program: No such file or directory; is this a machine",
        ),
    ],
)
def test_mistakes(tmp_path: Path, conf: str, options: list[str], message: str) -> None:
    (tmp_path / "site.conf").write_text(conf)
    done = run(tmp_path, "--config", "site.conf", *options, "a.log", "true")
    assert done.returncode == 1
    assert done.stderr.startswith(f"slurm.py: {message}") and done.stderr.count("\n") == 1


def test_where_a_conf_file_is_looked_for(tmp_path: Path) -> None:
    places = {"home": ".config/flowlid/slurm.conf", "recipe": "conf/slurm.conf", "named": "named.conf"}
    homes = {"HOME": str(tmp_path)}
    used = []
    for number, (name, place) in enumerate(places.items()):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(f"command no-such-{name}\n")
        if number == 2:
            homes["FLOWLID_SLURM_CONF"] = "named.conf"
        used.append(run(tmp_path, "a.log", "true", **homes).stderr.split(":")[1])
    assert used == [" no-such-home", " no-such-recipe", " no-such-named"]
    assert "FLOWLID_SLURM_CONF none: no such file" in run(tmp_path, "a.log", "true", FLOWLID_SLURM_CONF="none").stderr
