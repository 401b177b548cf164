# shellcheck shell=bash
# Languages, or accents, of your own recordings: a table says where they are and what they are.
# shellcheck disable=SC2154  # stage, data, nj, ... are the stage machine's

# options begin
# shellcheck disable=SC2034  # the stage machine reads them
experiments="dnf_120"           # names of conf/*.yaml to run ("a b"), or all
table=                          # TSV or CSV file with the columns utt_id path speaker language set,
                                #   or a directory language/speaker/file; needed for stage 0
audio_root=                     # where the table's relative paths count from; empty: its directory
set_fields=                     # fields of all utterances that have none such, "accent=mandarin"
channel=                        # of files with several, where the table names none: 0, 1, ..., or mix (their mean)
allow_shared_speakers=false     # accept a speaker in train and in dev or test sets
# options end

# The table says which sets there are, and its recordings the rate of the features: stage 0 writes both beside the
# manifests. A file that --fbank-config names is used as it is.
settle_options() {
  if runs 0 && [ -z "$table" ]; then
    echo "run.sh: no --table: give a TSV or CSV file with the columns utt_id path speaker language set (and, if wanted," \
      "start end channel gender score), or a directory language/speaker/file; see $recipe/README.md" >&2
    exit 1
  fi
  local of_the_table=$data/manifests/fbank.conf
  if [ -z "$fbank_config" ] && { runs 0 || [ -f "$of_the_table" ]; }; then fbank_config=$of_the_table; fi
  if [ "$sets" = sets.yaml ]; then sets=$data/manifests/sets.yaml; fi
}

prepare_corpus() { # MANIFESTS
  local of_the_table=$1/fbank.conf adapt=()
  if [ "$fbank_config" = "$of_the_table" ]; then adapt=(--fbank-config "$(options_of fbank.conf)"); fi
  local/prepare_table.py --write-sets --nj "$nj" --max-bad "$max_bad" --channel "$channel" "${adapt[@]}" \
    --set-fields "$set_fields" --allow-shared-speakers "$allow_shared_speakers" \
    ${audio_root:+--root "$(cd "$caller" && realpath -m "$audio_root")"} "$(cd "$caller" && realpath -m "$table")" "$1"
  if [ ${#adapt[@]} -eq 0 ]; then cp "$fbank_config" "$of_the_table"; fi   # later stages take it unless told otherwise
}
