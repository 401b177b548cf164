# shellcheck shell=bash
# foreground COMMAND...: run a command, and end it when this shell is told to end. To be sourced.
#
# Bash that is killed while it waits for a program leaves the program running; one that waits for a background job
# runs its traps.

foreground() {
  local job status=0
  "$@" &
  job=$!
  trap 'kill -TERM "$job" 2>/dev/null; wait "$job"; exit 143' INT TERM HUP
  wait "$job" || status=$?
  trap - INT TERM HUP
  return "$status"
}
