"""Images become a file block by block. Everything that can be checked is checked before the first byte is written."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.blocks import Block, BlockCodec, check_lanes, check_memory, most_images, trial
from mcbits.archive.decoding import decode_with
from mcbits.archive.format import MAX_BLOCK, End, Header, pack_block, sample_bytes
from mcbits.archive.options import CodingOptions
from mcbits.archive.ramp import parse_lanes, parse_ramp
from mcbits.archive.workers import Workers
from mcbits.coders.base import make_coder
from mcbits.coders.simple import SimpleCoder
from mcbits.errors import DataError, PluginError
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.sequences import lengths, symbols
from mcbits.plugins.registry import registry

BLOCK_SIZE = 2048

Images = NDArray[Any] | Iterable[NDArray[Any]]
"""An array (n, *shape) or an iterable of such arrays; of an iterable about one block is held in memory at a time."""


@dataclass(frozen=True)
class Cost:
    """The cost of compressing images.

    Rates are in bits per `unit`, which is "dim", or "frame" for sequences:
    `ideal`: the negative of the coder's bound, for the particles that it drew;
    `net`: the growth of the message;
    `message`: net, initial bits and heads of the stacks;
    `file`: all bytes on disk.
    `initial_bits` is in bits, `file_bytes` in bytes. `verify_seconds` is the time to decode again, 0 if it was skipped.
    `per_image` (num_images,) is the ideal rate of each image, `units` (num_images,) its number of units.
    """

    num_images: int
    unit: str
    ideal: float
    net: float
    message: float
    file: float
    initial_bits: float
    file_bytes: int
    encode_seconds: float
    verify_seconds: float
    per_image: NDArray[np.float64] = field(repr=False, compare=False)
    units: NDArray[np.int64] = field(repr=False, compare=False)

    def figures(self) -> dict[str, Any]:
        """Return {name: value} of everything but the arrays `per_image` and `units`."""
        return {key: value for key, value in vars(self).items() if key not in ("per_image", "units")}


class Encoding:
    """A job that compresses images. Its constructor checks the input; then call `write`, `verify` and `cost`."""

    def __init__(self, images: Images, frozen: FrozenModel, options: CodingOptions):
        """Check the first block of images, and the options, against the model. Further blocks are checked in `write`.

        Raises DataError for images that the model cannot code, UsageError for options that do not fit the model.
        """
        self.options = options
        self.expected = len(images) if isinstance(images, np.ndarray) else 0
        self._blocks = _blocks(images, frozen)
        first = next(self._blocks, None)
        if first is None:
            raise DataError("there are no images to compress")
        self._blocks = chain([first], self._blocks)
        self.frozen = frozen = frozen.of_shape(first.shape[1:])
        # A model without latents has nothing to get bits back from.
        chosen = options.coder if frozen.latent_dim else SimpleCoder()
        precisions = options.precisions.of(frozen.observation)
        model = frozen.latent_model(precisions, options.refinement)
        header = _header(first, frozen, replace(options, coder=chosen, precisions=precisions), model)
        coder = make_coder(header.coder, header.options)
        if coder != chosen:  # a decoder has no more than the header to make it from
            raise PluginError(f"coder {coder.short} does not come back from its get_config: report it to its author")
        self.codec = BlockCodec(header, coder, model)
        self._written = _Written(frozen)

    def write(self, file: BinaryIO) -> None:
        """Write the whole file. Raises DataError for images that the model cannot code."""
        hook, digest, workers = registry().hook, sha256(), self.options.workers
        written, seed = self._written, self.options.seed

        def blocks() -> Iterator[NDArray[Any]]:
            for images in self._blocks:
                digest.update(sample_bytes(images))
                written.begin(images)
                yield images

        hook.mcbits_started(job="compress", total=self.expected)
        file.write(self.codec.header.pack())
        with ExitStack() as scope:
            if workers > 1:
                encoded = scope.enter_context(Workers(workers, self.codec, self.frozen)).encode(blocks(), seed)
            else:
                encoded = (
                    self.codec.encode(number, images, seed, written.on_step) for number, images in enumerate(blocks())
                )
            for number, block in enumerate(encoded):
                file.write(pack_block(number, block.payload))
                written.add(block)
                hook.mcbits_advanced(job="compress", done=written.num_images, metrics=written.rates())
        file.write(End(written.num_images, digest.digest()).pack())
        hook.mcbits_finished(job="compress", metrics=written.rates())

    def verify(self, file: BinaryIO) -> None:
        """Decode the written file and check that the images come back. Raises FormatError otherwise."""
        # The file has the checksum of the images. If decoding raises no error, it gave the images.
        hook = registry().hook
        hook.mcbits_started(job="decompress", total=self._written.num_images)
        for _ in decode_with(file, self.codec, self.frozen, self.options.workers):
            pass
        hook.mcbits_finished(job="decompress", metrics={})

    def cost(self, file_bytes: int, encode_seconds: float, verify_seconds: float) -> Cost:
        """Return the cost of a file of `file_bytes` bytes and of these seconds."""
        written, rates = self._written, self._written.rates()
        units = np.concatenate(written.units)
        return Cost(
            num_images=written.num_images,
            unit=self.frozen.unit,
            file=8 * file_bytes / int(units.sum()),
            initial_bits=written.initial,
            file_bytes=file_bytes,
            encode_seconds=encode_seconds,
            verify_seconds=verify_seconds,
            per_image=np.concatenate(written.ideal) / units,
            units=units,
            **rates,
        )


class _Written:
    """The statistics of the blocks that are written, and of the block that is being coded."""

    def __init__(self, frozen: FrozenModel):
        self.net = self.initial = 0.0
        self.heads = self.num_images = 0
        self.units: list[NDArray[np.int64]] = []
        self.ideal: list[NDArray[np.float64]] = []
        self._frozen, self._shown = frozen, time.monotonic()

    def begin(self, images: NDArray[Any]) -> None:
        self.units.append(self._frozen.units(images))

    def add(self, block: Block) -> None:
        self.ideal.append(block.ideal)
        self.net += block.net
        self.initial += block.initial
        self.heads += block.heads
        self.num_images += len(block.ideal)

    def on_step(self, ideal: NDArray[np.float64], stack: Stack) -> None:
        """Report the progress of a block, at most ten times a second, so that the cost is negligible."""
        if time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            part = Block(b"", ideal, float(stack.net_bits().sum()), float(stack.initial_bits().sum()), 0)
            done = self.num_images + len(ideal)
            registry().hook.mcbits_advanced(job="compress", done=done, metrics=self.rates(part))

    def rates(self, part: Block | None = None) -> dict[str, float]:
        """Return ideal, net and message, in bits per unit, of the written blocks and a part of the next block."""
        blocks = [*self.ideal, *([part.ideal] if part else [])]
        units = int(np.concatenate(self.units)[: sum(map(len, blocks))].sum())
        net, initial = (self.net + part.net, self.initial + part.initial) if part else (self.net, self.initial)
        ideal = sum(float(each.sum()) for each in blocks)
        return {"ideal": ideal / units, "net": net / units, "message": (net + initial + self.heads) / units}


def _header(images: NDArray[Any], frozen: FrozenModel, options: CodingOptions, model: LatentModel) -> Header:
    """Return the header of a file that begins with these images."""
    coder, tried = options.coder, partial(trial, model, images)
    check_memory(coder, model, frozen)
    ramp = parse_ramp(options.ramp, coder, tried)
    lanes = parse_lanes(options.lanes, coder, ramp, tried, model.max_lanes or len(images))
    check_lanes(lanes, model)
    return Header(
        coder=coder.short,
        options=coder.get_config(),
        precisions=asdict(options.precisions),
        shape=images.shape[1:],
        dtype=str(images.dtype),
        lanes=lanes,
        block_size=_block_size(frozen),
        ramp=ramp,
        refinement=asdict(options.refinement) if options.refinement else {},
        sequences=frozen.sequences,
        model_id=bytes.fromhex(frozen.model_id),
        model=frozen.data if options.embed_model else b"",
    )


def _blocks(images: Images, frozen: FrozenModel) -> Iterator[NDArray[Any]]:
    """Yield the images, checked, one block at a time."""
    if isinstance(images, np.ndarray):
        frozen = _fitting(images, frozen)
        size = _block_size(frozen)
        for first in range(0, len(images), size):
            yield _checked(np.ascontiguousarray(images[first : first + size]), frozen)
        return
    held: list[NDArray[Any]] = []
    for part in images:
        part = np.asarray(part)
        size = _block_size(_fitting(part, frozen))
        if held and (part.dtype != held[0].dtype or part.shape[1:] != held[0].shape[1:]):
            raise DataError(
                f"all arrays must have the same type and shape of an image: "
                f"expected {held[0].dtype} {held[0].shape[1:]}, got {part.dtype} {part.shape[1:]}"
            )
        held.append(part)
        while sum(map(len, held)) >= size:
            whole = np.concatenate(held)
            yield _checked(whole[:size], frozen)
            held = [whole[size:]]
    if sum(map(len, held)):
        yield _checked(np.concatenate(held), frozen)


def _block_size(frozen: FrozenModel) -> int:
    """Return the number of images in a block: BLOCK_SIZE, or fewer if the format's limit on a block needs it."""
    if prod(frozen.shape) > MAX_BLOCK:
        raise DataError(f"images of shape {frozen.shape} are too large: at most 2^30 pixels")
    return min(BLOCK_SIZE, most_images(frozen))


def _fitting(images: NDArray[Any], frozen: FrozenModel) -> FrozenModel:
    """Return the model of images of this shape. Raises DataError if it cannot code such images."""
    if images.dtype not in (np.uint8, np.uint16, np.bool_):
        raise DataError(f"images must be bool, uint8 or uint16, not {images.dtype}: convert them without loss first")
    return frozen.of_shape(images.shape[1:])


def _checked(images: NDArray[Any], frozen: FrozenModel) -> NDArray[Any]:
    if images.dtype == bool:
        # A view of bytes as bool may hold any of them: what is not zero is true.
        images = images.view(np.uint8) != 0
    if frozen.sequences:
        lengths(images)
    if (largest := int(symbols(images, frozen.sequences).max())) >= frozen.num_symbols:
        raise DataError(
            f"a pixel is {largest}, but the model codes 0 ... {frozen.num_symbols - 1}: "
            f"{'binarize the images first' if frozen.num_symbols == 2 else 'train one on such images'}"
        )
    return images
