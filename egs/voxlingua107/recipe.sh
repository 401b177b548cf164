# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# VoxLingua107: 107 languages of videos, tested on its checked dev set of 33; free to download.

# options begin
experiments=dnf_120             # names of conf/*.yaml to run ("a b"), or all
corpus=                         # directory with ab/, af/, ... of the unpacked archives, and dev/
dev=                            # the unpacked dev.zip, if it is not dev/ in there
languages=                      # only these ("et fi lv"); empty: all that are there
hours_per_language=2            # at most this many hours of training speech of each; 0: all 6,628 in all
check_counts=false              # stop unless all languages, and the whole dev set, are there
# options end
. local/prepare_corpora.sh

settle_options() { check_places corpus; }

prepare_corpus() { # MANIFESTS
  local/prepare_voxlingua107.py --check-counts "$check_counts" --nj "${nj:?}" --max-bad "${max_bad:?}" \
    ${dev:+--dev "$(place_of "$dev")"} --languages "$languages" --hours-per-language "$hours_per_language" \
    "$(place_of "$corpus")" "$1"
}
