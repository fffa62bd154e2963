#!/usr/bin/env bash
# Run tasks of the benchmark on this machine, without a container:
#
#   run/bare.sh TASK[,TASK…] [WORKSPACE [PARAMETERS_FILE]]
#   run/bare.sh download,preprocess,train,test workspace workspace/parameters/smoke.parameters.yaml
#
# A TASK may bring options of its own: 'simulate-part --part=3 --num_parts=40'.
# Environment: EMDENOISE (the command; .venv/bin/emdenoise of this folder if that is there, else emdenoise).
# Stops at the first task that fails, with its exit code.
set -euo pipefail

fail() {
    echo "run/bare.sh: $*" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 3 ] || fail "give TASK[,TASK…] [WORKSPACE [PARAMETERS_FILE]]; got $# arguments"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command=emdenoise
[ ! -x "$here/.venv/bin/emdenoise" ] || command=$here/.venv/bin/emdenoise
command=${EMDENOISE:-$command}
workspace=${2:-$here/workspace}
parameters=${3:-$here/workspace/parameters/default.parameters.yaml}
command -v "$command" >/dev/null || fail "$command is not installed; make it with: make setup"

IFS=, read -r -a tasks <<<"$1"
for number in "${!tasks[@]}"; do
    read -r -a task <<<"${tasks[number]}"
    case ${task[0]} in
        download | simulate-part) folders=(raw_data) ;;
        preprocess) folders=(raw_data data) ;;
        *) folders=(data model output) ;;
    esac
    options=()
    for folder in "${folders[@]}"; do
        options+=("--${folder}_dir=$workspace/$folder")
    done
    # The last task takes the place of this script, and hears what signals it gets.
    last=()
    [ $((number + 1)) -lt ${#tasks[@]} ] || last=(exec)
    "${last[@]}" "$command" "${task[@]}" --parameters_file="$parameters" "${options[@]}" --log_dir="$workspace/logs"
done
