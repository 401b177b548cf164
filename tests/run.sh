#!/usr/bin/env bash
# All checks of the project: lint, then the tests. Sets up the environment the first time.
# Usage: tests/run.sh [pytest options]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
utils/setup_env.sh test
. ./path.sh
ruff check .
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck -x
python3 -m pytest "$@"
