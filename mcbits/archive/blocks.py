"""A block is a stack of its own: its bytes depend only on header, model, seed, its number and its images."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.format import MAX_BLOCK, Header, pack_stack, unpack_stack
from mcbits.archive.ramp import coder_at
from mcbits.coders.base import Coder, make_coder
from mcbits.coders.simple import SimpleCoder
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import DataError, FormatError, StackError, UsageError
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.sequences import PADDING


@dataclass(frozen=True)
class Block:
    """An encoded block.

    payload: its bytes. ideal: the ideal codelengths of its images (n,). net, initial, heads: the net bits and the
    initial bits of its stack, and the bits of the stack's heads. All lengths are in bits.
    """

    payload: bytes
    ideal: NDArray[np.float64]
    net: float
    initial: float
    heads: int


OnStep = Callable[[NDArray[np.float64], Stack], None]
"""Called after each step of a block, with the ideal codelengths (bits) of its images so far, and the stack."""


MAX_PICTURES = 1 << 11
"""Most images of a block where a model's `block_samples` limits it."""

MAX_SYMBOLS = 1 << 26
"""Most symbols (of four bytes) that all particles of one image may hold in memory."""


class BlockCodec:
    """A codec that turns the images of one block into its payload and back, with a header, a coder and a model."""

    def __init__(self, header: Header, coder: Coder, model: LatentModel, num_symbols: int = 2):
        """num_symbols: what the model may decode, if that is not known to fit the header's type."""
        self.header, self.coder, self.model = header, coder, model
        most = {"bool": 2, "uint8": 1 << 8, "uint16": 1 << 16}[header.dtype]
        self._most = most if num_symbols > most else None

    @classmethod
    def of(cls, header: Header, frozen: FrozenModel) -> "BlockCodec":
        """Return the codec for a header and a frozen model.

        Raises UsageError or DataError if the model or the coder cannot do what the header says; UnknownNameError for
        the coder.
        """
        coder = make_coder(header.coder, header.options)
        if header.sequences != frozen.sequences:
            raise UsageError("the images are sequences, or the model's are, but not both")
        frozen = frozen.of_shape(header.shape)
        if not frozen.latent_dim and coder != SimpleCoder():
            raise UsageError(f"{coder.short} needs latents, and the model has none")
        if header.block_size > most_images(frozen):
            raise UsageError(f"blocks of {header.block_size} images are larger than the model's may be")
        if header.ramp and not coder.ramped:
            raise UsageError(f"{coder.short} takes no ramp: its initial bits do not grow with particles")
        refinement = Refinement(**header.refinement) if header.refinement else None  # type: ignore[arg-type]
        model = frozen.latent_model(Precisions(**header.precisions), refinement)
        check_memory(coder, model, frozen)
        check_lanes(header.lanes, model)
        return cls(header, coder, model, frozen.num_symbols)

    def encode(self, number: int, images: NDArray[Any], seed: int, on_step: OnStep | None = None) -> Block:
        """Push images (n, *shape), `lanes` of them in each step, and return the block.

        number: position of the block in the file. seed: of the initial bits.
        """
        x, p = flat(images), self.header.precisions
        lanes = min(self.header.lanes, len(x))
        stack = Stack(lanes, p["lprec"], p["bprec"], seed ^ number << 32)
        ideal, done = np.empty(len(x)), 0
        for step, (part, model) in enumerate(self.model.steps(x, lanes)):
            active = stack.select(0, min(len(part), lanes))
            active.step(step)
            bits = coder_at(self.coder, self.header.ramp, step).encode(active, part, model)
            ideal[done : done + len(part)] = bits * CODELENGTH_UNIT
            done += len(part)
            if on_step is not None:
                on_step(ideal[:done], stack)
        stack.step(None)
        payload = pack_stack(len(x), self.model.lengths(x), stack)
        net, initial = float(stack.net_bits().sum()), float(stack.initial_bits().sum())
        return Block(payload, ideal, net, initial, lanes * p["lprec"])

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Pop and return the images (n, *shape) of a payload, the last step first.

        Raises FormatError if the payload does not hold images that were pushed.
        """
        try:
            return self._decode(payload)
        except (DataError, StackError, UsageError) as error:
            raise FormatError(f"a block does not decode: {error}") from None
        except MemoryError:
            raise FormatError("a block does not decode: its images do not fit in memory") from None

    def _decode(self, payload: bytes) -> NDArray[Any]:
        num_images, lengths, stack = unpack_stack(payload, self.header)
        drawn, drawn_in_all = stack.initial_words, stack.drawn
        dtype = np.uint16 if self.header.dtype == "uint16" else np.uint8
        # Memory that is not written costs nothing, so that a block which only claims its images does not either.
        x = np.empty((num_images, prod(self.header.shape)), dtype)
        if self.header.sequences:
            x[:] = PADDING
        layout, first = self.model.layout(num_images, stack.lanes, lengths), num_images
        for step, (count, model) in reversed(list(enumerate(layout))):
            first -= count
            active = stack.select(0, min(count, stack.lanes))
            active.step(step)
            symbols = coder_at(self.coder, self.header.ramp, step).decode(active, model)
            if self._most and symbols.size and symbols.max() >= self._most:
                raise FormatError(
                    f"a block holds a symbol beyond {self._most - 1}, the most of type {self.header.dtype}"
                )
            x[first : first + count, : symbols.shape[1]] = symbols
            # The tail of an undamaged payload never runs empty. Without this check a damaged one would decode endless
            # noise.
            if stack.drawn != drawn_in_all:
                raise FormatError("a block ends before its images do")
        if any(len(stack.tail(lane)) != count for lane, count in enumerate(drawn)):
            raise FormatError("a block does not end with its first image")
        return x.astype(self.header.dtype, copy=False).reshape(-1, *self.header.shape)


def most_images(frozen: FrozenModel) -> int:
    """Return the most images of a block, by the limits of the format and of the model."""
    if frozen.block_samples is None:
        return MAX_BLOCK // prod(frozen.shape)
    return min(MAX_PICTURES, max(1, frozen.block_samples // prod(frozen.shape)))


def check_memory(coder: Coder, model: LatentModel, frozen: FrozenModel) -> None:
    """Check that the index precision can number the coder's particles, and that they fit in memory.

    Raises UsageError otherwise.
    """
    N, dims = coder.num_particles, prod(frozen.shape)
    if not frozen.latent_dim:
        return  # no particles, and the format limits the size of an image
    dims = max(dims, getattr(frozen, "num_features", 0) * prod(frozen.shape[:2]))
    if N > 1 << model.index_precision:
        raise UsageError(f"{N} particles need an index_mprec of at least {(N - 1).bit_length()}")
    if N * max(dims, frozen.num_latents) > MAX_SYMBOLS:
        raise UsageError(f"{N} particles of {dims} pixels are too many to hold: at most 2^26 in all")


def check_lanes(lanes: int, model: LatentModel) -> None:
    """Check that one step of the model can code this many lanes. Raises UsageError otherwise."""
    if model.max_lanes is not None and lanes > model.max_lanes:
        raise UsageError("sequences are coded one after the other: leave lanes at 1, and give workers instead")


def flat(images: NDArray[Any]) -> NDArray[np.int32]:
    """Return images (n, *shape) as symbols (n, dims), int32 as those that a decoder pops.

    What a coder or a model computes with them is then the same on both sides, also where uint8 would overflow.
    """
    return images.reshape(len(images), -1).astype(np.int32)


Trial = list[tuple[NDArray[Any], LatentModel]]


def trial(model: LatentModel, images: NDArray[Any]) -> Trial:
    """Return the first steps of a block of images (n, *shape): enough to estimate the cost of a step."""
    x = flat(images[: model.trial_size])
    return list(model.steps(x, len(x)))
