"""Images go to a .mcb file and back without loss; an incomplete or damaged file is an error."""

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
"""The default of `max_size`, in bytes of images, since `decompress` holds them all in memory."""


def compress(
    images: Images,
    model: Model,
    coder: str | Coder = "bb-is",
    *,
    backend: str | None = None,
    verify: bool = True,
    **options: Any,
) -> bytes:
    """Compress images (n, *shape), uint8 or bool, and return the bytes of a .mcb file.

    options: by the names of the command line: those of the coder (num_particles), the precisions (prop_mprec), `seed`,
    `lanes`, `ramp`, `workers`, `embed_model`. With `iterative_post_improvement`, each q(z|x) is refined by gradient
    steps on the ELBO, and the decoder repeats them.
    backend: what computes the network; by default that of the model.
    verify: decode the file again and compare it.
    Raises DataError for images that the model cannot code, UsageError for wrong options, UnknownNameError for the
    coder, and as `load_model` does.

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
    """Return the images (n, *shape) of the bytes of a .mcb file.

    model: may be a folder that holds it, and left out if the file embeds it.
    workers: processes that decode blocks at the same time.
    max_size: most bytes of images; checked before any image is decoded.
    Raises FormatError for damage of any kind, ModelError if the model is missing or is not the one that the file was
    made with, SizeError for more than `max_size` bytes of images, and as `load_model` does.

    >>> decompress(Path("tests/golden/bb-is-embedded-model.mcb").read_bytes()).shape
    (20, 8, 8)
    """
    return np.concatenate(list(decode(BytesIO(blob), model, backend=backend, workers=workers, max_size=max_size)))


def compress_file(images: Images, destination: str | Path, model: Model, options: CodingOptions) -> Cost:
    """Compress images, as `compress` does, into a file, and return the cost.

    The file appears whole or not at all. With `options.verify` it is decoded and compared before it gets its name.
    Raises as `compress` does, and DataError if the file cannot be written.
    """
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
    """Return the images (n, *shape) of a .mcb file.

    Raises as `decompress` does, and DataError if the file cannot be opened.
    """
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
    """Write the images of a .mcb file as `write_images` does, and return their shape (n, *shape).

    A .npy file is written block by block. The file appears whole or not at all.
    Raises as `decompress_file` and `write_images` do.
    """
    with open_file(source) as file:
        blocks = decode(file, model, backend=backend, workers=workers, max_size=max_size)
        if image_format(destination) == "npy":
            return write_npy(destination, blocks)
        images = np.concatenate(list(blocks))
    write_images(destination, images)
    return images.shape


def verify(source: str | Path, model: Model | None = None) -> dict[str, Any]:
    """Check every checksum and, if the model is given or embedded, decode the file. There is no limit on its size.

    Return what `info` returns, and "decoded": whether the file was decoded. Raises as `info` and `decode` do.
    """
    found = info(source)
    decoded = model is not None or found["embedded_model_bytes"] > 0
    if decoded:
        with open_file(source) as file:
            for _ in decode(file, model):
                pass
    return {**found, "decoded": decoded}
