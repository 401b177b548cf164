#!/usr/bin/env bash
# Make or update the checkout's own Python environment, .venv, from the bounded requirements in pyproject.toml.
# Usage: utils/setup_env.sh [test|benchmark]
# "test" adds what the tests need; "benchmark" that and the flow libraries that ours are measured against.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
set=${1:-run}
case $set in
  run) extras='' sets=(run) ;;
  test) extras='[test]' sets=(run test) ;;
  benchmark) extras='[test,benchmark]' sets=(run test benchmark) ;;
  *)
    echo "usage: utils/setup_env.sh [test|benchmark]" >&2
    exit 1
    ;;
esac
venv=$PWD/.venv
log=$PWD/.venv-setup.log

python=
for name in python3 python3.13 python3.12 python3.11 python3.10; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    python=$(command -v "$name")
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup_env.sh: Python 3.10 or later is needed: apt-get install python3" >&2
  exit 1
fi

wanted=$(sha256sum pyproject.toml)
up_to_date() {
  [ "$(cat "$venv/.installed-$set" 2>/dev/null)" = "$wanted" ]
}
if up_to_date; then exit 0; fi

exec 9>"$venv.lock"
flock 9
if up_to_date; then exit 0; fi
fail() {
  echo "setup_env.sh: $1; the end of $log:" >&2
  tail -n 15 "$log" >&2
  exit 1
}
# Debian's python3 comes without pip and venv's bootstrap: pip's wheel is fetched as a package, without root.
fetch_pip() { # DIRECTORY
  local apt=(-o "Dir::State=$1/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$1/cache"
    -o "APT::Sandbox::User=$(id -un)")
  mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial"
  apt-get "${apt[@]}" update
  (cd "$1" && apt-get "${apt[@]}" download python3-pip-whl)
  dpkg-deb -x "$1"/python3-pip-whl_*.deb "$1/unpacked"
}
echo "setup_env.sh: setting up $venv (once; some minutes, 1 to 6 GB), log in $log"
: >"$log"
if ! "$venv/bin/python3" -c 'import pip' 2>/dev/null; then
  rm -rf "$venv"
  if ! "$python" -m venv "$venv" >>"$log" 2>&1; then
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" >>"$log" 2>&1 || fail "no virtual environment could be made with $python"
    scratch=$(mktemp -d)
    fetch_pip "$scratch" >>"$log" 2>&1 || fail "pip could not be fetched: apt-get install python3-venv"
    wheels=("$scratch"/unpacked/usr/share/python-wheels/pip-*.whl)
    "$venv/bin/python3" "${wheels[0]}/pip" install "${wheels[0]}" >>"$log" 2>&1 || fail "pip could not be installed"
    rm -rf "$scratch"
  fi
fi
"$venv/bin/python3" -m pip install --disable-pip-version-check -e ".$extras" >>"$log" 2>&1 ||
  fail "the requirements could not be installed"
for name in "${sets[@]}"; do
  echo "$wanted" >"$venv/.installed-$name"
done
