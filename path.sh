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
# A thread that waits for another spins for a moment only: where other work runs beside training, endless spinning
# slows it several times; going to sleep at once (OMP_WAIT_POLICY=PASSIVE, best on a shared machine) halves the speed
# of small batches on a quiet one.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-20000}
unset __root
