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
from mcbits.archive.models import Model, loaded
from mcbits.archive.options import CodingOptions
from mcbits.coders.base import Coder
from mcbits.files import whole_or_nothing
from mcbits.images.formats import image_format, write_images, write_npy

MAX_SIZE = 4_000_000_000
"""Bytes of images that `decompress` restores unless told otherwise: it holds them all in memory."""


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
    job = Encoding(images, loaded(model, backend), chosen)
    job.write(file)
    if verify:
        file.seek(0)
        job.verify(file)
    return file.getvalue()


def decompress(
    blob: bytes, model: Model | None = None, *, workers: int = 1, backend: str | None = None, max_size: int = MAX_SIZE
) -> NDArray[Any]:
    """Return the images (n, *shape) of a .mcb file's bytes; `model` may be left out if it is embedded, and
    may be a folder in which a model of the file's id lies.

    Raises FormatError for damage of any kind, ModelError when the model is missing or not the one the file was made
    with, SizeError for more than `max_size` bytes of images: before it decodes any where the file claims them, and
    before it decodes a block that goes beyond.

    >>> decompress(Path("tests/golden/bb-is-embedded-model.mcb").read_bytes()).shape
    (20, 8, 8)
    """
    return np.concatenate(list(decode(BytesIO(blob), model, backend=backend, workers=workers, max_size=max_size)))


def compress_file(images: Images, destination: str | Path, model: Model, options: CodingOptions) -> Cost:
    """As `compress`, into a file that appears whole or not at all, after it has been decoded again if that is asked
    for."""
    job = Encoding(images, loaded(model), options)
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
    with open_file(source) as file:
        return np.concatenate(list(decode(file, model, backend=backend, workers=workers, max_size=max_size)))


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
    with open_file(source) as file:
        blocks = decode(file, model, backend=backend, workers=workers, max_size=max_size)
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
        with open_file(source) as file:
            for _ in decode(file, model):
                pass
    return {**found, "decoded": decoded}
