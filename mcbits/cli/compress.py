"""`mcbits compress` stores exactly the images that it is given, or refuses; grey becomes binary only on request."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from mcbits.cli.flags import FLAG, ConfigFile, Flags, Replacing, with_flags, with_replacing
from mcbits.cli.options import config_options, tell_without_effect
from mcbits.cli.output import as_json, on_interrupt, show
from mcbits.cli.progress import progress
from mcbits.config import CompressConfig
from mcbits.datasets import binarize, white
from mcbits.datasets.selection import test_images
from mcbits.errors import DataError, UsageError
from mcbits.files import check_target, write
from mcbits.images import read_images
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins.registry import registry

Input = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT",
        help=".npy, .npz, IDX(.gz) or a folder of PNGs and TIFFs; by default the dataset's test images.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The .mcb file to write; by default of INPUT's name, and beside it."),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="A run directory or a frozen model file; by default a model of INPUT is trained, and stored with it.",
    ),
]
NoVerify = Annotated[bool, typer.Option("--no_verify", help="Short for --decode_check false.", metavar=FLAG)]


@config_options(CompressConfig)
@with_flags
@with_replacing
def compress(
    overrides: dict[str, str],
    input: Input = None,
    output: Output = None,
    model: Model = None,
    no_verify: NoVerify = False,
    config: ConfigFile = None,
    *,
    replacing: Replacing,
    flags: Flags,
) -> None:
    """Compress INPUT, or test images of a dataset, into one file."""
    if no_verify:
        if "decode_check" in overrides:
            raise UsageError("--no_verify and --decode_check exclude each other: leave one out")
        overrides = {**overrides, "decode_check": "false"}
    checked = CompressConfig.load(config, overrides)
    path = model or checked.train_config
    if input is None and (path is None or checked.train_config is None):
        raise UsageError("give INPUT, or --train_config RUN/train_config.yml for test images")
    if input is not None and output is None:
        output = _beside(Path(input))
    if output is not None:
        check_target(output)
        replacing.check(output)

    from mcbits import load_model
    from mcbits.archive.jobs import compress_file
    from mcbits.archive.models import model_file

    with on_interrupt(lambda: "interrupted: nothing is written"), progress(flags.quiet):
        tell_without_effect(CompressConfig, overrides)
        options, needed = checked.options, None
        if path is None:
            assert input is not None
            images = read_images(input)
            frozen, options = _trained(images, checked), replace(options, embed_model=True)
        else:
            frozen = load_model(path, checked.backend)
            needed = None if options.embed_model else model_file(path, frozen)
            images = (
                test_images(checked)
                if input is None
                else _own_images(input, frozen.num_symbols, frozen.sequences, checked, overrides)
            )
        destination = output or _result_directory(checked) / "images.mcb"
        cost = compress_file(images, destination, frozen, options)
    coder = options.coder
    document = {
        "output": destination,
        "model": needed,
        **({"coder": coder.short, **coder.get_config()} if frozen.latent_dim else {"coder": "simple"}),
        **cost.figures(),
    }
    if output is None:
        write(destination.with_name("results.json"), as_json(document).encode())
    show(
        document,
        f"{destination}: {cost.num_images} images in {cost.file_bytes:,} bytes, "
        f"{cost.num_images / cost.encode_seconds:,.0f} images/s\n"
        f"bits/{cost.unit}: ideal {cost.ideal:.4f}, net {cost.net:.4f}, message {cost.message:.4f}, "
        f"file {cost.file:.4f}\n"
        + (f"keep {needed} as well: the file cannot be decoded without it" if needed else "the model is in the file"),
        flags.json,
    )


def _trained(images: NDArray[Any], config: CompressConfig) -> FrozenModel:
    """Return a model of the images, trained on them. Raises UsageError where torch is missing."""
    try:
        from mcbits import fit
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError('to train a model needs torch: pip install "mcbits[train]", or give --model') from None
    return fit(images, effort=config.effort, seconds=config.seconds or None, seed=config.seed)


def _beside(path: Path) -> Path:
    """Return where a file or folder is compressed to by default: scans.npy and scans/ to scans.mcb beside them."""
    path = Path(os.path.abspath(path))
    if not path.name:
        raise UsageError(f"there is no name for the file to write: give -o OUT.mcb for {path}")
    name = path.name
    while path.is_file() and name.lower().endswith((".npy", ".npz", ".idx", ".gz")):
        name = name[: name.rindex(".")]
    return path.with_name(f"{name}.mcb")


def _own_images(
    path: str, num_symbols: int, sequences: bool, config: CompressConfig, overrides: dict[str, str]
) -> NDArray[Any]:
    for key in ("datadir", "dataset", "split", "num_compress"):
        if key in overrides:
            raise UsageError(f"INPUT and --{key} exclude each other: leave one out")
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


def _result_directory(config: CompressConfig) -> Path:
    directory = config.logdir / config.exp_name
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / "compress_config.yml", config.to_yaml().encode())
    return directory
