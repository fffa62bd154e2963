#!/usr/bin/env bash
# Train in several processes on this machine, one for each GPU, without a container:
#
#   run/processes.sh NUMBER [WORKSPACE [PARAMETERS_FILE]]
#
# The parameters file says num_processes: NUMBER too, and download and preprocess were run before. Environment: EMDENOISE
# and KERAS_BACKEND, see run/bare.sh; PORT (29500; of the first process, the others have those that follow). On many
# machines: run/slurm.sbatch. The end of one process ends all, with its exit code.
set -euo pipefail

fail() {
    echo "run/processes.sh: $*" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 3 ] || fail "give NUMBER [WORKSPACE [PARAMETERS_FILE]]; got $# arguments"
[[ $1 =~ ^[1-9][0-9]*$ ]] || fail "NUMBER is $1; give how many processes"
number=$1 first_port=${PORT:-29500}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
IFS=, read -r -a gpus <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((number - 1)))}"

workers=$(for ((rank = 0; rank < number; rank++)); do printf '"127.0.0.1:%d",' $((first_port + rank)); done)
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$first_port JAX_NUM_PROCESSES=$number
pids=()
for ((rank = 0; rank < number; rank++)); do
    CUDA_VISIBLE_DEVICES=${gpus[rank]:-} JAX_PROCESS_ID=$rank \
        TF_CONFIG="{\"cluster\": {\"worker\": [${workers%,}]}, \"task\": {\"type\": \"worker\", \"index\": $rank}}" \
        "$here/run/bare.sh" train "${@:2}" &
    pids+=($!)
done

# A signal to this script is one to all of them; they keep the state of the training.
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT USR1
for ((ended = 0; ended < number; )); do
    code=0
    wait -n -p pid || code=$?
    [ -n "${pid:-}" ] || continue # a signal, and no end
    ended=$((ended + 1))
    if [ "$code" -ne 0 ]; then
        echo "run/processes.sh: a process ended with exit code $code, which ends the others" >&2
        sleep 2 # who is about to say why does so
        kill -KILL "${pids[@]}" 2>/dev/null || true
        exit "$code"
    fi
done
