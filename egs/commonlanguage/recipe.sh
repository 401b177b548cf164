# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# CommonLanguage: 45 languages of Common Voice, free to download.

# options begin
experiments=dnf_120             # names of conf/*.yaml to run ("a b"), or all
corpus=                         # directory with common_voice_kpd/, the unpacked archive
languages=                      # only these ("zh-CN zh-TW en"); empty: all 45
hours_per_language=0            # at most this many hours of training speech of each; 0: all
check_counts=false              # stop unless all 45 languages are there
# options end
. local/prepare_corpora.sh

settle_options() { check_places corpus; }

prepare_corpus() { # MANIFESTS
  local/prepare_commonlanguage.py --check-counts "$check_counts" --nj "${nj:?}" --max-bad "${max_bad:?}" \
    --languages "$languages" --hours-per-language "$hours_per_language" "$(place_of "$corpus")" "$1"
}
