"""`mcbits demo` shows only what it just measured: another process restored the images of each row of a coder."""

from __future__ import annotations

import hashlib
import json as json_module
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import print_table, show
from mcbits.cli.progress import progress
from mcbits.config import CompressConfig, TrainConfig
from mcbits.datasets.selection import test_images
from mcbits.errors import DataError

EPOCHS = 120
CODERS: tuple[dict[str, Any], ...] = (
    {"coder": "simple"},
    {"coder": "stochastic"},
    {"coder": "bb-elbo"},
    {"coder": "bb-is", "num_particles": 10},
    {"coder": "bb-cis", "num_particles": 10},
)


@with_flags
def demo(flags: Flags) -> None:
    """Train on scikit-learn's digits, compress held-out ones with every coder, restore and compare them."""
    from mcbits.studies.baselines import baselines
    from mcbits.training.loop import train

    with progress(flags.quiet), tempfile.TemporaryDirectory(prefix="mcbits-demo-") as directory:
        run = train(
            TrainConfig(
                dataset="digits",
                gpu=-1,
                latent_dim=20,
                epochs=EPOCHS,
                num_particles=10,
                logdir=Path(directory),
            )
        )
        rows = [
            _code(CompressConfig.load(None, {"train_config": run, "decode_check": False, **options}))
            for options in CODERS
        ]
        images = test_images(CompressConfig.load(None, {"train_config": run}))
        others = [asdict(each) for each in baselines(images) if each.mode == "archive"]
    if flags.json:
        show({"images": images.shape, "coders": rows, "baselines": others}, "", flags.json)
    else:
        _print_table(images, rows, others)


def _code(config: CompressConfig) -> dict[str, Any]:
    """Compress with one coder, restore in a process that has only the file and the model, and compare.

    Return the figures of a row of the table. Raises DataError if the images do not come back.
    """
    from mcbits import load_model
    from mcbits.archive.jobs import compress_file

    images = test_images(config)
    run = Path(str(config.train_config))
    file, restored = run / f"{config.coder}.mcb", run / f"{config.coder}.npy"
    cost = compress_file(images, file, load_model(run), config.options)
    # With -P, since the working directory may hold modules of other names; the places of ours are handed on.
    command = [sys.executable, "-P", "-m", "mcbits", "decompress", str(file), "-o", str(restored)]
    process = subprocess.run(
        [*command, "--model", str(run), "--json", "--quiet"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise DataError(f"{config.coder}: decompressing failed: {process.stderr}")
    if _sha256(np.load(restored)) != _sha256(images):
        raise DataError(f"{config.coder}: the restored images differ from the original ones")
    return {
        "coder": config.options.coder.short,
        **config.given,
        **{key: getattr(cost, key) for key in ("unit", "ideal", "net", "message", "file", "file_bytes")},
        "encode_images_per_second": len(images) / cost.encode_seconds,
        "decode_images_per_second": len(images) / json_module.loads(process.stdout)["seconds"],
    }


def _sha256(images: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(images.shape).encode() + np.ascontiguousarray(images).tobytes()).hexdigest()


def _print_table(images: NDArray[np.uint8], rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(
        title=f"{len(images)} held-out digits of 8 x 8 binary pixels: bits/dim, bytes, images/s",
        caption="Restored from each file by a separate process, SHA-256 equal. Net leaves out the "
        "initial bits, which the message has and which fade as images are added; file is all bytes. The model is "
        "stored once, elsewhere.",
        caption_justify="left",
    )
    table.add_column("")
    for heading in ("N", "ideal", "net", "message", "file", "bytes", "encode/s", "decode/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["coder"],
            str(row.get("num_particles", "")),
            *(f"{row[key]:.4f}" for key in ("ideal", "net", "message", "file")),
            *(f"{row[key]:,.0f}" for key in ("file_bytes", "encode_images_per_second", "decode_images_per_second")),
        )
    table.add_section()
    for other in others:
        table.add_row(other["name"], "", "", "", "", f"{other['file']:.4f}", f"{other['file_bytes']:,}", "", "")
    print_table(table)
