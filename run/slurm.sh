#!/usr/bin/env bash
# Submit a whole run as two jobs of Slurm: download and preprocess on a node without GPUs, then train and test.
#
#   run/slurm.sh [WORKSPACE [PARAMETERS_FILE]]
#   CPU_OPTIONS="--partition=cpu" GPU_OPTIONS="--partition=gpu --gpus=1 --time=02:00:00" run/slurm.sh
#
# Environment: SBATCH_ACCOUNT and what else sbatch reads; EMDENOISE or SIF, see run/slurm.sbatch. The second job starts
# if the first one succeeds; if that fails, it is cancelled. Prints the numbers of both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v sbatch >/dev/null || { echo "run/slurm.sh: sbatch is not installed; run this on a login node" >&2; exit 2; }
[ $# -le 2 ] || { echo "run/slurm.sh: give [WORKSPACE [PARAMETERS_FILE]]; got $# arguments" >&2; exit 2; }

read -r -a cpu_options <<<"${CPU_OPTIONS:-}"
read -r -a gpu_options <<<"${GPU_OPTIONS:-}"
first=$(sbatch --parsable "${cpu_options[@]}" run/slurm.sbatch download,preprocess "$@")
echo "download,preprocess ${first%%;*}"
second=$(sbatch --parsable --dependency="afterok:${first%%;*}" --kill-on-invalid-dep=yes "${gpu_options[@]}" \
    run/slurm.sbatch train,test "$@")
echo "train,test ${second%%;*}"
