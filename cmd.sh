# shellcheck shell=bash
# Which program runs jobs. utils/run.py runs them on this machine. On a cluster, name Kaldi's slurm.pl or queue.pl
# instead, with what a job needs: they take the same options before JOB=1:N, the log and the command, as in
#   train_cmd="/path/to/kaldi/egs/wsj/s5/utils/parallel/slurm.pl --mem 8G --gpu 1 --config conf/slurm.conf"
# run.sh's --num-procs trains in several processes of one machine; give the job as many GPUs. For several machines that
# share these directories, name a program of yours that takes a log and a command, and gives the command to torchrun:
#   log=$1; shift; mkdir -p "$(dirname "$log")"
#   srun --nodes 2 --ntasks-per-node 1 torchrun --nnodes 2 --nproc-per-node 4 --max-restarts 3 \
#     --rdzv-backend c10d --rdzv-endpoint "$(hostname):29400" "$@" >"$log" 2>&1
export extract_cmd="utils/run.py"   # feature extraction: many short jobs on CPUs
export train_cmd="utils/run.py"     # training: one long job per experiment
export score_cmd="utils/run.py"     # scoring and latents: several jobs per experiment
