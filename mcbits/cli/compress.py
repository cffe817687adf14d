"""`mcbits compress` stores exactly what it is given, or refuses; grey becomes binary only on request."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from mcbits.cli.flags import ConfigFile, Flags, Reading, Replacing, with_flags, with_reading, with_replacing
from mcbits.cli.options import config_options, tell_without_effect
from mcbits.cli.output import as_json, on_interrupt, printable, show
from mcbits.cli.progress import progress
from mcbits.cli.streams import STANDARD, as_file, to_output
from mcbits.config import CompressConfig
from mcbits.datasets import binarize, white
from mcbits.datasets.selection import test_images
from mcbits.errors import DataError, UsageError
from mcbits.files import check_target, write
from mcbits.images import read_images
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins.registry import registry

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT ...",
        help="A folder, a zip or tar of one, pictures, .npy, .npz or IDX(.gz); - is standard input. By default the "
        "dataset's test images.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The .mcb file to write, - for standard output; by default beside INPUT."),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="A run directory, a frozen model file, or a .mcb file whose models serve again; by default a model "
        "learns from INPUT, and is stored with it.",
    ),
]

ENDINGS = (".npy", ".npz", ".idx", ".gz", ".zip", ".tar", ".tgz", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")

ARRAYS = (b"\x93NUMPY", b"PK", b"\x1f\x8b", b"\0\0\x08")


@config_options(CompressConfig)
@with_flags
@with_replacing
@with_reading
def compress(
    overrides: dict[str, str],
    inputs: Inputs = None,
    output: Output = None,
    model: Model = None,
    config: ConfigFile = None,
    *,
    reading: Reading,
    replacing: Replacing,
    flags: Flags,
) -> None:
    """Compress a folder, pictures or an array, or test images of a dataset, into one file."""
    if not reading.verify:
        if "decode_check" in overrides:
            raise UsageError("--no_verify and --decode_check exclude each other: leave one out")
        overrides = {**overrides, "decode_check": "false"}
    checked = CompressConfig.load(config, overrides)
    path = model or checked.train_config
    if not inputs and (path is None or checked.train_config is None):
        raise UsageError("give INPUT, or --train_config RUN/train_config.yml for test images")
    if inputs and output is None:
        output = _beside(inputs)
    if output is not None and str(output) != STANDARD:
        check_target(output)
        replacing.check(output)
        if output.exists() and any(os.path.exists(each) and os.path.samefile(each, output) for each in inputs or ()):
            raise UsageError(f"{output} is what is to be compressed: choose another name for the file to write")

    from mcbits.archive.models import models_of

    with on_interrupt(lambda: "interrupted: nothing is written"), progress(flags.quiet), ExitStack() as scope:
        tell_without_effect(CompressConfig, overrides)
        models = models_of(path, checked.backend) if path else []
        files = [scope.enter_context(as_file(each)) for each in inputs or ()]
        if path and not models:
            raise UsageError(f"{path} holds no model: leave --model out to learn one")
        destination = output or _result_directory(checked) / "images.mcb"
        draft = scope.enter_context(to_output(destination))
        if not files or (path and _is_array(files, models, overrides)):
            assert path is not None
            document, text = _one_array(files, draft, (path, models[0]), checked, overrides)
        else:
            _refuse_data(overrides)
            document, text = _pictures(files, draft, (path, models), checked, reading)
    document = {"output": destination, **document}
    if output is None:
        write(destination.with_name("results.json"), as_json(document).encode())
    if str(destination) == STANDARD:
        print(text, file=sys.stderr)
    else:
        show(document, f"{printable(str(destination))}: {text}", flags.json)


def _is_array(files: list[Path], models: list[FrozenModel], overrides: dict[str, str]) -> bool:
    """Return whether version 1 holds it: one array for a model of one size, or of latents; and binarised copies."""
    if len(files) != 1 or len(models) != 1:
        return False
    if models[0].sequences or "binarize" in overrides:
        return True
    if files[0].is_dir() or not files[0].is_file():
        return not files[0].exists()
    with open(files[0], "rb") as file:
        is_array = file.read(8).startswith(ARRAYS)
    return is_array and bool(models[0].latent_dim)


def _one_array(
    files: list[Path],
    destination: Path,
    model: tuple[Path, FrozenModel],
    checked: CompressConfig,
    overrides: dict[str, str],
) -> tuple[dict[str, Any], str]:
    """Compress an array, or a dataset's test images, with one model, and return the document and the text of it."""
    from mcbits.archive.jobs import compress_file
    from mcbits.archive.models import model_file

    (path, frozen), options = model, checked.options
    needed = None if options.embed_model else model_file(path, frozen)
    images = (
        _own_images(str(files[0]), frozen.num_symbols, frozen.sequences, checked, overrides)
        if files
        else test_images(checked)
    )
    cost = compress_file(images, destination, frozen, options)
    coder = options.coder
    document = {
        "model": needed,
        **({"coder": coder.short, **coder.get_config()} if frozen.latent_dim else {"coder": "simple"}),
        **cost.figures(),
    }
    return document, (
        f"{cost.num_images} images in {cost.file_bytes:,} bytes, "
        f"{cost.num_images / cost.encode_seconds:,.0f} images/s\n"
        f"bits/{cost.unit}: ideal {cost.ideal:.4f}, net {cost.net:.4f}, message {cost.message:.4f}, "
        f"file {cost.file:.4f}\n"
        + (f"keep {needed} as well: the file cannot be decoded without it" if needed else "the model is in the file")
    )


def _pictures(
    files: list[Path],
    destination: Path,
    model: tuple[Path | None, list[FrozenModel]],
    checked: CompressConfig,
    reading: Reading,
) -> tuple[dict[str, Any], str]:
    """Compress files, with models given or learned, and return the document and the text of it."""
    from mcbits.archive.models import model_file
    from mcbits.archive.pictures import compress_pictures, knowing, learning
    from mcbits.archive.summary import info_of_pictures

    (path, models), options = model, checked.options
    model_of = knowing(models, options) if path else learning(checked.effort, checked.seconds or None, checked.seed)
    with all_entries(files, reading.follow) as entries:
        job = compress_pictures(
            entries, destination, model_of, metadata=reading.metadata, verify=options.verify, given=path
        )
    written, size = job.written, sum(map(_bytes_of, files))
    outside = [row for row in info_of_pictures(destination)["models"] if not row["embedded_model_bytes"]]
    needed = None
    if path and any(row["ready_made"] is None for row in outside):
        needed = path if len(models) > 1 or path.suffix == ".mcb" else model_file(path, models[0])
    dims = max(1, written.samples)
    document = {
        "model": needed,
        **job.figures(),
        "input_bytes": size,
        "unit": "dim",
        "ideal": written.ideal / dims,
        "file": 8 * written.file_bytes / dims,
    }
    lines = [
        f"{written.entries:,} {'file' if written.entries == 1 else 'files'} of {size:,} bytes in "
        f"{written.file_bytes:,} bytes, {written.file_bytes / max(1, size):.1%}"
    ]
    if written.pictures:
        lines.append(
            f"{written.pictures:,} pictures, {document['file']:.4f} bits/dim"
            + (f"; {written.stored:,} other files are kept as they are" if written.stored else "")
            + (f"; {written.repeated:,} repeat another" if written.repeated else "")
        )
    if written.model_bytes:
        share = f"the file holds its model, {written.model_bytes:,} bytes"
        if written.saved > 0:
            least = -(-written.model_bytes * written.pictures // written.saved)
            share += f", which pays from {least:,} such pictures on"
        lines.append(share)
    lines.append(
        f"keep {needed} as well: the file cannot be decoded without it"
        if needed
        else "nothing else is needed to decode it" + (" but mcbits and its ready-made models" if outside else "")
    )
    return document, "\n".join(lines)


@contextmanager
def all_entries(files: list[Path], follow: bool) -> Iterator[list[Any]]:
    """Yield the entries of all inputs: of several, those of a folder under its name."""
    from mcbits.archive.pictures import of_array
    from mcbits.images.folders import Entry, entries

    with ExitStack() as scope:
        found: list[Any] = []
        for path in files:
            if len(files) == 1 and _is_packed_array(path):
                found += of_array(read_images(path))
                continue
            each = scope.enter_context(entries(path, follow))
            if len(files) > 1 and path.is_dir():
                below = os.fsencode(os.path.basename(os.path.abspath(path))) + b"/"
                each = [entry.below(below) for entry in each]
            found += each
        names = [entry.restored_name for entry in found if isinstance(entry, Entry)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"two files come back as {os.fsdecode(twice)}: give the folder that holds both")
        yield found


def _is_packed_array(path: Path) -> bool:
    """Return whether a file is an array within a compressed one, whose bytes cannot be rebuilt."""
    from mcbits.images.folders import is_npz

    if not path.is_file():
        return False
    with open(path, "rb") as file:
        begin = file.read(4)
    if begin.startswith(b"\x1f\x8b"):
        import gzip

        try:
            with gzip.open(path) as unpacked:
                return unpacked.read(3) == b"\0\0\x08"
        except (OSError, EOFError):
            return False
    return begin.startswith(b"PK") and is_npz(path)


def _bytes_of(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(path) for name in names)


def _beside(inputs: list[str]) -> Path:
    """Return where a file or folder is compressed to by default: scans.npy and scans/ to scans.mcb beside them."""
    if len(inputs) > 1 or inputs[0] == STANDARD:
        raise UsageError("give -o OUT.mcb: there is no one name to take for the file to write")
    path = Path(os.path.abspath(inputs[0]))
    if not path.name:
        raise UsageError(f"there is no name for the file to write: give -o OUT.mcb for {path}")
    name = path.name
    while path.is_file() and name.lower().endswith(ENDINGS):
        name = name[: name.rindex(".")]
    return path.with_name(f"{name}.mcb")


def _own_images(
    path: str, num_symbols: int, sequences: bool, config: CompressConfig, overrides: dict[str, str]
) -> NDArray[Any]:
    _refuse_data(overrides)
    images = read_images(path)
    if sequences or images.max(initial=0) < num_symbols:
        return images
    if num_symbols > 2:
        raise DataError(f"{path}: values up to {images.max()}, but the model codes 0..{num_symbols - 1}")
    # `binarize` in a config file is about a dataset. The user's own pixels change only if the command line says so.
    if not ("binarize" in overrides and config.binarize):
        raise DataError(
            f"{path} has values up to {images.max()} and the model is binary: --binarize stores a binarised copy "
            "instead of it"
        )
    registry().hook.mcbits_notice(
        message=f"{path} is stored binarised with seed {config.seed}; its own values are not stored"
    )
    return binarize(images, white(images), config.seed)


def _refuse_data(overrides: dict[str, str]) -> None:
    for key in ("datadir", "dataset", "split", "num_compress"):
        if key in overrides:
            raise UsageError(f"INPUT and --{key} exclude each other: leave one out")


def _result_directory(config: CompressConfig) -> Path:
    directory = config.logdir / config.exp_name
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / "compress_config.yml", config.to_yaml().encode())
    return directory
