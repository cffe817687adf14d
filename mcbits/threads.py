"""The rows of a large batch are shared among threads: no row depends on another, so no result does on their number."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

MIN_ROWS = 256
"""For a thread to be worth waking."""


def share(rows: int, work: Callable[[slice], bool]) -> bool:
    """Whether `work` of every part of 0 ... rows - 1 is true; it had better let go of the GIL."""
    parts = rows // MIN_ROWS
    if parts < 2 or (parts := min(_threads(), parts)) < 2:
        return work(slice(0, rows))
    ends = [rows * part // parts for part in range(parts + 1)]
    slices = [slice(*pair) for pair in zip(ends, ends[1:], strict=False)]
    others = [_pool().submit(work, part) for part in slices[1:]]
    mine = work(slices[0])
    theirs = [other.result() for other in others]
    return mine and all(theirs)


@cache
def _threads() -> int:
    """As many as BLAS would take."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal():
            return max(1, int(os.environ[name]))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _threads() - 1), "mcbits")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
