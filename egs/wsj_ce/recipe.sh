# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# Native English against English of Chinese speakers: the notebook's experiments 1, 2 and 3.

# options begin
experiments="dnf_120 dnf_440_c400 dnf_440"   # names of conf/*.yaml to run, or all
wsj=                            # WSJ0 and WSJ1: one directory, or several ("/ldc/csr_1 /ldc/csr_2")
ce=                             # English of Chinese speakers: a table (see ../table/README.md) or a tree
je=                             # UME-ERJ: one directory, or its volumes ("/erj/1 /erj/2 /erj/3")
timit=                          # TIMIT
voxceleb1=                      # VoxCeleb1
voxceleb2=                      # VoxCeleb2 (AAC: needs ffmpeg)
hours=50                        # of WSJ's training speech, and of each part of VoxCeleb
channel=                        # of ce's files with several, where its table names none: 0, 1, ..., or mix
check_counts=false              # stop where a corpus has other counts than the published one
allow_pipes=true                # sph2pipe and ffmpeg decode what libsndfile cannot
# options end
. local/prepare_corpora.sh

settle_options() { check_places wsj ce; }
prepare_corpus() { prepare_corpora "$1"; } # MANIFESTS
