"""Images to a .mcb file and back: not one bit of what was handed over is lost, and what is not whole is an error."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from hashlib import sha256
from io import BytesIO
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.blocks import BlockCodec, check_particles, trial
from mcbits.archive.format import (
    MAX_BLOCK,
    End,
    Header,
    claimed_by_block,
    info,
    open_file,
    pack_block,
    read_ahead,
    read_blocks,
    read_header,
)
from mcbits.archive.ramp import parse_lanes, parse_ramp
from mcbits.archive.workers import Workers
from mcbits.coders.base import Coder
from mcbits.errors import DataError, FormatError, ModelError, SizeError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.images.formats import image_format, write_images, write_npy
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.sequences import lengths, symbols
from mcbits.plugins import Lazy
from mcbits.plugins.registry import make_coder, registry

BLOCK_SIZE = 2048

MAX_SIZE = 4_000_000_000
"""Bytes of images that `decompress` restores unless told otherwise: it holds them all in memory."""

Images = NDArray[Any] | Iterable[NDArray[Any]]
"""An array (n, *shape) or an iterable of such arrays, of which no more than a block is held at a time."""

Model = FrozenModel | str | Path


@dataclass(frozen=True)
class Report:
    """What compressing cost.

    `ideal` (minus the coder's bound, on the particles it drew), `net` (what the message grew by) and `total` (the
    file) in bits a `unit`, which is a "dim", or a "frame" of sequences; `per_image` (num_images,) the ideal rate of
    each and `units` (num_images,) how many it has; `initial_bits` in bits; `seconds` of encoding, and
    `verify_seconds` of decoding again (0 when it was skipped).
    """

    num_images: int
    unit: str
    ideal: float
    net: float
    total: float
    initial_bits: float
    file_bytes: int
    seconds: float
    verify_seconds: float
    per_image: NDArray[np.float64] = field(repr=False, compare=False)
    units: NDArray[np.int64] = field(repr=False, compare=False)


def load_model(path: str | Path, backend: str = "numpy") -> FrozenModel:
    """The model of a run directory, its train_config.yml, a frozen model file, or a directory of a published
    checkpoint.

    `backend` computes its products: "numpy", "torch" or "torch:DEVICE", the same bits. A model that is not frozen yet
    is frozen
    on the way in, which needs torch. Raises ModelError, FreezeError, PlatformError, and UsageError for a backend.
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
    coder: str = "bb-is",
    *,
    seed: int = 0,
    lanes: int | str = 1,
    ramp: str = "auto",
    workers: int = 1,
    backend: str = "numpy",
    embed_model: bool = False,
    verify: bool = True,
    iterative_post_improvement: bool = False,
    iterative_improvement_steps: int = 50,
    iterative_improvement_lr: float = 0.01,
    **options: Any,
) -> bytes:
    """Images (n, *shape), uint8 or bool, as the bytes of a .mcb file.

    `options` are the coder's (num_particles) and the precisions (prop_mprec). With `iterative_post_improvement` each
    q(z|x) is
    refined by gradient steps on the ELBO, which the decoder repeats. Raises DataError for images that the model
    cannot code, UsageError for options.
    """
    refinement = (
        Refinement(iterative_improvement_steps, iterative_improvement_lr) if iterative_post_improvement else None
    )
    names = [f.name for f in fields(Precisions)]
    precisions = Precisions(**{k: options.pop(k) for k in names if k in options})
    vae, file = _loaded(model, backend), BytesIO()
    job = _Encoding(images, vae, make_coder(coder, options), precisions, seed, lanes, ramp, embed_model, refinement)
    job.write(file, workers)
    if verify:
        file.seek(0)
        job.verify(file, workers)
    return file.getvalue()


def decompress(
    blob: bytes, model: Model | None = None, *, workers: int = 1, backend: str = "numpy", max_size: int = MAX_SIZE
) -> NDArray[Any]:
    """The images (n, *shape) of a .mcb file's bytes; `model` may be left out if it is embedded.

    Raises FormatError for damage of any kind, ModelError when the model is missing or not the one the file was made
    with, SizeError for more than `max_size` bytes of images: before it decodes any where the file claims them, and
    before it decodes a block that goes beyond.
    """
    return np.concatenate(list(decode(BytesIO(blob), model, workers, backend, max_size)))


def compress_file(
    images: Images,
    destination: str | Path,
    model: Model,
    *,
    coder: Coder,
    precisions: Precisions = Precisions(),
    seed: int = 0,
    lanes: int | str = 1,
    ramp: str = "auto",
    workers: int = 1,
    embed_model: bool = False,
    verify: bool = True,
    refinement: Refinement | None = None,
) -> Report:
    """As `compress`, into a file that appears whole or not at all, after it has been decoded again if `verify`."""
    job = _Encoding(images, _loaded(model), coder, precisions, seed, lanes, ramp, embed_model, refinement)
    with whole_or_nothing(Path(destination)) as draft:
        begin = time.perf_counter()
        with open(draft, "wb") as file:
            job.write(file, workers)
        encoded = time.perf_counter()
        if verify:
            with open(draft, "rb") as file:
                job.verify(file, workers)
        return job.report(draft.stat().st_size, encoded - begin, time.perf_counter() - encoded if verify else 0.0)


def decompress_file(
    source: str | Path,
    model: Model | None = None,
    *,
    workers: int = 1,
    backend: str = "numpy",
    max_size: int = MAX_SIZE,
) -> NDArray[Any]:
    """The images of a .mcb file; errors as for `decompress`."""
    with open_file(source) as file:
        return np.concatenate(list(decode(file, model, workers, backend, max_size)))


def restore(
    source: str | Path,
    destination: str | Path,
    model: Model | None = None,
    *,
    workers: int = 1,
    backend: str = "numpy",
    max_size: int = MAX_SIZE,
) -> tuple[int, ...]:
    """Write the images of a .mcb file as `write_images` does, a .npy block by block; returns their shape (n, *shape).

    Errors as for `decompress` and `write_images`; the file appears whole or not at all.
    """
    with open_file(source) as file:
        blocks = decode(file, model, workers, backend, max_size)
        if image_format(destination) == "npy":
            return write_npy(destination, blocks)
        images = np.concatenate(list(blocks))
    write_images(destination, images)
    return images.shape


def verify(source: str | Path, model: Model | None = None) -> dict[str, Any]:
    """Check every checksum and, where the model is at hand, decode; what `info` says, and whether it was "decoded"."""
    found = info(source)
    decoded = model is not None or found["embedded_model_bytes"] > 0
    if decoded:
        with open_file(source) as file:
            for _ in decode(file, model):
                pass
    return {**found, "decoded": decoded}


def decode(
    file: BinaryIO,
    model: Model | None = None,
    workers: int = 1,
    backend: str = "numpy",
    max_size: int | None = None,
) -> Iterator[NDArray[Any]]:
    """The images of each block (n, *shape) in turn; what the last one yielded is vouched for only when the iterator
    ends. Errors and `max_size`, here by default without limit, as for `decompress`."""
    _check_workers(workers)
    header = read_header(file)

    def check_size(num_images: int) -> None:
        if max_size is not None and num_images * prod(header.shape) > max_size:
            raise SizeError(
                f"the file claims {num_images * prod(header.shape):,} bytes of images, beyond the max_size of "
                f"{max_size:,}: allow more if you trust it"
            )

    if (claimed := read_ahead(file)) is not None:
        check_size(claimed.num_images)
    vae = _model_of(header, model, backend)
    try:
        codec = BlockCodec(header, vae)
    except UsageError as error:
        raise FormatError(f"the file needs what this mcbits has not: {error}") from None
    end, digest, count = End(0, b""), sha256(), 0

    def payloads() -> Iterator[bytes]:
        nonlocal end
        num_images = 0
        for piece in read_blocks(file):
            if isinstance(piece, End):
                end = piece
            else:
                num_images += claimed_by_block(piece)
                check_size(num_images)
                yield piece

    with ExitStack() as scope:
        if workers > 1:
            blocks = scope.enter_context(Workers(workers, codec, vae)).decode(payloads())
        else:
            blocks = map(codec.decode, payloads())
        for images in blocks:
            digest.update(images.tobytes())
            count += len(images)
            registry().hook.mcbits_advanced(job="decompress", done=count, metrics={})
            yield images
    if count == 0:
        raise FormatError("the file holds no images")
    if end != End(count, digest.digest()):
        raise FormatError("the decoded images do not have the checksum of the original ones")


class _Encoding:
    """One job: checks what can be checked before the first byte is written, then writes block after block."""

    def __init__(
        self,
        images: Images,
        vae: FrozenModel,
        coder: Coder,
        precisions: Precisions,
        seed: int,
        lanes: int | str,
        ramp: str,
        embed_model: bool,
        refinement: Refinement | None,
    ):
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise UsageError(f"seed must be a whole number, not {seed!r}")
        self.vae, self.seed = vae, int(seed)
        self.total = len(images) if isinstance(images, np.ndarray) else 0
        self._blocks = _blocks(images, vae)
        first = next(self._blocks, None)
        if first is None:
            raise DataError("there are no images to compress")
        self._blocks = chain([first], self._blocks)
        model = vae.latent_model(precisions, refinement)
        check_particles(coder, model, prod(vae.shape), vae.num_latents)
        tried = partial(trial, model, first, vae.sequences)
        slope = parse_ramp(ramp, coder, tried)
        if vae.sequences and lanes == "auto":
            lanes = 1
        self.header = Header(
            coder=coder.short,
            options=coder.get_config(),
            precisions=asdict(precisions),
            shape=first.shape[1:],
            dtype=str(first.dtype),
            lanes=parse_lanes(lanes, coder, slope, tried, len(first)),
            block_size=_block_size(vae),
            ramp=slope,
            refinement=asdict(refinement) if refinement else {},
            sequences=vae.sequences,
            model_id=bytes.fromhex(vae.model_id),
            model=vae.data if embed_model else b"",
        )
        self.codec = BlockCodec(self.header, vae)
        self.net = self.initial = 0.0
        self.units: list[NDArray[np.int64]] = []
        self.ideal: list[NDArray[np.float64]] = []
        self.num_images = 0

    def write(self, file: BinaryIO, workers: int) -> None:
        _check_workers(workers)
        hook, digest = registry().hook, sha256()

        def blocks() -> Iterator[NDArray[Any]]:
            for images in self._blocks:
                digest.update(images.tobytes())
                self.units.append(self.vae.units(images))
                yield images

        hook.mcbits_started(job="compress", total=self.total)
        file.write(self.header.pack())
        with ExitStack() as scope:
            if workers > 1:
                encoded = scope.enter_context(Workers(workers, self.codec, self.vae)).encode(blocks(), self.seed)
            else:
                on_step = self._shower()
                encoded = (
                    self.codec.encode(number, images, self.seed, on_step) for number, images in enumerate(blocks())
                )
            for number, block in enumerate(encoded):
                file.write(pack_block(number, block.payload))
                self.ideal.append(block.ideal)
                self.net += block.net
                self.initial += block.initial
                self.num_images += len(block.ideal)
                hook.mcbits_advanced(job="compress", done=self.num_images, metrics=self._rates())
        file.write(End(self.num_images, digest.digest()).pack())
        hook.mcbits_finished(job="compress", metrics=self._rates())

    def verify(self, file: BinaryIO, workers: int) -> None:
        # The checksum inside the file is that of the images, so decoding without an error is decoding the images.
        hook = registry().hook
        hook.mcbits_started(job="decompress", total=self.num_images)
        for _ in decode(file, self.vae, workers):
            pass
        hook.mcbits_finished(job="decompress", metrics={})

    def report(self, file_bytes: int, seconds: float, verify_seconds: float) -> Report:
        rates, units = self._rates(), np.concatenate(self.units)
        return Report(
            num_images=self.num_images,
            unit=self.vae.unit,
            ideal=rates["ideal"],
            net=rates["net"],
            total=8 * file_bytes / int(units.sum()),
            initial_bits=self.initial,
            file_bytes=file_bytes,
            seconds=seconds,
            verify_seconds=verify_seconds,
            per_image=np.concatenate(self.ideal) / units,
            units=units,
        )

    def _shower(self) -> Any:
        # Tells of a block's progress ten times a second, which costs nothing next to an image.
        shown = time.monotonic()

        def on_step(ideal: NDArray[np.float64], stack: Stack) -> None:
            nonlocal shown
            if time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                rates = self._rates(ideal, float(stack.net_bits().sum()), float(stack.initial_bits().sum()))
                registry().hook.mcbits_advanced(job="compress", done=self.num_images + len(ideal), metrics=rates)

        return on_step

    def _rates(
        self, ideal: NDArray[np.float64] | None = None, net: float = 0.0, initial: float = 0.0
    ) -> dict[str, float]:
        # Of the blocks that are written, and of what is known of the next.
        parts = [*self.ideal, *([ideal] if ideal is not None else [])]
        units = int(np.concatenate(self.units)[: sum(map(len, parts))].sum())
        net, initial = self.net + net, self.initial + initial
        bits = sum(float(part.sum()) for part in parts)
        return {"ideal": bits / units, "net": net / units, "total": (net + initial) / units}


def _blocks(images: Images, vae: FrozenModel) -> Iterator[NDArray[Any]]:
    """The images, checked, a block of them at a time."""
    size = _block_size(vae)
    if isinstance(images, np.ndarray):
        _check_kind(images, vae)
        for first in range(0, len(images), size):
            yield _checked(np.ascontiguousarray(images[first : first + size]), vae)
        return
    held: list[NDArray[Any]] = []
    for part in images:
        part = np.asarray(part)
        _check_kind(part, vae)
        if held and (part.dtype != held[0].dtype or part.shape[1:] != held[0].shape[1:]):
            raise DataError(
                f"arrays of different kinds follow each other: "
                f"{held[0].dtype} {held[0].shape[1:]}, {part.dtype} {part.shape[1:]}"
            )
        held.append(part)
        while sum(map(len, held)) >= size:
            whole = np.concatenate(held)
            yield _checked(whole[:size], vae)
            held = [whole[size:]]
    if sum(map(len, held)):
        yield _checked(np.concatenate(held), vae)


def _block_size(vae: FrozenModel) -> int:
    """Images a block: BLOCK_SIZE, or as many as the format has room for."""
    if prod(vae.shape) > MAX_BLOCK:
        raise DataError(f"images of shape {vae.shape} are too large: at most 2^30 pixels")
    return min(BLOCK_SIZE, MAX_BLOCK // prod(vae.shape))


def _check_kind(images: NDArray[Any], vae: FrozenModel) -> None:
    if images.dtype not in (np.uint8, np.bool_):
        raise DataError(f"images must be uint8 or bool, not {images.dtype}: convert them without loss first")
    if images.ndim < 2 or (images.shape[1:] != vae.shape and images.shape[1:] != (prod(vae.shape),)):
        raise DataError(
            f"images of shape {images.shape[1:]} meet a model of shape {vae.shape}: train one on such images"
        )


def _checked(images: NDArray[Any], vae: FrozenModel) -> NDArray[Any]:
    if vae.sequences:
        lengths(images)
    if (largest := int(symbols(images, vae.sequences).max())) >= vae.num_symbols:
        raise DataError(
            f"a pixel is {largest}, but the model codes 0 ... {vae.num_symbols - 1}: "
            f"{'binarize the images first' if vae.num_symbols == 2 else 'train one on such images'}"
        )
    return images


def _check_workers(workers: int) -> None:
    if type(workers) is not int or not 1 <= workers <= 256:
        raise UsageError(f"workers must be between 1 and 256, not {workers!r}")


def _loaded(model: Model, backend: str = "numpy") -> FrozenModel:
    if not isinstance(model, FrozenModel):
        return load_model(model, backend)
    return model if backend in ("numpy", model.backend) else load_frozen(model.data, backend)


def _model_of(header: Header, model: Model | None, backend: str) -> FrozenModel:
    if model is None:
        if not header.model:
            raise ModelError(f"the file needs its model, {header.model_id.hex()[:16]}...: give it with --model")
        return load_frozen(header.model, backend)
    vae = _loaded(model, backend)
    if vae.model_id != header.model_id.hex():
        raise ModelError(
            f"the file was made with model {header.model_id.hex()[:16]}..., not {vae.model_id[:16]}...: give that one"
        )
    return vae
