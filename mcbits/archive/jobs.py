"""Images go to a .mcb file and back without loss; an incomplete or damaged file is an error."""

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.collection import open_pictures
from mcbits.archive.decoding import decode
from mcbits.archive.encoding import Cost, Encoding, Images
from mcbits.archive.format import PICTURES, info, open_file, version_of
from mcbits.archive.index import START
from mcbits.archive.models import Model, loaded
from mcbits.archive.options import CodingOptions
from mcbits.archive.pictures import learning, of_array, packed
from mcbits.archive.restoring import as_array, restore_array
from mcbits.archive.summary import info_of_pictures
from mcbits.coders.base import Coder
from mcbits.errors import UsageError
from mcbits.files import whole_or_nothing
from mcbits.images.formats import image_format, write_images, write_npy

MAX_SIZE = 4_000_000_000
"""The default of `max_size`, in bytes of images, since `decompress` holds them all in memory."""


def compress(
    images: Images,
    model: Model | None = None,
    coder: str | Coder = "bb-is",
    *,
    backend: str | None = None,
    verify: bool = True,
    **options: Any,
) -> bytes:
    """Compress images (n, *shape), bool, uint8 or uint16, and return the bytes of a .mcb file.

    Without a model, one learns from the images and is stored with them: images (n, h, w) or (n, h, w, channels), or a
    list of pictures (h, w) or (h, w, channels) of several sizes. options: `effort` 1 to 9, by default 5, which takes a
    minute; `seconds`; `seed`. With a model:

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
    if model is None:
        return packed(of_array(images), learning(**_learning_options(options)), verify)
    chosen, file = CodingOptions.of(coder, decode_check=verify, **options), BytesIO()
    job = Encoding(images, loaded(model, backend), chosen)
    job.write(file)
    if verify:
        file.seek(0)
        job.verify(file)
    return file.getvalue()


def _learning_options(given: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(given.keys() - {"effort", "seconds", "seed"}):
        raise UsageError(f"{unknown[0]} is an option of coding with a model: give the model, or leave it out")
    return {"effort": 5, **given}


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
    if blob[: len(START)] == START:
        return as_array(open_pictures(BytesIO(blob), model, backend=backend), max_size)
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
        if version_of(file) == PICTURES:
            return as_array(open_pictures(file, model, backend=backend), max_size)
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
        if version_of(file) == PICTURES:
            return restore_array(open_pictures(file, model, backend=backend), destination, max_size)
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
    with open_file(source) as file:
        version = version_of(file)
    if version == PICTURES:
        with open_pictures(source, model) as pictures:
            decoded = model is not None or not pictures.needs
            pictures.verify(decoded)
        return {**info_of_pictures(source), "decoded": decoded}
    found = info(source)
    decoded = model is not None or found["embedded_model_bytes"] > 0
    if decoded:
        with open_file(source) as file:
            for _ in decode(file, model):
                pass
    return {**found, "decoded": decoded}
