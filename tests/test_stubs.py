"""The .pyi of a compiled module says what the module has: stubtest compares the two, whichever modules there are."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "mcbits").rglob("*.pyx"))]

# Regular expressions, a line each: what Cython puts into every module and class, and nobody calls; arguments of a
# __cinit__, which have no signature at run time; aliases that stubs write array types with.
BY_CYTHON = r"""
.*\.__test__
.*\.__pyx_\w+__
.*\.__(reduce|setstate)(_cython)?__
.*\.__reduce_ex__
.*\.__init__
.*\.[FIU]\d\d?
"""


def test_every_compiled_module_has_a_stub() -> None:
    assert MODULES
    for module in MODULES:
        assert (ROOT / module.replace(".", "/")).with_suffix(".pyi").is_file(), module


@pytest.mark.slow
def test_stubs_say_what_the_compiled_modules_have(tmp_path: Path) -> None:
    (tmp_path / "allowed").write_text(BY_CYTHON)
    options = [
        "--allowlist",
        str(tmp_path / "allowed"),
        "--ignore-unused-allowlist",
        "--ignore-disjoint-bases",
        "--concise",
    ]
    command = [sys.executable, "-m", "mypy.stubtest", *options, *MODULES]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
