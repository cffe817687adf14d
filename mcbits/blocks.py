"""A block is a stack of its own: its bytes depend on the header, the model, the seed, its number and its images
alone."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import RLock, Thread
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits._team import Alone
from mcbits.coders.base import Coder
from mcbits.container import Header, pack_stack, unpack_stack
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import DataError, FormatError, McbitsError, StackError, UsageError
from mcbits.exact.frozen import FrozenModel, Precisions, load_frozen
from mcbits.exact.iterative import Refinement
from mcbits.latent import LatentModel
from mcbits.plugins import make_coder
from mcbits.schedule import coder_at
from mcbits.sequences import PADDING, SequenceLatents, lengths

T = TypeVar("T")


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


def steps(
    model: Any, images: NDArray[Any], lanes: int, sequences: bool
) -> Iterator[tuple[NDArray[Any], LatentModel]]:
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


class Workers:
    """Processes that code blocks at the same time, in order, a bounded number of blocks ahead; a `with` block ends
    them.

    This process is one of the `number`: it begins while the others start. Whoever is free takes the next block.
    """

    def __init__(self, number: int, codec: BlockCodec, vae: FrozenModel):
        self._codec, self._ahead, self._free = codec, 2 * number, number - 1
        self._waiting: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._lock, self._alone = RLock(), Alone()
        # Before what follows, since it starts Python's resource tracker, which unblocks Ctrl-C again.
        context = get_context("spawn")
        models: SimpleQueue[bytes] = context.SimpleQueue()
        self._pool = ProcessPoolExecutor(
            number - 1, context, initializer=_start, initargs=(codec.header, models, vae.backend)
        )
        with _single_threaded():
            for _ in range(number - 1):
                self._pool.submit(int)  # a process starts with the first work there is for it
        # Who sends a model waits until the process is there to read it: not this thread, which has blocks to code.
        Thread(target=_send, args=(models, vae.data, number - 1), daemon=True).start()

    def encode(self, blocks: Iterable[NDArray[Any]], seed: int) -> Iterator[Block]:
        """As BlockCodec.encode on each block in turn."""
        return self._map(_encode, self._codec.encode, ((number, images, seed) for number, images in enumerate(blocks)))

    def decode(self, payloads: Iterable[bytes]) -> Iterator[NDArray[Any]]:
        """As BlockCodec.decode on each payload in turn."""
        return self._map(_decode, self._codec.decode, ((payload,) for payload in payloads))

    def __enter__(self) -> "Workers":
        self._alone.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._alone.__exit__()
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)

    def _map(
        self, theirs: Callable[..., T], own: Callable[..., T], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[T]:
        results: deque[Future[T]] = deque()
        try:
            for arguments in calls:
                results.append(Future())
                self._waiting.append((results[-1], theirs, arguments))
                self._feed()
                if len(results) > self._ahead:
                    yield self._first(results, own)
            while results:
                yield self._first(results, own)
        except BrokenProcessPool:
            raise McbitsError("a worker process died, perhaps for want of memory: try fewer workers") from None

    def _first(self, results: "deque[Future[T]]", own: Callable[..., T]) -> T:
        while not results[0].done() and (taken := self._take()):
            result, _, arguments = taken
            _settle(result, partial(own, *arguments))
        return results.popleft().result()

    def _feed(self) -> None:
        """Give every process that is free the next block."""
        with self._lock:
            while self._free and (taken := self._take()):
                result, theirs, arguments = taken
                try:
                    future = self._pool.submit(theirs, *arguments)
                except Exception as error:
                    result.set_exception(error)
                    continue
                self._free -= 1
                future.add_done_callback(partial(self._done, result))

    def _done(self, result: Future[Any], future: Future[Any]) -> None:
        if future.cancelled():
            return
        _settle(result, future.result)
        with self._lock:
            self._free += 1
        self._feed()

    def _take(self) -> tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None:
        try:
            return self._waiting.popleft()
        except IndexError:  # another thread may have had the last one
            return None


def _settle(result: Future[T], work: Callable[[], T]) -> None:
    try:
        result.set_result(work())
    except Exception as error:
        result.set_exception(error)


_codec: BlockCodec


def _send(models: "SimpleQueue[bytes]", model: bytes, times: int) -> None:
    for _ in range(times):
        models.put(model)  # for ever, if a process dies before it reads: hence a daemon


def _start(header: Header, models: "SimpleQueue[bytes]", backend: str) -> None:
    global _codec
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    Alone().__enter__()
    Thread(target=_end_with_parent, daemon=True).start()
    _codec = BlockCodec(header, load_frozen(models.get(), backend))


def _end_with_parent() -> None:
    # A parent that was killed can end nobody, and its workers would wait for it for ever.
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(number: int, images: NDArray[Any], seed: int) -> Block:
    return _codec.encode(number, images, seed)


def _decode(payload: bytes) -> NDArray[Any]:
    return _codec.decode(payload)


@contextmanager
def _single_threaded() -> Iterator[None]:
    # Workers share the cores by blocks. Their threads read this when they are loaded, so it must be set as they start.
    # They inherit the blocked signal as well: Ctrl-C would find them before `_start` tells them to leave it alone.
    names = [n for n in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS") if n not in os.environ]
    os.environ.update(dict.fromkeys(names, "1"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in names:
            del os.environ[name]
