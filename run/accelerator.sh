#!/usr/bin/env bash
# Measure what a GPU does with the networks, in JAX, without TensorFlow and without a network; ten minutes at most:
#
#   run/accelerator.sh OUT_DIR [WHEEL_DIR [OPTION…]]
#   run/accelerator.sh results wheels --small
#
# Everything found goes into OUT_DIR/accelerator.json, which is written anew after every part. WHEEL_DIR holds what the
# machine's Python lacks, from build/requirements.accelerator.txt (docs/benchmark/performance.md says how to get it); the
# wheels are installed in a temporary folder. OPTIONs are those of benchmarks/accelerator.py: --small for a rehearsal on
# any machine, --parts=NAME,… for some parts. Environment: PYTHON (python3).
set -euo pipefail

fail() {
    echo "run/accelerator.sh: $*" >&2
    exit 2
}

[ $# -ge 1 ] || fail "give OUT_DIR [WHEEL_DIR [OPTION…]]; got no arguments"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
out=$1 wheels=${2:-}
shift $(($# < 2 ? $# : 2))
command -v "$python" >/dev/null || fail "$python is not installed; set PYTHON to one that has JAX"

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if [ -n "$wheels" ]; then
    compgen -G "$wheels/*.whl" >/dev/null || fail "$wheels holds no wheels; fill it from build/requirements.accelerator.txt"
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --root-user-action=ignore \
        --target "$site" "$wheels"/*.whl
fi
PYTHONPATH=$here:$site PYTHONUNBUFFERED=1 KERAS_BACKEND=jax "$python" "$here/benchmarks/accelerator.py" "$out" "$@"
