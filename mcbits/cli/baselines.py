"""`mcbits baselines` measures general-purpose and image compressors on the images that mcbits would code."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import print_table, show
from mcbits.cli.progress import progress
from mcbits.config import CompressConfig
from mcbits.datasets import binarize as binarized
from mcbits.datasets import white
from mcbits.datasets.selection import test_images
from mcbits.errors import DataError, UsageError
from mcbits.images import read_images


def _option(name: str, metavar: str, help: str) -> Any:
    return typer.Option(f"--{name}", metavar=metavar, help=help, show_default=False)


@with_flags
def baselines(
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="A folder of pictures, .npy, .npz or IDX(.gz); by default the dataset's test images.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, _option("dataset", "TEXT", "Dataset: see `mcbits plugins` (default EMNIST).")
    ] = None,
    split: Annotated[str | None, _option("split", "TEXT", "The dataset's split (default mnist).")] = None,
    datadir: Annotated[str | None, _option("datadir", "PATH", "Where the dataset's files are (default data).")] = None,
    num_compress: Annotated[
        str | None, _option("num_compress", "INT", "How many test images, chosen by the seed; 0 for all (default 0).")
    ] = None,
    binarize: Annotated[
        str | None,
        _option("binarize", "true|false", "Draw grey pixels as 0 or 1 (default true for a dataset, false for INPUT)."),
    ] = None,
    seed: Annotated[str | None, _option("seed", "INT", "Seed of the choice and of binarisation (default 42).")] = None,
    *,
    flags: Flags,
) -> None:
    """Measure gzip, bz2, xz, zstd, PNG, WebP and JPEG XL, on all images in one file and one by one."""
    from mcbits.studies.baselines import baselines, left_out

    of_dataset = {"dataset": dataset, "split": split, "datadir": datadir, "num_compress": num_compress}
    options = of_dataset | {"binarize": binarize, "seed": seed}
    config = CompressConfig.load(None, {key: value for key, value in options.items() if value is not None})
    if input is None:
        images = test_images(config)
    else:
        for key, value in of_dataset.items():
            if value is not None:
                raise UsageError(f"INPUT and --{key} exclude each other: leave one out")
        if binarize is None and os.path.isdir(input):
            _of_folder(Path(input), flags)
            return
        images = read_images(input)
        if binarize is not None and config.binarize:
            images = binarized(images, white(images), config.seed)
    with progress(flags.quiet):
        results = baselines(images)
    missing = left_out(results)
    if flags.json:
        show(
            {"images": images.shape, "baselines": [asdict(each) for each in results], "left_out": missing},
            "",
            flags.json,
        )
    else:
        _print_table(images, results, missing)


def _of_folder(folder: Path, flags: Flags) -> None:
    """Measure the pictures of a folder, of any kinds and sizes."""
    from mcbits.images.folders import entries
    from mcbits.studies.picture_baselines import baselines_of_pictures

    with progress(flags.quiet), entries(folder) as found:
        pictures = [picture for each in found for picture in each.unwrap().pixels if picture.ndim > 1]
        if not pictures:
            raise DataError(f"{folder} holds no pictures that mcbits reads")
        results = baselines_of_pictures(pictures)
    lines = [f"{len(pictures):,} pictures, {sum(each.nbytes for each in pictures):,} bytes of samples"]
    lines += [
        f"{each.file_bytes:>14,}  {each.file:8.4f} bits/dim  {each.name}, {each.layout}"
        for each in sorted(results, key=lambda each: each.file_bytes)
    ]
    show({"pictures": len(pictures), "baselines": [asdict(each) for each in results]}, "\n".join(lines), flags.json)


def _print_table(images: NDArray[Any], results: list[Any], missing: dict[str, str]) -> None:
    from rich.table import Table

    n, *shape = images.shape
    table = Table(
        title=f"{n:,} images of {' x '.join(map(str, shape))}, values 0 ... {int(images.max())}",
        caption="".join(f"Left out: {name}, {why}.\n" for name, why in missing.items()).strip(),
        caption_justify="left",
    )
    table.add_column("")
    for heading in ("one archive: bytes", "bits/dim", "image by image: bytes", "bits/dim"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys(each.name for each in results):
        cells = []
        for mode in ("archive", "each"):
            found = [each for each in results if (each.name, each.mode) == (name, mode)]
            cells += [f"{found[0].file_bytes:,}", f"{found[0].file:.4f}"] if found else ["", ""]
        table.add_row(name, *cells)
    print_table(table)
