"""The sides of a ratio take turns within one process, so that whatever slows the machine down slows both."""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

import mcbits
from mcbits.datasets import binarize
from mcbits.datasets.base import find_dataset
from mcbits.latents.vae import FrozenVAE

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
RESULTS = Path(__file__).resolve().parent / "results"

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One line of a table: `ratio` is the median over repetitions of ours / theirs, `low` and `high` its extremes.

    `ours` and `theirs` are medians in `unit`; `target` is what the ratio may be at most, None where there is none.
    """

    what: str
    against: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    low: float
    high: float
    target: float | None


def repetitions() -> int:
    """Of `--repetitions` on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=5, help="how often each side is measured (default 5)")
    return int(parser.parse_args().repetitions)


def clock(job: Callable[[], T]) -> tuple[float, T]:
    """Seconds that the job took, and its result."""
    begin = time.perf_counter()
    result = job()
    return time.perf_counter() - begin, result


QUIET = 0.2
"""Seconds between two sides: the threads of BLAS look for work for some time after the last, which slows the other."""


def alternate(
    sides: Mapping[str, Callable[[], Mapping[str, float]]], repetitions: int
) -> dict[str, dict[str, list[float]]]:
    """Run each side once to warm up, then all of them in turn; the figures of each side by name, one a repetition."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
    for repetition in range(repetitions + 1):
        for name, side in sides.items():
            gc.collect()
            time.sleep(QUIET)
            for figure, value in side().items():
                if repetition:
                    found[name].setdefault(figure, []).append(value)
    return found


def compare(
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: float | None,
    scale: float = 1e3,
    unit: str = "ms",
) -> Row:
    """The row of two sides that `alternate` measured; figures times `scale` are in `unit`."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    medians = median(ours) * scale, median(theirs) * scale
    return Row(what, against, *medians, unit, median(ratios), min(ratios), max(ratios), target)


def publish(name: str, rows: Sequence[Row]) -> None:
    """Print the table, and write it to results/NAME.md and, with what it was measured on, to results/NAME.json."""
    lines = ["| what | against | ours | theirs | ratio (min ... max) | target |", "|---|---|---|---|---|---|"]
    for r in rows:
        figures = f"{r.ours:.4g} {r.unit} | {r.theirs:.4g} {r.unit} | {r.ratio:.3g} ({r.low:.3g} ... {r.high:.3g})"
        target = "" if r.target is None else f"{r.target:.3g}: {'met' if r.ratio <= r.target else 'MISSED'}"
        lines.append(f"| {r.what} | {r.against} | {figures} | {target} |")
    table = "\n".join(lines)
    machine = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine, "rows": [asdict(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(table + "\n")
    print(f"{name}\n\n{table}\n", flush=True)


def skip(reason: str) -> NoReturn:
    """End the script, saying aloud why there is no table."""
    print(f"{Path(sys.argv[0]).stem}: SKIPPED: {reason}\n", flush=True)
    sys.exit(0)


def shared(path: str) -> Path:
    """A file or directory of the models and images beside the repository; ends the script where it is absent."""
    if not (SHARED / path).exists():
        skip(f"{SHARED / path} is absent")
    return SHARED / path


def published_model() -> FrozenVAE:
    """The published checkpoint that was trained on EMNIST digits with 50 particles."""
    model = mcbits.load_model(shared("checkpoints/train_bin_emnist_split=mnist_num=50"))
    assert isinstance(model, FrozenVAE)
    return model


def eval500() -> NDArray[np.uint8]:
    """500 binarised test digits, uint8 (500, 28, 28)."""
    images: NDArray[np.uint8] = np.load(shared("data/emnist/eval500.npy"))
    return images


def digits() -> NDArray[np.uint8]:
    """All test digits, binarised with seed 0: uint8 (10000, 28, 28)."""
    data = find_dataset("EMNIST").load(shared("data"), split="mnist", download=False)
    return binarize(data.test, data.levels, seed=0)


def python(*arguments: str) -> None:
    """Run this interpreter on the checkout, its output dropped."""
    subprocess.run([sys.executable, *arguments], check=True, env=environment(), stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """Of subprocesses, which find mcbits where this process found it."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
