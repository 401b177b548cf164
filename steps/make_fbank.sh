#!/usr/bin/env bash
# Features and voice activity of a data directory, in parallel jobs.
set -euo pipefail

# options begin
nj=4                           # parallel jobs
cmd=utils/run.py               # how jobs are run
fbank_config=conf/fbank.conf   # options of compute-fbank-feats
vad_config=conf/vad.conf       # options of compute-vad
allow_pipes=false              # run commands in wav.scp
max_bad=0.05                   # share of the utterances that may be unusable
wait_file=20                   # seconds that files of other machines may be seen late
# options end

help_message="Usage: $0 [options] <data-dir>
Writes feats.scp, vad.scp and utt2num_frames into the directory, archives into <data-dir>/fbank.
Utterances that cannot be used are named in <data-dir>/left_out.tsv; more than the share --max-bad of them is an error.
Jobs that were finished are kept if nothing that they depend on has changed, with the same --nj; without
<data-dir>/fbank/*/done.json all are made again.
Options: --nj $nj, --cmd $cmd, --fbank-config $fbank_config, --vad-config $vad_config,
  --allow-pipes $allow_pipes, --max-bad $max_bad, --wait-file $wait_file
Example: $0 --nj 8 data/train"
echo "$0 $*"
. ./path.sh
. utils/parse_options.sh
. utils/foreground.sh
if [ $# -ne 1 ]; then
  echo "$help_message" >&2
  exit 1
fi
data=$1

for file in "$fbank_config" "$vad_config" "$data/utt2spk" "$data/wav.scp"; do
  if [ ! -f "$file" ]; then
    echo "$0: no file $file" >&2
    exit 1
  fi
done
utts=$(wc -l <"$data/utt2spk")
if [ "$nj" -gt "$utts" ]; then nj=$utts; fi

# the archives may be written again: no scp file may point into them meanwhile
rm -f "$data"/log/make_fbank.*.log "$data"/fbank/*/.feats.scp.*.tmp \
  "$data"/{feats.scp,vad.scp,utt2num_frames,cmvn.scp,left_out.tsv,channels.tsv}
for part in "$data"/fbank/*; do   # of a run with more jobs
  if [ -d "$part" ] && [ "${part##*/}" -gt "$nj" ]; then rm -rf "$part"; fi
done
utils/split_data.py --per-utt "$data" "$nj"
trap 'end_foreground; exit 129' HUP
trap 'end_foreground; exit 130' INT
trap 'end_foreground; exit 143' TERM
# How many utterances all jobs together have written, for the live line of run.sh (utils/console.sh).
show_progress() {
  local count began=$SECONDS looked pause=1
  while sleep "$pause"; do
    looked=$SECONDS
    count=$({ cat "$data"/fbank/*/{feats.scp,.feats.scp.*.tmp} 2>/dev/null || true; } | wc -l)
    if [ "$count" -gt 0 ]; then
      echo "$count $utts $(((SECONDS - began) * (utts - count) / count)) all jobs" >"$FLOWLID_PROGRESS"
    fi
    pause=$((1 + 10 * (SECONDS - looked)))   # millions of lines take a while: this machine has other work
  done
}
counter=
if [ -n "${FLOWLID_PROGRESS:-}" ]; then
  show_progress &
  counter=$!
fi
# shellcheck disable=SC2086  # $cmd holds a program and its options
foreground $cmd "JOB=1:$nj" "$data/log/make_fbank.JOB.log" \
  steps/compute_fbank.py --allow-pipes "$allow_pipes" "$fbank_config" "$vad_config" \
  "$data/split${nj}utt/JOB" "$data/fbank/JOB"
if [ -n "$counter" ]; then kill "$counter" || true; fi
if [ "${foreground_status:?}" -ne 0 ]; then exit 1; fi
awk '/ resampled [0-9]+ utterances /{n[$(NF-3)" to "$(NF-1)] += $(NF-6)} END{for (k in n) print "resampled " n[k] " utterances from " k " Hz"}' \
  "$data"/log/make_fbank.*.log >&2
steps/gather_fbank.py --max-bad "$max_bad" --wait-file "$wait_file" "$data" "$nj"
rm -rf "$data/split${nj}utt"
