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
# Threads that wait sleep: where other work runs beside it, a spinning thread costs training a factor of ten.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
unset __root
