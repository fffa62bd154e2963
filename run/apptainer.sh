#!/usr/bin/env bash
# Run tasks of the benchmark in Apptainer (or SingularityCE):
#
#   run/apptainer.sh [--nv] TASK[,TASK…] [WORKSPACE [PARAMETERS_FILE]]
#   run/apptainer.sh download,preprocess,train,test workspace workspace/parameters/smoke.parameters.yaml
#
# A TASK may bring options of its own: 'simulate-part --part=3 --num_parts=40'. --nv gives it the NVIDIA GPUs.
# Environment: SIF (emdenoise.sif in this folder, made of the Docker image at the first run; build/apptainer.def says what
# else it can be made of). One of other code is refused. Nothing of the caller's but the workspace and the folder of the
# parameters file is seen inside. Stops at the first task that fails, with its exit code.
set -euo pipefail

fail() {
    echo "run/apptainer.sh: $*" >&2
    exit 2
}

options=(--cleanenv --containall)
if [ "${1:-}" = --nv ]; then
    options+=(--nv)
    shift
fi
[ $# -ge 1 ] && [ $# -le 3 ] || fail "give [--nv] TASK[,TASK…] [WORKSPACE [PARAMETERS_FILE]]; got $# arguments"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sif=${SIF:-$here/emdenoise.sif}
workspace=${2:-$here/workspace}
parameters=${3:-$here/workspace/parameters/default.parameters.yaml}

program=$(command -v apptainer || command -v singularity) || fail "neither apptainer nor singularity is installed"
[ -f "$parameters" ] || fail "the parameters file $parameters is not there"
mkdir -p "$workspace" || fail "the workspace $workspace cannot be made"
workspace=$(cd "$workspace" && pwd)
folder=$(cd "$(dirname "$parameters")" && pwd)
[[ $workspace$folder != *[:,]* ]] || fail "Apptainer takes no folder with : or , in its name: $workspace, $folder"
[ -f "$sif" ] || "$program" build "$sif" "$here/build/apptainer.def" || fail "$sif cannot be built; give SIF=FILE"

image=$("$here/run/sif.sh" "$sif")

options+=(--env "EMDENOISE_IMAGE=$image")
options+=(--bind "$workspace:/emdenoise/workspace" --bind "$folder:/emdenoise/parameters:ro" --pwd /emdenoise)
# Which of several processes this one is; nothing else of the caller's environment.
for name in TF_CONFIG "${!SLURM_@}"; do
    [ -z "${!name:-}" ] || export "$(basename "${program^^}")ENV_$name=${!name}"
done
IFS=, read -r -a tasks <<<"$1"
for number in "${!tasks[@]}"; do
    read -r -a task <<<"${tasks[number]}"
    # The last task takes the place of this script, and hears what signals it gets.
    last=()
    [ $((number + 1)) -lt ${#tasks[@]} ] || last=(exec)
    "${last[@]}" "$program" run "${options[@]}" "$sif" "${task[@]}" --parameters_file="/emdenoise/parameters/$(basename "$parameters")"
done
