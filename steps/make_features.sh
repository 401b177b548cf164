#!/usr/bin/env bash
# Features and voice activity of several data directories, each utterance once, in one pool.
set -euo pipefail

# options begin
nj=4                           # parallel jobs
cmd=utils/run.py               # how jobs are run
fbank_config=conf/fbank.conf   # options of compute-fbank-feats
vad_config=conf/vad.conf       # options of compute-vad
allow_pipes=false              # run commands in wav.scp
overwrite=false                # extract features again that are up to date
max_bad=0.05                   # share of the utterances that may be unusable
# options end

help_message="Usage: $0 [options] <data> <set>...
Pools the data directories <data>/<set> in <data>/_pool, makes the pool's features unless they are up to date, and gives
each directory those of its utterances, and its speakers' statistics.
Options: --nj $nj, --cmd $cmd, --fbank-config $fbank_config, --vad-config $vad_config,
  --allow-pipes $allow_pipes, --overwrite $overwrite, --max-bad $max_bad
Example: $0 --nj 8 data train dev test"
. ./path.sh
. utils/parse_options.sh
. utils/foreground.sh
if [ $# -lt 2 ]; then
  echo "$help_message" >&2
  exit 1
fi
trap 'end_foreground; exit 129' HUP
trap 'end_foreground; exit 130' INT
trap 'end_foreground; exit 143' TERM
data=$1 pool=$1/_pool stamp=$1/_pool/.made
shift
features=(feats.scp vad.scp utt2num_frames cmvn.scp)

# Digest of all that features are made from: options, programs, tables, and the sizes and times of the audio files.
inputs() {
  steps/digest_feature_inputs.py --allow-pipes "$allow_pipes" "$fbank_config" "$vad_config" "$pool" "${@/#/$data/}"
}

outputs() {
  stat -c '%n %s %y' "$pool"/{feats.scp,vad.scp,utt2num_frames} "$pool"/fbank/*/*.ark 2>&1 | sha256sum
}

mapfile -t sets < <(printf '%s\n' "$@" | LC_ALL=C sort -u)
wanted=$(inputs "${sets[@]}")
if [ "$overwrite" = false ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted $(outputs)" ]; then
  echo "features: up to date"
else
  # until all is made no scp file may point into archives that are written anew
  rm -f "$stamp"
  if [ "$overwrite" = true ]; then rm -f "$pool"/fbank/*/done.json; fi
  for name in "${sets[@]}"; do rm -f "${features[@]/#/$data/$name/}"; done
  utils/combine_data.py --skip-files "${features[*]}" "$pool" "${sets[@]/#/$data/}"
  foreground steps/make_fbank.sh --nj "$nj" --cmd "$cmd" --fbank-config "$fbank_config" --vad-config "$vad_config" \
    --allow-pipes "$allow_pipes" --max-bad "$max_bad" "$pool"
  if [ "${foreground_status:?}" -ne 0 ]; then exit 1; fi
  echo "$wanted $(outputs)" >"$stamp.new"
  mv "$stamp.new" "$stamp"
fi
without=()
for name in "${sets[@]}"; do
  if [ ! -f "$data/$name/feats.scp" ]; then without+=("$data/$name"); fi   # it is what copy_features.py writes last
done
if [ ${#without[@]} -gt 0 ]; then steps/copy_features.py --max-bad "$max_bad" "$pool" "${without[@]}"; fi
