# shellcheck shell=bash
# Sourced by recipes that join corpora: prepares those whose places were given as options.
#
# prepare_corpora MANIFESTS REQUIRED...   # each REQUIRED a corpus that must be given; "a,b": at least one of them
#
# Reads the recipe's options wsj, ce, je, timit, voxceleb1, voxceleb2, cnceleb1, cnceleb2 (places, relative ones from
# where run.sh was called; wsj and je may name several), hours and check_counts, as far as the recipe has them.

prepare_corpora() {
  local manifests=$1 corpus
  shift
  check_given "$@"
  for corpus in wsj ce je timit voxceleb cnceleb; do
    if [ -z "$(given "$corpus")" ] && compgen -G "$manifests/${corpus}_*" >/dev/null; then
      echo "$corpus was not given this time: its manifests of an earlier run are removed"
      rm -f "$manifests/${corpus}"_{recordings,supervisions}.jsonl.gz "$manifests/${corpus}"_{summary,left_out}.tsv
    fi
  done
  local common=(--check-counts "${check_counts:-false}" --nj "${nj:?}") places
  if [ -n "${wsj:-}" ]; then
    mapfile -t places < <(places_of "$wsj")
    local/prepare_wsj.py "${common[@]}" --hours "${hours:-50}" "${places[@]}" "$manifests"
  fi
  if [ -n "${ce:-}" ]; then
    local/prepare_table.py --name ce --set-fields accent=mandarin --nj "${nj:?}" "$(places_of "$ce")" "$manifests"
  fi
  if [ -n "${je:-}" ]; then
    mapfile -t places < <(places_of "$je")
    local/prepare_je.py "${common[@]}" "${places[@]}" "$manifests"
  fi
  if [ -n "${timit:-}" ]; then local/prepare_timit.py "${common[@]}" "$(places_of "$timit")" "$manifests"; fi
  prepare_pair voxceleb
  prepare_pair cnceleb
}

# Releases 1 and 2 of a corpus, either or both.
prepare_pair() { # CORPUS
  local release option arguments=()
  for release in 1 2; do
    option=$1$release
    if [ -n "${!option:-}" ]; then arguments+=("--$option" "$(places_of "${!option}")"); fi
  done
  if [ ${#arguments[@]} -gt 0 ]; then
    "local/prepare_$1.py" "${common[@]}" --hours "${hours:-50}" "${arguments[@]}" "$manifests"
  fi
}

given() { # CORPUS: what its options say
  local first=${1}1 second=${1}2
  echo "${!1:-}${!first:-}${!second:-}"
}

check_given() { # REQUIRED...
  local alternatives name found missing=()
  for alternatives in "$@"; do
    found=
    for name in ${alternatives//,/ }; do found+=${!name:-}; done
    if [ -z "$found" ]; then missing+=("--${alternatives//,/ or --}"); fi
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "run.sh: this recipe needs ${missing[*]}; its README.md says what to get and which directory goes where" >&2
    exit 1
  fi
}

places_of() { # "DIR..." as typed where run.sh was called: absolute paths, one a line
  local place
  for place in $1; do (cd "${caller:?}" && realpath -m "$place"); done
}
