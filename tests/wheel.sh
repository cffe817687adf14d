#!/usr/bin/env bash
# Builds the sdist and a wheel from it, and uses the wheel as somebody does who has no checkout, no compiler and no torch:
# `make wheel`. Another wheel is tried instead if it is given: `tests/wheel.sh FILE.whl`. PYTHON has the package `build`.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

wheel=${1:-}
if [ -z "$wheel" ]; then
    PIP_CONSTRAINT=$root/constraints.txt "$python" -P -m build --outdir "$scratch/dist" . >"$scratch/log" 2>&1 ||
        { cat "$scratch/log"; exit 1; }
    wheel=$(echo "$scratch"/dist/*.whl)
fi
wheel=$(realpath "$wheel")

"$python" - "$wheel" "$root" <<'PYTHON'
import sys
from pathlib import Path
from zipfile import ZipFile

wheel, package = ZipFile(sys.argv[1]), Path(sys.argv[2], "mcbits")
names = {name for name in wheel.namelist() if name.startswith("mcbits/")}
wanted = {
    f"mcbits/{path.relative_to(package).as_posix()}"
    for pattern in ("*.py", "*.pyi", "*.pxd", "*.h", "*.yml", "py.typed")
    for path in package.rglob(pattern)
}
compiled = {name.split(".")[0] for name in names if name.endswith(".so")}
sources = {f"mcbits/{path.relative_to(package).with_suffix('').as_posix()}" for path in package.rglob("*.pyx")}
problems = sorted(wanted - names) + sorted(sources ^ compiled) + [name for name in names if name.endswith((".c", ".pyx"))]
sys.exit(f"the wheel has not what it should have, or more: {problems}" if problems else 0)
PYTHON

"$python" -m venv "$scratch/venv"
cd "$scratch"
cp -r "$root/tests/golden" golden

# With nothing else in PATH, so that nothing is compiled.
settings=(HOME="$scratch" PATH="$scratch/venv/bin" CC=none)
while IFS= read -r setting; do settings+=("$setting"); done < <(env | grep '^PIP_' || true)
there() { env -i "${settings[@]}" PIP_CONSTRAINT="$root/constraints.txt" "$@"; }
there pip install --quiet --only-binary :all: "$wheel"

there python -c 'import importlib.util as u; assert u.find_spec("torch") is None'
there python -c "import mcbits; assert mcbits.__file__.startswith('$scratch/venv'), mcbits.__file__"
there mcbits plugins
there mcbits reproduce --help >/dev/null
there python -c '
from mcbits.studies.reproduce import Table, find_tables
print(*(Table.load(path).title for path in find_tables("all")), sep="\n")'
there mcbits decompress golden/bb-is-lanes1.mcb -o restored.npy --model golden/model.safetensors
there mcbits verify golden/bb-cis-refined.mcb --model golden/model.safetensors
there python golden/corpus.py
echo "the wheel works: $(basename "$wheel"), $(stat -c %s "$wheel" 2>/dev/null || stat -f %z "$wheel") bytes"
