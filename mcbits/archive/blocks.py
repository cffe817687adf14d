"""A block is a stack of its own: its bytes depend on the header, the model, the seed, its number and its images
alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.format import Header, pack_stack, unpack_stack
from mcbits.archive.ramp import coder_at
from mcbits.coders.base import Coder
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import DataError, FormatError, StackError, UsageError
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.sequences import PADDING, SequenceLatents, lengths
from mcbits.plugins.registry import make_coder


@dataclass(frozen=True)
class Block:
    """An encoded block: its `payload`, `ideal` codelengths of its images (n,), `net` and `initial` bits of its
    stack."""

    payload: bytes
    ideal: NDArray[np.float64]
    net: float
    initial: float


OnStep = Callable[[NDArray[np.float64], Stack], None]
"""Is told, after each step of a block, the ideal codelengths of its images so far (bits) and the stack."""


MAX_SYMBOLS = 1 << 26
"""Of all particles of an image: what coding it may hold in memory, four bytes each."""


class BlockCodec:
    """Images of one block to its payload and back, as the header says; UsageError when it asks for what cannot be
    done."""

    def __init__(self, header: Header, vae: FrozenModel):
        self.header = header
        self.coder = make_coder(header.coder, header.options)
        refinement = Refinement(**header.refinement) if header.refinement else None  # type: ignore[arg-type]
        self.model = vae.latent_model(Precisions(**header.precisions), refinement)
        if prod(header.shape) != prod(vae.shape) or header.sequences != vae.sequences:
            raise UsageError(f"images of shape {header.shape} meet a model of shape {vae.shape}")
        if header.ramp and not self.coder.ramped:
            raise UsageError(f"{self.coder.short} takes no ramp: its initial bits do not grow with particles")
        if header.sequences and header.lanes > 1:
            raise UsageError("sequences are coded one after the other: leave lanes at 1, and give workers instead")
        check_particles(self.coder, self.model, prod(header.shape), vae.num_latents)

    def encode(self, number: int, images: NDArray[Any], seed: int, on_step: OnStep | None = None) -> Block:
        """Push images (n, *shape), `lanes` of them a step."""
        lanes = min(self.header.lanes, len(images))
        p = self.header.precisions
        stack = Stack(lanes, p["lprec"], p["bprec"], seed ^ number << 32)
        ideal, done = np.empty(len(images)), 0
        for step, (x, model) in enumerate(steps(self.model, images, lanes, self.header.sequences)):
            active = stack.select(0, len(x))
            active.step(step)
            bits = coder_at(self.coder, self.header.ramp, step).encode(active, x, model)
            ideal[done : done + len(x)] = bits * CODELENGTH_UNIT
            done += len(x)
            if on_step is not None:
                on_step(ideal[:done], stack)
        stack.step(None)
        counts = lengths(images).tolist() if self.header.sequences else []
        payload = pack_stack(len(images), counts, stack)
        return Block(payload, ideal, float(stack.net_bits().sum()), float(stack.initial_bits().sum()))

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Pop the images (n, *shape) of a payload, the last step first; FormatError when it holds none that were
        pushed."""
        try:
            return self._decode(payload)
        except (DataError, StackError, UsageError) as error:
            raise FormatError(f"a block does not decode: {error}") from None

    def _decode(self, payload: bytes) -> NDArray[Any]:
        num_images, counts, stack = unpack_stack(payload, self.header)
        drawn, drawn_in_all = stack.initial_words, stack.drawn
        x, lanes = np.full((num_images, prod(self.header.shape)), PADDING, np.uint8), stack.lanes
        for step in reversed(range(-(-num_images // lanes))):
            part = slice(step * lanes, min((step + 1) * lanes, num_images))
            active = stack.select(0, part.stop - part.start)
            active.step(step)
            model = SequenceLatents(self.model.of_length(counts[step])) if counts else self.model
            symbols = coder_at(self.coder, self.header.ramp, step).decode(active, model)
            x[part, : symbols.shape[1]] = symbols
            # What an encoder has pushed is there to be popped: a decoder that runs dry would decode noise without an
            # end.
            if stack.drawn != drawn_in_all:
                raise FormatError("a block ends before its images do")
        if any(len(stack.tail(lane)) != count for lane, count in enumerate(drawn)):
            raise FormatError("a block does not end with its first image")
        return x.astype(self.header.dtype, copy=False).reshape(-1, *self.header.shape)


def check_particles(coder: Coder, model: LatentModel, dims: int, latent_dim: int) -> None:
    """UsageError for more particles than the index's precision tells apart, or memory should hold."""
    particles = getattr(coder, "num_particles", 1)
    if particles > 1 << model.index_precision:
        raise UsageError(f"{particles} particles need an index_mprec of {(particles - 1).bit_length()}")
    if particles * max(dims, latent_dim) > MAX_SYMBOLS:
        raise UsageError(f"{particles} particles of {dims} pixels are too many to hold: at most 2^26 in all")


def flat(images: NDArray[Any]) -> NDArray[Any]:
    """Images (n, *shape) as symbols (n, dims)."""
    return images.reshape(len(images), -1)


def steps(model: Any, images: NDArray[Any], lanes: int, sequences: bool) -> Iterator[tuple[NDArray[Any], LatentModel]]:
    """What is coded in each step: images (lanes, dims) with their model, or one sequence (1, T * dims of a frame)."""
    if sequences:
        for sequence, T in zip(images, lengths(images).tolist(), strict=True):
            yield sequence[:T].reshape(1, -1), SequenceLatents(model.of_length(T))
    else:
        x = flat(images)
        for step, ahead in enumerate(model.ahead(x, lanes)):
            yield x[step * lanes : (step + 1) * lanes], ahead


def trial(model: Any, images: NDArray[Any], sequences: bool) -> list[tuple[NDArray[Any], LatentModel]]:
    """The first of the images, as few as tell what a step costs."""
    few = 4 if sequences else 32
    return list(steps(model, images[:few], few, sequences))
