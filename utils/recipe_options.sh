# shellcheck shell=bash
# The options of run.sh and of the recipe, from "$@"; an unknown one is an error. To be sourced by run.sh, in the recipe.
#
# An option is what run.sh or recipe.sh sets between "# options begin" and "# options end"; the comment is its help.

describe_options() { # FILE: name, current value and comment of each option that it sets
  sed -n '/^# options begin/,/^# options end/p' "$1" | while IFS= read -r line; do
    case $line in
      [a-z]*=*\#*) name=${line%%=*} && printf '  --%-15s %-28s %s\n' "${name//_/-}" "[${!name}]" "${line#*# }" ;;
      [a-z]*=*) ;;
      ' '*\#*) printf '  %-17s %-28s %s\n' '' '' "${line#*# }" ;;
    esac
  done
}
help_message="Usage: ./run.sh [options]

Options of every recipe, with their defaults (paths count from the recipe directory):
$(describe_options "${root:?}/run.sh")

Options of this recipe, $(basename "${recipe:?}"):
$(describe_options "$recipe/recipe.sh")

Beside other options, without a value:
  --status          show who is at work, the jobs in the queue, and how far each training is; run nothing
  --submit          run as a job of the cluster, or on this machine by itself: the terminal is free, and may be closed

What is up to date is not made again, so that the same command continues a run that was interrupted.

Examples: ./run.sh --stage 3                        (all from training on, with the features that are there)
          ./run.sh --stage 4 --stop-stage 4         (scores only, and prints the table)
          ./run.sh --experiments \"dnf_120 nf_120\" --parallel 2     (both side by side)"
# only what is between the marks is an option, not every variable that this script happens to have
known=$(sed -n '/^# options begin/,/^# options end/s/^\([a-z][a-z0-9_]*\)=.*/\1/p' "$root/run.sh" "$recipe/recipe.sh")
for argument in "$@"; do
  case $argument in
    --help) ;;
    --*)
      name=${argument#--}
      if ! grep -qx "${name//-/_}" <<<"$known"; then fail "unknown option $argument; --help lists the options"; fi
      ;;
  esac
done
. utils/parse_options.sh
if [ $# -ne 0 ]; then fail "unexpected argument '$1'; options are --name value (see --help)"; fi

# Options of the features: beside the experiments, else the recipe's.
options_of() { # FILE
  if [ -f "${conf:?}/$1" ]; then echo "$conf/$1"; else echo "conf/$1"; fi
}
