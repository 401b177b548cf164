# shellcheck shell=bash
# Sourced by recipes that join corpora: prepares those whose places were given as options.
#
# check_places REQUIRED...    in settle_options; each REQUIRED is a corpus that must be given; "a,b": at least one of them
# prepare_corpora MANIFESTS   in prepare_corpus
#
# Reads the recipe's options wsj, ce, je, timit, voxceleb1, voxceleb2, cnceleb1, cnceleb2 (places, relative ones from
# where run.sh was called; wsj and je may name several), hours, check_counts and channel (of
# ce's files), as far as the recipe has them.

prepare_corpora() {
  local manifests=$1 corpus
  for corpus in wsj ce je timit voxceleb cnceleb; do
    if [ -z "$(given "$corpus")" ] && [ -e "$manifests/${corpus}_supervisions.jsonl.gz" ]; then
      echo "$corpus was not given this time: its manifests of an earlier run are removed"
      rm -f "$manifests/${corpus}"_{recordings,supervisions}.jsonl.gz "$manifests/${corpus}"_{summary,left_out,channels}.tsv
    fi
  done
  local common=(--check-counts "${check_counts:-false}" --nj "${nj:?}" --max-bad "${max_bad:?}") places ce_options=(--need-train true)
  if [[ " $required " != *" ce "* ]]; then ce_options=(--need-train false); fi   # only tested on
  if [ -n "${wsj:-}" ]; then
    mapfile -t places < <(places_of "$wsj")
    local/prepare_wsj.py "${common[@]}" --hours "${hours:-50}" "${places[@]}" "$manifests"
  fi
  if [ -n "${ce:-}" ]; then
    local/prepare_table.py --name ce --set-fields accent=mandarin --languages en "${ce_options[@]}" \
      --nj "$nj" --max-bad "$max_bad" --channel "${channel:-}" "$(place_of "$ce")" "$manifests"
  fi
  if [ -n "${je:-}" ]; then
    mapfile -t places < <(places_of "$je")
    local/prepare_je.py "${common[@]}" "${places[@]}" "$manifests"
  fi
  if [ -n "${timit:-}" ]; then local/prepare_timit.py "${common[@]}" "$(place_of "$timit")" "$manifests"; fi
  prepare_pair voxceleb
  prepare_pair cnceleb
}

check_places() { # REQUIRED...
  required=$*
  if runs 0; then
    check_given "$@"
    check_there
  fi
}

# All places at once, before the first corpus is read: that may take hours.
check_there() {
  local option place missing=()
  for option in wsj ce je timit voxceleb1 voxceleb2 cnceleb1 cnceleb2; do
    if [ -n "${!option:-}" ]; then
      while IFS= read -r place; do
        if [ ! -e "$place" ]; then missing+=("--$option $place"); fi
      done < <(if [[ $option =~ ^(wsj|je)$ ]]; then places_of "${!option}"; else place_of "${!option}"; fi)
    fi
  done
  if [ ${#missing[@]} -gt 0 ]; then
    printf 'run.sh: there is no %s\n' "${missing[@]}" >&2
    exit 1
  fi
}

# Releases 1 and 2 of a corpus, either or both.
prepare_pair() { # CORPUS
  local release option arguments=()
  for release in 1 2; do
    option=$1$release
    if [ -n "${!option:-}" ]; then arguments+=("--$option" "$(place_of "${!option}")"); fi
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

place_of() { # PLACE as typed where run.sh was called: its absolute path
  (cd "${caller:?}" && realpath -m "$1")
}

places_of() { # "DIR..." or one DIR, which may have blanks in its name: absolute paths, one a line
  local place places=("$1")
  if [ ! -e "$(place_of "$1")" ]; then read -ra places <<<"$1"; fi
  for place in "${places[@]}"; do place_of "$place"; done
}
