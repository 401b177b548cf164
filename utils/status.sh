# shellcheck shell=bash
# shellcheck disable=SC2154  # options and names are the stage machine's
# Who is at work (--status), and run.sh itself as a job (--submit). To be sourced by run.sh.

# Jobs in the queue that were submitted with logs in these directories: "DIRECTORY LOG JOB STATE MINUTES", by tabs.
queued_jobs() { # DIRECTORY...
  if [ "$on_cluster" = true ]; then utils/show_jobs.py "$cmd_backend" "$@"; fi
}

# Features are not made anew while jobs of a run that was killed still write them.
refuse_living_jobs() { # DIRECTORY...
  local place log job state minutes found
  found=$(queued_jobs "$@") || exit 1
  if [ -z "$found" ]; then return 0; fi
  IFS=$'\t' read -r place log job state minutes <<<"$found"
  fail "jobs of an earlier run are still at work in $(shown "$place"): $log, job $job, $state, $minutes min; wait for them, or cancel them"
}

# --status: who is at work on the data and on each experiment, its jobs, and how far its training is. Ends run.sh.
show_status() {
  local name dir place log job state minutes found known=("${all[@]}") places=("$data" "$data/_pool" "$copies" "$copies/_pool" "$exp")
  for dir in "$exp"/*/log; do
    name=$(basename "$(dirname "$dir")")
    if [ -f "$conf/$name.yaml" ] && ! printf '%s\n' "${known[@]}" | grep -qxF -- "$name"; then known+=("$name"); fi
  done
  found=$(queued_jobs "${places[@]}" "${known[@]/#/$exp/}") || exit 1
  for dir in "$data" "$copies"; do
    if [ -n "$(holders "$dir" alone)" ]; then echo "$(shown "$dir"): at work ($(holders "$dir" alone))"; fi
  done
  for dir in "${places[@]}"; do __show_jobs_of "$dir" "$found" "$(shown "$dir"): "; done
  for name in "${known[@]}"; do
    dir=$exp/$name
    state=$(holders "$dir" alone)
    log=$(message_of "$dir/log/train.log" '^(going on after |interrupted after )?epoch |^fitted |trained already')
    echo "$name: ${state:+at work ($state)}$([ -n "$state" ] || echo 'not at work'); ${log:-no epoch yet}"
    __show_jobs_of "$dir" "$found" '         '
  done
  exit 0
}

__show_jobs_of() { # DIRECTORY JOBS WHAT-TO-BEGIN-WITH
  local place log job state minutes
  while IFS=$'\t' read -r place log job state minutes; do
    if [ "$place" = "$1" ]; then echo "$3$log: job $job, $state, $minutes min"; fi
  done <<<"$2"
}

# --submit: the same command line as a job of the cluster, or in a session of its own on this machine. Ends run.sh.
submit() { # OPTIONS...
  local log=$exp/log/run.log command=("$root/run.sh" --recipe "$PWD" "$@") process try
  mkdir -p "$exp/log"
  if [ "$on_cluster" = true ]; then
    # shellcheck disable=SC2086  # it holds a program and its options
    ${master_cmd:?} --detach "$log" cd "$caller" '&&' "${command[@]}" || exit 1
    queued_jobs "$exp" | while IFS=$'\t' read -r _ _ process _; do
      echo "run.sh: submitted as job $process; its output goes to $(shown "$log"), and --status shows how far it is"
    done
    exit 0
  fi
  (
    cd "$caller" && exec setsid "${command[@]}" </dev/null >"$log" 2>&1 3>&- 4>&-
  ) &
  process=$!
  for ((try = 0; try < 20; try++)); do   # it may be refused at once
    if ! is_running "$process"; then
      wait "$process" && break
      cat "$log" >&2
      exit 1
    fi
    sleep 0.1
  done
  echo "run.sh: started as process $process; its output goes to $(shown "$log"), and --status shows how far it is"
  exit 0
}
