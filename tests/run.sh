#!/usr/bin/env bash
# All checks of the project: lint, then the tests, in processes of one thread.
# Sets up the environment the first time.
# Usage: tests/run.sh [pytest options]; for instance tests/run.sh -k cmvn
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
utils/setup_env.sh test
. ./path.sh
ruff check .
git ls-files -z '*.sh' .ci/run .ci/grid | xargs -0 shellcheck -x
# One more than processors, since many tests wait; nproc alone would count threads that are wanted.
processes=$(($(env -u OMP_NUM_THREADS nproc) + 1))
# Whole files go to one process, in tests/conftest.py's order: what the tests of a file share is made once.
OMP_NUM_THREADS=1 python3 -m pytest --numprocesses "$processes" --dist loadfile --no-loadscope-reorder "$@"
