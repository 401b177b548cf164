# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# FLEURS: the same sentences read in 102 languages, free to download.

# options begin
experiments=dnf_120             # names of conf/*.yaml to run ("a b"), or all
corpus=                         # directory with data/en_us/ and so on, its archives unpacked
languages=                      # only these ("en_us de_de cmn_hans_cn"); empty: all that are there
hours_per_language=2            # at most this many hours of training speech of each; 0: all, about 10
check_counts=false              # stop unless all 102 languages are there
# options end
. local/prepare_corpora.sh

settle_options() { check_places corpus; }

prepare_corpus() { # MANIFESTS
  local/prepare_fleurs.py --check-counts "$check_counts" --nj "${nj:?}" --max-bad "${max_bad:?}" \
    --languages "$languages" --hours-per-language "$hours_per_language" "$(place_of "$corpus")" "$1"
}
