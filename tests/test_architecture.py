"""The house: floors that import downwards only, and few enough rooms to find one's way."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def contracts(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests" / "imports.py"), str(root)]
    return subprocess.run(command, capture_output=True, text=True)


def planted(tmp_path: Path, file: str, line: str) -> Path:
    """A copy of the checkout whose `file` ends in one line more."""
    shutil.copytree(ROOT / "mcbits", tmp_path / "mcbits", ignore=shutil.ignore_patterns("*.so", "*.c"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / "mcbits" / file, "a") as module:
        module.write(f"\n{line}\n")
    return tmp_path


def test_import_contracts_hold() -> None:
    result = contracts(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "file, line, contract",
    [
        ("exact/network.py", "import mcbits.archive.jobs", "Floors"),
        ("coders/simple.py", "def late() -> None:\n    import mcbits.training.loop", "Floors"),
        ("core/numerics.pyx", "from mcbits.latents.base cimport anything", "Floors"),
        ("_rans.pyx", "import mcbits.archive.format", "Floors"),
        ("latents/base.py", "from mcbits import compress", "The face"),
        ("images/formats.py", "import torch", "no torch"),
        ("config.py", "from PIL import Image", "Pictures"),
        ("newroom.py", "", "newroom"),
    ],
)
def test_planted_upward_import_breaks_a_contract(tmp_path: Path, file: str, line: str, contract: str) -> None:
    result = contracts(planted(tmp_path, file, line))
    assert result.returncode != 0
    assert contract in result.stdout.partition("Broken contracts")[2]


def test_package_has_few_entries() -> None:
    entries = [each.name for each in (ROOT / "mcbits").iterdir() if each.suffix not in (".so", ".c")]
    assert len(set(entries) - {"__pycache__"}) <= 26


@pytest.mark.parametrize(
    "module, unwanted",
    [
        ("mcbits.exact", ["PIL", "torch", "mcbits.datasets", "mcbits.images"]),
        ("mcbits.archive.jobs", ["torch", "typer", "rich", "mcbits.training", "mcbits.studies"]),
        ("mcbits", ["numpy", "torch", "PIL", "mcbits.archive"]),
    ],
)
def test_importing_a_floor_leaves_the_upper_ones_alone(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; print(*[name for name in {unwanted!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def functions(folder: str) -> list[tuple[str, ast.FunctionDef]]:
    """Every function below a folder of mcbits, with its file and name."""
    return [
        (f"{path.relative_to(ROOT)}:{node.name}", node)
        for path in sorted((ROOT / "mcbits" / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]


@pytest.mark.parametrize("folder", ["archive", "cli"])
def test_no_function_takes_more_than_eight_parameters(folder: str) -> None:
    counts = {
        name: len([each for each in [*node.args.args, *node.args.kwonlyargs] if each.arg not in ("self", "cls")])
        for name, node in functions(folder)
    }
    assert [name for name, count in counts.items() if count > 8] == []


def test_no_module_is_longer_than_500_lines() -> None:
    sources = [path for suffix in ("py", "pyx", "pxd", "pyi", "h") for path in (ROOT / "mcbits").rglob(f"*.{suffix}")]
    lengths = {path.name: len(path.read_text().splitlines()) for path in sources}
    assert {name: length for name, length in lengths.items() if length > 500} == {}
