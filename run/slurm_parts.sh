#!/usr/bin/env bash
# Simulate the training images as an array of Slurm, one part in each element, and put them together by `download`:
#
#   run/slurm_parts.sh PARAMETERS_FILE WORKSPACE NUM_PARTS
#   CPU_OPTIONS="--partition=cpu --cpus-per-task=16 --time=00:30:00" run/slurm_parts.sh \
#       workspace/parameters/large.parameters.yaml workspace 40
#
# CPU_OPTIONS are those of all these jobs. Environment: SBATCH_ACCOUNT and what else sbatch reads; EMDENOISE or SIF, see
# run/slurm.sbatch. The download starts if every part succeeds. Give the same command again after a failure: a part that
# is there and right is not simulated again. Prints the numbers of both jobs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "run/slurm_parts.sh: $*" >&2
    exit 2
}

command -v sbatch >/dev/null || fail "sbatch is not installed; run this on a login node"
[ $# -eq 3 ] || fail "give PARAMETERS_FILE WORKSPACE NUM_PARTS; got $# arguments"
[[ $3 =~ ^[1-9][0-9]*$ ]] || fail "NUM_PARTS is $3; it must be a whole number from 1 on"

read -r -a cpu_options <<<"${CPU_OPTIONS:-}"
parts=$(sbatch --parsable --array="1-$3" "${cpu_options[@]}" run/slurm.sbatch "simulate-part --num_parts=$3" "$2" "$1")
echo "simulate-part ${parts%%;*}"
download=$(sbatch --parsable --dependency="afterok:${parts%%;*}" --kill-on-invalid-dep=yes "${cpu_options[@]}" \
    run/slurm.sbatch download "$2" "$1")
echo "download ${download%%;*}"
