# shellcheck shell=bash
# Where jobs run: local (this machine), slurm, or grid (Grid Engine). What a site wants besides, such as a partition or
# an account, is in a conf file outside the recipes: utils/README.md has an example.
cmd_backend=${FLOWLID_CMD_BACKEND:-local}

case $cmd_backend in
  local) __program=utils/run.py ;;
  slurm) __program=utils/slurm.py ;;
  grid) __program=utils/gridengine.py ;;
  *)
    echo "cmd.sh: cmd_backend is '$cmd_backend'; choose local, slurm or grid" >&2
    exit 1
    ;;
esac
# run.sh adds what a job needs (--gpu, --num-threads, ...); what only one kind of job needs can follow the program here.
export extract_cmd="$__program"   # feature extraction and packing: many jobs on CPUs
export train_cmd="$__program --requeue 10"   # training: one long job per experiment; it goes on from what it saved
export score_cmd="$__program"     # scoring and latents: several jobs per experiment
unset __program
