"""`mcbits decompress` writes exactly the images that were compressed, or nothing."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcbits.cli.flags import File, Flags, Model, Replacing, with_flags
from mcbits.cli.output import on_interrupt, printable, show
from mcbits.cli.progress import progress
from mcbits.cli.streams import STANDARD, as_file
from mcbits.errors import UsageError
from mcbits.files import check_target

if TYPE_CHECKING:
    from mcbits.archive.collection import Collection

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME ...", help="What to restore: names, or patterns such as 'a/*.png'; by default all."),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="The folder or file to write, - for standard output; .npy, .npz, .idx or .idx.gz for one array. By "
        "default the name that was compressed, beside FILE.mcb.",
    ),
]
Workers = Annotated[int, typer.Option("--workers", help="Processes that decode blocks at the same time.")]
Backend = Annotated[str, typer.Option("--backend", help="What computes the network: numpy, torch or torch:DEVICE.")]

MaxSize = Annotated[
    str, typer.Option("--max_size", help="Refuse a file of more bytes of images than this, e.g. 500M or 4GiB.")
]


@with_flags
def decompress(
    file: File,
    names: Names = None,
    output: Output = None,
    model: Model = None,
    workers: Workers = 1,
    backend: Backend = "numpy",
    max_size: MaxSize = "4G",
    *,
    flags: Flags,
) -> None:
    """Restore what a .mcb file holds: all of it, or what is named."""
    from mcbits.archive.format import PICTURES, open_file, version_of

    limit = _bytes(max_size)
    if output is not None and output != STANDARD:
        check_target(output, folder=output.endswith("/") or os.path.isdir(output))
    with on_interrupt(lambda: "interrupted: nothing is written"), progress(flags.quiet), as_file(file) as source:
        start = time.perf_counter()
        with open_file(source) as opened:
            version = version_of(opened)
        stem = Path(os.path.abspath(file)).with_suffix("") if str(file) != STANDARD else Path("restored")
        if version == PICTURES:
            from mcbits.archive.collection import open_pictures

            with open_pictures(source, model, backend=backend) as pictures:
                document = _restored(pictures, names or [], output, stem, limit)
        else:
            if names:
                raise UsageError("the file holds one array without names: leave NAME out")
            document = _array(source, output or f"{stem}.npy", model, (workers, backend, limit))
    seconds = time.perf_counter() - start
    document |= {"seconds": seconds}
    count = document["shape"][0] if "shape" in document else document["entries"]
    what = "images" if "shape" in document else "file" if count == 1 else "files"
    text = f"{printable(str(document['output']))}: {count:,} {what} restored, {count / seconds:,.0f} {what}/s"
    if document["output"] == STANDARD:
        print(text, file=sys.stderr)
    else:
        show(document, text, flags.json)


def _array(source: Path, output: str, model: Path | None, how: tuple[int, str, int]) -> dict[str, Any]:
    from mcbits.archive.jobs import restore

    _check(output)
    workers, backend, limit = how
    shape = restore(source, output, model, workers=workers, backend=backend, max_size=limit)
    return {"output": output, "shape": shape}


def _restored(
    pictures: "Collection", patterns: list[str], output: str | None, stem: Path, limit: int
) -> dict[str, Any]:
    """Restore entries of a file of version 2, and return what was written where."""
    from mcbits.archive.restoring import check_size, chosen, is_array, restore_array, restore_file, restore_folder

    wanted, contents = chosen(pictures, patterns), pictures.contents
    check_size(pictures, wanted, limit)
    array = is_array(pictures)
    if output is None and array:
        output = f"{stem}.npy"
    name = os.fsdecode(contents.names[wanted[0]]) if len(wanted) == 1 else ""
    alone = name and not name.endswith("/") and (patterns or len(contents.names) == 1)
    if output is None and alone:
        output = os.path.basename(name) if patterns else str(stem.parent / os.path.basename(name))
    everything = len(wanted) == len(contents.names)
    another = output is not None and (array or Path(name).suffix != Path(output).suffix)
    if output is not None and everything and another and _is_array_name(output):
        _check(output)
        return {"output": output, "shape": restore_array(pictures, output, limit)}
    if output == STANDARD:
        if not alone:
            raise UsageError("standard output takes one file: name it, or give -o FOLDER")
        restore_file(pictures, wanted[0], sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif output is not None and alone and not output.endswith("/") and not os.path.isdir(output):
        check_target(output)
        Replacing(force=False, never=True).check(Path(output))
        restore_file(pictures, wanted[0], Path(output))
    else:
        output = output or str(stem)
        check_target(output, folder=True)
        restore_folder(pictures, wanted, Path(output))
    return {"output": output, "entries": len(wanted)}


def _is_array_name(output: str) -> bool:
    from mcbits.images.formats import image_format

    try:
        return image_format(output) != "png"
    except UsageError:
        return False


def _check(output: str) -> None:
    """Refuse a target that cannot be written before the work, not after it."""
    from mcbits.images.formats import image_format

    check_target(output, folder=image_format(output) == "png")
    Replacing(force=False, never=True).check(Path(output))


def _bytes(size: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return TypeAdapter(ByteSize).validate_python(size)
    except ValidationError:
        raise UsageError(f"--max_size must be a number of bytes such as 500M, 4G or 4GiB, not {size!r}") from None
