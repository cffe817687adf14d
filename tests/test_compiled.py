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


PLUGIN = """
import numpy as np
from libc.stdint cimport int16_t, int32_t
from libc.stdlib cimport calloc, free, malloc

from mcbits.core.dense cimport Dense, DenseStage, dense_run
from mcbits.core.lanes cimport SYMBOLS_PER_THREAD
from mcbits.core.numerics cimport exp, log2_fixed, sigmoid
from mcbits.core.simd cimport wide

def numbers(double x):
    return exp(x), sigmoid(x), log2_fixed(3), SYMBOLS_PER_THREAD

def run(Dense chain, const int16_t[:, ::1] x, int32_t[:, ::1] out):
    # A chain without a second copy of its inputs and with one output, which its last stage computes.
    cdef Py_ssize_t i, at = 0, count = chain._count, rows = x.shape[0]
    cdef int16_t *memory = <int16_t *>calloc(rows * chain._size, sizeof(int16_t))
    cdef int16_t **values = <int16_t **>malloc((count + 1) * sizeof(int16_t *))
    cdef DenseStage *stages = <DenseStage *>malloc(count * sizeof(DenseStage))
    assert chain._factor == 0 and x.shape[1] == chain._inputs
    with nogil:
        for i in range(count + 1):
            values[i] = memory + at
            at += rows * chain._strides[i]
        for i in range(count):
            stages[i] = chain._stages[i]
        stages[count - 1].out = &out[0, 0]
        for i in range(rows * chain._inputs):
            memory[i // chain._inputs * chain._strides[0] + i % chain._inputs] = (&x[0, 0])[i]
        dense_run(stages, count, values, chain._strides, 0, rows, wide)
    free(memory); free(values); free(stages)
"""

BUILD = """
import mcbits
from Cython.Build import cythonize
from setuptools import Extension, setup

flags = ["-O1", "-ffp-contract=off"]
module = Extension("ours", ["ours.pyx"], include_dirs=[mcbits.get_include()], extra_compile_args=flags)
setup(ext_modules=cythonize([module], language_level=3, compiler_directives={"cdivision": True}))
"""

USE = """
import numpy as np, ours, torch
from mcbits.exact import FixedPoint, functions
from mcbits.exact.freeze import freeze

assert ours.numbers(-1.5)[:2] == (functions.exp(-1.5), functions.sigmoid(-1.5))
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Linear(21, 150), torch.nn.Tanh(), torch.nn.Linear(150, 37))
network = freeze(module, [FixedPoint(shape=(21,), frac=8, bound=1024)], [8])
x = np.random.default_rng(0).integers(-1024, 1025, (9, 21)).astype(np.int16)
if network._dense is not None:
    out = np.empty((9, 37), np.int32)
    ours.run(network._dense, x, out)
    assert np.array_equal(out, network.run(x)[0])
"""


@pytest.mark.slow
def test_a_cython_plugin_uses_the_compiled_modules(tmp_path: Path) -> None:
    (tmp_path / "ours.pyx").write_text(PLUGIN)
    (tmp_path / "build.py").write_text(BUILD)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    for command in (["build.py", "build_ext", "--inplace"], ["-c", USE]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
