#!/usr/bin/env bash
# Make a folder to carry to a site without internet, where its install.sh installs the benchmark:
#
#   build/bundle.sh [WAY[,WAY…] [FOLDER [WORKSPACE]]]
#   build/bundle.sh bare,apptainer /media/stick/emdenoise workspace
#
# WAYs are bare (the Python packages), mlcube (those of MLCube), docker (an archive of the image) and apptainer (a SIF);
# all of them, and dist/bundle, if nothing is said. The commit goes along, and the raw data of WORKSPACE; graphene needs
# none. Environment: PYTHON (.venv/bin/python), whose version and machine the packages are for; SIF, one that is there.
set -euo pipefail

fail() {
    echo "build/bundle.sh: $*" >&2
    exit 2
}

[ $# -le 3 ] || fail "give [WAY[,WAY…] [FOLDER [WORKSPACE]]]; got $# arguments"
IFS=, read -r -a ways <<<"${1:-bare,mlcube,docker,apptainer}"
for way in "${ways[@]}"; do
    [[ " bare mlcube docker apptainer " == *" $way "* ]] || fail "$way is no way; known are bare, mlcube, docker, apptainer"
done
folder=$(realpath -m "${2:-$(dirname "${BASH_SOURCE[0]}")/../dist/bundle}")
raw_data=${3:+$(realpath -m "$3")/raw_data}
sif=${SIF:+$(realpath -m "$SIF")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
[ ! -e "$folder" ] || fail "$folder is there already; remove it, or give another folder"
[ -z "$raw_data" ] || [ -d "$raw_data" ] || fail "$raw_data is not there; run the download task first"
[ -z "$(git status --porcelain)" ] || fail "a bundle is made of a commit, and files differ from it; see: git status"
[[ ${ways[*]} != *apptainer* ]] || command -v apptainer >/dev/null || fail "apptainer is not installed; leave that way out"
if [[ ${ways[*]} == *docker* || (${ways[*]} == *apptainer* && -z $sif) ]]; then
    command -v docker >/dev/null || fail "docker is not installed; leave that way out, or give SIF=FILE"
    make image
fi

pack() { # pack NAME LOCK…
    local name=$1 lock
    shift
    for lock in "$@"; do
        "$python" -m pip download -qq --disable-pip-version-check --no-deps --no-build-isolation --require-hashes \
            --dest "$folder/$name" --requirement "$lock"
    done
    "$python" -c 'import sys, sysconfig; print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())' \
        >"$folder/$name/python"
}

trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
for way in "${ways[@]}"; do
    case $way in
        bare) pack bare build/requirements.build.txt requirements.txt ;;
        mlcube) pack mlcube build/requirements.build.txt build/requirements.mlcube.txt ;;
        docker) docker save emdenoise:latest | gzip --fast --no-name >"$folder/emdenoise.tar.gz" ;;
        apptainer)
            [ -n "$sif" ] || apptainer build "$folder/emdenoise.sif" build/apptainer.def
            [ -z "$sif" ] || cp "$sif" "$folder/emdenoise.sif"
            run/sif.sh "$folder/emdenoise.sif" >/dev/null
            ;;
    esac
done
[ -z "$raw_data" ] || cp -r "$raw_data" "$folder/raw_data"
git bundle create --quiet "$folder/emdenoise.gitbundle" HEAD
cp build/install.sh "$folder"
(cd "$folder" && find . -type f ! -name SHA256SUMS -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS)
trap - EXIT
echo "The bundle is $folder ($(du -sh "$folder" | cut -f 1)). The hash of its list of hashes, to compare where it arrives:"
sha256sum "$folder/SHA256SUMS" | cut -d " " -f 1
