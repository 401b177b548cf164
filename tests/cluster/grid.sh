#!/usr/bin/env bash
# The tests with a real Grid Engine, inside it: of the contract of the programs that run jobs, and of what goes wrong.
# Where none can start they are skipped, with the reason, unless FLOWLID_REQUIRE_GRIDENGINE=1.
# Usage: tests/cluster/grid.sh [pytest options]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
utils/setup_env.sh test
. ./path.sh
status=0
OMP_NUM_THREADS=1 tests/cluster/grid_cell.py \
  python3 -m pytest tests/cluster -k gridengine --numprocesses 8 --dist load "$@" || status=$?
if [ "$status" -eq 77 ] && [ "${FLOWLID_REQUIRE_GRIDENGINE:-}" != 1 ]; then
  echo "tests/cluster/grid.sh: skipped" >&2
  exit 0
fi
exit "$status"
