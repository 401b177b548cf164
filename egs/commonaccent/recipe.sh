# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# Accents of English in Common Voice, split by speaker, or as CommonAccent's lists split them; free to download.

# options begin
experiments=dnf_120             # names of conf/*.yaml to run ("a b"), or all; dnf_list_120 needs --lists and --sets
corpus=                         # directory with clips/ and validated.tsv of English in a release of Common Voice
lists=                          # directory with train.csv, dev.csv and test.csv of CommonAccent
clips_per_accent=2000           # clips of each accent at most; 0: all
# options end
. local/prepare_corpora.sh

settle_options() { check_places corpus; }

prepare_corpus() { # MANIFESTS
  local/prepare_commonaccent.py --nj "${nj:?}" --max-bad "${max_bad:?}" --clips-per-accent "$clips_per_accent" \
    ${lists:+--lists "$(place_of "$lists")"} "$(place_of "$corpus")" "$1"
}
