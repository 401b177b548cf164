# shellcheck shell=bash
# side_by_side N FUNCTION NAME...: call FUNCTION NAME PLACE for each name, N at once, each in a shell and a process group
# of its own; PLACE, from 0 to N - 1, is one that no other has meanwhile. To be sourced by run.sh.
#
# Lines that one prints begin with "[NAME] ". One that fails does not end the others: what it said on stderr is kept for
# the end, and its name is in the array side_failed. On a terminal one live line shows how far all are.

side_failed=()
side_shells=() side_writers=() side_names=()   # of each place that one is at work in
side_notes=

# Split experiments into the arrays `without` and `with`: those that have a background read the scores of another one, and
# come after all others. Calls list_sets of run.sh.
split_by_background() { # NAME...
  local name
  with=()
  if runs 4 && [ $# -gt 1 ]; then
    for name in "$@"; do
      list_sets --role background "${conf:?}/$name.yaml"
      # shellcheck disable=SC2154  # list_sets fills it
      if [ ${#names[@]} -gt 0 ]; then with+=("$name"); fi
    done
  fi
  # shellcheck disable=SC2034  # run.sh reads it
  mapfile -t without < <(printf '%s\n' "$@" | grep -vxFf <(printf '%s\n' "${with[@]}"))
}

side_by_side() { # N FUNCTION NAME...
  local at_once=$1 function=$2 place idle name earlier=${#side_failed[@]}
  shift 2
  side_notes=$(mktemp -d)
  exec {idle}<> <(:)
  while [ $# -gt 0 ] || [ ${#side_names[@]} -gt 0 ]; do
    for ((place = 0; place < at_once; place++)); do
      if [ -n "${side_names[place]:-}" ] && ! is_running "${side_shells[place]}"; then __side_end "$place" $#; fi
      if [ -z "${side_names[place]:-}" ] && [ $# -gt 0 ]; then
        __side_begin "$place" "$function" "$1"
        shift
      fi
    done
    if [ -t 3 ]; then __side_line $#; fi
    read -rt 0.3 -u "$idle" || true
  done
  if [ -t 3 ]; then printf '\r\033[K' >&3; fi
  for name in "${side_failed[@]:earlier}"; do __side_said "$name"; done
  rm -rf "$side_notes"
}

# Tell all to end, and wait for them; each ends its own jobs, which takes it a moment.
end_side_by_side() {
  local place
  if [ -z "$side_notes" ]; then return 0; fi
  for place in "${!side_names[@]}"; do kill -TERM "${side_shells[place]}" 2>/dev/null || true; done
  for place in "${!side_names[@]}"; do
    while is_running "${side_shells[place]}"; do sleep 0.1; done
    __side_close "$place"
  done
  for place in "${!side_names[@]}"; do __side_said "${side_names[place]}"; done
  rm -rf "$side_notes"
}

__side_begin() { # PLACE FUNCTION NAME
  local out erase=
  if [ -t 3 ]; then erase=$'\r\033[K'; fi
  exec {out}> >(
    trap '' HUP INT TERM   # it ends when all who write to it have
    while IFS= read -r line; do printf '%s[%s] %s\n' "$erase" "$3" "$line" >&3; done
  )
  side_writers[$1]=$!
  set -m
  (
    set +m
    trap 'interrupted 1' HUP
    trap 'interrupted 2' INT
    trap 'interrupted 15' TERM
    # shellcheck disable=SC2034  # console.sh reads it
    if [ -t 3 ]; then live_file=$side_notes/$3.live; fi
    exec >&"$out" 2>"$side_notes/$3.said" 3>&1 4>&2 {out}>&-
    # shellcheck disable=SC2030,SC2031  # those of this shell: it has none side by side
    side_names=() side_notes=''
    shell=$BASHPID
    __side_guard "$shell" >/dev/null 2>&1 3>&- 4>&- &
    # shellcheck disable=SC2064  # the process that it is now
    trap "kill $! 2>/dev/null" EXIT
    "$2" "$3" "$1"
  ) </dev/null &
  side_shells[$1]=$! side_names[$1]=$3
  set +m
  exec {out}>&-
}

__side_guard() { # SHELL: ends it when run.sh was killed
  local idle
  exec {idle}<> <(:)
  while is_running $$ && is_running "$1"; do read -rt 0.5 -u "$idle" || true; done
  kill -TERM "$1"
}

__side_end() { # PLACE HOW-MANY-WAIT: of one that has ended
  local name=${side_names[$1]} status=0
  wait "${side_shells[$1]}" || status=$?
  __side_close "$1"
  unset "side_names[$1]"
  if [ "$status" -eq 0 ]; then
    __side_said "$name"
  else
    side_failed+=("$name")
    if [ $((${#side_names[@]} + $2)) -gt 0 ]; then __side_print "$name" "failed; the others go on" >&2; fi
  fi
}

__side_close() { # PLACE: its last lines are on their way
  local try
  for ((try = 0; try < 40; try++)); do
    is_running "${side_writers[$1]}" || break
    sleep 0.05
  done
}

__side_said() { # NAME: on stderr
  local line
  # shellcheck disable=SC2031
  while IFS= read -r line; do __side_print "$1" "$line" >&2; done <"$side_notes/$1.said"
}

__side_print() { # NAME LINE
  if [ -t 3 ]; then printf '\r\033[K' >&3; fi
  echo "[$1] $2"
}

__side_line() { # HOW-MANY-WAIT: "dnf_120 stage 3 25%, dnf_440 stage 4 12 s, 3 more to come"
  local text='' name far
  for name in "${side_names[@]}"; do
    far=
    # shellcheck disable=SC2031
    { read -r far <"$side_notes/$name.live"; } 2>/dev/null || true
    text+="${text:+, }$name${far:+ $far}"
  done
  if [ "$1" -gt 0 ]; then text+=", $1 more to come"; fi
  live_text "$text"
}
