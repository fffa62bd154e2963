#!/usr/bin/env bash
# Pin every package with its hashes, for the images and for the virtual environments of the Makefile:
#
#   build/lock.sh [--upgrade]
#
# Needs uv (pip install uv). Without --upgrade the pins that still fit stay. No address of an index and no file of
# this machine gets into the locks. All of them agree: what two of them name has one version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Left to itself, uv takes TensorFlow 2.20 for the sake of a newer h5py.
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
printf '%s\n' 'tensorflow>=2.21' 'tensorflow-cpu>=2.21' >"$constraints"

lock() { # lock OUTPUT ARGUMENTS…
    local output=$1
    shift
    UV_CUSTOM_COMPILE_COMMAND=build/lock.sh uv --no-config pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --constraints "$constraints" \
        --output-file "$output" "$@"
}

# Tools that install the rest: some packages come as source only, and a build of its own environment has no hashes.
# mlcube wants pip < 24.1 (its omegaconf 2.1.0 has a version that newer ones refuse) and distutils of setuptools < 81.
lock build/requirements.build.txt "$@" - <<<$'pip==24.0\nsetuptools<81\nwheel\nhatchling\neditables'
lock build/requirements.mlcube.txt "$@" --constraints build/requirements.build.txt - \
    <<<$'mlcube==0.0.9\nmlcube-docker==0.0.9\nmlcube-singularity==0.0.9\nsetuptools'
lock requirements.txt "$@" --constraints build/requirements.build.txt --extra cpu pyproject.toml
lock build/requirements.dev.txt "$@" --constraints requirements.txt --extra cpu --group dev pyproject.toml
lock build/requirements.gpu.txt "$@" --constraints requirements.txt --extra gpu pyproject.toml
# ReFrame runs the command line of the benchmark and needs none of its packages: an environment of its own.
lock build/requirements.hpc.txt "$@" --constraints requirements.txt - <<<'reframe-hpc>=4.10'
# The site of the documentation reads the source and imports nothing of it.
lock build/requirements.site.txt "$@" --constraints requirements.txt - <<<$'mkdocs\nmkdocs-material\nmkdocstrings[python]'
