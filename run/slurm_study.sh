#!/usr/bin/env bash
# Do a study as jobs of Slurm: the images once, then an array with one element for each run, then the comparison.
#
#   run/slurm_study.sh STUDY_FILE STUDY_DIR
#   CPU_OPTIONS="--partition=cpu" GPU_OPTIONS="--partition=gpu --gpus=1" run/slurm_study.sh \
#       workspace/parameters/labels.study.yaml workspace/study
#
# GPU_OPTIONS are those of the arrays. Environment: MAX_RUNS (how many runs at once; all), SBATCH_ACCOUNT and what else
# sbatch reads; EMDENOISE or SIF, see run/study.sh. Runs that would pretrain the same network as another one wait for
# that in a second array. The comparison starts if every run succeeds. Give the same command again after a failure:
# what is done already is not submitted. Prints the number of each job, its parts behind it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "run/slurm_study.sh: $*" >&2
    exit 2
}

command -v sbatch >/dev/null || fail "sbatch is not installed; run this on a login node"
[ $# -eq 2 ] || fail "give STUDY_FILE STUDY_DIR; got $# arguments"
read -r -a cpu_options <<<"${CPU_OPTIONS:-}"
read -r -a gpu_options <<<"${GPU_OPTIONS:-}"
runs=$(run/study.sh list "$@")
mapfile -t first < <(awk '$2 == "open" && $3 == "–" {print $1}' <<<"$runs")
mapfile -t second < <(awk '$2 == "open" && $3 != "–" {print $1}' <<<"$runs")

submit() { # submit NAME OPTION… -- ARGUMENT…
    local answer
    answer=$(sbatch --parsable --job-name="emdenoise-study-$1" --kill-on-invalid-dep=yes "${@:2}")
    job=${answer%%;*}
}

echo "$(head -n 1 <<<"$runs")"
# Two submissions of one study take turns: the images of the second wait for all jobs of the first.
study=$(basename "$2")
submit "$study" --dependency=singleton --output=emdenoise-study-%j.log "${cpu_options[@]}" run/slurm_study.sbatch "$@" images
echo "$job images"
ready=afterok:$job
needed=$ready
for wave in first second; do
    declare -n names=$wave
    [ ${#names[@]} -gt 0 ] || continue
    submit "$study" --dependency="$ready" --array="0-$((${#names[@]} - 1))${MAX_RUNS:+%$MAX_RUNS}" "${gpu_options[@]}" \
        run/slurm_study.sbatch "$@" "${names[@]}"
    echo "$job ${names[*]}"
    # A run of the second array says itself if the one that it waits for has failed.
    ready=afterany:$job
    needed+=,afterok:$job
done
submit "$study" --dependency="$needed" --output=emdenoise-study-%j.log "${cpu_options[@]}" run/slurm_study.sbatch "$@" all
echo "$job all"
