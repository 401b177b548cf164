#!/usr/bin/env bash
# The stage machine of all recipes: corpus -> data directories -> features -> flows -> scores -> latents -> report.
# Bare, it runs the default recipe, egs/prompts, from beginning to end.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
caller=$PWD   # where paths that a recipe asks for count from

# options begin
recipe=$root/egs/prompts        # recipe directory
stage=0                         # first stage to run: 0 corpus, 1 data directories, 2 features,
                                #   3 training, 4 scoring, 5 latents and plots, 6 report
stop_stage=6                    # last stage to run
experiments=                    # names of conf/*.yaml to run ("a b"), or all
conf=conf                       # directory of the experiments, one YAML file each
sets=sets.yaml                  # which recordings make which set (stage 1)
data=data                       # where data directories are
exp=exp                         # where models, scores and plots go
nj=$(nproc)                     # parallel jobs of feature extraction
fbank_config=conf/fbank.conf    # options of compute-fbank-feats
vad_config=conf/vad.conf        # options of compute-vad
expected_scores=                # test sets that should have human scores, or patterns: if not, the report says so
tsne_frames=1000                # most frames in one picture of t-SNE
device=auto                     # of training and scoring: auto (a GPU if there is one), cpu, cuda
num_procs=1                     # processes that train together, each on a GPU of its own if there are any
hang_timeout=1800               # seconds without a sign of life after which such processes give up
overwrite=false                 # replace a model of another configuration; score and draw what is up to date again
allow_pipes=false               # run commands that stand in wav.scp or feats.scp
# options end

arguments=("$@")
command_line=./run.sh   # as typed in the recipe's directory, for the report
for ((i = 0; i < $#; i++)); do
  if [ "${arguments[i]}" = --recipe ]; then
    recipe=$(realpath -m "${arguments[i + 1]:-no directory given}")
    i=$((i + 1))
  else
    command_line+=$(printf ' %q' "${arguments[i]}")
  fi
done
if [ ! -f "$recipe/run.sh" ]; then
  echo "run.sh: no recipe $recipe: --recipe names a directory with a run.sh; there are $(cd "$root" && echo egs/*)" >&2
  exit 1
fi
cd "$recipe"
# shellcheck source=egs/prompts/run.sh
. ./run.sh
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
$(describe_options "$root/run.sh")

Options of this recipe, $(basename "$recipe"):
$(describe_options "$recipe/run.sh")

Examples: ./run.sh --stage 3                        (trains again from the features that are there)
          ./run.sh --stage 4 --stop-stage 4         (scores only)
          ./run.sh --experiments \"dnf_120 nf_120\""
# only what stands between the marks is an option, not every variable that this script happens to have
known=$(sed -n '/^# options begin/,/^# options end/s/^\([a-z][a-z0-9_]*\)=.*/\1/p' "$root/run.sh" "$recipe/run.sh")
for argument in "$@"; do
  case $argument in
    --help) ;;
    --*)
      name=${argument#--}
      if ! grep -qx "${name//-/_}" <<<"$known"; then
        echo "run.sh: unknown option $argument; --help lists the options" >&2
        exit 1
      fi
      ;;
  esac
done
. utils/parse_options.sh
. utils/foreground.sh
if declare -F settle_options >/dev/null; then settle_options; fi   # what a recipe derives from other options
if [ $# -ne 0 ]; then
  echo "run.sh: unexpected argument '$1'; options are --name value (see --help)" >&2
  exit 1
fi

for number in "$stage" "$stop_stage"; do
  if ! [[ $number =~ ^[0-6]$ ]]; then
    echo "run.sh: stages are 0 to 6, not '$number'" >&2
    exit 1
  fi
done

utils/setup_env.sh
. ./path.sh
. ./cmd.sh
if [ -t 2 ]; then FLOWLID_PROGRESS=$(readlink -f /dev/fd/2) && export FLOWLID_PROGRESS; fi

if [ "$experiments" = all ]; then experiments=$(cd "$conf" && echo *.yaml); fi
configs=()
for name in $experiments; do
  name=${name%.yaml}
  if [ ! -f "$conf/$name.yaml" ]; then
    echo "run.sh: no experiment $name: there is no $(realpath -m "$conf")/$name.yaml; there are $(cd "$conf" && echo *.yaml)" >&2
    exit 1
  fi
  configs+=("$conf/$name.yaml")
done
if [ ${#configs[@]} -eq 0 ]; then
  echo "run.sh: --experiments names nothing to run" >&2
  exit 1
fi

began=$SECONDS
say() { echo "$(date +%T) $*"; }
runs() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }
# One run at a time in a directory; what is still running there holds the lock, whoever started it.
lock() { # DIRECTORY
  mkdir -p "$1"
  exec 8>"$1/.lock"
  if ! flock -n 8; then
    echo "run.sh: another run is at work in $(realpath "$1"); wait for it, or end it" >&2
    exit 1
  fi
}
# Run a job through the cluster's wrapper; on failure show the end of the log that tells why.
run_job() { # CMD LOG PROGRAM...
  local cmd=$1 log=$2
  shift 2
  # shellcheck disable=SC2086  # $cmd holds a program and its options
  foreground $cmd "$log" "$@" || fail_with "$log"
}
fail_with() { # LOG...
  local log
  for log in "$@"; do
    if [ -f "$log" ] && ! grep -q '^# Ended (code 0)' "$log"; then
      echo "run.sh: the end of $(realpath "$log"):" >&2
      grep -v '^#' "$log" | tail -n 12 >&2
    fi
  done
  exit 1
}

# The data sets of some experiments, into the array `names`: list_sets OPTIONS... CONFIG...
list_sets() {
  local found
  found=$(steps/list_sets.py --data "$data" "$@")
  names=()
  if [ -n "$found" ]; then mapfile -t names <<<"$found"; fi
}

if runs 0; then
  say "stage 0: corpus -> $data/manifests"
  prepare_corpus "$data/manifests"
fi

if runs 1; then
  say "stage 1: manifests -> data directories $data/<set>"
  steps/make_data_dirs.py --sets "$sets" "$data/manifests" "$data"
fi

if runs 2; then
  say "stage 2: features and voice activity, $nj jobs"
  # of the other experiments too, as far as their corpora were given: they can be trained later from stage 3
  list_sets "${configs[@]}" --if-made "$conf"/*.yaml
  # Features of an earlier run are made again, and until that is done none may point into half-written archives.
  for name in "${names[@]}"; do
    rm -f "$data/$name"/{feats.scp,vad.scp,utt2num_frames,cmvn.scp}
  done
  lock "$data/_pool"
  utils/combine_data.py --skip-files "feats.scp vad.scp utt2num_frames cmvn.scp" "$data/_pool" "${names[@]/#/$data/}"
  foreground steps/make_fbank.sh --nj "$nj" --cmd "$extract_cmd" --fbank-config "$fbank_config" --vad-config "$vad_config" \
    --allow-pipes "$allow_pipes" "$data/_pool" || fail_with "$data"/_pool/log/make_fbank.*.log
  steps/copy_features.py "$data/_pool" "${names[@]/#/$data/}"
fi

for config in "${configs[@]}"; do
  name=$(basename "$config" .yaml)
  dir=$exp/$name
  logs=$(realpath -m "$dir")/log
  lock "$dir"
  if runs 3; then
    say "stage 3: train $name, log in $logs/train.log"
    run_job "$train_cmd" "$dir/log/train.log" steps/train.py --device "$device" --num-procs "$num_procs" \
      --hang-timeout "$hang_timeout" --allow-pipes "$allow_pipes" --overwrite "$overwrite" "$config" "$data" "$dir"
  fi
  if runs 4; then
    say "stage 4: score $name, log in $logs/score.log"
    list_sets --role "dev tests" "$config"
    if [ ${#names[@]} -gt 0 ]; then
      run_job "$score_cmd" "$dir/log/score.log" steps/score.py --device "$device" --allow-pipes "$allow_pipes" \
        --overwrite "$overwrite" "$dir" "$data" "${names[@]}"
      run_job "$score_cmd" "$dir/log/score_nonspeech.log" steps/score_nonspeech.py --device "$device" \
        --allow-pipes "$allow_pipes" --overwrite "$overwrite" "$dir" "$data" "${names[@]}"
    fi
  fi
  if runs 5; then
    say "stage 5: latents and plots of $name, log in $logs/latents.log"
    list_sets --role "train tests" "$config"
    run_job "$score_cmd" "$dir/log/latents.log" steps/analyse_latents.py --device "$device" \
      --allow-pipes "$allow_pipes" --overwrite "$overwrite" --tsne-frames "$tsne_frames" "$dir" "$data" "${names[@]}"
    list_sets --role plots "$config"
    each="${names[*]}"
    list_sets --role tests "$config"
    run_job "$score_cmd" "$dir/log/plot.log" steps/plot.py --overwrite "$overwrite" \
      --tsne-frames "$tsne_frames" --each "$each" "$dir" "${names[@]}"
    if [ ${#names[@]} -gt 0 ]; then
      run_job "$score_cmd" "$dir/log/proficiency.log" steps/score_proficiency.py --overwrite "$overwrite" \
        --expected "$expected_scores" "$dir" "$data" "${names[@]}"
    fi
  fi
done

if runs 6; then
  say "stage 6: report"
  reference=()
  if [ -f reference.yaml ]; then reference=(--reference reference.yaml); fi
  steps/make_report.py --command "$command_line" "${reference[@]}" "$exp"
fi
say "done in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
