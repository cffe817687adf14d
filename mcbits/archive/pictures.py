"""Pictures and files go to a .mcb file of version 2, which is compared with them before it gets its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.collection import open_pictures
from mcbits.archive.gathering import Entry, Family
from mcbits.archive.models import Model
from mcbits.archive.picture_blocks import Settings
from mcbits.archive.writing import Chosen, ModelOf, Written, write_pictures
from mcbits.errors import DataError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.images.formats import as_images
from mcbits.images.wrappers import ARRAY, Unwrapped
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins import Lazy
from mcbits.plugins.registry import registry

SECONDS = (4, 8, 15, 30, 60, 150, 300, 600, 1200)
"""How long efforts 1 to 9 learn from the pictures."""

LEAST = 4096
"""Pictures of fewer samples in all are not worth a model of their own."""


@dataclass(frozen=True)
class ArrayEntry:
    """Images (n, h, w) or (n, h, w, channels) that are no file."""

    images: NDArray[Any] = field(repr=False)
    restored_name: bytes = b""

    def unwrap(self, metadata: bool = True) -> Unwrapped:
        """Return the images. The wrapper is the name of their type."""
        pixels = self.images.view(np.uint8) if self.images.dtype == bool else self.images
        return Unwrapped(pixels, ARRAY, self.images.dtype.name.encode())


def of_array(images: Any) -> list[Entry]:
    """Return the entries of an array (n, h, w) or (n, h, w, channels), or of pictures of several sizes.

    Raises DataError for other shapes and types.
    """
    if isinstance(images, np.ndarray):
        return [ArrayEntry(_checked(images))]
    return [ArrayEntry(_checked(np.asarray(each)[None])) for each in images]


def _checked(images: NDArray[Any]) -> NDArray[Any]:
    images = as_images(images)
    if not 3 <= images.ndim <= 4 or not images.size:
        raise DataError(f"expected images (n, h, w) or (n, h, w, channels), at least one, got {images.shape}")
    return images


def learning(effort: int, seconds: float | None = None, seed: int = 42) -> ModelOf:
    """Return what trains a model of each family, for its share of the time, to be embedded.

    Raises UsageError if torch is missing.
    """
    try:
        fit: Callable[..., FrozenModel] = Lazy("mcbits.training.fit:fit").load()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError('to train a model needs torch: pip install "mcbits[train]", or give --model') from None

    def model_of(family: Family, held: list[NDArray[Any]], share: float) -> Chosen | None:
        if family.samples < LEAST or (family.palette and family.num_symbols > 256):
            return None
        options = {"pixels": "categorical", "symbols": family.num_symbols} if family.palette else {}
        time_ = max(1.0, share * (seconds or SECONDS[effort - 1]))
        return Chosen(fit(held, effort=effort, seconds=time_, seed=seed, **options).packed())

    return model_of


def knowing(models: Sequence[FrozenModel], embed: bool) -> ModelOf:
    """Return what chooses for each family the first of these models that codes it; others are stored, which is said."""

    def model_of(family: Family, held: list[NDArray[Any]], share: float) -> Chosen | None:
        for model in models:
            with suppress(DataError):
                fits = all(model.of_shape(picture.shape) is not None for picture in held)
                if fits and family.num_symbols <= model.num_symbols:
                    return Chosen(model.packed() if embed else model, Settings.of({}), embed)
        what = f"{family.type}, {family.channels or 1} channels, symbols up to {family.num_symbols - 1}"
        registry().hook.mcbits_notice(message=f"no model given codes pictures of {what}: these are stored as they are")
        return None

    return model_of


@dataclass(frozen=True)
class Job:
    """What a job of compressing became: what `Written` says, and how long it took."""

    written: Written
    encode_seconds: float
    verify_seconds: float

    def figures(self) -> dict[str, Any]:
        """Return {name: value} of all of it."""
        return asdict(self.written) | {"encode_seconds": self.encode_seconds, "verify_seconds": self.verify_seconds}


def compress_pictures(
    entries: Iterable[Entry],
    destination: Path,
    model_of: ModelOf,
    *,
    metadata: bool = True,
    verify: bool = True,
    given: Model | None = None,
) -> Job:
    """Write entries to a file of version 2, which appears whole or not at all, and return what became of them.

    metadata: keep what of a picture file does not change how it looks. verify: decode what was written, and compare it,
    before the file gets its name. given: where the models are that are not embedded.
    Raises DataError for what cannot be read or written.
    """
    with whole_or_nothing(destination) as draft:
        begin = time.perf_counter()
        with open(draft, "wb") as file:
            written = write_pictures(file, entries, model_of, metadata)
        encoded = time.perf_counter()
        if verify:
            with open_pictures(draft, given) as pictures:
                pictures.verify()
        return Job(written, encoded - begin, time.perf_counter() - encoded if verify else 0.0)
