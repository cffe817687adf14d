"""Every compiled module has its stub, and `help` says something of each name that it offers."""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "mcbits").rglob("*.pyx"))


def name_of(source: Path) -> str:
    return ".".join(source.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_help_says_something(source: Path) -> None:
    assert source.with_suffix(".pyi").exists()
    module = importlib.import_module(name_of(source))
    assert module.__doc__
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        assert value.__doc__, name
        for member, method in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_"):
                # Cython gives a readonly attribute no text of its own: its class says what it is.
                assert method.__doc__ or member in value.__doc__, f"{name}.{member}"


def run_setup(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "setup.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})


def test_build_without_sources_says_so_in_one_line(tmp_path: Path) -> None:
    shutil.copy(ROOT / "setup.py", tmp_path)
    result = run_setup(tmp_path, "build_ext")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "no .pyx file" in line


def test_sdist_has_all_that_a_build_needs(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(ROOT / "mcbits", tmp_path / "mcbits", ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    result = run_setup(tmp_path, "-q", "sdist", "--formats=zip")
    assert result.returncode == 0, result.stderr
    (archive,) = (tmp_path / "dist").iterdir()
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for suffix in ("pyx", "pxd", "pyi", "h"):
        wanted = {path.relative_to(tmp_path) for path in (tmp_path / "mcbits").rglob(f"*.{suffix}")}
        assert wanted == {path.relative_to(unpacked) for path in (unpacked / "mcbits").rglob(f"*.{suffix}")}
