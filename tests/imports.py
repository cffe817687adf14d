"""Checks the import contracts of pyproject.toml over all modules, compiled ones included: `python tests/imports.py`.

The linter reads Python only. So it is given a copy in which each .pyx is a module of its imports, made of the lines
that import or cimport.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(r"^\s*(?:from\s+(?P<module>mcbits[\w.]*)\s+)?c?import\s+(?P<names>[\w.]+.*)$", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """The linter's exit code, for the package of the checkout at `arguments[0]`, by default this one."""
    root = Path(arguments[0]) if arguments else ROOT
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        shutil.copytree(root / "mcbits", copy / "mcbits", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
        shutil.copy(root / "pyproject.toml", copy)
        for source in copy.rglob("*.py[xd]"):
            with open(source.with_suffix(".py"), "a") as module:
                module.writelines(_python_imports(source.read_text()))
        sys.path.insert(0, scratch)
        os.chdir(scratch)
        return lint_imports(is_debug_mode=False, no_cache=True)


def _python_imports(source: str) -> list[str]:
    found = []
    for match in _IMPORT.finditer(source):
        module, names = match["module"], match["names"]
        if module:
            found.append(f"from {module} import {names}\n")
        elif names.startswith("mcbits"):
            found.append(f"import {names}\n")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
