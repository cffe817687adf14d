"""`mcbits decompress` writes exactly the images that were compressed, or nothing."""

import time
from pathlib import Path
from typing import Annotated

import typer

from mcbits.cli.flags import File, Flags, Model, Replacing, with_flags
from mcbits.cli.output import on_interrupt, show
from mcbits.cli.progress import progress
from mcbits.errors import UsageError

Output = Annotated[str, typer.Option("-o", "--output", help="RESTORED.npy, .npz, .idx, .idx.gz, or a folder for PNGs.")]
Workers = Annotated[int, typer.Option("--workers", help="Processes that decode blocks at the same time.")]
Backend = Annotated[str, typer.Option("--backend", help="What computes the network: numpy, torch or torch:DEVICE.")]

MaxSize = Annotated[
    str, typer.Option("--max_size", help="Refuse a file of more bytes of images than this, e.g. 500M or 4GiB.")
]


@with_flags
def decompress(
    file: File,
    output: Output,
    model: Model = None,
    workers: Workers = 1,
    backend: Backend = "numpy",
    max_size: MaxSize = "4G",
    *,
    flags: Flags,
) -> None:
    """Restore the images of a .mcb file."""
    from mcbits.archive.jobs import restore
    from mcbits.files import check_target
    from mcbits.images.formats import image_format

    limit = _bytes(max_size)
    # Refuse a target that cannot be written before the work, not after it.
    check_target(output, folder=image_format(output) == "png")
    Replacing(force=False, never=True).check(Path(output))
    with on_interrupt(lambda: "interrupted: nothing is written"), progress(flags.quiet):
        start = time.perf_counter()
        shape = restore(file, output, model, workers=workers, backend=backend, max_size=limit)
        seconds = time.perf_counter() - start
    document = {"output": output, "shape": shape, "seconds": seconds}
    show(document, f"{output}: {shape[0]} images restored, {shape[0] / seconds:,.0f} images/s", flags.json)


def _bytes(size: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return TypeAdapter(ByteSize).validate_python(size)
    except ValidationError:
        raise UsageError(f"--max_size must be a number of bytes such as 500M, 4G or 4GiB, not {size!r}") from None
