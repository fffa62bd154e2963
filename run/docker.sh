#!/usr/bin/env bash
# Run tasks of the benchmark in Docker or Podman, without MLCube:
#
#   run/docker.sh TASK[,TASK…] [WORKSPACE [PARAMETERS_FILE]]
#   run/docker.sh download,preprocess,train,test workspace workspace/parameters/smoke.parameters.yaml
#
# Environment: ENGINE (docker), IMAGE (emdenoise), GPUS (none; "all" or what the engine's --gpus takes).
# The files are the caller's. The container has no network, but for a download from a remote source; a file system
# that only the workspace and /tmp can be written in; no capabilities. Stops at the first task that fails, with its
# exit code. An engine that only root may use: ENGINE="sudo docker".
set -euo pipefail

fail() {
    echo "run/docker.sh: $*" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 3 ] || fail "give TASK[,TASK…] [WORKSPACE [PARAMETERS_FILE]]; got $# arguments"
read -r -a engine <<<"${ENGINE:-docker}"
image=${IMAGE:-emdenoise}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
workspace=${2:-$here/workspace}
parameters=${3:-$here/workspace/parameters/default.parameters.yaml}

command -v "${engine[0]}" >/dev/null || fail "${engine[0]} is not installed; set ENGINE to docker or podman"
id=$("${engine[@]}" image inspect --format '{{.Id}}' "$image" 2>/dev/null) ||
    fail "${engine[*]} has no image $image, or may not be used; make it with: make image, or see: ${engine[*]} info"
[ -f "$parameters" ] || fail "the parameters file $parameters is not there"
mkdir -p "$workspace" || fail "the workspace $workspace cannot be made"
workspace=$(cd "$workspace" && pwd)
folder=$(cd "$(dirname "$parameters")" && pwd)

options=(
    --rm --user "$(id -u):$(id -g)" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges
    --volume "$workspace:/emdenoise/workspace" --volume "$folder:/emdenoise/parameters:ro" --workdir /emdenoise
    --env "EMDENOISE_IMAGE=sha256:${id#sha256:}"
)
if [[ ${engine[-1]} == *podman ]]; then
    # Rootless Podman makes the caller root inside unless told; and SELinux would hide the workspace.
    [ "$(id -u)" -eq 0 ] || options+=(--userns keep-id)
    options+=(--security-opt label=disable)
    [ -z "${GPUS:-}" ] || options+=(--device "nvidia.com/gpu=$GPUS")
elif [ -n "${GPUS:-}" ]; then
    options+=(--gpus "$GPUS")
fi
terminal=()
[ ! -t 1 ] || terminal=(--tty)

IFS=, read -r -a tasks <<<"$1"
for task in "${tasks[@]}"; do
    network=(--network none)
    # Which sources need a network the image knows; the default one needs none.
    if [ "$task" = download ] && grep -Eq '^[^#]*\<source:' "$parameters"; then
        sources=$("${engine[@]}" run "${options[@]}" --network none "$image" list sources) ||
            fail "the image $image does not list its sources; make it again with: make image"
        local_sources=$(awk '$2 == "no" { printf "%s%s", separator, $1; separator = "|" }' <<<"$sources")
        grep -Eq "^[^#]*\\<source: *[\"']?(${local_sources:-none})\\>" "$parameters" || network=()
    fi
    "${engine[@]}" run "${options[@]}" "${terminal[@]}" "${network[@]}" "$image" "$task" \
        --parameters_file="/emdenoise/parameters/$(basename "$parameters")"
done
