#!/usr/bin/env bash
# The extensions read and write only what is theirs, and no operation of theirs is undefined in C: AddressSanitizer and
# UndefinedBehaviorSanitizer watch them, with bounds checks and assertions on, under the ground-floor tests and every golden file.
#
#   tests/robustness/sanitizers.sh [pytest arguments]      PYTHON=python3: one with mcbits' dependencies and Cython
set -euo pipefail
PYTHON=$(command -v "${PYTHON:-python3}")
CC=${CC:-gcc}
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tar -C "$root" --exclude=.git --exclude=.venv --exclude=build --exclude='*.so' --exclude='*.c' -cf - . | tar -C "$scratch" -xf -
cd "$scratch"
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
CC=$CC CFLAGS="$sanitize" LDFLAGS="$sanitize" MCBITS_CYTHON_DEBUG=1 "$PYTHON" setup.py -q build_ext --inplace

export LD_PRELOAD="$($CC -print-file-name=libasan.so) $($CC -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# Objects from malloc, so that what overruns an array is seen; one thread of BLAS, which is not what is tested.
export PYTHONMALLOC=malloc PYTHONPATH=$scratch OMP_NUM_THREADS=1
if [ $# -eq 0 ]; then
    set -- tests/test_numerics.py tests/test_rans.py tests/test_distributions.py tests/test_coders.py tests/test_container.py tests/test_wide.py
fi
"$PYTHON" -m pytest -q -p no:cacheprovider "$@"
"$PYTHON" tests/golden/corpus.py
