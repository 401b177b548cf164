# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# VCTK: accents of English, speakers left out; free to download.

# options begin
experiments=dnf_120             # names of conf/*.yaml to run ("a b"), or all
corpus=                         # directory with speaker-info.txt and wav48_silence_trimmed/ (0.92) or wav48/ (0.80)
mic=2                           # microphone of version 0.92: 1 or 2
check_counts=false              # stop unless all speakers of the version are there
# options end
. local/prepare_corpora.sh

settle_options() { check_places corpus; }

prepare_corpus() { # MANIFESTS
  local/prepare_vctk.py --check-counts "$check_counts" --nj "${nj:?}" --max-bad "${max_bad:?}" --mic "$mic" \
    "$(place_of "$corpus")" "$1"
}
