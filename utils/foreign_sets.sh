# shellcheck shell=bash
# The user's own data directories. To be sourced by run.sh.
#
# Data directories in --data that stage 1 has not made belong to the user, and are not written to: from stage 2 on,
# the experiments that use one work on copies of their tables, in a place of ours.
foreign_sets() {
  local table name
  for table in "${data:?}"/[!_.]*/utt2spk; do
    name=$(basename "$(dirname "$table")")
    if [ -f "$table" ] && ! cut -f 1 "$data/sets.tsv" 2>/dev/null | grep -qxF -- "$name"; then echo "$name"; fi
  done
}

# Copies of the tables of all sets that are used, if one of them is the user's own; from then on they are the data.
copy_foreign_sets() {
  local log=${copies:?}/log/copy.log features=true
  list_sets "${configs[@]:?}"
  if ! grep -qxF -f <(printf '%s\n' "${names[@]:?}") <<<"${foreign:?}"; then return; fi
  if runs 2; then features=false; fi
  logged 'data' "$log" steps/copy_data_dirs.py --features "$features" "$data" "$copies" "${names[@]}"
  echo "data     ${#names[@]} sets of $(shown "$data"), which stays as it is: worked on in $(shown "$copies") ($(shown "$log"))"
  data=$copies
}
