"""local/fetch_debian_packages.sh, with an apt-get and a dpkg-deb that need no network."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from tools import ROOT, load

FETCH = ROOT / "local" / "fetch_debian_packages.sh"


prompts = load("local/prepare_prompts.py")


TOOLS = ("bash", "basename", "cp", "flock", "id", "md5sum", "mkdir", "mktemp", "mv", "rm", "sed")


APT_GET = """#!/usr/bin/env bash
printf '%s\\n' "$@" >> "$FAKE/apt.log"
[[ ! -e $FAKE/offline ]] || { echo "E: no network" >&2; exit 100; }
while [[ $# -gt 0 && $1 != download ]]; do shift; done
for package in "${@:2}"; do echo deb > "${package}_1_all.deb"; done
"""


DPKG_DEB = """#!/usr/bin/env bash
if [[ $1 == -x ]]; then
  mkdir -p "$3/usr/share"
  echo sound > "$3/usr/share/a.wav"
else
  mkdir -p "$3"
  echo "$(cat "$FAKE/md5")  usr/share/a.wav" > "$3/md5sums"
fi
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Environment of a machine that has the TOOLS, the fake apt-get and dpkg-deb, and nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in (*TOOLS, "cat"):
        (programs / tool).symlink_to(shutil.which(tool))
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "md5").write_text(hashlib.md5(b"sound\n").hexdigest())
    return {"PATH": str(programs), "FAKE": str(tmp_path)}


def fetch(machine: dict[str, str], *packages: str) -> subprocess.CompletedProcess[str]:
    cache = Path(machine["FAKE"]) / "cache"
    return subprocess.run([FETCH, cache, *packages], env=machine, capture_output=True, text=True, timeout=60)


def kept(machine: dict[str, str]) -> list[str]:
    return sorted(path.name for path in (Path(machine["FAKE"]) / "cache").iterdir() if path.name != ".lock")


def test_fetch_unpacks_checks_and_keeps(machine: dict[str, str]) -> None:
    done = fetch(machine, "asterisk-a")
    assert done.returncode == 0, done.stderr
    cache = Path(machine["FAKE"]) / "cache"
    assert kept(machine) == ["asterisk-a"]  # and so the lists are gone
    assert (cache / "asterisk-a" / "usr/share/a.wav").read_text() == "sound\n"
    log = Path(machine["FAKE"]) / "apt.log"
    calls = log.read_text().splitlines()
    for option in ("Dir::State=", "Dir::State::Lists=", "Dir::Cache="):
        assert [call for call in calls if call.startswith(f"{option}{cache}/.fetch.")], option
    assert "update" in calls and "download" in calls
    log.unlink()
    (cache / "asterisk-a" / "usr/share/a.wav").write_text("mine\n")
    assert fetch(machine, "asterisk-a").returncode == 0
    assert not log.exists() and (cache / "asterisk-a" / "usr/share/a.wav").read_text() == "mine\n"


def test_fetch_without_apt_get_says_what_to_unpack_where(machine: dict[str, str]) -> None:
    (Path(machine["PATH"]) / "apt-get").unlink()
    done = fetch(machine, "asterisk-a", "asterisk-b")
    assert done.returncode == 1
    for words in ("no apt-get", "asterisk-a asterisk-b", "--corpus DIR", "DIR/PACKAGE"):
        assert words in done.stderr


def test_fetch_refuses_a_package_that_is_damaged(machine: dict[str, str]) -> None:
    (Path(machine["FAKE"]) / "md5").write_text("0" * 32)
    done = fetch(machine, "asterisk-a")
    assert done.returncode == 1 and "asterisk-a does not match its own checksums" in done.stderr
    assert kept(machine) == []


def test_fetch_without_network_leaves_nothing(machine: dict[str, str]) -> None:
    (Path(machine["FAKE"]) / "offline").touch()
    done = fetch(machine, "asterisk-a")
    assert done.returncode == 1 and "apt-get update failed" in done.stderr and "--corpus DIR" in done.stderr
    assert kept(machine) == []


def test_fetch_does_not_touch_a_directory_it_did_not_make(machine: dict[str, str]) -> None:
    mine = Path(machine["FAKE"]) / "cache" / "asterisk-a" / "note"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = fetch(machine, "asterisk-a")
    assert done.returncode == 1 and "not complete; remove it" in done.stderr
    assert mine.read_text() == "mine" and not (Path(machine["FAKE"]) / "apt.log").exists()


def test_a_second_fetch_waits_for_the_first(machine: dict[str, str]) -> None:
    cache = Path(machine["FAKE"]) / "cache"
    cache.mkdir()
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen([FETCH, cache, "asterisk-a"], env=machine, stderr=subprocess.PIPE, text=True)
        assert "waiting" in second.stderr.readline()
        assert kept(machine) == [] and not (cache.parent / "apt.log").exists()
    _, rest = second.communicate(timeout=60)
    assert second.returncode == 0, rest
    assert kept(machine) == ["asterisk-a"]


def test_prepare_fetches_below_its_cache(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in machine.items():
        monkeypatch.setenv(name, value)
    cache = Path(machine["FAKE"]) / "cache"
    assert prompts.fetch(cache, ["es_co", "fr_june"]) == cache / "prompts"
    packages = {path.name for path in (cache / "prompts").iterdir() if path.is_dir()}
    assert packages == {"asterisk-prompt-es-co", "asterisk-core-sounds-fr-wav"}
    (Path(machine["FAKE"]) / "offline").touch()
    with pytest.raises(ValueError, match="--corpus DIR"):
        prompts.fetch(cache, ["it_carlo"])
