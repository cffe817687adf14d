"""Pictures and files go to a .mcb file of version 2, which is compared with them before it gets its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.collection import open_pictures
from mcbits.archive.encoding import Encoding
from mcbits.archive.format import open_file
from mcbits.archive.gathering import Entry, Family
from mcbits.archive.index import read_index
from mcbits.archive.models import Model
from mcbits.archive.options import CodingOptions
from mcbits.archive.picture_blocks import PictureCodec, Settings
from mcbits.archive.ready_made import ready_made_models
from mcbits.archive.writing import Chosen, ModelOf, Written, write_pictures
from mcbits.coders.simple import SimpleCoder
from mcbits.errors import DataError, lacking
from mcbits.files import whole_or_nothing
from mcbits.images.formats import as_images
from mcbits.images.wrappers import ARRAY, Unwrapped
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins import Lazy
from mcbits.plugins.registry import registry

SECONDS = (4, 8, 15, 30, 60, 150, 300, 600, 1200)
"""How long efforts 1 to 9 learn from the pictures."""

TRIED = 1 << 18
"""How many samples decide between two models."""

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
    """Return what trains a model of each family for its share of the time, or takes a ready-made one: what is smaller.

    Effort 1 takes ready-made models where there are any. So does every effort if torch is missing, which is said.
    """
    fit: Callable[..., FrozenModel] | None = None
    try:
        fit = Lazy("mcbits.training.fit:fit").load()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        if effort > 1:
            registry().hook.mcbits_notice(
                message=f"ready-made models are used: to learn from the pictures needs {lacking('torch')}"
            )

    def model_of(family: Family, held: list[NDArray[Any]], share: float) -> Chosen | None:
        ready = None if family.palette else _fitting(ready_made_models(), family, held)
        taken = Chosen(ready, embed=False) if ready else None
        worth = family.samples >= LEAST and not (family.palette and family.num_symbols > 256)
        if fit is None or not worth or (effort == 1 and ready):
            return taken
        options = {"pixels": "categorical", "symbols": family.num_symbols} if family.palette else {}
        time_ = max(1.0, share * (seconds or SECONDS[effort - 1]))
        trained = fit(held, effort=effort, seconds=time_, seed=seed, **options).packed()
        if ready is None:
            return Chosen(trained)
        tried = _some(held)
        scale = family.samples / sum(map(np.size, tried))
        own, other = (scale * _coded_bytes(model, tried) for model in (trained, ready))
        return Chosen(trained) if own + len(trained.data) < other else taken

    return model_of


def _fitting(models: Sequence[FrozenModel], family: Family, held: list[NDArray[Any]]) -> FrozenModel | None:
    """Return the model of fewest symbols that codes all these pictures, or None."""
    for model in sorted(models, key=lambda model: model.num_symbols):
        with suppress(DataError):
            fits = all(model.of_shape(shape) is not None for shape in {picture.shape for picture in held})
            if fits and family.num_symbols <= model.num_symbols:
                return model
    return None


def _some(held: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return about TRIED samples of pictures: some of them, and of large ones the middle."""
    crops = [
        each[(h := each.shape[0] // 2) - min(h, 128) : h + 128, (w := each.shape[1] // 2) - min(w, 128) : w + 128]
        for each in held
    ]
    step = -(-sum(map(np.size, crops)) // TRIED)
    return crops[:: max(1, step)]


def _coded_bytes(model: FrozenModel, pictures: list[NDArray[Any]]) -> int:
    codec, groups = PictureCodec(model, Settings.of({})), dict[tuple[int, ...], list[NDArray[Any]]]()
    for each in pictures:
        groups.setdefault(each.shape, []).append(each)
    return len(codec.encode(0, [np.stack(each) for each in groups.values()], bytes(4))[0])


def knowing(models: Sequence[FrozenModel], options: CodingOptions | None = None) -> ModelOf:
    """Return what chooses for each family one of these models that codes it; others are stored, which is said.

    options: how models with latents code; whether the file holds the model. By default it does not.
    """
    options = options or CodingOptions.of()

    def model_of(family: Family, held: list[NDArray[Any]], share: float) -> Chosen | None:
        if (model := _fitting(models, family, held)) is not None:
            embed = options.embed_model
            return Chosen(model.packed() if embed else model, _settings(model, held, options), embed)
        what = f"{family.type}, {family.channels or 1} channels, symbols up to {family.num_symbols - 1}"
        registry().hook.mcbits_notice(message=f"no model given codes pictures of {what}: these are stored as they are")
        return None

    return model_of


def _settings(model: FrozenModel, held: list[NDArray[Any]], options: CodingOptions) -> Settings:
    """Return how a model codes: one with latents with the lanes and the ramp that version 1 would choose."""
    if not model.latent_dim:
        return Settings(SimpleCoder(), options.precisions)
    same = [each for each in held if each.shape == held[0].shape]
    header = Encoding(np.stack(same[:2048]), model, options).codec.header
    return Settings(options.coder, options.precisions, header.lanes, header.ramp, options.refinement)


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
    base: Path | None = None,
) -> Job:
    """Write entries to a file of version 2, which appears whole or not at all, and return what became of them.

    metadata: keep what of a picture file does not change how it looks. verify: decode what was written, and compare it,
    before the file gets its name. given: where the models are that are not embedded. base: a file that the new one
    goes on from; it may be `destination`.
    Raises DataError for what cannot be read or written.
    """
    with whole_or_nothing(destination) as draft:
        begin = time.perf_counter()
        with open(draft, "wb") as file, ExitStack() as scope:
            before = scope.enter_context(open_file(base)) if base else None
            whole = (read_index(before), before) if before else None
            written = write_pictures(file, entries, model_of, metadata, whole)
        encoded = time.perf_counter()
        if verify:
            with open_pictures(draft, given) as pictures:
                pictures.verify()
        return Job(written, encoded - begin, time.perf_counter() - encoded if verify else 0.0)


def packed(entries: Iterable[Entry], model_of: ModelOf, verify: bool = True) -> bytes:
    """Return the bytes of a file of version 2 of these entries. Raises as `compress_pictures`."""
    file = BytesIO()
    write_pictures(file, entries, model_of)
    if verify:
        open_pictures(file).verify()
    return file.getvalue()
