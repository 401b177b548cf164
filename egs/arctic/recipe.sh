# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# Accents of English: CMU ARCTIC (native voices) and L2-ARCTIC (six first languages), free to download.

# options begin
experiments="dnf_120 dnf2_120 nf_120"   # names of conf/*.yaml to run ("a b"), or all
arctic=                         # directory with cmu_us_<voice>_arctic/ of CMU ARCTIC
l2arctic=                       # directory with ABA/, SKA/, ... of L2-ARCTIC
check_counts=false              # stop unless all 24 speakers of L2-ARCTIC are there
# options end
. local/prepare_corpora.sh

settle_options() { check_places arctic l2arctic; }

prepare_corpus() { # MANIFESTS
  local/prepare_arctic.py --check-counts "$check_counts" --nj "${nj:?}" --max-bad "${max_bad:?}" \
    --arctic "$(place_of "$arctic")" --l2arctic "$(place_of "$l2arctic")" "$1"
}
