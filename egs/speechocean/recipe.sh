# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# Proficiency: Mandarin speakers of English with human scores, speechocean762, free to download.

# options begin
experiments=nf_120              # names of conf/*.yaml to run ("a b"), or all; dnf_120 and nf_native_120 need --native
corpus=                         # directory with WAVE/, train/, test/ and resource/ of speechocean762
native=                         # directory with cmu_us_<voice>_arctic/ of CMU ARCTIC: native English, if you like
check_counts=false              # whether counts other than those of the published corpora are an error
expected_scores=test_speechocean   # the report says so if this copy of the corpus has none
# options end
. local/prepare_corpora.sh

settle_options() {
  check_places corpus
  if runs 0 && [ -z "$native" ] && [[ " ${experiments//.yaml/} " =~ \ (dnf_120|nf_native_120)\  ]]; then
    echo "run.sh: ${BASH_REMATCH[1]} needs native English: --native DIR; README.md says where to get it" >&2
    exit 1
  fi
}

prepare_corpus() { # MANIFESTS
  rm -f "$1"/arctic_*   # of an earlier run that had --native
  local common=(--check-counts "$check_counts" --nj "${nj:?}" --max-bad "${max_bad:?}")
  local/prepare_speechocean.py "${common[@]}" "$(place_of "$corpus")" "$1"
  if [ -n "$native" ]; then
    local/prepare_arctic.py "${common[@]}" --arctic "$(place_of "$native")" "$1"
  fi
}
