# shellcheck shell=bash
# shellcheck disable=SC2034  # the stage machine reads the options
# English against Chinese, of celebrities: VoxCeleb and CN-Celeb.

# options begin
experiments=dnf_120             # names of conf/*.yaml to run ("a b"), or all
voxceleb1=                      # VoxCeleb1
voxceleb2=                      # VoxCeleb2 (AAC: needs ffmpeg)
cnceleb1=                       # CN-Celeb1; its evaluation part is the test
cnceleb2=                       # CN-Celeb2
wsj=                            # WSJ0 and WSJ1: one directory, or several ("/ldc/csr_1 /ldc/csr_2")
ce=                             # English of Chinese speakers: a table (see ../table/README.md) or a tree
je=                             # UME-ERJ: one directory, or its volumes ("/erj/1 /erj/2 /erj/3")
hours=50                        # of each part of VoxCeleb and CN-Celeb, and of WSJ's training speech; 0: all
channel=                        # of ce's files with several, where its table names none: 0, 1, ..., or mix
check_counts=false              # stop where a corpus has other counts than the published one
allow_pipes=true                # sph2pipe and ffmpeg decode what libsndfile cannot
# options end
. local/prepare_corpora.sh

settle_options() { check_places voxceleb1,voxceleb2 cnceleb1; }
prepare_corpus() { prepare_corpora "$1"; } # MANIFESTS
