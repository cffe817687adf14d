"""The golden corpus gives the same bits whatever compiled mcbits, multiplies its matrices and runs it.

`python tests/portability/run.py` builds the extensions from scratch under each setting and checks each build against
tests/golden. A setting whose tools are missing is skipped, and says so; --install has apt-get fetch them first.
--write puts the list of settings and results into docs/exactness.md. Exit code 1 if a setting differs, or a control
does not.
"""

import argparse
import ast
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "golden" / "corpus.py"
DOCUMENT = ROOT / "docs" / "exactness.md"
DEBIAN_TOOLS = ["clang", "qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]
CROSS = "aarch64-linux-gnu"
# What a decoder needs besides Python, in the versions that are installed here.
PACKAGES = ["numpy", "pluggy", "pydantic", "safetensors", "pillow"]
MANYLINUX = ["manylinux2014", "manylinux_2_17", "manylinux_2_24", "manylinux_2_27", "manylinux_2_28"]

# setup.py, stopped before it compiles: its directives decide what the C says.
CYTHONIZE = """
import runpy, setuptools
setuptools.setup = lambda **arguments: None
runpy.run_path("setup.py")
"""


class Skipped(Exception):
    """A setting cannot be tried here; the text says why."""


@dataclass(frozen=True)
class Setting:
    """A way to build or run mcbits. `check` returns what differs from the corpus; a control must differ."""

    name: str
    check: Callable[[], str]
    control: bool = False


@dataclass
class Bench:
    """Builds of the extensions, below one scratch folder."""

    scratch: Path
    builds: dict[tuple[str, ...], Path] = field(default_factory=dict)

    @cached_property
    def sources(self) -> Path:
        """A copy of the package with the C that Cython makes of it."""
        folder = self.scratch / "sources"
        ignore = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(ROOT / "mcbits", folder / "mcbits", ignore=ignore)
        shutil.copy(ROOT / "setup.py", folder)
        _run([sys.executable, "-c", CYTHONIZE], cwd=folder)
        return folder

    def build(self, *command: str, include: Path, suffix: str) -> Path:
        """The package compiled by `command`, its include folder and the suffix of its extension modules."""
        if command not in self.builds:
            folder = Path(tempfile.mkdtemp(dir=self.scratch))
            shutil.copytree(self.sources / "mcbits", folder / "mcbits")

            def compile_one(source: Path) -> None:
                target = source.with_name(source.stem + suffix)
                folders = ["-I", str(folder / "mcbits"), "-I", str(include), "-idirafter", str(include.parent)]
                _run([*command, "-w", "-shared", "-fPIC", *folders, str(source), "-o", str(target)])

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(compile_one, (folder / "mcbits").rglob("*.c")))
            self.builds[command] = folder
        return self.builds[command]

    def native(
        self,
        compiler: str,
        *options: str,
        cflags: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        emulator: tuple[str, ...] = (),
    ) -> str:
        """What differs under a build for this machine; `cflags` come before the flags of setup.py, as a user's do."""
        _need(compiler)
        include, suffix = Path(sysconfig.get_path("include")), sysconfig.get_config_var("EXT_SUFFIX")
        folder = self.build(compiler, *cflags, *exact_flags(), *options, include=include, suffix=suffix)
        return _corpus([*emulator, sys.executable], str(folder), env or {})

    def arm(self, *options: str, cpu: str = "max") -> str:
        """What differs under a build for aarch64, in a whole aarch64 Python."""
        _need("qemu-aarch64", f"{CROSS}-gcc", "apt-get", "dpkg-deb")
        root, site = self.arm_python
        (python,) = (root / "usr" / "bin").glob("python3.[0-9]*[0-9]")
        include, tag = root / "usr" / "include" / python.name, python.name.removeprefix("python").replace(".", "")
        suffix = f".cpython-{tag}-{CROSS}.so"
        folder = self.build(f"{CROSS}-gcc", *exact_flags(), *options, include=include, suffix=suffix)
        emulator = ["qemu-aarch64", "-cpu", cpu, "-L", str(root), str(python)]
        return _corpus(emulator, f"{folder}{os.pathsep}{site}", {})

    @cached_property
    def arm_python(self) -> tuple[Path, Path]:
        """Debian's Python for arm64 with its headers, unpacked beside this system's, and the packages it needs."""
        state, root, site = (self.scratch / name for name in ("apt", "arm64", "arm64-site"))
        for folder in (state / "lists" / "partial", state / "archives" / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        places = {"State": state, "State::status": state / "status", "State::lists": state / "lists", "Cache": state,
                  "Cache::archives": state / "archives"}  # fmt: skip
        options = ["-q", "-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oDebug::NoLocking=1"]
        options += [f"-oDir::{key}={value}" for key, value in places.items()]
        try:
            _run(["apt-get", *options, "update"])
            _run(["apt-get", *options, "-y", "--no-install-recommends", "--download-only", "install",
                  "python3", "libpython3-dev", "libstdc++6"])  # fmt: skip
            for package in (state / "archives").glob("*.deb"):
                _run(["dpkg-deb", "-x", str(package), str(root)])
            (python,) = (root / "usr" / "bin").glob("python3.[0-9]*[0-9]")
            pip = ["-m", "pip", "install", "--quiet", "--target", str(site), "--only-binary=:all:"]
            pip += ["--implementation", "cp", "--python-version", python.name.removeprefix("python")]
            pip += [f"--platform={name}_aarch64" for name in MANYLINUX]
            _run([sys.executable, *pip, *(f"{name}=={version(name)}" for name in PACKAGES)])
        except subprocess.CalledProcessError as error:
            raise Skipped(f"no Python for arm64 to be had: {_last_line(error.stderr)}") from None
        return root, site


def exact_flags() -> list[str]:
    """The compiler flags of setup.py that keep the bits."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "exact_flags":
            flags: list[str] = ast.literal_eval(node.value)
            return flags
    raise LookupError("setup.py has no exact_flags")


def settings(bench: Bench) -> Iterator[Setting]:
    """Every setting, the cheapest first."""
    yield Setting("gcc -O0", partial(bench.native, "gcc", "-O0"))
    yield Setting("gcc -O2", partial(bench.native, "gcc", "-O2"))
    yield Setting("gcc -O3, as setup.py builds", partial(bench.native, "gcc", "-O3"))
    shipped = partial(bench.native, "gcc", "-O3")
    if platform.machine() == "x86_64":
        for core in ("Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX"):
            yield Setting(f"gcc -O3, OpenBLAS kernel {core}", partial(_with_core, shipped, core))
        yield Setting("gcc -O3 -mavx2 -mfma", partial(_with_cpu, bench, ("avx2", "fma"), "gcc"))
        yield Setting("gcc -O3 -mavx512f -mfma", partial(_with_cpu, bench, ("avx512f", "fma"), "gcc"))
        nehalem = ("qemu-x86_64", "-cpu", "Nehalem")
        yield Setting("gcc -O3, on an emulated Nehalem (no AVX, no FMA)", partial(_emulated, shipped, nehalem))
    yield Setting("gcc -O3, CFLAGS=-ffast-math", partial(bench.native, "gcc", "-O3", cflags=("-ffast-math",)))
    yield Setting("clang -O0", partial(bench.native, "clang", "-O0"))
    yield Setting("clang -O3", partial(bench.native, "clang", "-O3"))
    if platform.machine() == "x86_64":
        yield Setting("clang -O3 -mavx2 -mfma", partial(_with_cpu, bench, ("avx2", "fma"), "clang"))
        contracted = partial(_with_cpu, bench, ("fma",), "gcc", "-ffp-contract=fast")
        yield Setting("control: gcc -O3 -mfma -ffp-contract=fast", contracted, control=True)
    yield Setting("control: gcc -O3 -ffast-math", partial(bench.native, "gcc", "-O3", "-ffast-math"), control=True)
    yield Setting("aarch64 -O0, emulated Cortex-A53", partial(bench.arm, "-O0", cpu="cortex-a53"))
    yield Setting("aarch64 -O3, emulated Cortex-A53 (NEON)", partial(bench.arm, "-O3", cpu="cortex-a53"))
    yield Setting("aarch64 -O3, emulated processor with SVE", partial(bench.arm, "-O3"))
    contracted = partial(bench.arm, "-O3", "-ffp-contract=fast")
    yield Setting("control: aarch64 -O3 -ffp-contract=fast", contracted, control=True)


def _with_core(check: Callable[..., str], core: str) -> str:
    if "openblas" not in _blas()["name"]:
        raise Skipped("this numpy does not use OpenBLAS")
    return check(env={"OPENBLAS_CORETYPE": core})


def _with_cpu(bench: Bench, features: tuple[str, ...], compiler: str, *options: str) -> str:
    has = Path("/proc/cpuinfo").read_text().split()
    if missing := [name for name in features if name not in has]:
        raise Skipped(f"this processor has no {', '.join(missing)}")
    return bench.native(compiler, "-O3", *(f"-m{name}" for name in features), *options)


def _emulated(check: Callable[..., str], emulator: tuple[str, ...]) -> str:
    _need(emulator[0])
    return check(emulator=emulator)


def _need(*tools: str) -> None:
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        raise Skipped(f"{', '.join(missing)} not installed (Debian: {' '.join(DEBIAN_TOOLS)}; --install)")


def _run(command: list[str], cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


def _corpus(python: list[str], path: str, env: dict[str, str]) -> str:
    """What the corpus says differs, in one line; empty if nothing does."""
    env = {**os.environ, **env, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*python, str(CORPUS)], env=env, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    lines = done.stdout.splitlines()
    if lines:
        return f"{len(lines)} differ, first: {lines[0]}"
    last = _last_line(done.stderr)
    return f"refused when imported: {last}" if "PlatformError" in last else f"failed: {last}"


def _last_line(text: str) -> str:
    return (text.strip() or "no message").splitlines()[-1]


def outcome(setting: Setting) -> tuple[bool, str]:
    """Whether all is well, and what happened."""
    try:
        found = setting.check()
    except Skipped as reason:
        return True, f"skipped: {reason}"
    except subprocess.CalledProcessError as error:
        return False, f"does not build: {_last_line(error.stderr)}"
    if setting.control:
        noticed = bool(found) and not found.startswith("failed")
        return noticed, f"noticed: {found}" if noticed else f"not noticed {found}"
    return not found, found or "identical"


def document(results: dict[str, str]) -> str:
    """The text of docs/exactness.md."""
    import mcbits.exact

    theorem = (mcbits.exact.__doc__ or "").strip()
    rows = "\n".join(f"| {name} | {result} |" for name, result in results.items())
    tools = [_first_line(tool, "--version") for tool in ("gcc", "clang", "qemu-aarch64")]
    return f"""<!-- Written by `python tests/portability/run.py --write`: change it there. -->

# What is encoded anywhere decodes anywhere

{theorem}

The rest of a codec is integers too: nonlinearities are tables; exp, log2 and the normal distribution are written in
IEEE basic operations and compiled without contraction; codelengths and importance weights are integers. So no number
that decides a bit of a file depends on the compiler, the BLAS, the batch, the threads or the processor.

## Settings tried

Under each, every vector and every file of `tests/golden` must come out bit for bit: elementary functions, stacks,
discretizers, networks of every kind of layer, files decoded and encoded again. The controls are compiled against the
rules, to show that the corpus notices. `tests/test_golden.py` repeats it, in the build at hand, for numpy and torch, 1
and 2 threads, and networks given 1, 7, 50 and 500 rows at once.

| setting | result |
|---|---|
{rows}

Tools: {"; ".join(filter(None, tools))}; numpy {np.__version__} with {_blas()["name"]} {_blas()["version"]}.

Not tried: real aarch64 hardware (these are emulated), a GPU, a big-endian processor.
"""


def _blas() -> dict[str, str]:
    config: Any = np.show_config("dicts")
    return {key: str(value) for key, value in config["Build Dependencies"]["blas"].items()}


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="check the golden corpus under every compiler and processor at hand")
    parser.add_argument("--install", action="store_true", help=f"apt-get install {' '.join(DEBIAN_TOOLS)} first")
    parser.add_argument("--write", action="store_true", help="write docs/exactness.md")
    parser.add_argument("--only", default="", help="only settings whose name holds this")
    arguments = parser.parse_args()
    if arguments.install and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *DEBIAN_TOOLS], stdout=sys.stderr)
    results, good = {}, True
    with tempfile.TemporaryDirectory() as scratch:
        for setting in settings(Bench(Path(scratch))):
            if arguments.only in setting.name:
                fine, results[setting.name] = outcome(setting)
                good &= fine
                print(f"{'ok  ' if fine else 'FAIL'} {setting.name}: {results[setting.name]}", flush=True)
    if arguments.write:
        DOCUMENT.write_text(document(results))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
