# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # options and names are the stage machine's
# How the jobs of each kind are started, and what they may use of this machine. To be sourced by run.sh.

# From the options and cmd.sh: how each kind of job is started, and how many experiments are side by side.
settle_jobs() {
  local name value
  for name in score_jobs nodes num_procs nj ${parallel:+parallel}; do
    value=${!name}
    if ! [[ $value =~ ^[1-9][0-9]*$ ]]; then fail "--${name//_/-} takes a number from 1 on, not '$value'"; fi
  done
  if [ -n "$gpus" ]; then settle_gpus; fi
  on_cluster=true
  if [ "${cmd_backend:-local}" = local ]; then on_cluster=false; fi
  if [ "$nodes" -gt 1 ] && [ "$on_cluster" = false ]; then fail "--nodes $nodes: this is one machine; a cluster is chosen in cmd.sh"; fi
  if [ "$nodes" -gt 1 ] && [ "${gpus:-0}" -eq 0 ] && [ "$num_procs" -gt 1 ]; then
    fail "--nodes $nodes without --gpus has one process on each node: leave out --num-procs $num_procs"
  fi
  if [ -z "$parallel" ]; then
    parallel=1
    if [ "$on_cluster" = true ]; then parallel=${#all[@]}; fi
  fi
  if [ "$parallel" -gt ${#all[@]} ]; then parallel=${#all[@]}; fi
  on_nodes=()
  if [ "$nodes" -gt 1 ]; then on_nodes=(--nodes "$nodes"); fi
  train_job="${train_cmd:?}${gpus:+ --gpu $gpus} ${on_nodes[*]}"   # trains
  flow_job="${score_cmd:?}${gpus:+ --gpu $((gpus > 0))}"           # passes frames through a flow
  cpu_job="$score_cmd --gpu 0"                                     # works on what these wrote
  extract_job="${extract_cmd:?} --gpu 0"                           # extracts features, and packs them
}

settle_gpus() {
  if ! [[ $gpus =~ ^[0-9]+$ ]]; then fail "--gpus takes a number, not '$gpus'"; fi
  if [ "$gpus" -eq 0 ]; then
    if [ "$device" = auto ]; then device=cpu; fi
  else
    if [ "$device" = auto ]; then device=cuda; fi
    if [ "$num_procs" -eq 1 ]; then num_procs=$gpus; fi
    if [ "$num_procs" -ne "$gpus" ]; then fail "--gpus $gpus has a process on each GPU: leave out --num-procs $num_procs"; fi
  fi
  if [[ $gpus-$device = 0-cuda* || $gpus-$device = [1-9]*-cpu ]]; then fail "--gpus $gpus does not go with --device $device; leave out one"; fi
}

# On one machine, experiments that are side by side share its GPUs, or else its processors.
take_share_of_machine() { # PLACE of --parallel
  local visible list own
  if [ "$on_cluster" = true ]; then return 0; fi
  if [ "${gpus:-0}" -eq 0 ]; then
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc) / parallel > 0 ? $(nproc) / parallel : 1))}
    return 0
  fi
  visible=${CUDA_VISIBLE_DEVICES-$(seq -s , 0 $(($(nvidia-smi -L 2>/dev/null | grep -c '^GPU ') - 1)))}
  IFS=, read -ra list <<<"$visible"
  own=("${list[@]:$1 * gpus:gpus}")
  if [ ${#own[@]} -ne "$gpus" ]; then
    fail "--parallel $parallel with --gpus $gpus needs $((parallel * gpus)) GPUs, and these are visible: ${visible:-none}"
  fi
  CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${own[*]}")
  export CUDA_VISIBLE_DEVICES
}
