"""Measure mcbits on folders of pictures against the best of the others; the table of docs/pictures.md.

    python benchmarks/folders.py SETS RESULTS.json STEP ...     STEP: others, 1, 5, 7; then
    python benchmarks/folders.py RESULTS.json                   writes docs/pictures.md

Each set is written as a folder of PNGs, compressed by the command line, restored by another process and compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcbits.images.folders import entries

SETS = ("pneumonia28", "nuclei64", "cjk32", "notoemoji72", "cifar10_train_a", "photos", "em512", "cells16")
PAGE = Path(__file__).parent.parent / "docs" / "pictures.md"


def main(sets: Path, results: Path, steps: list[str]) -> None:
    """Measure the steps on each set, and add the figures to the results."""
    for name in SETS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            _write(sets, name, folder)
            for step in steps:
                figures = _others(folder) if step == "others" else _mcbits(folder, int(step))
                found = json.loads(results.read_text()) if results.exists() else {}
                found.setdefault(name, {})[step] = figures
                results.write_text(json.dumps(found, indent=1))
                print(name, step, figures, flush=True)


def _write(sets: Path, name: str, folder: Path) -> None:
    if (sets / name).is_dir():
        folder.mkdir()
        for path in sorted((sets / name).iterdir()):
            (folder / path.name).write_bytes(path.read_bytes())
        return
    with np.load(sets / f"{name}.npz") as arrays:
        for part in arrays.files:
            (folder / part).mkdir(parents=True)
            for i, picture in enumerate(arrays[part]):
                Image.fromarray(picture).save(folder / part / f"{i}.png")


def _pictures(folder: Path) -> dict[bytes, NDArray[Any]]:
    with entries(folder) as found:
        return {each.restored_name: each.unwrap().pixels for each in found}


def _others(folder: Path) -> dict[str, Any]:
    import imagecodecs

    from mcbits.studies.picture_baselines import baselines_of_pictures

    pictures = [each for stack in _pictures(folder).values() for each in stack if each.ndim > 1]
    begin = time.perf_counter()
    for each in pictures:
        imagecodecs.jpegxl_encode(each, lossless=True, effort=9, numthreads=2)
    seconds = time.perf_counter() - begin
    figures = {f"{each.name}, {each.layout}": each.file_bytes for each in baselines_of_pictures(pictures)}
    return {"bytes": figures, "jxl_e9_seconds": seconds, "raw": sum(each.nbytes for each in pictures)}


def _mcbits(folder: Path, effort: int) -> dict[str, Any]:
    file, back = folder.with_suffix(".mcb"), folder.with_name("back")
    begin = time.perf_counter()
    _run("compress", folder, "-o", file, "--effort", effort, "-q", "--force")
    middle = time.perf_counter()
    _run("decompress", file, "-o", back, "-q")
    end = time.perf_counter()
    was, now = _pictures(folder), _pictures(back)
    same = was.keys() == now.keys() and all(np.array_equal(was[name], now[name]) for name in was)
    subprocess.run(["rm", "-r", back], check=True)
    return {"bytes": file.stat().st_size, "seconds": middle - begin, "decode": end - middle, "same": same}


def _run(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "mcbits", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def write_page(results: Path) -> None:
    """Write the page of these results."""
    lines = [
        "# Folders of pictures, measured",
        "",
        "Bytes of the one file that `mcbits compress FOLDER` makes, model, names and checksums included, against the",
        "best of JPEG XL (efforts 7 and 9), WebP and PNG one by one without containers, JPEG XL and WebP of all",
        "pictures of a size on one sheet, and xz and zstd of the samples. Two cores.",
        "`python benchmarks/folders.py` makes this page; every folder was restored and compared.",
        "",
        "| set | samples | best of the others | bytes | effort 1 | effort 5 | effort 7 | seconds | JPEG XL e9, s |",
        "|---|---:|---|---:|---:|---:|---:|---|---:|",
    ]
    for name, steps in json.loads(results.read_text()).items():
        others = steps["others"]
        label, best = min(others["bytes"].items(), key=lambda item: item[1])
        cells, seconds = [], []
        for effort in ("1", "5", "7"):
            figures = steps.get(effort)
            good = figures and figures["same"]
            cells.append(f"{figures['bytes']:,} ({figures['bytes'] / best:.3f})" if good else "")
            seconds.append(f"{figures['seconds']:.0f}" if good else "-")
        row = [name, f"{others['raw']:,}", label, f"{best:,}", *cells, " / ".join(seconds)]
        lines.append("| " + " | ".join([*row, f"{others['jxl_e9_seconds']:.0f}"]) + " |")
    PAGE.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        write_page(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
