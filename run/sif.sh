#!/usr/bin/env bash
# Refuse an Apptainer image that was made of other code than what lies here; print the hash of one that was not:
#
#   run/sif.sh FILE
#
# Neither Apptainer nor MLCube makes an image again that is there. Compared is what it holds, file by file: the package,
# and the lock that it was installed from. So it needs no git, and what is not committed counts.
set -euo pipefail

fail() {
    echo "run/sif.sh: $*" >&2
    exit 2
}

[ $# -eq 1 ] || fail "give FILE; got $# arguments"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=$(command -v apptainer || command -v singularity) || fail "neither apptainer nor singularity is installed"
[ -f "$1" ] || fail "$1 is not there"

list="find emdenoise -type f ! -name '*.pyc' ! -name '.*' -exec sha256sum {} +"
said=$("$program" exec --cleanenv --containall "$1" sh -c "
    cd /opt/emdenoise/lib/python3*/site-packages && $list && cat /usr/share/doc/emdenoise/requirements.txt | sha256sum
" 2>&1 </dev/null) ||
    fail "$(basename "$program") cannot look into $1: $(sed -E 's/\x1b\[[0-9;]*m//g' <<<"$said" | grep . | tail -n 1)"
inside=$(grep -E '^\w{64} ' <<<"$said" | LC_ALL=C sort)
# It was installed from one of the locks; of the package it has every file, and no other.
here_is=$(cd "$here" && sh -c "$list" && sha256sum <requirements.txt && sha256sum <build/requirements.gpu.txt)
other=$(comm -3 <(LC_ALL=C sort <<<"$here_is") <(echo "$inside") | grep -o 'emdenoise/.*' | head -n 1 || true)
grep -qF "$(grep -- '-$' <<<"$inside")" <<<"$here_is" || other=requirements.txt
[ -z "$other" ] || fail "$1 was made of other code than what lies here: $other differs;" \
    "delete it and make it again of the Docker image (make image), or use one of this code"
sha256sum "$1" | sed -E 's/^\\?(\w+).*/sha256:\1/'
