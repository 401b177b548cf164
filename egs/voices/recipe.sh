# shellcheck shell=bash
# Voices that no training set holds: four languages, fourteen voices, on telephone prompts and in two games for children.

# options begin
# shellcheck disable=SC2034  # the stage machine reads them
experiments="one_voice two_voices all_voices"   # names of conf/*.yaml to run ("a b"), or all
corpus=                         # directory with the unpacked packages; empty: they are fetched by apt-get
cache=                          # where fetched packages are kept; empty: ~/.cache/flowlid
# options end

prepare_corpus() { # MANIFESTS
  local places=(${corpus:+--corpus "$(cd "$caller" && realpath -m "$corpus")"}
    ${cache:+--cache "$(cd "$caller" && realpath -m "$cache")"})
  local/prepare_prompts.py "${places[@]}" --max-bad "${max_bad:?}" \
    --voices "es_allison es_co fr_june fr_armelle it_carlo it_menardi ru_ivrvoice" "$1"
  local/prepare_voices.py "${places[@]}" --max-bad "$max_bad" --nj "${nj:?}" "$1"
}
