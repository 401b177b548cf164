# shellcheck shell=bash
# foreground COMMAND...: run a program or a function to its end, in a process group of its own. To be sourced.
#
# The exit status is in $foreground_status. The call itself never fails, so that `set -e` holds inside a function that
# is run: a caller that wrote "foreground f || ..." would switch it off there. A script that is told to end calls
# end_foreground in its trap; when the script is killed, the group is told to end within half a second.

foreground_job='' foreground_guard=''

foreground() {
  local script=$BASHPID
  set -m
  (
    set +m
    if [ "$(type -t "$1")" = file ]; then exec "$@"; fi
    "$@"
  ) </dev/null &
  foreground_job=$!
  __guard "$script" "$foreground_job" </dev/null >/dev/null 2>&1 3>&- 4>&- &
  foreground_guard=$!
  set +m
  foreground_status=0
  wait "$foreground_job" || foreground_status=$?
  if [ "$foreground_status" -ne 0 ]; then end_foreground; fi   # what a program that was killed has left
  foreground_job=
  __end_guard
}

# End the group and wait for it, 75 seconds at most: programs need a moment to end their own, and a cluster's its jobs.
end_foreground() {
  local try
  __end_guard
  if [ -z "$foreground_job" ]; then return 0; fi
  kill -TERM -- "-$foreground_job" 2>/dev/null || return 0
  for ((try = 0; try < 1500; try++)); do
    kill -0 -- "-$foreground_job" 2>/dev/null || return 0
    sleep 0.05
  done
  kill -KILL -- "-$foreground_job" 2>/dev/null || true
}

is_running() { # PROCESS: also false of one that has ended and that nobody has waited for
  local state
  kill -0 "$1" 2>/dev/null || return 1
  { read -r _ _ state _ <"/proc/$1/stat"; } 2>/dev/null || return 0
  [ "$state" != Z ]
}

__guard() { # SCRIPT GROUP
  local idle
  exec {idle}<> <(:)
  while is_running "$1"; do read -rt 0.5 -u "$idle" || true; done
  kill -TERM -- "-$2"
}

__end_guard() {
  if [ -z "$foreground_guard" ]; then return 0; fi
  kill "$foreground_guard" 2>/dev/null || true
  wait "$foreground_guard" 2>/dev/null || true
  foreground_guard=
}
