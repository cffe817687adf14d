"""Builds the compiled modules with flags that keep every IEEE operation as it is written, on every compiler."""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

debug = bool(int(os.environ.get("MCBITS_CYTHON_DEBUG", "0")))

# These come after CFLAGS, so that no flag of a user's changes a bit. -fno-fast-math takes a -ffast-math back; it is the
# first of them because it also resets what the others set. Contraction (a*b+c as one rounding) is the one thing that
# compilers do by default and that changes bits. The last two only drop errno and trap bookkeeping, so that loops may be
# vectorised.
exact_flags = ["-fno-fast-math", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
speed = ["-O1"] if debug else ["-O3", "-g0"]  # symbols for a debugger would triple the wheel

sources = sorted(glob("mcbits/**/*.pyx", recursive=True))
if not sources:
    sys.exit(
        "setup.py: there is no .pyx file below mcbits/, so nothing to compile; build from a complete checkout or sdist"
    )

setup(
    ext_modules=cythonize(
        [
            Extension(
                path.removesuffix(".pyx").replace(os.sep, "."),
                [path],
                # Not mcbits/core, whose threads.h would stand in for the <threads.h> of C.
                include_dirs=["mcbits"],
                depends=glob("mcbits/**/*.h", recursive=True),
                extra_compile_args=[*speed, "-pthread", *exact_flags],
                # Linked with -ffast-math, a library switches subnormal numbers off for the whole process.
                extra_link_args=["-pthread", "-fno-fast-math"],
            )
            for path in sources
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": True,
            # Signatures that `help` and mypy's stubtest read, and nothing in a module that its stub does not have.
            "binding": True,
            "embedsignature": False,
            "auto_pickle": False,
            "autotestdict": False,
            "freethreading_compatible": False,
        },
    )
)
