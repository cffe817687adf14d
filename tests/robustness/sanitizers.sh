#!/usr/bin/env bash
# The extensions read and write only what is theirs, and no operation of theirs is undefined in C: AddressSanitizer and
# UndefinedBehaviorSanitizer watch them, with bounds checks and assertions on, under the quick tests and every golden file, and
# ThreadSanitizer the threads.
#
#   tests/robustness/sanitizers.sh [pytest arguments]      PYTHON=python3: one with the test requirements
set -euo pipefail
export PYTHON CC CFLAGS LDFLAGS
PYTHON=$(command -v "${PYTHON:-python3}")
CC=${CC:-gcc}
CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
LDFLAGS=$CFLAGS

# Objects from malloc, so that what overruns an array is seen; two threads, so that rows are shared on any machine.
watch=(
    env LD_PRELOAD="$($CC -print-file-name=libasan.so) $($CC -print-file-name=libubsan.so)"
    ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    PYTHONMALLOC=malloc OMP_NUM_THREADS=2
)
# The threads alone: ThreadSanitizer, and forks, which it does not follow.
stress=$(mktemp -d)
trap 'rm -rf "$stress"' EXIT
here=$(dirname "$0")
$CC -g -O1 -pthread -fsanitize=thread -I"$here/../../mcbits/core" "$here/team_stress.c" -o "$stress/watched"
$CC -O2 -pthread -I"$here/../../mcbits/core" "$here/team_stress.c" -o "$stress/forks"
"$stress/watched"
"$stress/forks" and children

# What the sanitizers' own memory breaks, and no extension: a limit of memory, Chromium.
others=(
    --deselect tests/test_datasets.py::test_npy_headers_are_not_believed_beyond_the_bytes
    --deselect tests/test_report.py::test_page_opens_in_a_browser_without_errors_and_every_picture_loads
)
# shellcheck disable=SC2016 - expanded by the inner shell
"$(dirname "$0")/debug.sh" "${watch[@]}" bash -c \
    'python=$1; shift; "$python" -m pytest -q -p no:cacheprovider "$@" && "$python" tests/golden/corpus.py' - "$PYTHON" "${others[@]}" "$@"
