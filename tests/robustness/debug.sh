#!/usr/bin/env bash
# Runs a command in a copy of the checkout whose extensions have bounds checks and assertions; the checkout stays as it is.
#
#   tests/robustness/debug.sh [COMMAND ...]      the quick tests by default; PYTHON=python3: one with the test requirements
#
# CC, CFLAGS and LDFLAGS reach the compiler.
set -euo pipefail
PYTHON=$(command -v "${PYTHON:-python3}")
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

mkdir "$scratch/checkout"
tar -C "$root" --exclude=./.git --exclude=./.venv --exclude=./build --exclude='*.so' --exclude='*.c' -cf - . | tar -C "$scratch/checkout" -xf -
# Tests look for real data beside the checkout.
if [ -d "$root/../shared" ]; then
    ln -s "$(realpath "$root/../shared")" "$scratch/shared"
fi
cd "$scratch/checkout"
MCBITS_CYTHON_DEBUG=1 "$PYTHON" setup.py -q build_ext --inplace

export PYTHONPATH=$PWD
if [ $# -eq 0 ]; then
    set -- "$PYTHON" -m pytest -q -n 2 -p no:cacheprovider
fi
"$@"
