"""Several processes code blocks to the same bytes that one process would write."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import RLock, Thread, current_thread, main_thread
from typing import Any, TypeVar

from numpy.typing import NDArray

from mcbits.archive.blocks import Block, BlockCodec
from mcbits.archive.format import Header
from mcbits.core.threads import Alone
from mcbits.errors import McbitsError
from mcbits.latents.frozen import FrozenModel, load_frozen

T = TypeVar("T")


class Workers:
    """A pool of processes that code blocks at the same time. The end of its `with` block ends them.

    Results come in order, and a bounded number of blocks is coded ahead. This process is one of the `number`; it begins
    while the others start. A free process takes the next block.
    """

    def __init__(self, number: int, codec: BlockCodec, frozen: FrozenModel):
        self._codec, self._ahead, self._free = codec, 2 * number, number - 1
        self._waiting: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._lock, self._alone = RLock(), Alone()
        with _ctrl_c_noted() as pressed:
            # This starts Python's resource tracker, which unblocks Ctrl-C. So it must come before `_single_threaded`,
            # which blocks it.
            context = get_context("spawn")
            models: SimpleQueue[bytes] = context.SimpleQueue()
            self._pool = ProcessPoolExecutor(
                number - 1, context, initializer=_start, initargs=(codec.header, models, frozen.backend)
            )
            with _single_threaded():
                for _ in range(number - 1):
                    self._pool.submit(int)  # the pool starts a process only when there is work for it
            # Sending a model waits until the process reads it. Another thread does it, since this one codes blocks.
            Thread(target=_send, args=(models, frozen.data, number - 1), daemon=True).start()
        if pressed:
            self._pool.shutdown(cancel_futures=True)
            raise KeyboardInterrupt

    def encode(self, blocks: Iterable[NDArray[Any]], seed: int) -> Iterator[Block]:
        """Yield what BlockCodec.encode returns for each block, in order.

        Raises as it does, and McbitsError if a worker dies.
        """
        return self._map(_encode, self._codec.encode, ((number, images, seed) for number, images in enumerate(blocks)))

    def decode(self, payloads: Iterable[bytes]) -> Iterator[NDArray[Any]]:
        """Yield what BlockCodec.decode returns for each payload, in order.

        Raises as it does, and McbitsError if a worker dies.
        """
        return self._map(_decode, self._codec.decode, ((payload,) for payload in payloads))

    def __enter__(self) -> "Workers":
        self._alone.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._alone.__exit__()
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)

    def _map(self, theirs: Callable[..., T], own: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
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
            raise McbitsError("a worker process died, perhaps because memory ran out: try fewer workers") from None

    def _first(self, results: "deque[Future[T]]", own: Callable[..., T]) -> T:
        while not results[0].done() and (taken := self._take()):
            result, _, arguments = taken
            _settle(result, partial(own, *arguments))
        return results.popleft().result()

    def _feed(self) -> None:
        """Give the next block to each free process."""
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
        except IndexError:  # another thread may have taken the last one
            return None


def _settle(result: Future[T], work: Callable[[], T]) -> None:
    try:
        result.set_result(work())
    except Exception as error:
        result.set_exception(error)


_codec: BlockCodec


def _send(models: "SimpleQueue[bytes]", model: bytes, times: int) -> None:
    for _ in range(times):
        models.put(model)  # waits for ever if a process dies before it reads: so the thread is a daemon


def _start(header: Header, models: "SimpleQueue[bytes]", backend: str) -> None:
    global _codec
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers
    Alone().__enter__()
    Thread(target=_end_with_parent, daemon=True).start()
    _codec = BlockCodec.of(header, load_frozen(models.get(), backend))


def _end_with_parent() -> None:
    # A killed parent cannot end its workers, which would wait for it for ever.
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(number: int, images: NDArray[Any], seed: int) -> Block:
    return _codec.encode(number, images, seed)


def _decode(payload: bytes) -> NDArray[Any]:
    return _codec.decode(payload)


@contextmanager
def _ctrl_c_noted() -> Iterator[list[int]]:
    """Yield a list that is filled, instead of an interruption, when Ctrl-C is pressed within the block.

    An interrupted start would take from the processes that start what they are about to open.
    """
    pressed: list[int] = []
    if current_thread() is not main_thread():  # no other has handlers, or is interrupted
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _single_threaded() -> Iterator[None]:
    # Workers share the cores by blocks, so each needs one thread. BLAS reads these variables when it is loaded, so they
    # must be set when a worker starts. Workers also inherit the blocked signal. Otherwise Ctrl-C could reach them
    # before `_start` makes them ignore it.
    names = [n for n in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS") if n not in os.environ]
    os.environ.update(dict.fromkeys(names, "1"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in names:
            del os.environ[name]
