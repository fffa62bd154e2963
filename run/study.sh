#!/usr/bin/env bash
# Do a study, or a part of it, on this machine or in Apptainer:
#
#   run/study.sh PART [STUDY_FILE [STUDY_DIR]]
#   run/study.sh all workspace/parameters/labels.study.yaml workspace/study
#
# PART is what `emdenoise study --part` takes: all, images, a run by its name, or list. Environment: EMDENOISE (the
# command, see run/bare.sh), or SIF (an Apptainer image; SIF_OPTIONS=--nv gives it the NVIDIA GPUs). Each part has its
# log in STUDY_DIR/logs. As jobs of Slurm: run/slurm_study.sh.
set -euo pipefail

fail() {
    echo "run/study.sh: $*" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 3 ] || fail "give PART [STUDY_FILE [STUDY_DIR]]; got $# arguments"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
file=${2:-$here/workspace/parameters/labels.study.yaml}
folder=${3:-$here/workspace/study}
log=logs/$1

if [ -z "${SIF:-}" ]; then
    command=emdenoise
    [ ! -x "$here/.venv/bin/emdenoise" ] || command=$here/.venv/bin/emdenoise
    command=${EMDENOISE:-$command}
    command -v "$command" >/dev/null || fail "$command is not installed; make it with: make setup"
    exec "$command" study --part="$1" --study_file="$file" --study_dir="$folder" --log_dir="$folder/$log"
fi

program=$(command -v apptainer || command -v singularity) || fail "neither apptainer nor singularity is installed"
[ -f "$SIF" ] || fail "the image $SIF is not there; run/apptainer.sh makes one"
[ -f "$file" ] || fail "the study file $file is not there"
mkdir -p "$folder" || fail "the folder $folder cannot be made"
folder=$(cd "$folder" && pwd)
parameters=$(cd "$(dirname "$file")" && pwd)
read -r -a options <<<"--cleanenv --containall ${SIF_OPTIONS:-}"
image=$("$here/run/sif.sh" "$SIF")
options+=(--env "EMDENOISE_IMAGE=$image")
options+=(--bind "$folder:/emdenoise/study" --bind "$parameters:/emdenoise/parameters:ro" --pwd /emdenoise)
exec "$program" run "${options[@]}" "$SIF" study --part="$1" --study_file="/emdenoise/parameters/$(basename "$file")" \
    --study_dir=study --log_dir="study/$log"
