# shellcheck shell=bash
# Languages of recorded telephone prompts: five languages, eight voices, about three hours.

# options begin
# shellcheck disable=SC2034  # the stage machine reads them
experiments="dnf_120 dnf_120_floor nf_120"   # names of conf/*.yaml to run ("a b"), or all
corpus=                         # directory with the unpacked packages; empty: they are fetched by apt-get
cache=                          # where fetched packages are kept; empty: ~/.cache/flowlid
# options end

prepare_corpus() { # MANIFESTS
  local/prepare_prompts.py ${corpus:+--corpus "$(cd "$caller" && realpath -m "$corpus")"} \
    ${cache:+--cache "$(cd "$caller" && realpath -m "$cache")"} --max-bad "${max_bad:?}" "$1"
}
