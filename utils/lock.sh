# shellcheck shell=bash
# lock DIRECTORY alone|shared: one run at a time in a directory, or several that only read it. To be sourced.
#
# The lock is on DIRECTORY/.run.lock, which names who holds it. What a run has started inherits it, so that the next
# run does not begin beside jobs of one that was killed; these end within seconds (utils/foreground.sh).

lock() {
  local file=$1/.run.lock how=-s fd try holders
  if [ "$2" = alone ]; then how=-x; fi
  mkdir -p "$1"
  exec {fd}>>"$file"
  for ((try = 0; try < 20; try++)); do
    if flock -n -x "$fd"; then
      : >"$file"
      flock "$how" "$fd"
    fi
    if flock -n "$how" "$fd"; then
      echo "$$ $(hostname) $(date '+%F %T')" >>"$file"
      return 0
    fi
    holders=$(__holders "$file")
    if [ -n "$holders" ]; then break; fi
    sleep 0.5
  done
  echo "run.sh: another run is at work in $(shown "$1") (${holders:-it was killed, but programs of it still run}); wait for it, or end it" >&2
  exit 1
}

holders() { # DIRECTORY alone: who holds it so at this moment, "pid 12, since 2026-01-02 03:04:05"; nothing if nobody does
  if [ ! -f "$1/.run.lock" ] || flock -n -s "$1/.run.lock" true; then return 0; fi
  __holders "$1/.run.lock"
}

__holders() { # FILE: those of them that live, as far as this machine can tell
  local pid host since
  while read -r pid host since; do
    if [ "$host" != "$(hostname)" ]; then
      echo "pid $pid on $host, since $since"
    elif is_running "$pid"; then
      echo "pid $pid, since $since"
    fi
  done <"$1" | paste -sd ';'
}
