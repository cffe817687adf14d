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
from mcbits.archive.options import CodingOptions
from mcbits.coders.base import Coder
from mcbits.errors import ModelError
from mcbits.files import whole_or_nothing
from mcbits.images.formats import image_format, write_images, write_npy
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.plugins import Lazy

MAX_SIZE = 4_000_000_000
"""The default of `max_size`, in bytes of images, since `decompress` holds them all in memory."""

Model = FrozenModel | str | Path
"""A frozen model, or a path that `load_model` takes."""


def load_model(path: str | Path, backend: str = "numpy") -> FrozenModel:
    """Return the frozen model of a run directory, its train_config.yml, a frozen model file or a published checkpoint.

    backend: what computes its products: "numpy", "torch" or "torch:DEVICE"; all give the same bits. A model that is
    not frozen yet is frozen here, which needs torch.
    Raises ModelError if the model is missing or damaged, FreezeError if a layer has no exact form, PlatformError if
    the backend rounds, UsageError for an unknown backend.
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
        # Loaded by name, as plugins are: freezing needs torch, which nothing here may import.
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
    """Compress images (n, *shape), uint8 or bool, and return the bytes of a .mcb file.

    options: by the names of the command line: those of the coder (num_particles), the precisions (prop_mprec), `seed`,
    `lanes`, `ramp`, `workers`, `embed_model`. With `iterative_post_improvement`, each q(z|x) is refined by gradient
    steps on the ELBO, and the decoder repeats them.
    backend: what computes the network; by default that of the model.
    verify: decode the file again and compare it.
    Raises DataError for images that the model cannot code, UsageError for wrong options, UnknownNameError for the
    coder, and as `load_model` does.
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
    """Return the images (n, *shape) of the bytes of a .mcb file.

    model: may be left out if the file embeds it. workers: processes that decode blocks at the same time.
    max_size: most bytes of images; checked before any image is decoded.
    Raises FormatError for damage of any kind, ModelError if the model is missing or is not the one that the file was
    made with, SizeError for more than `max_size` bytes of images, and as `load_model` does.
    """
    frozen = _loaded(model, backend) if model is not None else None
    return np.concatenate(list(decode(BytesIO(blob), frozen, backend=backend, workers=workers, max_size=max_size)))


def compress_file(images: Images, destination: str | Path, model: Model, options: CodingOptions) -> Cost:
    """Compress images, as `compress` does, into a file, and return the cost.

    The file appears whole or not at all. With `options.verify` it is decoded and compared before it gets its name.
    Raises as `compress` does, and DataError if the file cannot be written.
    """
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
    """Return the images (n, *shape) of a .mcb file.

    Raises as `decompress` does, and DataError if the file cannot be opened.
    """
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
    """Write the images of a .mcb file as `write_images` does, and return their shape (n, *shape).

    A .npy file is written block by block. The file appears whole or not at all.
    Raises as `decompress_file` and `write_images` do.
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
    """Check every checksum and, if the model is given or embedded, decode the file. There is no limit on its size.

    Return what `info` returns, and "decoded": whether the file was decoded. Raises as `info` and `decode` do.
    """
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
