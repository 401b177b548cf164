#!/usr/bin/env bash
# All checks of the project: lint, then the tests, in as many processes of one thread as there are processors.
# Sets up the environment the first time.
# Usage: tests/run.sh [pytest options]; for instance tests/run.sh -k cmvn
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
utils/setup_env.sh test
. ./path.sh
ruff check .
git ls-files -z '*.sh' .ci/run .ci/grid | xargs -0 shellcheck -x
processes=$(env -u OMP_NUM_THREADS nproc)   # nproc would count threads that are wanted, not processors
OMP_NUM_THREADS=1 python3 -m pytest --numprocesses "$processes" --dist loadgroup "$@"
