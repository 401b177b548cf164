#!/usr/bin/env bash
# Languages, or accents, of your own recordings: a table says where they are and what they are.
# shellcheck disable=SC2154  # stage, data, nj, ... are the stage machine's
if [ "${#BASH_SOURCE[@]}" -eq 1 ]; then   # run, not sourced by the stage machine
  here=$(dirname "$(readlink -f "$0")")
  exec "$here/../../run.sh" --recipe "$here" "$@"
fi

# options begin
# shellcheck disable=SC2034  # the stage machine reads them
experiments="dnf_120"           # names of conf/*.yaml to run ("a b"), or all
table=                          # TSV or CSV file with the columns utt_id path speaker language set,
                                #   or a directory language/speaker/file; needed for stage 0
audio_root=                     # where the table's relative paths count from; empty: its directory
set_fields=                     # fields of all utterances that have none such, "accent=mandarin"
allow_shared_speakers=false     # accept a speaker in train and in dev or test sets
# options end

# The table says which sets there are, and its recordings at which rate features are made.
settle_options() {
  if [ "$stage" = 0 ] && [ -z "$table" ]; then
    echo "run.sh: no --table: give a TSV or CSV file with the columns utt_id path speaker language set (and, if wanted," \
      "start end channel gender score), or a directory language/speaker/file; see $recipe/README.md" >&2
    exit 1
  fi
  fbank_template=$fbank_config
  if [ "$stage" = 0 ] || [ "$fbank_config" = conf/fbank.conf ]; then fbank_config=$data/manifests/fbank.conf; fi
  if [ "$sets" = sets.yaml ]; then sets=$data/manifests/sets.yaml; fi
}

prepare_corpus() { # MANIFESTS
  local/prepare_table.py --write-sets --nj "$nj" --fbank-config "$fbank_template" --set-fields "$set_fields" \
    --allow-shared-speakers "$allow_shared_speakers" \
    ${audio_root:+--root "$(cd "$caller" && realpath -m "$audio_root")"} "$(cd "$caller" && realpath -m "$table")" "$1"
}
