# shellcheck shell=bash
# What a recipe's run shows: a line per stage, and while one works, how far it is. To be sourced by run.sh.
#
# Programs write to logs. A live line below the lines of what is done shows the progress that they write to the file
# which FLOWLID_PROGRESS names (flowlid/program.py), or else their last message. Without a terminal it is a line every
# half minute.

exec 3>&1 4>&2   # where lines and errors go, whatever the output of a program is redirected to
live_job=
live_file=   # where a live line goes that is one of several (utils/parallel.sh)

fail() { # MESSAGE
  echo "run.sh: $1" >&2
  exit 1
}

shown() { # PATH: as seen from where run.sh was called, if it is below
  local path
  path=$(realpath -m --relative-to "${caller:?}" "$1")
  case $path in ../*) realpath -m "$1" ;; *) echo "$path" ;; esac
}

grouped() { # NUMBER: 1,234,567
  sed ':again; s/\B[0-9]\{3\}\>/,&/; t again' <<<"$1"
}

lasted() { # SECONDS
  if [ "$1" -lt 60 ]; then
    echo "$1 s"
  elif [ "$1" -lt 3600 ]; then
    echo "$(($1 / 60)) min $(($1 % 60)) s"
  else
    echo "$(($1 / 3600)) h $(($1 % 3600 / 60)) min"
  fi
}

# Run COMMAND, its output in LOG, under a live line; if it fails, show the end of the log, and end.
logged() { # LABEL LOG COMMAND...
  local label=$1 log=$2
  shift 2
  mkdir -p "$(dirname "$log")"
  # shellcheck disable=SC2094  # the live line reads what the command writes
  under_live_line "$label" "$log" "$@" >"$log" 2>&1
  if [ "${foreground_status:?}" -ne 0 ]; then failed "$label" "$log"; fi
}

# Run PROGRAM through the cluster's wrapper CMD, which writes LOG, under a live line; several jobs of it if CMD ends in
# JOB=1:N and LOG has JOB in its name.
run_job() { # LABEL CMD LOG PROGRAM...
  local label=$1 cmd=$2 log=$3 said before
  shift 3
  mkdir -p "$(dirname "$log")"
  before=$(find_logs "$log" -printf '%p %i %s %T@\n')   # of an earlier run: they must not pass for this one's
  said=$(dirname "$log")/.said
  # shellcheck disable=SC2086  # $cmd holds a program and its options
  under_live_line "$label" "${log/JOB/1}" $cmd "$log" "$@" 2>"$said"
  cat "$said" >&2
  rm -f "$said"
  if [ "${foreground_status:?}" -ne 0 ]; then failed "$label" "$log" "$before"; fi
}

under_live_line() { # LABEL LOG COMMAND...
  local label=$1 log=$2
  stage_began=${stage_began:-$SECONDS}
  FLOWLID_PROGRESS=$(realpath -m "$(dirname "$log")")/.progress
  export FLOWLID_PROGRESS
  shift 2
  rm -f "$FLOWLID_PROGRESS"
  live_line "$label" "$log" &
  live_job=$!
  foreground "$@"
  end_live_line
}

end_live_line() {
  if [ -z "$live_job" ]; then return 0; fi
  kill "$live_job" 2>/dev/null || true
  wait "$live_job" 2>/dev/null || true
  live_job=
  rm -f "$FLOWLID_PROGRESS"
  if [ -t 3 ]; then printf '\r\033[K' >&3; fi
}

live_line() { # LABEL LOG: until it is killed, or run.sh is
  local began=$SECONDS next=30 idle text
  exec {idle}<> <(:)
  while is_running $$; do
    text="$1: $(lasted $((SECONDS - began)))$(progress "$2")"
    if [ -n "$live_file" ]; then
      if [[ $text =~ ^(stage .).*\ ([0-9]+%) || $text =~ ^(stage .)[^:]*:\ ([^,]*) ]]; then
        echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}" >"$live_file"
      fi
    elif [ -t 3 ]; then
      live_text "$text"
    elif ((SECONDS - began >= next)); then
      echo "$text" >&3
      next=$((next + 30))
    fi
    read -rt 0.5 -u "$idle" || true
  done
}

live_text() { # TEXT: as the live line, cut to what fits
  local size columns
  size=$(stty size <&3 2>/dev/null || echo 24 80)
  columns=${size#* }
  printf '\r\033[K%s' "${1:0:columns > 0 ? columns - 1 : 79}" >&3
}

# How far it is: ", 12% [#         ] dnf_120, epoch 5 of 40, loss 122.30, 3 min 2 s left", else the log's last message.
progress() { # LOG
  local count='' total='' left='' words='' bar='##########          '
  { read -r count total left words <"$FLOWLID_PROGRESS"; } 2>/dev/null || true
  if [[ $count-$total-$left =~ ^[0-9]+-[1-9][0-9]*-[0-9]+$ ]]; then
    printf ', %d%% [%s] %s' $((100 * count / total)) "${bar:10 - 10 * count / total:10}" "$words"
    if [ "$left" -gt 0 ]; then printf ', %s left' "$(lasted "$left")"; fi
  else
    words=$(message_of "$1" .)
    words=${words:-$(tail -n 1 "$(dirname "$1")/.said" 2>/dev/null || true)}   # the wrapper's, of a job that waits
    echo "${words:+, $words}"
  fi
}

# The line of a stage that is done; warnings are counted in the files LOG...
tell() { # WHAT LOG-TO-NAME LOG...
  local what=$1 log=$2 warnings
  shift 2
  warnings=$(cat "$@" 2>/dev/null | grep -c ' WARNING (' || true)
  case $warnings in 0) warnings= ;; 1) warnings=', 1 warning' ;; *) warnings=", $warnings warnings" ;; esac
  echo "$what ($(lasted $((SECONDS - ${stage_began:-$SECONDS})))$warnings; $(shown "$log"))"
  stage_began=
}

# The end of the log of what failed, as its exit status told, and its name; ends the run. Of several jobs, three logs.
failed() { # LABEL LOG [LOGS OF AN EARLIER RUN]
  local logs log
  mapfile -t logs < <(failed_logs "$2" "${3:-}")
  for log in "${logs[@]:0:3}"; do
    echo "run.sh: the end of $(shown "$log"):" >&2
    why "$log" >&2
  done
  if [ ${#logs[@]} -gt 3 ]; then echo "run.sh: and $((${#logs[@]} - 3)) more" >&2; fi
  fail "$1 failed"
}

# The log; or where it is of several jobs, or says that jobs failed, those of them that did not end well.
failed_logs() { # LOG LOGS-OF-AN-EARLIER-RUN
  local pattern='' line log
  if [ -f "$1" ]; then pattern=$(sed -n 's/^[a-z]*\.p[yl]: .* failed, log is in //p' "$1" | tail -n 1); fi
  pattern=${pattern:-$1}
  find_logs "$pattern" -printf '%p %i %s %T@\n' | sort -V | while IFS= read -r line; do
    log=${line% * * *}
    if ! grep -qxF -- "$line" <<<"$2" &&
      { [ "$log" = "$pattern" ] || ! [[ $(tail -n 1 "$log") =~ ^'# Ended (code 0)' ]]; }; then echo "$log"; fi
  done
}

find_logs() { # LOG [WHAT FIND DOES]: LOG, or those of several jobs where its name has JOB or *
  local name
  name=$(basename "$1")
  find "$(dirname "$1")" -maxdepth 1 -name "${name//JOB/*}" "${@:2}" 2>/dev/null || true
}

why() { # LOG: its last error and what follows, else its last lines; what a job wrapper says of a job that said nothing
  { if grep -aqv '^#' "$1"; then grep -av '^#' "$1"; else cat "$1"; fi; } |
    awk '/ ERROR \(/ { n = 0; found = 1 } { line[n++] = $0 }
      END { for (i = found || n < 12 ? 0 : n - 12; i < n; i++) print line[i] }'
}

message_of() { # LOG PATTERN: the last message of a program that matches, without date and place
  sed -n 's/^[^(]* ([a-z_]*\.py:[0-9]*) //p' "$1" 2>/dev/null | grep -E "$2" | tail -n 1 || true
}

up_to_date() { # COUNT LOG...: how many of COUNT results were found to be up to date
  local found
  found=$(cat "${@:2}" | grep -c ': up to date' || true)
  if [ "$found" -eq "$1" ]; then echo '; up to date'; elif [ "$found" -gt 0 ]; then echo "; $found up to date"; fi
}

count_corpus() { # MANIFESTS: "3,862 utterances, 2.9 h, 7 speakers, 5 languages"
  local counts
  counts=$(zcat "$1"/*supervisions*.jsonl.gz | awk '
    function value(key) { # of the first such key of a line
      if (!match($0, "\"" key "\": *(\"[^\"]*\"|[0-9.eE+-]+)")) return ""
      return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
    }
    { seconds += value("duration"); speakers[value("speaker")]; languages[value("language")] }
    END { printf "%d %.1f %d %d %d", NR, seconds / 3600, length(speakers), length(languages), seconds }')
  # shellcheck disable=SC2086  # five words
  set -- $counts
  if [ "$5" -ge 3600 ]; then set -- "$1" "$2 h" "$3" "$4"; else set -- "$1" "$(lasted "$5")" "$3" "$4"; fi
  echo "$(grouped "$1") utterances, $2, $(grouped "$3") speakers, $4 languages"
}

tell_bad() { # LOG: which sets and languages lost utterances that cannot be used, and in which files channels differ
  sed -nE 's/^.* \([a-z_]+\.py:[0-9]+\) (.*: )?([0-9]+ of [0-9]+ (utterances cannot be used|files).*)$/         \2/p' "$1"
}

tell_left_out() { # FILE...: on a line of its own, and which files name it
  local file what
  for file in "$@"; do
    what=$(count_left_out "$file")
    if [ -n "$what" ]; then echo "         left out: $what ($(shown "$file"))"; fi
  done
}

count_left_out() { # FILE of file, utterance, reason, detail: "104 not speech, 31 repeated"; nothing if all could be used
  if [ ! -f "$1" ]; then return; fi
  awk -F '\t' 'NR > 1 && NF == 4 { gsub("_", " ", $3); if (!n[$3]++) order[++k] = $3 }
    END { for (i = 1; i <= k; i++) printf "%s%d %s", (i > 1 ? ", " : ""), n[order[i]], order[i] }' "$1"
}
