#!/usr/bin/env bash
# shellcheck disable=SC2034  # the stage machine reads the options
# Accents of English: CMU ARCTIC (native voices) and L2-ARCTIC (six first languages), free to download.
if [ "${#BASH_SOURCE[@]}" -eq 1 ]; then   # run, not sourced by the stage machine
  here=$(dirname "$(readlink -f "$0")")
  exec "$here/../../run.sh" --recipe "$here" "$@"
fi

# options begin
experiments="dnf_120 dnf2_120 nf_120"   # names of conf/*.yaml to run ("a b"), or all
arctic=                         # directory with cmu_us_<voice>_arctic/ of CMU ARCTIC
l2arctic=                       # directory with ABA/, SKA/, ... of L2-ARCTIC
check_counts=false              # stop unless all 24 speakers of L2-ARCTIC are there
# options end
. local/prepare_corpora.sh

prepare_corpus() { # MANIFESTS
  check_given arctic l2arctic
  local/prepare_arctic.py --check-counts "$check_counts" --nj "${nj:?}" --arctic "$(place_of "$arctic")" \
    --l2arctic "$(place_of "$l2arctic")" "$1"
}
