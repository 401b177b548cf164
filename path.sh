# shellcheck shell=bash
# Environment of every script: the checkout's own Python first, C sorting order. To be sourced.
__root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
if [ ! -x "$__root/.venv/bin/python3" ]; then
  echo "path.sh: no environment in $__root/.venv; make it with utils/setup_env.sh" >&2
  exit 1
fi
export PATH="$__root/.venv/bin:$PATH"
export PYTHONPATH="$__root${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C PYTHONUTF8=1
unset __root
