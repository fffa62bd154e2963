#!/usr/bin/env bash
# Install the benchmark from this folder, without a network:
#
#   ./install.sh WAY[,WAY…] FOLDER
#   ./install.sh bare,apptainer ~/emdenoise && cd ~/emdenoise && run/bare.sh download,preprocess,train,test
#
# FOLDER gets the project. WAYs: bare (into FOLDER/.venv; then run/bare.sh), mlcube (into FOLDER/.venv-mlcube), docker
# (docker load; then run/docker.sh), apptainer (FOLDER/emdenoise.sif; then run/apptainer.sh). What this folder lacks for a
# way, and any file that is damaged, missing or too many, is one line. Environment: PYTHON (python3), ENGINE (docker).
set -euo pipefail

fail() {
    echo "install.sh: $*" >&2
    exit 2
}

[ $# -eq 2 ] || fail "give WAY[,WAY…] FOLDER; got $# arguments"
IFS=, read -r -a ways <<<"$1"
folder=$(realpath -m "$2")
python=${PYTHON:-python3}
read -r -a engine <<<"${ENGINE:-docker}"
cd "$(dirname "${BASH_SOURCE[0]}")"
bundle=$PWD
has() { command -v "$1" >/dev/null || fail "$1 is not installed"; }

[ -f SHA256SUMS ] || fail "SHA256SUMS is missing; copy the bundle again"
! grep -qvE '^\w{64}  .' SHA256SUMS || fail "SHA256SUMS is damaged; copy the bundle again"
other=$(find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | comm -3 - <(cut -c 67- SHA256SUMS | LC_ALL=C sort) | head -n 1)
[ -z "$other" ] || fail "${other/#$'\t'} is $([[ $other == $'\t'* ]] && echo missing || echo "not in SHA256SUMS"); copy the bundle again"
other=$(sha256sum --check --quiet SHA256SUMS 2>/dev/null) || fail "${other%%: *} is damaged; copy the bundle again"

has git
[ ! -e "$folder" ] || fail "$folder is there already; remove it, or give another folder"
for way in "${ways[@]}"; do
    case $way in
        bare | mlcube)
            [ -d "$way" ] || fail "this bundle is not for $way; make one: build/bundle.sh $way"
            has "$python"
            found=$("$python" -c 'import sys, sysconfig; print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())')
            [ "$found" = "$(cat "$way/python")" ] ||
                fail "$python is $found; the packages of this bundle are for $(cat "$way/python"): set PYTHON, or use apptainer"
            "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv and pip; install them (python3-venv)"
            ;;
        docker)
            [ -f emdenoise.tar.gz ] || fail "this bundle is not for docker; make one: build/bundle.sh docker"
            has "${engine[0]}"
            ;;
        apptainer)
            [ -f emdenoise.sif ] || fail "this bundle is not for apptainer; make one: build/bundle.sh apptainer"
            ;;
        *) fail "$way is no way; known are bare, mlcube, docker, apptainer" ;;
    esac
done

install() { # install VENV PACKAGES LOCK…
    local venv=$1 packages=$bundle/$2 lock
    shift 2
    "$python" -m venv "$venv"
    for lock in "$@"; do
        pip "$venv" --require-hashes --find-links "$packages" --requirement "$lock"
    done
}

pip() { # pip VENV ARGUMENTS…
    local venv=$1
    shift
    # A file of settings might name places that only the packer's network has.
    PIP_CONFIG_FILE=/dev/null "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-cache-dir \
        --no-index --no-build-isolation "$@"
}

git -c advice.detachedHead=false clone --quiet emdenoise.gitbundle "$folder"
cd "$folder"
[ ! -d "$bundle/raw_data" ] || cp -r "$bundle/raw_data" workspace
for way in "${ways[@]}"; do
    case $way in
        bare)
            install .venv bare build/requirements.build.txt requirements.txt
            pip .venv --no-deps --editable .
            ;;
        mlcube) install .venv-mlcube mlcube build/requirements.build.txt build/requirements.mlcube.txt ;;
        docker) "${engine[@]}" load --quiet --input "$bundle/emdenoise.tar.gz" ;;
        apptainer)
            cp "$bundle/emdenoise.sif" .
            # Where MLCube looks for it.
            mkdir -p workspace/.image && ln -s ../../emdenoise.sif workspace/.image
            ;;
    esac
done
echo "Installed for ${ways[*]} in $folder, from the bundle $(sha256sum "$bundle/SHA256SUMS" | cut -d " " -f 1)"
