#!/usr/bin/env bash
# The stage machine of all recipes: corpus -> data directories -> features -> flows -> scores -> latents -> report.
# A recipe's run.sh is a link to it; it reads the recipe.sh beside the link. Bare, it runs the default recipe, egs/prompts.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
caller=$PWD   # where paths that a recipe asks for count from

# options begin
recipe=                         # recipe to run: a directory with a recipe.sh, or a name of egs/
stage=0                         # first stage to run: 0 corpus, 1 data directories, 2 features,
                                #   3 training, 4 scoring, 5 latents and plots, 6 report
stop_stage=6                    # last stage to run
experiments=                    # names of conf/*.yaml to run ("a b"), or all
conf=conf                       # directory of the experiments, one YAML file each
sets=sets.yaml                  # which recordings make which set (stage 1)
data=data                       # where data directories are
exp=exp                         # where models, scores and plots go
nj=$(env -u OMP_NUM_THREADS nproc)   # parallel jobs of feature extraction
fbank_config=                   # options of compute-fbank-feats; empty: fbank.conf of --conf, or of the recipe's conf
vad_config=                     # options of compute-vad; empty: vad.conf, likewise
expected_scores=                # test sets that should have human scores, or patterns: if not, the report says so
tsne_frames=1000                # most frames in one picture of t-SNE
parallel=                       # experiments side by side; empty: 1 on this machine, all on a cluster
score_jobs=1                    # jobs that share the scoring of an experiment
device=auto                     # of training and scoring: auto (a GPU if there is one), cpu, cuda
gpus=                           # GPUs of a training job, a process on each; scoring jobs have one. Empty: what --device finds
nodes=1                         # machines of a training job, each with --gpus or --num-procs; on a cluster
num_procs=1                     # processes that train together, each on a GPU of its own if there are any
hang_timeout=1800               # seconds without a sign of life after which such processes give up
save_minutes=10                 # minutes between two saves of a training's state within an epoch
overwrite=false                 # make again what is up to date, and replace models of other configurations or data
allow_pipes=false               # run commands in wav.scp or feats.scp
max_bad=0.05                    # share of a corpus's utterances that may be unusable (damaged, silent, ...)
# options end

. "$root/utils/console.sh"
. "$root/utils/foreground.sh"
. "$root/utils/foreign_sets.sh"
. "$root/utils/lock.sh"
. "$root/utils/parallel.sh"
. "$root/utils/resources.sh"
. "$root/utils/status.sh"

# What is being done, for whoever ends it; the same command continues after it.
doing='before the first stage'
interrupted() { # NUMBER OF THE SIGNAL
  local epoch=
  trap '' INT TERM HUP
  end_side_by_side
  end_foreground
  end_live_line
  if [ "$doing" = 'in stage 3' ]; then
    epoch=$(message_of "$dir/log/train.log" '^(going on after )?epoch ' | grep -oE 'epoch [0-9]+ of [0-9]+' || true)
  fi
  echo "run.sh: interrupted ${epoch:+after }${epoch:-$doing}; the same command continues" >&4
  exit $((128 + $1))
}
trap 'interrupted 1' HUP
trap 'interrupted 2' INT
trap 'interrupted 15' TERM

# The recipe: what --recipe names, else the directory of the link that was called.
recipe=$(dirname "${BASH_SOURCE[0]}")
if [ ! -f "$recipe/recipe.sh" ]; then recipe=$root/egs/prompts; fi
command_line=./run.sh   # as typed in the recipe's directory, for the report
action=run arguments=()
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --recipe)
      i=$((i + 1))
      recipe=${!i:-}
      ;;
    --status | --submit) action=${!i#--} ;;
    *) arguments+=("${!i}") ;;
  esac
done
if [ ${#arguments[@]} -gt 0 ]; then command_line+=$(printf ' %q' "${arguments[@]}"); fi
for directory in "$recipe" "$root/$recipe" "$root/egs/$recipe"; do
  if [ -f "$directory/recipe.sh" ]; then break; fi
done
if [ ! -f "$directory/recipe.sh" ]; then
  fail "no recipe ${recipe:-was named}: --recipe takes a directory with a recipe.sh, or one of $(
    cd "$root/egs" && echo */recipe.sh | sed 's:/recipe.sh::g')"
fi
recipe=$(cd "$directory" && pwd)
cd "$recipe"
# shellcheck source=egs/prompts/recipe.sh
. ./recipe.sh

set -- "${arguments[@]}"
. "$root/utils/recipe_options.sh"
for number in "$stage" "$stop_stage"; do
  if ! [[ $number =~ ^[0-6]$ ]]; then fail "stages are 0 to 6, not '$number'"; fi
done
runs() { [ "$stage" -le "${2:-$1}" ] && [ "$stop_stage" -ge "$1" ]; } # STAGE, or FIRST LAST: one of them

check_place_of() { # EXPERIMENT'S DIRECTORY: one that is not ours is not written to
  if [ -d "$1" ] && [ -n "$(ls -A "$1")" ] && [ -z "$(ls -Ad "$1"/{log,.run.lock,.train.lock,config.yaml,final.pt} 2>/dev/null)" ]; then
    fail "$(shown "$1") has files of something else than an experiment ($(find "$1" -mindepth 1 -printf '%f\n' -quit)); give another --exp, or call the experiment otherwise"
  fi
}

if [ "$experiments" = all ]; then experiments=$(cd "$conf" && echo *.yaml); fi
all=() configs=()   # experiments to run: their names, and their files
for name in $experiments; do
  name=${name%.yaml}
  if [ ! -f "$conf/$name.yaml" ]; then
    fail "no experiment $name: there is no $(shown "$conf/$name.yaml"); there are $(cd "$conf" && echo *.yaml)"
  fi
  all+=("$name") configs+=("$conf/$name.yaml")
done
if [ ${#configs[@]} -eq 0 ]; then fail "--experiments names nothing to run"; fi
. ./cmd.sh
settle_jobs
if declare -F settle_options >/dev/null; then settle_options; fi   # what a recipe checks, or derives from other options
fbank_config=${fbank_config:-$(options_of fbank.conf)}
vad_config=${vad_config:-$(options_of vad.conf)}

foreign=$(foreign_sets)
copies=$exp/_data
if [ "$action" != status ] && [ -n "$foreign" ] && [ ! -f "$data/sets.tsv" ] && [ "$stage" -le 1 ]; then
  fail "stage $stage would write into $(shown "$data"), which has data directories that it did not make ($(
    head -n 3 <<<"$foreign" | paste -sd ' ')); use them with --stage 2 (their sound) or 3 (their features), or give another --data"
fi
if runs 3 5; then
  for name in "${all[@]}"; do check_place_of "$exp/$name"; done
fi
case $action in
  status) show_status ;;
  submit) submit "${arguments[@]}" ;;
esac

# Before anything is written: stages 0 to 2 have the data for themselves, later ones share it. An experiment that is one
# of several side by side is locked where it begins.
if [ "$stage" -le 2 ]; then kind=alone; else kind=shared; fi
if [ -z "$foreign" ] || [ "$stage" -le 1 ]; then lock "$data" "$kind"; fi
if [ -n "$foreign" ]; then lock "$copies" "$kind"; fi
if runs 3 5 && [ "$parallel" -eq 1 ]; then
  for name in "${all[@]}"; do lock "$exp/$name" alone; done
fi

under_live_line environment "$root/.venv-setup.log" utils/setup_env.sh
if [ "${foreground_status:?}" -ne 0 ]; then exit 1; fi
stage_began=
. ./path.sh
began=$SECONDS
if [ "$stage" -le 2 ]; then refuse_living_jobs "$data" "$data/_pool" "$copies" "$copies/_pool"; fi

# The data sets of some experiments, into the array `names`: list_sets OPTIONS... CONFIG...
list_sets() {
  local found
  found=$(steps/list_sets.py --data "$data" "$@")
  names=()
  if [ -n "$found" ]; then mapfile -t names <<<"$found"; fi
}

make_corpus() {
  local log=$data/log/prepare.log
  logged 'stage 0  corpus' "$log" prepare_corpus "$data/manifests"
  tell "stage 0  corpus: $(count_corpus "$data/manifests")" "$log" "$log"
  tell_left_out "$data"/manifests/*left_out.tsv
  tell_bad "$log"
}

make_sets() {
  local log=$data/log/make_data_dirs.log
  logged 'stage 1  data directories' "$log" steps/make_data_dirs.py --sets "$sets" "$data/manifests" "$data"
  tell "stage 1  data directories: $(($(wc -l <"$data/sets.tsv") - 1)) sets" "$data/sets.tsv" "$log"
  if [ "$stop_stage" -eq 1 ]; then expand -t 24 "$data/sets.tsv"; fi
}

make_features() {
  local log=$data/log/features.log pool=$data/_pool frames what='' file
  for file in "$fbank_config" "$vad_config"; do
    if [ "$file" = "conf/$(basename "$file")" ] && [ "$(realpath -m "$conf")" != "$PWD/conf" ]; then
      echo "stage 2  there is no $(shown "$conf/$(basename "$file")"): options are those of $(shown "$file")"
    fi
  done
  # of the other experiments too, as far as their corpora were given: they can be trained later from stage 3
  list_sets "${configs[@]}" --if-made "$conf"/*.yaml
  logged 'stage 2  features' "$log" steps/make_features.sh --nj "$nj" --cmd "$extract_job" --overwrite "$overwrite" \
    --fbank-config "$fbank_config" --vad-config "$vad_config" --allow-pipes "$allow_pipes" --max-bad "$max_bad" "$data" "${names[@]}"
  frames=$(awk '{ frames += $2 } END { print frames }' "$pool/utt2num_frames")
  if grep -q '^features: up to date' "$log"; then what='; up to date'; fi
  tell "stage 2  features: $(grouped "$(wc -l <"$pool/utt2num_frames")") utterances, $(grouped "$frames") frames$what" "$log" "$log"
  tell_left_out "$pool/left_out.tsv"
  tell_bad "$log"
}

# The features of all experiments' sets, packed on CPUs before any training starts: else each would wait, holding GPUs.
pack() {
  local name packed=() log=$data/log/pack.JOB.log turn
  list_sets "${configs[@]}"
  for name in "${names[@]}"; do
    if [ -f "$data/$name/feats.scp" ]; then packed+=("$name"); fi   # what is missing is told by what needs it
  done
  if [ ${#packed[@]} -eq 0 ]; then return; fi
  exec {turn}>>"$data/.pack.lock"   # of runs that share the data
  flock "$turn"
  run_job 'stage 3  pack' "$extract_job JOB=1:$nj" "$log" steps/pack.py --part "JOB/$nj" --allow-pipes "$allow_pipes" \
    "$data" "${packed[@]}"
  exec {turn}>&-
  stage_began=
}

train() {
  local log=$dir/log/train.log result
  run_job "stage 3  train $name" "$train_job" "$log" steps/train.py --device "$device" --num-procs "$num_procs" \
    "${on_nodes[@]}" --hang-timeout "$hang_timeout" --save-minutes "$save_minutes" --allow-pipes "$allow_pipes" \
    --overwrite "$overwrite" "$config" "$data" "$dir"
  result=$(message_of "$log" '^epoch |^fitted |trained already' |
    sed 's/.*: trained already/trained already/; s/ nats [a-z]* frame//; s/ (LogP[^)]*)//; s/;.*//')
  tell "stage 3  train $name: $result" "$log" "$log"
}

# A step on the sets in `names`, which pass through the flow in so many jobs; their logs are added to `logs`.
run_parts() { # JOBS LABEL LOG PROGRAM OPTIONS...: and then the experiment, the data and the sets
  local jobs=$1 label=$2 log=$3 number
  shift 3
  if [ "$jobs" -eq 1 ]; then
    run_job "$label" "$flow_job" "$log.log" "$@" "$dir" "$data" "${names[@]}"
    logs+=("$log.log")
    return
  fi
  run_job "$label" "$flow_job JOB=1:$jobs" "$log.JOB.log" "$@" --part "JOB/$jobs" "$dir" "$data" "${names[@]}"
  for ((number = 1; number <= jobs; number++)); do logs+=("$log.$number.log"); done
}

fewer() { echo $(($1 < $2 ? $1 : $2)); } # NUMBER NUMBER

score() {
  local log=$dir/log logs=() dev train scored
  local options=(--device "$device" --allow-pipes "$allow_pipes" --overwrite "$overwrite")
  list_sets --role "dev tests" "$config"
  if [ ${#names[@]} -eq 0 ]; then
    echo "stage 4  score $name: it has no dev and no test sets"
    return
  fi
  scored=("${names[@]}")
  run_parts "$score_jobs" "stage 4  score $name" "$log/score" steps/score.py "${options[@]}"
  if [ "$score_jobs" -gt 1 ]; then
    run_job "stage 4  merge scores of $name" "$cpu_job" "$log/score.log" \
      steps/score.py --allow-pipes "$allow_pipes" --merge "$score_jobs" "$dir" "$data" "${names[@]}"
    logs+=("$log/score.log")
  fi
  run_parts "$(fewer "$score_jobs" ${#names[@]})" "stage 4  score non-speech of $name" "$log/score_nonspeech" \
    steps/score_nonspeech.py "${options[@]}"
  list_sets --role dev "$config"
  dev=${names[*]}
  list_sets --role train "$config"
  train=${names[*]}
  run_job "stage 4  calibrate $name" "$cpu_job" "$log/calibrate.log" steps/calibrate.py --overwrite "$overwrite" \
    --dev "$dev" "$dir" "$data" "$train" "${scored[@]}"
  list_sets --role background "$config"
  run_job "stage 4  open set of $name" "$cpu_job" "$log/openset.log" steps/fit_openset.py --overwrite "$overwrite" \
    --dev "$dev" --background "${names[0]:+$exp/${names[0]}}" "$dir" "$data" "$train" "${scored[@]}"
  run_job "stage 4  model directory of $name" "$cpu_job" "$log/export_model.log" steps/export_model.py \
    --overwrite "$overwrite" --readme README.md "$dir" "$data"
  tell "stage 4  score $name: ${#scored[@]} sets$(up_to_date ${#scored[@]} "$log/score.log")" \
    "$log/score.log" "${logs[@]}" "$log"/{calibrate,openset}.log
}

draw() {
  local log=$dir/log logs=() each state
  list_sets --role "train tests" "$config"
  run_parts "$(fewer "$score_jobs" ${#names[@]})" "stage 5  latents of $name" "$log/latents" steps/analyse_latents.py \
    --device "$device" --allow-pipes "$allow_pipes" --overwrite "$overwrite" --tsne-frames "$tsne_frames"
  state=$(up_to_date ${#names[@]} "${logs[@]}")
  list_sets --role plots "$config"
  each="${names[*]}"
  list_sets --role tests "$config"
  run_job "stage 5  plots of $name" "$cpu_job" "$log/plot.log" steps/plot.py --overwrite "$overwrite" \
    --tsne-frames "$tsne_frames" --each "$each" "$dir" "${names[@]}"
  if [ ${#names[@]} -gt 0 ]; then
    run_job "stage 5  proficiency of $name" "$cpu_job" "$log/proficiency.log" steps/score_proficiency.py \
      --overwrite "$overwrite" --expected "$expected_scores" "$dir" "$data" "${names[@]}"
  fi
  tell "stage 5  latents and plots of $name: $(find "$dir/plots" -name '*.png' | wc -l) pictures in $(
    shown "$dir/plots")$state" "$log/plot.log" "${logs[@]}" "$log"/{plot,proficiency}.log
}

report() {
  local log=$exp/log/report.log reference=()
  if [ -f reference.yaml ]; then reference=(--reference reference.yaml); fi
  logged 'stage 6  report' "$log" steps/make_report.py --command "$command_line" --without "${side_failed[*]}" \
    "${reference[@]}" "$exp"
  tell "stage 6  report: $(shown "$exp/report.html"), $(shown "$exp/RESULTS.md")${side_failed:+, without ${side_failed[*]}}" \
    "$log" "$log"
  echo
  sed '/ (make_report\.py:[0-9]*) /d' "$log"
}

do_stage() { # NUMBER FUNCTION
  if runs "$1"; then
    doing="in stage $1"
    "$2"
  fi
}

# The line that identifies recordings with one of the models, the first that decides and knows how to hear them.
tell_identify() {
  local model
  for name in "${whole[@]}"; do
    model=$exp/$name/model
    if [ -f "$model/model.json" ] && ! grep -q '^  type: nf$' "$exp/$name/config.yaml" &&
      grep -q '^  fbank\.num-mel-bins:' "$exp/$name/config.yaml"; then
      echo "to identify recordings: $(shown "$root/steps/identify.py") $(shown "$model") FILE..."
      return
    fi
  done
}

run_experiment() { # NAME [PLACE, if it is one of several side by side]
  name=$1 dir=$exp/$1 config=$conf/$1.yaml
  if [ $# -eq 2 ]; then
    lock "$dir" alone
    take_share_of_machine "$2"
  fi
  do_stage 3 train
  do_stage 4 score
  do_stage 5 draw
}

do_stage 0 make_corpus
do_stage 1 make_sets
if [ -n "$foreign" ] && runs 2 5; then copy_foreign_sets; fi
do_stage 2 make_features
do_stage 3 pack
split_by_background "${all[@]}"
if [ "$parallel" -gt 1 ] && runs 3 5; then
  doing='in stages 3 to 5'
  side_by_side "$parallel" run_experiment "${without[@]}"
  side_by_side "$parallel" run_experiment "${with[@]}"
elif runs 3 5; then
  for name in "${without[@]}" "${with[@]}"; do run_experiment "$name"; done
fi
mapfile -t whole < <(printf '%s\n' "${all[@]}" | grep -vxFf <(printf '%s\n' "${side_failed[@]}"))
if [ ${#whole[@]} -gt 0 ]; then
  if [ "$stop_stage" -eq 4 ] && runs 4; then
    echo
    steps/make_report.py --table-of "${whole[*]}" "$exp"
  fi
  do_stage 6 report
fi
if [ ${#side_failed[@]} -gt 0 ]; then fail "${#side_failed[@]} of ${#all[@]} experiments failed: ${side_failed[*]}"; fi
tell_identify
echo "done in $(lasted $((SECONDS - began)))"
