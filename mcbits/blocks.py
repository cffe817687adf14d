"""A block is a stack of its own: its bytes depend on the header, the model, the seed, its number and its images alone."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.container import Header, pack_stack, unpack_stack
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import FormatError, McbitsError, UsageError
from mcbits.exact.iterative import Refinement
from mcbits.exact.vae import FrozenVAE, Precisions
from mcbits.plugins import make_coder
from mcbits.schedule import coder_at


@dataclass(frozen=True)
class Block:
    """An encoded block: its `payload`, `ideal` codelengths of its images (n,), `net` and `initial` bits of its stack."""

    payload: bytes
    ideal: NDArray[np.float64]
    net: float
    initial: float


OnStep = Callable[[NDArray[np.float64], Stack], None]
"""Is told, after each step of a block, the ideal codelengths of its images so far (bits) and the stack."""


class BlockCodec:
    """Images of one block to its payload and back, as the header says; FormatError when it asks for what is not installed."""

    def __init__(self, header: Header, vae: FrozenVAE):
        self.header, self.vae = header, vae
        try:
            self.coder = make_coder(header.coder, header.options)
            refinement = Refinement(**header.refinement) if header.refinement else None  # type: ignore[arg-type]
            self.model = vae.latent_model(Precisions(**header.precisions), refinement)
        except UsageError as error:
            raise FormatError(f"the file needs what this mcbits has not: {error}") from None
        if prod(header.shape) != prod(vae.shape):
            raise FormatError(f"the file holds images of shape {header.shape}, its model describes {vae.shape}")

    def encode(self, number: int, images: NDArray, seed: int, on_step: OnStep | None = None) -> Block:
        """Push images (n, *shape), `lanes` of them a step."""
        x = flat(images)
        lanes = min(self.header.lanes, len(x))
        p = self.header.precisions
        stack = Stack(lanes, p["lprec"], p["bprec"], seed ^ number << 32)
        ideal = np.empty(len(x))
        for step, model in enumerate(self.model.ahead(x, lanes)):
            part = slice(step * lanes, min((step + 1) * lanes, len(x)))
            active = stack.select(0, part.stop - part.start)
            active.step(step)
            bits = coder_at(self.coder, self.header.ramp, step).encode(active, x[part], model)
            ideal[part] = bits * CODELENGTH_UNIT
            if on_step is not None:
                on_step(ideal[: part.stop], stack)
        stack.step(None)
        return Block(pack_stack(len(x), stack), ideal, float(stack.net_bits().sum()), float(stack.initial_bits().sum()))

    def decode(self, payload: bytes) -> NDArray:
        """Pop the images (n, *shape) of a payload, the last step first."""
        num_images, stack = unpack_stack(payload, self.header)
        x, lanes = np.empty((num_images, prod(self.header.shape)), np.uint8), stack.lanes
        for step in reversed(range(-(-num_images // lanes))):
            part = slice(step * lanes, min((step + 1) * lanes, num_images))
            active = stack.select(0, part.stop - part.start)
            active.step(step)
            x[part] = coder_at(self.coder, self.header.ramp, step).decode(active, self.model)
        return x.astype(self.header.dtype, copy=False).reshape(-1, *self.header.shape)


def flat(images: NDArray) -> NDArray:
    """Images (n, *shape) as symbols (n, dims)."""
    return images.reshape(len(images), -1)


class Workers:
    """Processes that code blocks at the same time, in order, a bounded number of blocks ahead; a `with` block ends them."""

    def __init__(self, number: int, header: Header, vae: FrozenVAE):
        with _single_threaded():
            self._pool = ProcessPoolExecutor(
                number, get_context("spawn"), initializer=_start, initargs=(header, vae.data, vae.backend)
            )
            self._ahead = 2 * number

    def encode(self, blocks: Iterable[NDArray], seed: int) -> Iterator[Block]:
        """As BlockCodec.encode on each block in turn."""
        return self._map(_encode, ((number, images, seed) for number, images in enumerate(blocks)))

    def decode(self, payloads: Iterable[bytes]) -> Iterator[NDArray]:
        """As BlockCodec.decode on each payload in turn."""
        return self._map(_decode, ((payload,) for payload in payloads))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _map(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        waiting: deque[Future[Any]] = deque()
        try:
            for arguments in calls:
                with _single_threaded():
                    waiting.append(self._pool.submit(function, *arguments))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise McbitsError("a worker process died, perhaps for want of memory: try fewer workers") from None


_codec: BlockCodec


def _start(header: Header, model: bytes, backend: str) -> None:
    global _codec
    _codec = BlockCodec(header, FrozenVAE(model, backend))


def _encode(number: int, images: NDArray, seed: int) -> Block:
    return _codec.encode(number, images, seed)


def _decode(payload: bytes) -> NDArray:
    return _codec.decode(payload)


@contextmanager
def _single_threaded() -> Iterator[None]:
    # Workers share the cores by blocks. Their BLAS reads this when it is first loaded, so it must be set as they start.
    names = [n for n in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS") if n not in os.environ]
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
