"""Builds the Cython ground floor with flags that keep every IEEE operation as written, on every compiler."""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

debug = bool(int(os.environ.get("MCBITS_CYTHON_DEBUG", "0")))

# Contraction (a*b+c as one rounding) is the one thing compilers do by default that changes bits.
# The other two flags only drop errno and trap bookkeeping, so that loops may be vectorised.
exact_flags = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
speed = "-O1" if debug else "-O3"

extensions = [
    Extension(
        path.removesuffix(".pyx").replace(os.sep, "."),
        [path],
        include_dirs=["mcbits"],
        extra_compile_args=[speed, "-pthread", *exact_flags],
        extra_link_args=["-pthread"],
    )
    for path in sorted(glob("mcbits/**/*.pyx", recursive=True))
]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives={
            "language_level": 3,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    )
)
