"""Images to a .mcb file and back: not one bit of what was handed over is lost, and what is not whole is an error."""

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.decoding import decode
from mcbits.archive.encoding import Cost, Encoding, Images
from mcbits.archive.format import info, open_file
from mcbits.archive.options import CodingOptions
from mcbits.coders.base import Coder
from mcbits.errors import ModelError
from mcbits.files import whole_or_nothing
from mcbits.images.formats import image_format, write_images, write_npy
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.plugins import Lazy

MAX_SIZE = 4_000_000_000
"""Bytes of images that `decompress` restores unless told otherwise: it holds them all in memory."""

Model = FrozenModel | str | Path
"""A frozen model, or a path that `load_model` takes."""


def load_model(path: str | Path, backend: str = "numpy") -> FrozenModel:
    """Return the model of a run directory, its train_config.yml, a frozen model file, or a published checkpoint.

    `backend` computes its products: "numpy", "torch" or "torch:DEVICE", the same bits. A model that is not frozen yet
    is frozen on the way in, which needs torch. Raises ModelError, FreezeError, PlatformError, and UsageError for a
    backend.

    >>> model = load_model("tests/golden/model.safetensors")
    >>> model.shape, model.num_symbols, model.latent_dim
    ((8, 8), 2, 6)
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path} does not exist: give a run directory, its train_config.yml, or a frozen model file")
    if path.is_file() and path.name != "train_config.yml":
        return load_frozen(path, backend)
    directory = path if path.is_dir() else path.parent
    if (directory / "codec.safetensors").is_file():
        return load_frozen(directory / "codec.safetensors", backend)
    try:
        # By name, as plugins are found: freezing needs torch, which nothing here may import.
        load_float = Lazy("mcbits.training.checkpoint:load_float").load()
    except ModuleNotFoundError:
        raise ModelError(f'{path} is not frozen yet, which needs torch: pip install "mcbits[train]"') from None
    model: FrozenModel = load_float(path).freeze(backend)
    return model


def compress(
    images: Images,
    model: Model,
    coder: str | Coder = "bb-is",
    *,
    backend: str | None = None,
    verify: bool = True,
    **options: Any,
) -> bytes:
    """Return images (n, *shape), uint8 or bool, as the bytes of a .mcb file.

    `options` have the names of the command line: the coder's (num_particles), the precisions (prop_mprec), `seed`,
    `lanes`, `ramp`, `workers`, `embed_model`, and with `iterative_post_improvement` each q(z|x) is refined by gradient
    steps on the ELBO, which the decoder repeats. `backend` computes the network, by default as the model says; with
    `verify` what was written is decoded again and compared.
    Raises DataError for images that the model cannot code, UsageError for options.

    >>> images = np.unpackbits(np.load("tests/golden/images.npy")).reshape(500, 8, 8)
    >>> blob = compress(images, "tests/golden/model.safetensors", coder="bb-is", num_particles=10)
    >>> len(blob) < images.size / 8
    True
    >>> compress(images, "tests/golden/model.safetensors", num_partikels=10)
    Traceback (most recent call last):
    mcbits.errors.UsageError: bb-is has no option num_partikels: did you mean num_particles?
    """
    chosen, file = CodingOptions.of(coder, decode_check=verify, **options), BytesIO()
    job = Encoding(images, _loaded(model, backend), chosen)
    job.write(file)
    if verify:
        file.seek(0)
        job.verify(file)
    return file.getvalue()


def decompress(
    blob: bytes, model: Model | None = None, *, workers: int = 1, backend: str | None = None, max_size: int = MAX_SIZE
) -> NDArray[Any]:
    """Return the images (n, *shape) of a .mcb file's bytes; `model` may be left out if it is embedded.

    Raises FormatError for damage of any kind, ModelError when the model is missing or not the one the file was made
    with, SizeError for more than `max_size` bytes of images: before it decodes any where the file claims them, and
    before it decodes a block that goes beyond.

    >>> decompress(Path("tests/golden/bb-is-embedded-model.mcb").read_bytes()).shape
    (20, 8, 8)
    """
    frozen = _loaded(model, backend) if model is not None else None
    return np.concatenate(list(decode(BytesIO(blob), frozen, backend=backend, workers=workers, max_size=max_size)))


def compress_file(images: Images, destination: str | Path, model: Model, options: CodingOptions) -> Cost:
    """As `compress`, into a file that appears whole or not at all, after it has been decoded again if that is asked
    for."""
    job = Encoding(images, _loaded(model), options)
    with whole_or_nothing(Path(destination)) as draft:
        begin = time.perf_counter()
        with open(draft, "wb") as file:
            job.write(file)
        encoded = time.perf_counter()
        if options.verify:
            with open(draft, "rb") as file:
                job.verify(file)
        return job.cost(draft.stat().st_size, encoded - begin, time.perf_counter() - encoded if options.verify else 0.0)


def decompress_file(
    source: str | Path,
    model: Model | None = None,
    *,
    workers: int = 1,
    backend: str | None = None,
    max_size: int = MAX_SIZE,
) -> NDArray[Any]:
    """Return the images of a .mcb file; errors as for `decompress`."""
    frozen = _loaded(model, backend) if model is not None else None
    with open_file(source) as file:
        return np.concatenate(list(decode(file, frozen, backend=backend, workers=workers, max_size=max_size)))


def restore(
    source: str | Path,
    destination: str | Path,
    model: Model | None = None,
    *,
    workers: int = 1,
    backend: str | None = None,
    max_size: int = MAX_SIZE,
) -> tuple[int, ...]:
    """Write the images of a .mcb file as `write_images` does, a .npy block by block; return their shape (n, *shape).

    Errors as for `decompress` and `write_images`; the file appears whole or not at all.
    """
    frozen = _loaded(model, backend) if model is not None else None
    with open_file(source) as file:
        blocks = decode(file, frozen, backend=backend, workers=workers, max_size=max_size)
        if image_format(destination) == "npy":
            return write_npy(destination, blocks)
        images = np.concatenate(list(blocks))
    write_images(destination, images)
    return images.shape


def verify(source: str | Path, model: Model | None = None) -> dict[str, Any]:
    """Check every checksum and, where the model is at hand, decode; return what `info` says, and whether it was
    "decoded"."""
    found = info(source)
    decoded = model is not None or found["embedded_model_bytes"] > 0
    if decoded:
        frozen = _loaded(model) if model is not None else None
        with open_file(source) as file:
            for _ in decode(file, frozen):
                pass
    return {**found, "decoded": decoded}


def _loaded(model: Model, backend: str | None = None) -> FrozenModel:
    if not isinstance(model, FrozenModel):
        return load_model(model, backend or "numpy")
    return model if backend in (None, model.backend) else load_frozen(model.data, backend)
